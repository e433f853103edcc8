"""Targets and prices: which way is better is the metric's own, and money follows from measured time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emobench.catalogue.goals import Goals, costs, find_goals, judged
from emobench.catalogue.project import load_project
from emobench.errors import SpecError
from emobench.outcomes import metric


def test_met_and_missed_follow_the_direction() -> None:
    """A latency at its limit is met, above it is not; an accuracy above its limit is met."""
    found = judged(
        [metric("latency_p50_seconds", 0.05), metric("accuracy", 0.79), metric("samples_per_second", 120.0)],
        {"latency_p50_seconds": 0.05, "accuracy": 0.80, "samples_per_second": 100, "tokens_per_second": 5},
    )
    assert {name: entry["met"] for name, entry in found.items()} == {
        "latency_p50_seconds": True,
        "accuracy": False,
        "samples_per_second": True,
    }


@given(st.floats(0.01, 100), st.floats(0.1, 1e5), st.floats(1, 1e6))
def test_costs_are_time_times_price(per_hour: float, samples: float, tokens: float) -> None:
    """A thousand samples and a million tokens cost the hours they take; a run costs its training and evaluation."""
    metrics = [
        metric("samples_per_second", samples),
        metric("tokens_per_second", tokens),
        metric("train_seconds", 30.0),
        metric("evaluate_seconds", 6.0),
    ]
    found = {item.name: item.value for item in costs(metrics, per_hour=per_hour)}
    assert found["cost_per_thousand_samples"] == pytest.approx(1000 / samples / 3600 * per_hour)
    assert found["cost_per_million_tokens"] == pytest.approx(1e6 / tokens / 3600 * per_hour)
    assert found["cost_per_run"] == pytest.approx(36 / 3600 * per_hour)


def test_nothing_is_priced_that_was_not_measured() -> None:
    """Without a rate or a time there is no cost."""
    assert costs([metric("accuracy", 0.9)], per_hour=2.0) == []


def test_options_win_over_the_file(tmp_path) -> None:  # type: ignore[no-untyped-def]
    """The file's tables are read; an option's target and price replace them."""
    text = '[targets]\naccuracy = 0.8\nlatency_p50_seconds = 1\n[price]\ncurrency = "EUR"\ncpu = 0.1\n'
    (tmp_path / "emobench.toml").write_text(text)
    settings = load_project(tmp_path).settings
    goals = find_goals(settings["targets"], settings["price"])
    assert goals == Goals(targets={"accuracy": 0.8, "latency_p50_seconds": 1.0}, prices={"cpu": 0.1}, currency="EUR")
    changed = find_goals(settings["targets"], settings["price"], asked=["accuracy:0.9"], hourly=2.0)
    assert changed.targets["accuracy"] == 0.9
    assert changed.prices["cpu"] == changed.prices["cuda"] == 2.0


@pytest.mark.parametrize(
    ("targets", "price", "asked", "text"),
    [
        ({"acuracy": 1}, {}, [], "did you mean 'accuracy'"),
        ({"train_steps": 1}, {}, [], "neither more nor less of it is better"),
        ({"accuracy": "high"}, {}, [], "it takes a number above 0"),
        ({"accuracy": True}, {}, [], "it takes a number above 0"),
        ({}, {"cuda": -1}, [], "price of cuda is -1"),
        ({}, {"gpu": 1}, [], "unknown key in [price]"),
        ({}, {}, ["accuracy"], "the form is METRIC:VALUE"),
        ({}, {}, ["accuracy:x"], "it takes a number above 0"),
    ],
)
def test_bad_goals(targets: dict, price: dict, asked: list[str], text: str) -> None:
    """An unknown metric, device or number is one clear error."""
    with pytest.raises(SpecError, match=None) as caught:
        find_goals(targets, price, asked=asked)
    assert text in str(caught.value)
