"""Training through the Trainer: resume, splitting of steps, bad losses, early stopping, checkpoints."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from transformers import BertConfig, BertForSequenceClassification

from emobench.data.encode import Encoded
from emobench.errors import DataError, NonFiniteLossError
from emobench.specs import TrainSettings
from emobench.training.checkpoint import MARKER, newest_complete
from emobench.training.fit import few_steps, fit, warmup_steps
from emobench.training.plan import FitPlan


def tiny_model(dropout: float = 0.1, seed: int = 0) -> BertForSequenceClassification:
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=50,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        num_labels=2,
    )
    return BertForSequenceClassification(config)


def tiny_data(rows: int = 80, seed: int = 0) -> Encoded:
    """Rows whose label is whether token 5 stands first: learnable in a few steps."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, size=rows)
    lengths = rng.integers(3, 20, size=rows)
    texts = [
        np.concatenate([[5 if label else 6], rng.integers(10, 50, size=n - 1)])
        for label, n in zip(labels, lengths, strict=True)
    ]
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Encoded(ids=np.concatenate(texts).astype(np.int32), offsets=offsets, labels=labels.astype(np.int64))


def plan(**changes: object) -> FitPlan:
    values: dict[str, object] = {
        "device": "cpu",
        "precision": "fp32",
        "seed": 0,
        "epochs": 3,
        "learning_rate": 1e-3,
        "settings": TrainSettings(batch_size=8),
        # Not measured: two runs that are compared must draw the same dropout masks.
        "kernel": "emobench",
        **changes,
    }
    return FitPlan(**values)  # type: ignore[arg-type]  # a test's shorthand


@pytest.mark.slow
def test_resume_gives_the_same_loss_curve(tmp_path: Path) -> None:
    """Stopped in mid-epoch and resumed, a run has the losses and the weights of one that was never stopped."""
    whole_model, model = tiny_model(), tiny_model()
    whole = fit(whole_model, tiny_data(), plan(folder=tmp_path / "a", checkpoint_steps=7))
    fit(model, tiny_data(), plan(folder=tmp_path / "b", checkpoint_steps=7, stop_after=17))
    fresh = tiny_model(seed=5)
    resumed = fit(fresh, tiny_data(), plan(folder=tmp_path / "b", checkpoint_steps=7, resume=True))
    assert resumed.steps == whole.steps == 30
    np.testing.assert_allclose(resumed.losses, whole.losses, rtol=0, atol=1e-6)
    for name, value in whole_model.state_dict().items():
        torch.testing.assert_close(fresh.state_dict()[name], value, rtol=0, atol=1e-6, msg=name)


def test_resume_never_uses_a_half_written_checkpoint(tmp_path: Path) -> None:
    """A checkpoint without its marker, or with a file cut short, is passed over for the one before it."""
    fit(tiny_model(), tiny_data(), plan(folder=tmp_path, checkpoint_steps=7, stop_after=15))
    assert newest_complete(tmp_path) == tmp_path / "checkpoint-14"
    weights = tmp_path / "checkpoint-14" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    assert newest_complete(tmp_path) == tmp_path / "checkpoint-7"
    (tmp_path / "checkpoint-7" / MARKER).unlink()
    assert newest_complete(tmp_path) is None
    with pytest.raises(DataError, match=r"no complete checkpoint .* start the training without resume"):
        fit(tiny_model(), tiny_data(), plan(folder=tmp_path, resume=True))


@pytest.mark.slow
def test_a_split_step_is_the_same_step(tmp_path: Path) -> None:
    """Cut into parts by the token budget, every step has the loss it has whole (no dropout, float64-free tolerance)."""
    whole = fit(tiny_model(0.0), tiny_data(), plan())
    cut = fit(tiny_model(0.0), tiny_data(), plan(settings=TrainSettings(batch_size=8, token_budget=40)))
    np.testing.assert_allclose(cut.losses, whole.losses, rtol=2e-4)


