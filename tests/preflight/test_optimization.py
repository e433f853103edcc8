"""Rows, classes, steps and learning rate against the method."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emobench.catalogue.methods import METHODS
from emobench.catalogue.model_rows import MODELS
from emobench.preflight.optimization import (
    FEWEST_ROWS,
    FEWEST_STEPS,
    few_rows,
    half_width,
    imbalance,
    learning_rate,
    steps,
)
from tests.preflight.planned_cases import a_case, only, planned, some_data

EVERY = (few_rows, imbalance, learning_rate, steps)


def counted(train: dict[str, int], test: dict[str, int] | None = None) -> object:
    return some_data(class_counts={"train": train, "test": test or train})


def test_the_main_job_has_no_finding() -> None:
    """2,000 balanced rows at the quick profile and the row's own rates are as they should be."""
    for method in METHODS:
        assert not [found for look in EVERY for found in look(planned(a_case(method=method), data=some_data()))]


@pytest.mark.parametrize("model", [name for name, row in MODELS.items() if row.labels is None])
@pytest.mark.parametrize("method", list(METHODS))
def test_every_rate_of_the_catalogue_is_sensible(model: str, method: str) -> None:
    """No built-in learning rate is warned of."""
    assert not list(learning_rate(planned(a_case(model=model, method=method))))


@pytest.mark.parametrize(
    ("method", "rate", "why"),
    [
        ("full", 5e-3, "undo what the weights know"),
        ("full", 1e-8, "hardly move"),
        ("lora", 2e-5, "about ten times the rate of full fine-tuning, which is 0.0002 here"),
        ("lora", 2e-4, "about ten times"),
        ("lora", 0.5, "undo what the weights know"),
        ("head", 1e-6, "hardly move"),
    ],
)
def test_a_rate_of_another_method_is_warned_of(method: str, rate: float, why: str) -> None:
    """A rate outside the method's range, or LoRA at the full rate, says why and gives the row's own."""
    found = only(learning_rate(planned(a_case(method=method, train={"learning_rate": rate}))))
    assert (found.level, found.problem) == ("warn", f"learning rate {rate:g} for method {method}")
    assert why in found.why
    assert found.fixes[0].setting == "--emo-set learning_rate=none"
    assert not found.fixes[0].safe


@pytest.mark.parametrize(("method", "rate"), [("full", 1e-4), ("lora", 1e-3), ("head", 1e-3)])
def test_a_usual_rate_is_not(method: str, rate: float) -> None:
    """A rate inside the method's range is the user's business."""
    assert not list(learning_rate(planned(a_case(method=method, train={"learning_rate": rate}))))


@pytest.mark.parametrize("method", list(FEWEST_ROWS))
def test_few_rows_are_few_for_a_method(method: str) -> None:
    """A row below the method's number is a warning that offers gentler methods; at the number there is none."""
    least = FEWEST_ROWS[method]
    rows = {"train": least - 1, "validation": 10, "test": 1000}
    found = only(few_rows(planned(a_case(method=method), data=some_data(rows=rows))))
    assert found.numbers == {"rows": least - 1, "least": least}
    gentler = {fix.setting for fix in found.fixes if fix.setting and fix.setting.startswith("-k")}
    assert gentler == {f'-k "{name}"' for name, fewest in FEWEST_ROWS.items() if fewest < least}
    assert not list(few_rows(planned(a_case(method=method), data=some_data(rows={**rows, "train": least}))))


def test_few_test_rows_are_told_with_the_interval_they_give() -> None:
    """100 test rows give an interval of 10 points to either side."""
    found = only(few_rows(planned(data=some_data(rows={"train": 2000, "test": 100}))))
    assert "is 10 points to either side" in found.why


@given(st.integers(1, 10**6))
def test_the_half_width_is_that_of_the_binomial(rows: int) -> None:
    """1.96 standard errors of a share of one half."""
    assert half_width(rows) == pytest.approx(1.96 * math.sqrt(0.5 * 0.5) / math.sqrt(rows))


