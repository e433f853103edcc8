"""A deep network's memory from a shallow one: the same bytes, of every kind, as computing each of its layers."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import get_args

import pytest

from emobench.catalogue.methods import METHODS
from emobench.catalogue.model_rows import MODELS
from emobench.estimate.passes import (
    SHALLOW,
    ForwardCounts,
    bytes_by_phase,
    counts_of_layers,
    forward_counts,
    highest,
    is_deep,
    pass_bytes,
)
from emobench.estimate.plan import MemoryPlan, usual_attention
from emobench.estimate.shapes import FAMILIES, shape_of
from emobench.specs import LoraTargets, ModelSpec, Precision

DEEP = sorted(name for name, row in MODELS.items() if shape_of(row).layers > 2 * SHALLOW)
DRAWN = 12
"""Plans of each model, of 60 and more."""


def of_family(kind: str) -> ModelSpec:
    """A deep row of an architecture, whether or not the catalogue has one."""
    row = MODELS["all-minilm-l6-v2" if FAMILIES[kind].encoder else "tinyllama-1.1b"]
    config = {**row.config, "model_type": kind, "num_hidden_layers": 12, "num_key_value_heads": 4, "head_dim": 64}
    targets = LoraTargets(attention=(FAMILIES[kind].names["o"],), mlp=(FAMILIES[kind].names["down"],))
    return row.model_copy(update={"config": config, "lora_targets": targets})


def plans(row: ModelSpec) -> Iterator[MemoryPlan]:
    """Every work, method and precision on both kinds of device, at sizes and settings drawn by the model's name."""
    draw, family = random.Random(row.id), shape_of(row).family
    methods = [method for method in METHODS.values() if method.id != "lora" or not family.conv1d]
    works = [("train", method) for method in methods] + [("evaluate", None), ("latency", None)]
    if row.kind == "decoder":
        works.append(("generate", None))
    for (work, method), precision, device in product(works, get_args(Precision), ("cpu", "cuda")):
        attention = usual_attention(row, device, training=work == "train")
        yield MemoryPlan(
            model=row,
            work=work,
            method=method,
            precision=precision,
            device=device,
            batch_size=draw.choice([1, 3, 8, 64]),
            length=draw.choice([16, 100, 512]),
            attention=draw.choice([attention, "eager", "sdpa"]),
            parts=draw.choice([1, 2, 5]) if work == "train" else 1,
            gradient_checkpointing=work == "train" and draw.random() < 0.4,
            master_weights=draw.random() < 0.8,
            new_tokens=draw.choice([1, 40]) if work == "generate" else 0,
            causal=work == "generate" or draw.random() < 0.3,
        )


@pytest.mark.parametrize("name", DEEP)
def test_a_few_layers_tell_the_bytes_of_all(name: str) -> None:
    """The peak is the whole network's, kind by kind, and so are the forward pass's counts."""
    for plan in random.Random(name).sample(list(plans(MODELS[name])), DRAWN):
        check_plan(plan)


@pytest.mark.parametrize("kind", FAMILIES)
def test_in_every_architecture(kind: str) -> None:
    """The same for models of the user's own, of any known architecture."""
    for plan in random.Random(kind).sample(list(plans(of_family(kind))), DRAWN):
        check_plan(plan)


def check_plan(plan: MemoryPlan) -> None:
    shape = shape_of(plan.model)
    assert is_deep(plan, shape)
    whole = highest(bytes_by_phase(plan, shape))
    assert {kind: size for kind, size in pass_bytes(plan).items() if size} == {
        kind: size for kind, size in whole.items() if size
    }, plan
    assert forward_counts(plan) == ForwardCounts(*counts_of_layers(plan, shape)), plan


def test_layers_that_differ_are_all_computed() -> None:
    """Adapters on one layer alone: no other layer tells what that one takes."""
    row = MODELS["tinyllama-1.1b"]
    targets = row.lora_targets.model_copy(update={"attention": ("layers.7.self_attn.q_proj",)})
    one = row.model_copy(update={"lora_targets": targets})
    plan = MemoryPlan(
        model=one, work="train", method=METHODS["lora"], precision="fp32", device="cpu", batch_size=2, length=64
    )
    assert is_deep(replace(plan, model=row), shape_of(row))
    assert not is_deep(plan, shape_of(one))
    assert pass_bytes(plan) == highest(bytes_by_phase(plan, shape_of(one)))
