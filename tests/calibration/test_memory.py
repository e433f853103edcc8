"""Plans sent to a process of their own and measured there."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from emobench.calibration import memory as estimating
from emobench.calibration.memory import describe, from_json, measure_apart, to_json
from emobench.catalogue.methods import METHODS
from emobench.catalogue.model_rows import find_model
from emobench.errors import LostProcessError
from emobench.estimate.memory import MemoryPlan, estimate_memory
from tests.models.models_under_test import two_layers

PLAN = MemoryPlan(
    model=find_model("all-minilm-l6-v2"),
    work="train",
    method=METHODS["lora"],
    precision="fp32",
    device="cpu",
    batch_size=4,
    length=64,
    parts=2,
    gradient_checkpointing=True,
)
GENERATION: dict[str, Any] = {"work": "generate", "method": None, "parts": 1, "new_tokens": 8, "causal": True}


@pytest.mark.parametrize("plan", [PLAN, replace(PLAN, model=find_model("gemma-3-270m"), **GENERATION)])
def test_plans_survive_being_sent(plan: MemoryPlan) -> None:
    """A plan read from its text has the same estimate, and gives the same text."""
    again = from_json(to_json(plan))
    assert to_json(again) == to_json(plan)
    assert estimate_memory(again) == estimate_memory(plan)


def test_plans_are_described_in_a_line() -> None:
    """Model, work, method, precision, attention and sizes."""
    assert describe(PLAN) == "all-minilm-l6-v2 train lora fp32 sdpa 4x64 /2 checkpointed"
    other = replace(PLAN, **GENERATION, gradient_checkpointing=False)
    assert describe(other) == "all-minilm-l6-v2 generate - fp32 sdpa 4x64+8"


@pytest.mark.slow
def test_tensors_take_what_is_predicted() -> None:
    """In a fresh process whose blocks are mapped one by one, a training run takes what is predicted within 10 %."""
    row = two_layers("all-minilm-l6-v2")
    sizes = {"hidden_size": 256, "intermediate_size": 1024, "vocab_size": 4000}
    plan = replace(
        PLAN,
        model=row.model_copy(update={"config": {**row.config, **sizes}}),
        method=METHODS["full"],
        batch_size=16,
        length=96,
        parts=1,
        gradient_checkpointing=False,
        pretrained=False,
    )
    measured = measure_apart(plan, mapped=True)["growth_bytes"]
    assert estimate_memory(plan, heap=False).total == pytest.approx(measured, rel=0.10)


@pytest.mark.slow
def test_a_process_that_ends_early_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the other process said last stands in the error."""
    monkeypatch.setattr(estimating, "to_json", lambda plan: "no plan")
    with pytest.raises(LostProcessError, match=r"ended with code 1; .*JSONDecodeError"):
        measure_apart(PLAN)