def test_a_smoke_run_is_not_asked_for_quality() -> None:
    """64 rows and 4 steps are what a smoke run is for."""
    data = some_data(rows={"train": 64, "validation": 32, "test": 64})
    case = a_case(profile="smoke")
    assert not [*few_rows(planned(case, data=data)), *steps(planned(case, data=data))]


@pytest.mark.parametrize(
    ("counts", "level"),
    [
        ({"a": 500, "b": 500}, None),
        ({"a": 600, "b": 400}, None),
        ({"a": 800, "b": 200}, "note"),
        ({"a": 1000, "b": 100}, "warn"),
        ({"a": 100, "b": 100, "c": 9}, "warn"),
    ],
)
def test_uneven_classes(counts: dict[str, int], level: str | None) -> None:
    """Ten to one is a warning, a majority of one and a half its even share a note."""
    found = list(imbalance(planned(data=counted(counts))))  # type: ignore[arg-type]
    assert [item.level for item in found] == ([level] if level else [])


def test_the_accuracy_to_beat_is_that_of_the_test_rows() -> None:
    """The majority accuracy is counted where the score is taken, not in training."""
    data = counted({"a": 1000, "b": 50}, {"a": 300, "b": 100})
    found = only(imbalance(planned(data=data)))  # type: ignore[arg-type]
    assert found.numbers["majority_accuracy"] == 0.75
    assert "right on 75 % of the test rows: that is the accuracy to beat" in found.why
    assert "class 'a' of reviews has 1,000 training rows and 'b' has 50" in found.problem


def test_too_few_steps_name_batch_and_epochs_that_would_do() -> None:
    """400 rows in batches of 64 are 7 steps; a batch of 13 or 5 epochs make 30."""
    data = some_data(rows={"train": 400, "test": 1000})
    found = only(steps(planned(a_case(train={"batch_size": 64}), data=data)))
    assert found.numbers["steps"] == 7
    assert [fix.changes for fix in found.fixes] == [{"batch_size": 13}, {"epochs": 5}]
    assert all(not fix.safe for fix in found.fixes)


@given(rows=st.integers(1, 5000), batch=st.integers(1, 512), epochs=st.integers(1, 6))
def test_every_proposed_change_of_steps_reaches_enough(rows: int, batch: int, epochs: int) -> None:
    """Whatever the sizes, following a fix ends the finding; steps are counted as training counts them."""
    case = a_case(sizes={"epochs": epochs}, train={"batch_size": batch})
    data = some_data(rows={"train": rows, "test": 1000})
    found = list(steps(planned(case, data=data)))
    assert bool(found) == (math.ceil(rows / batch) * epochs < FEWEST_STEPS)
    for fix in found[0].fixes if found else ():
        sizes = {"epochs": fix.changes.get("epochs", epochs)}
        again = a_case(sizes=sizes, train={"batch_size": fix.changes.get("batch_size", batch)})
        assert not list(steps(planned(again, data=data)))


def test_a_limit_of_steps_is_named_as_the_reason() -> None:
    """Where max_steps ends training early, it is what the fix raises."""
    case = a_case(sizes={"max_steps": 4})
    found = only(steps(planned(case, data=some_data())))
    assert "max_steps 4" in found.problem
    assert [fix.changes for fix in found.fixes] == [{"max_steps": FEWEST_STEPS}]


def test_a_warm_up_that_is_cut_is_noted_if_it_was_asked_for() -> None:
    """The default warm-up is cut without a word; one that was set is told what it became, and the fix is safe."""
    assert not list(steps(planned(data=some_data())))
    found = only(steps(planned(a_case(train={"warmup_steps": 40}), data=some_data())))
    assert (found.level, found.problem) == ("note", "warmup_steps = 40 of 63 steps in all")
    assert [(fix.safe, fix.changes) for fix in found.fixes] == [(True, {"warmup_steps": 6})]