def test_loss_matches_an_independent_loop() -> None:
    """The losses are those of a bare loop with AdamW, clipping and a linear schedule over the same batches."""
    from emobench.data.encode import collate
    from emobench.training.batches import LengthSampler

    data, model = tiny_data(), tiny_model(0.0)
    outcome = fit(tiny_model(0.0), data, plan(epochs=1))
    decay = [p for n, p in model.named_parameters() if "bias" not in n and "LayerNorm" not in n]
    rest = [p for n, p in model.named_parameters() if "bias" in n or "LayerNorm" in n]
    groups = [{"params": decay, "weight_decay": 0.01}, {"params": rest, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1e-3)
    order = LengthSampler(data.lengths, batch_size=8, seed=0).order()
    losses = []
    for step in range(10):
        batch = collate(data, order[8 * step : 8 * step + 8].tolist(), pad_id=0, side="right")
        labels = batch.pop("labels")
        # One warm-up step (a tenth of ten), then linear to zero.
        rate = step if step < 1 else (10 - step) / 9
        loss = nn.functional.cross_entropy(model.train()(**batch).logits, labels)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * rate
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    np.testing.assert_allclose(outcome.losses, losses, rtol=1e-4)


def test_a_nan_loss_stops_at_the_step_it_came() -> None:
    """A NaN that a step brings forth stops the run there and names that step."""
    model = tiny_model()
    calls = iter(range(100))

    def poison(module: nn.Module, args: object, output: torch.Tensor) -> torch.Tensor:
        return output * (math.nan if next(calls) == 4 else 1.0)

    model.classifier.register_forward_hook(poison)
    with pytest.raises(NonFiniteLossError, match=r"the training loss is nan at step 5; .*learning_rate"):
        fit(model, tiny_data(), plan())


def test_early_stopping_keeps_the_best_epoch() -> None:
    """Validation that only falls stops after the patience, and the first epoch's weights are put back."""
    model = tiny_model()
    seen: list[dict[str, torch.Tensor]] = []

    def falling(current: nn.Module) -> dict[str, float]:
        seen.append({name: value.clone() for name, value in current.state_dict().items()})
        return {"accuracy": 0.9 - 0.1 * len(seen)}

    outcome = fit(model, tiny_data(), plan(epochs=8, early_stopping_patience=2), validate=falling)
    assert outcome.stopped_early
    assert outcome.steps == 30
    assert [entry["step"] for entry in outcome.validation] == [10, 20, 30]
    for name, value in seen[0].items():
        torch.testing.assert_close(model.state_dict()[name], value, rtol=0, atol=0)


def test_a_resumed_run_remembers_its_validations(tmp_path: Path) -> None:
    """History, patience and the best epoch's weights go on from the checkpoint; checkpoints may fall in mid-epoch."""
    best_at_20: list[dict[str, torch.Tensor]] = []

    def second_is_best(current: nn.Module) -> dict[str, float]:
        # The step is told by the optimizer's effect alone: a fresh closure would not know it after a resume.
        steps.append(steps[-1] + 10)
        if steps[-1] == 20:
            best_at_20.append({name: value.clone() for name, value in current.state_dict().items()})
        return {"accuracy": {10: 0.6, 20: 0.8}.get(steps[-1], 0.5)}

    kept = plan(epochs=8, early_stopping_patience=2, folder=tmp_path, checkpoint_steps=7)
    steps = [0]
    fit(tiny_model(), tiny_data(), replace(kept, stop_after=22), validate=second_is_best)
    steps = [20]
    model = tiny_model(seed=5)
    outcome = fit(model, tiny_data(), replace(kept, resume=True), validate=second_is_best)
    assert [entry["step"] for entry in outcome.validation] == [10, 20, 30, 40]
    assert [entry["accuracy"] for entry in outcome.validation] == [0.6, 0.8, 0.5, 0.5]
    assert outcome.stopped_early
    assert outcome.steps == 40
    (wanted,) = best_at_20
    for name, value in wanted.items():
        torch.testing.assert_close(model.state_dict()[name], value, rtol=0, atol=0)


@pytest.mark.slow
@pytest.mark.parametrize("passed_over", [(), (21,)])
def test_resumed_and_uninterrupted_choose_alike(tmp_path: Path, passed_over: tuple[int, ...]) -> None:
    """Same validations, same stop, same best weights, though the best was written after the checkpoint gone on from.

    The accuracy is drawn from the weights themselves, so the best epoch is anywhere and comes again only with them.
    """

    def drawn(current: nn.Module) -> dict[str, float]:
        return {"accuracy": float(sum(part.detach().double().sum() for part in current.parameters()) * 1e4 % 1)}

    kept = plan(epochs=8, early_stopping_patience=3, checkpoint_steps=7)
    whole = tiny_model()
    wanted = fit(whole, tiny_data(), replace(kept, folder=tmp_path / "whole"), validate=drawn)
    cut = replace(kept, folder=tmp_path / "cut")
    fit(tiny_model(), tiny_data(), replace(cut, stop_after=24), validate=drawn)
    for step in passed_over:
        (tmp_path / "cut" / f"checkpoint-{step}" / MARKER).unlink()
    model = tiny_model(seed=5)
    found = fit(model, tiny_data(), replace(cut, resume=True), validate=drawn)
    assert found.validation == wanted.validation
    assert (found.steps, found.stopped_early) == (wanted.steps, wanted.stopped_early)
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], value, rtol=0, atol=0)


