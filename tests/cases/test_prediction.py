"""A record's prediction of memory: what it is of, what it stands beside, and where there is none."""

from __future__ import annotations

from typing import Any

import pytest

from emobench.cases.prediction import predicted_memory
from emobench.catalogue.datasets import find_dataset
from emobench.catalogue.methods import METHODS, find_method
from emobench.catalogue.model_rows import find_model
from emobench.catalogue.profiles import find_profile
from emobench.estimate.memory import estimate_memory, plan_of
from emobench.outcomes import metric
from emobench.specs import CaseSpec

MINILM = find_model("all-minilm-l6-v2")


def case(kind: Any = "finetune", **fields: Any) -> CaseSpec:
    usual: dict[str, Any] = {
        "kind": kind,
        "model": MINILM,
        "dataset": find_dataset("rotten_tomatoes-train"),
        "method": METHODS["full"],
        "precision": "fp32",
        "device": "cpu",
        "profile": find_profile("quick"),
    }
    return CaseSpec(**{**usual, **fields})


def test_predicted_beside_measured() -> None:
    """The parts add up to the total, and the ratio is measured over predicted."""
    found = predicted_memory(case(), [metric("memory_taken_bytes", 600_000_000)], longest=70, attention="sdpa")
    assert sum(found["memory_bytes"].values()) == found["total_bytes"]
    assert found["measured_bytes"] == 600_000_000
    assert found["ratio"] == pytest.approx(600_000_000 / found["total_bytes"], abs=1e-4)
    assert (found["plan"]["length"], found["plan"]["attention"]) == (70, "sdpa")


def test_without_a_measurement() -> None:
    """A case that ended before its peak was known keeps its prediction alone; so does a shrink case."""
    assert predicted_memory(case(), [])["measured_bytes"] is None
    shrink = case("shrink", method=find_method("quantize-int8"))
    found = predicted_memory(shrink, [metric("memory_taken_bytes", 1)])
    assert found["total_bytes"] > 0
    assert found["ratio"] is None


def test_a_peak_before_the_work_is_left_out() -> None:
    """The watch begins after loading: weights that were unquantized for a while do not count."""
    spec = case("inference", method=None, precision="int8", model=find_model("gemma-3-270m-q4"), batch_size=1, length=8)
    found = predicted_memory(spec, [])
    assert found["total_bytes"] < estimate_memory(plan_of(spec)).total


def test_an_evaluation_adds_its_model() -> None:
    """An evaluation's model is loaded before the watch knows what is held: its bytes are added."""
    ready = MINILM.model_copy(update={"labels": ("negative", "positive")})
    taken = [metric("memory_taken_bytes", 50), metric("model_bytes", 7)]
    assert predicted_memory(case("evaluation", method=None, model=ready), taken)["measured_bytes"] == 57


def test_an_unknown_architecture() -> None:
    """A row of the user's own of an architecture of no known shape keeps the reason in place of a number."""
    row = MINILM.model_copy(update={"config": {**MINILM.config, "model_type": "rwkv"}})
    found = predicted_memory(case(model=row), [])
    assert list(found) == ["unknown"]
    assert "'rwkv' stands in no table of shapes" in found["unknown"]
