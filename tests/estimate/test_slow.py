"""Which cases are slow at the assumed rate, and the reason that is given."""

from __future__ import annotations

from typing import Any

from emobench.catalogue.datasets import find_dataset
from emobench.catalogue.methods import METHODS
from emobench.catalogue.model_rows import find_model
from emobench.catalogue.profiles import find_profile
from emobench.estimate.flops import case_flops
from emobench.estimate.slow import ASSUMED_FLOPS_PER_SECOND, expected_seconds, is_slow, why_slow
from emobench.specs import CaseSpec


def case(model: str, method: str = "full", **fields: Any) -> CaseSpec:
    usual: dict[str, Any] = {
        "kind": "finetune",
        "model": find_model(model),
        "dataset": find_dataset("rotten_tomatoes-train"),
        "method": METHODS[method],
        "precision": "fp32",
        "device": "cpu",
        "profile": find_profile("quick"),
    }
    return CaseSpec(**{**usual, **fields})


def test_the_small_model_is_quick_and_a_large_one_is_not() -> None:
    """MiniLM's quick case runs without being asked for; a billion parameters on a CPU do not, and it says why."""
    assert not is_slow(case("all-minilm-l6-v2"))
    assert why_slow(case("tinyllama-1.1b")) == "slow on the cpu: over 180 s at the assumed rate"


def test_smoke_has_a_lower_limit() -> None:
    """A smoke case is slow from ten seconds on."""
    slow = case("roberta-base", profile=find_profile("smoke"), seeds=tuple(range(40)))
    assert why_slow(slow) == "slow on the cpu: over 10 s at the assumed rate"


def test_seconds_are_operations_over_the_assumed_rate() -> None:
    """Every seed counts, and a trained head costs less than all weights."""
    one, two = case("all-minilm-l6-v2"), case("all-minilm-l6-v2", seeds=(0, 1))
    assert expected_seconds(two) == 2 * expected_seconds(one)
    assert expected_seconds(one) == case_flops(one) / ASSUMED_FLOPS_PER_SECOND["cpu"]
    assert case_flops(case("all-minilm-l6-v2", "head")) < case_flops(one)
