"""Plans of cases: batches, lengths and attention at the peak, as the product's own code chooses them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emobench.catalogue.datasets import find_dataset
from emobench.catalogue.methods import METHODS
from emobench.catalogue.model_rows import find_model
from emobench.catalogue.profiles import find_profile
from emobench.estimate.plan import OWN_ATTENTION, SCORING_TOKENS, plan_of
from emobench.evaluation.labels import TOKEN_BUDGETS
from emobench.models.kernels import PLAIN
from emobench.specs import CaseSpec, TrainSettings
from emobench.training.batches import micro_batches

MINILM = find_model("all-minilm-l6-v2")


def case(kind: Any = "finetune", **fields: Any) -> CaseSpec:
    usual: dict[str, Any] = {
        "kind": kind,
        "model": MINILM,
        "dataset": find_dataset("imdb-train"),
        "method": METHODS["full"],
        "precision": "fp32",
        "device": "cpu",
        "profile": find_profile("quick"),
    }
    return CaseSpec(**{**usual, **fields})


@given(rows=st.integers(1, 300), length=st.integers(1, 512), budget=st.integers(1, 20_000))
def test_parts_are_those_of_training(rows: int, length: int, budget: int) -> None:
    """A step is split as the training loop splits it: as many parts, and the first one is the largest."""
    settings = TrainSettings(batch_size=rows, token_budget=budget)
    plan = plan_of(case(train=settings), longest=length)
    parts = micro_batches(rows, plan.length, budget)
    assert plan.batch_size == max(part.stop - part.start for part in parts)
    assert abs(plan.parts - len(parts)) <= max(0, plan.parts * plan.batch_size - rows)


def test_copies_of_constants_are_equal() -> None:
    """What the plan repeats of higher layers, which it may not import, is what they say."""
    assert PLAIN == OWN_ATTENTION
    assert dict(TOKEN_BUDGETS) == dict(SCORING_TOKENS)


def test_lengths() -> None:
    """The longest text counts, cut at the profile's length; without it the mean stands in, four times."""
    limit = find_profile("quick").max_length
    assert plan_of(case(), longest=40).length == 40
    assert plan_of(case(), longest=4000).length == min(limit, MINILM.context)
    short = find_dataset("rotten_tomatoes-train")
    assert plan_of(case(dataset=short)).length == min(limit, 4 * short.mean_tokens)
    assert plan_of(case(weights="random")).length == min(limit, MINILM.context)


@pytest.mark.parametrize(("kind", "work"), [("inference", "latency"), ("generation", "generate")])
def test_timed_cases(kind: Any, work: str) -> None:
    """Timed cases have the batch and length of their axes, and generation leaves room for its new tokens."""
    model = find_model("gemma-3-270m-q4")
    plan = plan_of(case(kind, model=model, method=None, batch_size=8, length=64))
    assert (plan.work, plan.batch_size, plan.length, plan.method) == (work, 8, 64, None)
    assert plan.causal == (kind == "generation")


def test_what_an_evaluation_trains() -> None:
    """A model without a head is trained whole to be evaluated; a ready classifier is not."""
    assert plan_of(case("evaluation", method=None)).method == METHODS["full"]
    ready = MINILM.model_copy(update={"labels": ("negative", "positive")})
    plan = plan_of(case("evaluation", method=None, model=ready), longest=128)
    assert (plan.work, plan.batch_size * plan.length) == ("evaluate", TOKEN_BUDGETS["cpu"])


def test_attention() -> None:
    """Capped scores leave eager attention alone; a CPU may take the product's own, a GPU does not."""
    assert plan_of(case(model=find_model("gemma-2-2b"))).attention == "eager"
    assert plan_of(case()).attention == "emobench"
    assert plan_of(case(device="cuda")).attention == "sdpa"