@pytest.mark.slow
def test_training_learns() -> None:
    """The tiny task is learned: the last losses are far below the first."""
    outcome = fit(tiny_model(), tiny_data(400), plan(epochs=6, learning_rate=3e-3))
    assert np.mean(outcome.losses[-20:]) < 0.2 < np.mean(outcome.losses[:10])
    assert outcome.samples_seen == 2400
    assert outcome.tokens_seen == 6 * tiny_data(400).lengths.sum()


@pytest.mark.parametrize(("rows", "epochs", "wanted"), [(2000, 1, 6), (10_000, 3, 93), (1_000_000, 3, 500), (80, 1, 0)])
def test_warm_up_is_at_most_a_tenth(rows: int, epochs: int, wanted: int) -> None:
    """500 steps, and never more than a tenth of all of them."""
    assert warmup_steps(rows, plan(epochs=epochs, settings=TrainSettings(batch_size=32))) == wanted


def test_max_steps_ends_the_run() -> None:
    """A plan of four steps takes four, whatever the epochs say."""
    assert fit(tiny_model(), tiny_data(), plan(max_steps=4)).steps == 4


def test_gradient_checkpointing_changes_nothing_but_memory() -> None:
    """Recomputed activations give the same losses (dropout drawn again from the same state)."""
    plain = fit(tiny_model(), tiny_data(), plan(max_steps=6))
    settings = TrainSettings(batch_size=8, gradient_checkpointing=True)
    np.testing.assert_allclose(
        fit(tiny_model(), tiny_data(), plan(max_steps=6, settings=settings)).losses, plain.losses, rtol=1e-5
    )


def test_bf16_trains_beside_fp32_in_one_process() -> None:
    """Autocast is per case: an fp32 run after a bf16 run has the losses it has alone."""
    alone = fit(tiny_model(), tiny_data(), plan(max_steps=4))
    mixed = fit(tiny_model(), tiny_data(), plan(max_steps=4, precision="bf16"))
    after = fit(tiny_model(), tiny_data(), plan(max_steps=4))
    assert list(after.losses) == list(alone.losses)
    assert list(mixed.losses) != list(alone.losses)
    np.testing.assert_allclose(mixed.losses, alone.losses, rtol=0.05)


def test_an_empty_split_is_refused() -> None:
    """Training on nothing is an error before the Trainer is made."""
    data = tiny_data()
    nothing = Encoded(ids=data.ids[:0], offsets=data.offsets[:1], labels=data.labels[:0])
    with pytest.raises(DataError, match="the training split is empty"):
        fit(tiny_model(), nothing, plan())


def test_few_steps_are_those_of_fit() -> None:
    """What the profiler sees is training as it runs: the weights after two steps are those of a run of two steps."""
    fitted, stepped = tiny_model(dropout=0.0), tiny_model(dropout=0.0)
    steady = {"settings": TrainSettings(batch_size=16, scheduler="constant", weight_decay=0.0)}
    fit(fitted, tiny_data(), plan(max_steps=2, **steady))
    few_steps(stepped, tiny_data(), plan(max_steps=2, **steady), steps=2)()
    for name, value in fitted.state_dict().items():
        torch.testing.assert_close(stepped.state_dict()[name], value, rtol=0, atol=1e-6, msg=name)
