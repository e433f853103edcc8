"""Warm-up and the number of rounds: what the pilot saw decides, within stated bounds, and the plan says which."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emobench.measurement import rounds
from emobench.measurement.rounds import choose_rounds, plan_rounds, warm_up


def choose(pilot: list[float], **changes: float) -> rounds.RoundPlan:
    given = {"at_least": 10, "seconds": 2.0, "at_most_seconds": 8.0, "interval": 0.01, **changes}
    return choose_rounds(pilot, **given)


def test_the_bound_that_decides_is_named() -> None:
    """Slow calls get the fewest rounds, steady ones the shortest time, spread ones more until a cap."""
    assert (choose([1.0] * 7).rounds, choose([1.0] * 7).reason) == (10, "fewest rounds")
    assert (choose([0.01] * 7).rounds, choose([0.01] * 7).reason) == (200, "shortest time")
    spread = [0.0090, 0.0093, 0.0095, 0.0100, 0.0105, 0.0107, 0.0110]
    assert choose(spread).reason == "interval"
    assert choose([0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.07]).reason == "longest time"
    assert choose([1e-6] * 7).reason == "most rounds"
    assert choose([1e-6] * 7).rounds == rounds.MOST_ROUNDS
    # The least time is kept where the cap on rounds for a narrow interval would cut it.
    assert (choose([0.0005] * 7).rounds, choose([0.0005] * 7).reason) == (4000, "shortest time")


@given(
    st.lists(st.floats(1e-6, 10), min_size=2, max_size=9),
    st.integers(1, 50),
    st.floats(0, 5),
    st.floats(0.001, 0.1),
)
def test_bounds_hold(pilot: list[float], at_least: int, seconds: float, interval: float) -> None:
    """Never fewer rounds than asked; never more than the cap unless the fewest asked are."""
    plan = choose(pilot, at_least=at_least, seconds=seconds, interval=interval)
    median = float(np.median(pilot))
    assert at_least <= plan.rounds <= rounds.MOST_ROUNDS
    assert plan.rounds >= min(seconds / median, rounds.MOST_ROUNDS)
    assert plan.rounds == at_least or plan.rounds * median <= max(8.0, seconds + median) + 1e-9


def test_the_interval_comes_out_as_planned() -> None:
    """Of normal timings, the rounds chosen make the median's 95 % interval about as narrow as asked."""
    generator = np.random.default_rng(0)
    pilot = list(generator.normal(1.0, 0.05, size=2000))
    plan = choose(pilot, at_most_seconds=1e6, seconds=0.0)
    assert plan.reason == "interval"
    medians = np.median(generator.normal(1.0, 0.05, size=(2000, plan.rounds)), axis=1)
    half_width = 1.96 * medians.std()
    assert half_width == pytest.approx(0.01, rel=0.1)


def test_warm_up_goes_on_until_calls_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls that get faster are all thrown away; the first call is never one of the three that must agree."""

    def warmed(*seconds: float) -> tuple[int, bool]:
        left = iter(seconds)
        monkeypatch.setattr(rounds, "_seconds", lambda call: next(left))
        return warm_up(lambda: None)

    assert warmed(0.05, 0.03, 0.02, 0.012, 0.010, 0.0101, 0.0102) == (7, True)
    assert warmed(0.010, 0.010, 0.010, 0.010) == (4, True)


def test_warm_up_ends_for_calls_that_never_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the time allowed, warm-up ends, and the plan says the calls were not stable."""
    monkeypatch.setattr(rounds, "WARMUP_SECONDS", 0.05)
    pauses = iter([0.001, 0.02] * 500)
    plan = plan_rounds(lambda: time.sleep(next(pauses)), at_least=5, seconds=0.0, at_most_seconds=0.0)
    assert not plan.stable
    assert plan.rounds == 5
    assert plan.facts()["warmup_stable"] is False
