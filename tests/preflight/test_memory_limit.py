"""Does a case fit: stops and warnings, numbers that add up, and fixes that fit by the same estimate."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emobench.estimate.memory import estimate_memory, plan_of
from emobench.estimate.plan import LONGEST_OVER_MEAN
from emobench.preflight.memory_limit import (
    ESTIMATE_ERROR,
    budget_that_fits,
    does_not_fit,
    fits_somehow,
    largest_batch,
    longest_text,
    with_train,
)
from tests.preflight.planned_cases import GB, a_case, only, planned, some_data


def need(case: object) -> int:
    return estimate_memory(plan_of(case)).total  # type: ignore[arg-type]


def test_a_case_with_room_to_spare_is_not_mentioned() -> None:
    """Nothing is said where the estimate and its error are below the free memory."""
    case = a_case()
    assert not list(does_not_fit(planned(case, free_memory_bytes=2 * need(case))))


def test_a_case_that_needs_more_than_there_is_stops() -> None:
    """Far too little memory is a stop that names model, method, precision, pass, need and what is free."""
    case = a_case(model="phi-3-mini", dataset="imdb-train", sizes={"max_length": 256})
    found = only(does_not_fit(planned(case, free_memory_bytes=4 * GB)))
    assert found.level == "stop"
    assert "training phi-3-mini by full at fp32, 32 x 256 tokens a pass, needs about" in found.problem
    assert found.problem.endswith("and cpu has 4.0 GB free")
    assert found.numbers["predicted_bytes"] == need(case)
    parts = [count for name, count in found.numbers.items() if name.endswith("_bytes") and name not in WHOLE]
    assert sum(int(part) for part in parts) == need(case)
    assert found.numbers["largest_batch"] == 0
    assert found.fixes


WHOLE = {"predicted_bytes", "free_bytes"}


@pytest.mark.parametrize(("share", "level"), [(0.5, "stop"), (0.95, "warn"), (1.05, "warn"), (1.2, None)])
def test_the_level_follows_the_error_of_the_estimate(share: float, level: str | None) -> None:
    """Within the estimate's error it is a warning, beyond it a stop, and with that much to spare nothing."""
    case = a_case(sizes={"max_length": 512})
    found = [item.level for item in does_not_fit(planned(case, free_memory_bytes=int(share * need(case))))]
    assert found == ([level] if level else [])


@pytest.mark.parametrize("model", ["all-minilm-l6-v2", "distilbert-base", "gemma-3-270m"])
@pytest.mark.parametrize("share", [0.4, 0.6, 0.8])
def test_the_safe_fix_fits_and_keeps_the_effective_batch(model: str, share: float) -> None:
    """The budget of the first fix makes the same estimate fit, with the same rows an optimizer step."""
    case = a_case(model=model, dataset="imdb-train", sizes={"max_length": 512}, train={"token_budget": 16384})
    free = int(share * need(case))
    found = only(does_not_fit(planned(case, free_memory_bytes=free)))
    safe = [fix for fix in found.fixes if fix.safe]
    for fix in safe:
        changed = with_train(case, **fix.changes)
        assert changed.train.batch_size == case.train.batch_size
        assert need(changed) <= free
        assert all(f"{name}={str(value).lower()}" in str(fix.setting) for name, value in fix.changes.items())
    if budget_that_fits(case, free):
        assert "token_budget" in safe[0].changes


def test_the_budget_is_the_largest_that_fits_with_the_error_to_spare() -> None:
    """One row more a pass would take more than the room that the error of the estimate leaves."""
    case = a_case(dataset="imdb-train", sizes={"max_length": 512}, train={"batch_size": 64, "token_budget": 64 * 512})
    free = int(0.5 * need(case))
    rows, budget = budget_that_fits(case, free) or (0, 0)
    assert 1 <= rows < 64
    assert budget == rows * 512
    assert need(with_train(case, token_budget=budget)) <= (1 - ESTIMATE_ERROR) * free


