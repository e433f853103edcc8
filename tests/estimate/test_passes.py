"""The tape holds what torch holds: bytes kept for the backward pass, against torch's own hooks on small models."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from emobench.catalogue.methods import METHODS
from emobench.catalogue.model_rows import MODELS
from emobench.estimate.network import Network
from emobench.estimate.passes import forward, pass_bytes
from emobench.estimate.plan import MemoryPlan, usual_attention
from emobench.estimate.shapes import shape_of
from emobench.estimate.tape import Memory, Tape
from emobench.models import attention
from emobench.models.first_token import only_first_token
from emobench.models.load import load_classifier
from emobench.specs import ModelSpec
from tests.models.models_under_test import two_layers

ROWS, LENGTH = 4, 48
FAMILIES = ("all-minilm-l6-v2", "distilbert-base", "roberta-base", "tinyllama-1.1b", "qwen2.5-1.5b", "phi-3-mini")


def wider(name: str) -> ModelSpec:
    """The small copy of a row with sizes at which small tensors do not count."""
    row = two_layers(name)
    bigger = {"hidden_size": 64, "dim": 64, "intermediate_size": 160, "hidden_dim": 160, "head_dim": 16}
    config = {key: bigger.get(key, value) for key, value in row.config.items()}
    return row.model_copy(update={"config": config})


def plan_for(name: str, method: str, **fields: Any) -> MemoryPlan:
    row = wider(name)
    usual: dict[str, Any] = {
        "model": row,
        "work": "train",
        "method": METHODS[method],
        "precision": "fp32",
        "device": "cpu",
        "batch_size": ROWS,
        "length": LENGTH,
        "attention": usual_attention(row, "cpu", training=True),
    }
    return MemoryPlan(**{**usual, **fields})


def kept_by_tape(plan: MemoryPlan) -> int:
    memory = Memory()
    net = Network(plan=plan, shape=shape_of(plan.model), tape=Tape(memory))
    loss = forward(net)
    net.masks.clear()
    kept = memory.total
    del loss
    return kept


def kept_by_torch(plan: MemoryPlan) -> int:
    """Bytes of the blocks that the backward pass will need, parameters and what the model holds anyway left out."""
    loaded = load_classifier(plan.model, num_labels=2, class_names=("a", "b"), method=plan.method, weights="random")
    model: Any = loaded.model
    only_first_token(model)
    if plan.fast_dropout:
        attention.register()
        attention.replace_dropout(model)
        model.set_attn_implementation(plan.attention)
    model.config.use_cache = False
    model.train()
    own = {part.untyped_storage().data_ptr() for part in (*model.parameters(), *model.buffers())}
    # Held here, or a block would be given back and counted again under the same address.
    kept: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage
        return tensor

    ids = torch.randint(10, 100, (ROWS, LENGTH))
    mask = torch.ones_like(ids)
    mask[1:, -3:] = 0
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        logits = model(input_ids=ids, attention_mask=mask).logits
        nn.functional.cross_entropy(logits, torch.zeros(ROWS, dtype=torch.long))
    return sum(storage.nbytes() for storage in kept.values())


@pytest.mark.slow
@pytest.mark.parametrize("kernel", ["sdpa", "emobench"])
@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize("name", FAMILIES)
def test_kept_for_the_backward_pass(name: str, method: str, kernel: str) -> None:
    """Bytes kept for the backward pass are within 5 % of those torch keeps, by family, method and attention."""
    plan = plan_for(name, method)
    if plan.fast_dropout:
        plan = replace(plan, attention=kernel)
    assert kept_by_tape(plan) == pytest.approx(kept_by_torch(plan), rel=0.05)


@pytest.mark.parametrize("name", ["gemma-3-270m", "gemma-2-2b"])
def test_kept_by_gemma(name: str) -> None:
    """Gemma's four norms, norms of query and key, and eager attention, too."""
    plan = plan_for(name, "lora")
    assert kept_by_tape(plan) == pytest.approx(kept_by_torch(plan), rel=0.05)


def test_a_frozen_body_keeps_nothing() -> None:
    """With a trained head alone only the head's few tensors are kept."""
    plan = plan_for("all-minilm-l6-v2", "head")
    assert kept_by_torch(plan) < 10_000
    assert kept_by_tape(plan) < 10_000


def test_checkpointing_keeps_inputs_of_layers() -> None:
    """A checkpointed layer keeps its input, and its peak is that of computing one layer again."""
    plan = plan_for("tinyllama-1.1b", "full")
    saving = replace(plan, gradient_checkpointing=True)
    assert kept_by_tape(saving) < kept_by_tape(plan) / 2
    assert sum(pass_bytes(saving).values()) < sum(pass_bytes(plan).values())


def test_every_block_is_given_back() -> None:
    """After forward and backward nothing lives but the gradients of all trained parameters, each once."""
    from emobench.estimate.parameters import trainable_parameters
    from emobench.estimate.passes import forward_and_back

    for name in FAMILIES:
        plan = plan_for(name, "lora")
        assert plan.method is not None
        memory = Memory()
        net = Network(plan=plan, shape=shape_of(plan.model), tape=Tape(memory))
        forward_and_back(net)
        net.masks.clear()
        trained = 4 * trainable_parameters(plan.model, plan.method, plan.num_labels)
        assert memory.total == pytest.approx(trained, rel=0.01)
        assert memory.live["gradients"] == pytest.approx(trained, rel=0.01)


def test_the_catalogue_has_no_row_without_a_shape() -> None:
    """Every row of the catalogue can be put on the tape."""
    for row in MODELS.values():
        assert shape_of(row).layers > 0
