"""Training among ranks: shares of a step, proof of the wrapper, and the losses of one process.

Two real processes are in ``tests/recipes/test_distributed.py``; here a group of one shows the same code at work.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from accelerate.state import AcceleratorState
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.distributed.fsdp import FSDPModule
from torch.nn.parallel import DistributedDataParallel
from transformers import BertConfig, BertForSequenceClassification

from emobench.data.encode import Encoded
from emobench.errors import ChangedAnswersError, UnsupportedError
from emobench.specs import TrainSettings
from emobench.training import distributed
from emobench.training.distributed import (
    IGNORED,
    Ranks,
    check_same_weights,
    check_wrapped,
    from_first_rank,
    held_bytes,
    own_share,
    shard_fully,
)
from emobench.training.fit import fit
from emobench.training.plan import FitPlan


@pytest.fixture
def group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A process group of this process alone, as a launcher would leave it."""
    for name, value in {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    dist.init_process_group("gloo", store=dist.FileStore(str(tmp_path / "store"), 1), rank=0, world_size=1)
    yield
    dist.destroy_process_group()
    AcceleratorState._reset_state(reset_partial_state=True)


def tiny_model(seed: int = 0) -> BertForSequenceClassification:
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=50,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        num_labels=2,
    )
    return BertForSequenceClassification(config)


def tiny_data(rows: int = 83, seed: int = 0) -> Encoded:
    """Rows whose label is whether token 5 stands first; 83 leaves a short last step of 3."""
    rng = np.random.default_rng(seed)
    labels, lengths = rng.integers(0, 2, size=rows), rng.integers(3, 20, size=rows)
    texts = [
        np.concatenate([[5 if label else 6], rng.integers(10, 50, size=n - 1)])
        for label, n in zip(labels, lengths, strict=True)
    ]
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Encoded(ids=np.concatenate(texts).astype(np.int32), offsets=offsets, labels=labels.astype(np.int64))


def plan(ranks: Ranks | None = None, **changes: object) -> FitPlan:
    values: dict[str, object] = {
        "device": "cpu",
        "precision": "fp32",
        "seed": 0,
        "epochs": 1,
        "learning_rate": 1e-3,
        "settings": TrainSettings(batch_size=8),
        "kernel": "emobench",
        "ranks": ranks,
        **changes,
    }
    return FitPlan(**values)  # type: ignore[arg-type]  # a test's shorthand


@given(rows=st.integers(1, 40), world=st.integers(1, 9))
def test_shares_are_the_whole_step_once_and_of_one_shape(rows: int, world: int) -> None:
    """Every row of a step is counted by exactly one rank, and all ranks compute over the same shape."""
    batch = {"input_ids": torch.arange(rows * 3).reshape(rows, 3), "labels": torch.arange(rows)}
    shares = [own_share(batch, Ranks(wrapper="ddp", world_size=world, rank=rank)) for rank in range(world)]
    assert len({tuple(share["input_ids"].shape) for share in shares}) == 1
    counted = torch.cat([share["labels"][share["labels"] != IGNORED] for share in shares])
    assert sorted(counted.tolist()) == list(range(rows))
    for share in shares:
        kept = share["labels"] != IGNORED
        assert torch.equal(share["input_ids"][kept][:, 0], 3 * share["labels"][kept])
    assert torch.equal(batch["labels"], torch.arange(rows)), "the batch itself was changed"