def test_the_datas_own_longest_text_decides() -> None:
    """Padding goes no further than the data's longest text, so a case is judged at that length where it is known."""
    case = a_case(dataset="imdb-train", sizes={"max_length": 512})
    short = estimate_memory(plan_of(case, longest=60)).total
    free = int(1.3 * short)
    assert need(case) > 2 * short
    assert list(does_not_fit(planned(case, free_memory_bytes=free)))
    assert not list(does_not_fit(planned(case, data=some_data(longest_input=60), free_memory_bytes=free)))


def test_of_a_sample_the_longest_text_is_assumed_from_its_mean() -> None:
    """Nobody saw the longest text: it is what the estimate assumes of a mean, and at least what was seen."""
    assert longest_text(None) is None
    assert longest_text(some_data(longest_input=77)) == 77
    assert longest_text(some_data(longest_input=None)) == int(LONGEST_OVER_MEAN * 27.0)
    assert longest_text(some_data(longest_input=None, lengths=None)) is None


def test_full_fine_tuning_is_offered_adapters() -> None:
    """Where LoRA fits, it is among the fixes, and it is not one that is applied unasked."""
    case = a_case(model="gemma-3-270m", sizes={"max_length": 64})
    lora = a_case(model="gemma-3-270m", method="lora", sizes={"max_length": 64})
    found = only(does_not_fit(planned(case, free_memory_bytes=int(1.2 * need(lora)))))
    offered = [fix for fix in found.fixes if "adapters" in fix.text]
    assert [fix.setting for fix in offered] == ['-k "gemma-3-270m and lora"']
    assert not offered[0].safe


@pytest.mark.slow
@settings(deadline=None, max_examples=30)
@given(
    model=st.sampled_from(["all-minilm-l6-v2", "gemma-3-270m"]),
    method=st.sampled_from(["full", "lora", "head"]),
    batch_size=st.integers(1, 40),
    budget=st.integers(16, 4096),
    share=st.floats(0.05, 1.3),
    checkpointing=st.booleans(),
)
def test_whether_something_fits_is_known_without_the_search(
    model: str, method: str, batch_size: int, budget: int, share: float, checkpointing: bool
) -> None:
    """``fits_somehow`` says yes exactly where the search for a budget finds one."""
    train = {"batch_size": batch_size, "token_budget": budget, "gradient_checkpointing": checkpointing}
    case = a_case(model=model, method=method, dataset="imdb-train", sizes={"max_length": 64}, train=train)
    free = int(share * need(case))
    assert fits_somehow(case, free) == (budget_that_fits(case, free) is not None)


def test_a_timed_batch_that_is_too_large_names_the_largest_that_fits() -> None:
    """A latency case is told the largest batch, as the option that takes it."""
    case = a_case(kind="inference", dataset=None, method=None, batch_size=512, length=512)
    found = only(does_not_fit(planned(case, free_memory_bytes=int(0.5 * need(case)))))
    assert found.level == "stop"
    largest = found.numbers["largest_batch"]
    assert 0 < int(largest) < 512
    assert found.fixes[0].setting == f"--emo-batch-sizes {largest}"
    assert not any(fix.safe for fix in found.fixes)


def test_an_architecture_nobody_counted_is_a_note() -> None:
    """A model type without a known shape is said to be unknown; nothing is guessed and nothing raised."""
    case = a_case(config={"model_type": "unheard-of"})
    found = only(does_not_fit(planned(case)))
    assert (found.level, found.numbers) == ("note", {})
    assert "not known beforehand" in found.problem


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.02, 0.1, 0.33, 0.66, 0.99, 1.5])
@pytest.mark.parametrize("method", ["full", "lora"])
def test_the_largest_batch_is_the_last_that_fits(share: float, method: str) -> None:
    """The search from a straight line finds the batch that trying every one finds."""
    plan = plan_of(a_case(method=method, dataset="imdb-train", train={"batch_size": 24, "token_budget": 10**6}))
    free = int(share * estimate_memory(plan).total)
    fitting = [rows for rows in range(1, 25) if estimate_memory(replace(plan, batch_size=rows)).total <= free]
    assert largest_batch(plan, free, most=24) == max(fitting, default=None)