@pytest.mark.slow
@pytest.mark.parametrize(("wrapper", "shard"), [("ddp", False), ("fsdp", True)])
def test_a_group_of_one_has_the_losses_of_no_group(group: None, wrapper: str, shard: bool) -> None:
    """Wrapped in DDP or sharded, a rank alone has the losses, counts and weights of a plain run, also of cut steps."""
    model, wrapped = tiny_model(), tiny_model()
    settings = TrainSettings(batch_size=8, token_budget=60)
    ranks = Ranks(wrapper=wrapper, world_size=1, rank=0, shard=shard)  # type: ignore[arg-type]  # parametrized
    found = fit(wrapped, tiny_data(), plan(ranks, settings=settings))
    plain = _without_group(model, settings)
    np.testing.assert_allclose(found.losses, plain.losses, rtol=1e-5)
    assert (found.samples_seen, found.tokens_seen) == (plain.samples_seen, plain.tokens_seen) == (83, plain.tokens_seen)
    assert found.distribution["wrapper"] == wrapper
    assert found.distribution["world_size"] == 1
    assert json.dumps(found.distribution)
    assert isinstance(wrapped, FSDPModule) == shard
    for (name, ours), theirs in zip(wrapped.named_parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(distributed.own_part(ours), theirs, rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.slow
def test_the_best_epoch_comes_back_to_every_piece(group: None, tmp_path: Path) -> None:
    """Sharded weights of the best epoch are kept and put back piece by piece, under the rank's own name."""
    model = tiny_model()
    seen: list[list[torch.Tensor]] = []

    def falling(current: nn.Module) -> dict[str, float]:
        seen.append([distributed.own_part(part).detach().clone() for part in current.parameters()])
        return {"accuracy": 0.9 - 0.1 * len(seen)}

    ranks = Ranks(wrapper="fsdp", world_size=1, rank=0, shard=True)
    fit(model, tiny_data(), plan(ranks, epochs=3, folder=tmp_path), validate=falling)
    assert len(seen) == 3
    assert not torch.equal(seen[0][0], seen[2][0])
    for part, first in zip(model.parameters(), seen[0], strict=True):
        assert torch.equal(distributed.own_part(part), first)
    assert (tmp_path / "rank-0" / "best.safetensors").exists()


def _without_group(model: nn.Module, settings: TrainSettings) -> object:
    """The same training in a process that knows of no launcher."""
    with pytest.MonkeyPatch.context() as patched:
        for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"):
            patched.delenv(name)
        return fit(model, tiny_data(), plan(settings=settings))  # type: ignore[arg-type]  # a transformers model


def test_ddp_where_sharding_was_asked_for_is_an_error(group: None) -> None:
    """accelerate wraps a model in DDP on a CPU whatever was asked for; the first step says so."""
    with pytest.raises(
        UnsupportedError,
        match=r"fully_shard \(FSDP2\) over 1 processes was asked for, and the model is wrapped in ddp "
        r"\(DistributedDataParallel\); the launcher fell back without a word, .*; take an accelerate configuration",
    ):
        fit(tiny_model(), tiny_data(), plan(Ranks(wrapper="fsdp", world_size=1, rank=0)))


def test_a_process_alone_where_two_were_asked_for_is_an_error(group: None) -> None:
    """Two processes that each train on their own do not pass for two that train together."""
    with pytest.raises(
        UnsupportedError,
        match=r"DistributedDataParallel over 2 processes was asked for, and rank 0 trains among 1; "
        r"the processes did not find each other, .*; start them with --emo-processes",
    ):
        fit(tiny_model(), tiny_data(), plan(Ranks(wrapper="ddp", world_size=2, rank=0)))


def test_what_nothing_wraps_is_an_error(group: None) -> None:
    """A model that nothing wraps is named as it is; without a group the process is alone, whatever a library says."""
    with pytest.raises(UnsupportedError, match=r"the model is wrapped in nothing \(Linear\)"):
        check_wrapped(nn.Linear(2, 2), Ranks(wrapper="ddp", world_size=1, rank=0), processes=1)


def test_no_group_is_one_process() -> None:
    """Without a group the process is alone, whatever a library believes."""
    with pytest.raises(UnsupportedError, match=r"rank 0 trains among 1"):
        check_wrapped(nn.Linear(2, 2), Ranks(wrapper="ddp", world_size=2, rank=0), processes=2)


def test_wrappers_are_told_apart(group: None) -> None:
    """DDP, FSDP2 and DeepSpeed's engine (a stand-in of its name) are recognized; DataParallel is none of them."""

    class DeepSpeedEngine(nn.Module):
        pass

    sharded = tiny_model()
    shard_fully(sharded, "cpu")
    assert distributed.wrapper_of(sharded) == "fsdp"
    assert distributed.wrapper_of(DistributedDataParallel(nn.Linear(2, 2))) == "ddp"
    assert distributed.wrapper_of(DeepSpeedEngine()) == "deepspeed"
    assert distributed.wrapper_of(nn.DataParallel(nn.Linear(2, 2))) == "DataParallel"


def test_parameters_that_were_not_sharded_are_an_error(monkeypatch: pytest.MonkeyPatch, group: None) -> None:
    """A wrapped model of which a rank still holds everything saves no memory, and does not pass for a sharded one."""
    model = tiny_model()
    shard_fully(model, "cpu")
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    with pytest.raises(UnsupportedError, match=r"rank 1 holds all \d+ bytes of the parameters; no parameter was"):
        check_wrapped(model, Ranks(wrapper="fsdp", world_size=2, rank=1), processes=2)


def test_held_bytes_of_deepspeed_are_its_pieces() -> None:
    """A parameter that DeepSpeed's third stage took apart (a stand-in) counts with its piece; the whole with all."""
    model = nn.Linear(8, 4, bias=False)
    assert held_bytes(model) == (128, 128)
    model.weight.ds_tensor, model.weight.ds_numel = torch.zeros(16), 32  # type: ignore[assignment]  # a stand-in
    model.weight.data = torch.zeros(0)
    assert held_bytes(model) == (64, 128)
    with pytest.raises(UnsupportedError, match=r"DeepSpeed's stage 3; no process holds a whole parameter"):
        distributed.own_part(model.weight)


def test_different_weights_are_found(monkeypatch: pytest.MonkeyPatch, group: None) -> None:
    """Ranks that would start from different weights stop with the parameter's name."""
    model = nn.Linear(2, 2)
    check_same_weights(model)

    def other_rank(tensor: torch.Tensor, op: object = None) -> None:
        if op == dist.ReduceOp.MAX:
            tensor[1] += 0.5

    monkeypatch.setattr(dist, "all_reduce", other_rank)
    with pytest.raises(ChangedAnswersError, match=r"the ranks start from different weights in bias; its sum is"):
        check_same_weights(model)


def test_texts_travel(group: None) -> None:
    """A name comes back as it was sent, other alphabets included."""
    assert from_first_rank("sdpa", "cpu") == "sdpa"
    assert from_first_rank("ядро", "cpu") == "ядро"


def test_what_ranks_cannot_do_is_refused() -> None:
    """A loss of the caller's own, and checkpoints of sharded weights, are errors before anything is trained."""
    ranks = Ranks(wrapper="fsdp", world_size=2, rank=0, shard=True)
    with pytest.raises(UnsupportedError, match=r"checkpoint_steps=5 with sharded weights; .* take the wrapper ddp"):
        fit(tiny_model(), tiny_data(), plan(ranks, checkpoint_steps=5))
    with pytest.raises(UnsupportedError, match=r"a loss of the caller's own on 2 processes"):
        fit(tiny_model(), tiny_data(), plan(ranks), loss=lambda *_: torch.zeros(()))
