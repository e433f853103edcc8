"""Latency ratios against scipy and simulation: level under correlated noise, runs that differ, few rounds."""

import itertools
import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from emobench.analysis.latency import (
    latency_columns,
    latency_ratio,
    mann_whitney_p,
    scale_from_quartiles,
    summarize_rounds,
    variance_inflation,
)
from emobench.analysis.power import simulated_rounds
from emobench.errors import DataError


def binomial_error(level: float, simulations: int) -> float:
    """Two standard errors of a share estimated from simulations."""
    return 2 * math.sqrt(level * (1 - level) / simulations)


@pytest.mark.parametrize("correlation", [0.0, 0.3, 0.5, 0.7])
@pytest.mark.parametrize("rounds", [30, 100])
def test_level_holds_under_correlated_noise(rounds: int, correlation: float) -> None:
    """A/A of log-normal AR(1) rounds, closed form without any run spread: at most 5 % and 1 % come out different."""
    made = simulated_rounds(4000, rounds, variation=0.03, correlation=correlation, seed=rounds)
    found = latency_columns(summarize_rounds(made[:2000]), summarize_rounds(made[2000:]), run_spread=0.0)
    for level in (0.05, 0.01):
        assert (found.p < level).mean() <= level + binomial_error(level, 2000)
    assert ((found.p < 0.05) == ((found.lower > 1) | (found.upper < 1))).all()


def test_ignoring_correlation_would_fail() -> None:
    """The same noise taken for independent gives several times the stated level: the correction is what holds it."""
    made = simulated_rounds(2000, 30, variation=0.03, correlation=0.7, seed=1)
    naive = [stats.mannwhitneyu(*pair, method="asymptotic").pvalue < 0.05 for pair in made.reshape(1000, 2, 30)[:300]]
    assert np.mean(naive) > 0.15


@pytest.mark.slow
@pytest.mark.parametrize(("method", "run_spread"), [("auto", 0.0), ("bootstrap", 0.0), ("auto", 0.01)])
def test_level_of_200_single_comparisons(method: str, run_spread: float) -> None:
    """200 A/A comparisons of 30 rounds (CV 3 %, correlation 0.3, runs apart by what is assumed): at most 5 % and noise,
    and at a 5 % limit and the level of 20 comparisons none is worse."""
    made = simulated_rounds(400, 30, variation=0.03, correlation=0.3, run_spread=run_spread, seed=5)
    different = alarms = 0
    for index, (base, new) in enumerate(made.reshape(200, 2, 30)):
        found = latency_ratio([base], [new], method=method, run_spread=run_spread, draws=500, seed=index)
        different += not found.lower <= 1 <= found.upper
        gate = latency_ratio([base], [new], confidence=0.9975, run_spread=run_spread, method="closed_form")
        alarms += gate.ratio > 1.05 and gate.lower > 1
    assert different / 200 <= 0.05 + binomial_error(0.05, 200)
    assert alarms == 0


def test_baseline_runs_show_their_spread() -> None:
    """Five baseline runs that differ by 4 % widen the interval of the same rounds, in both methods."""
    made = simulated_rounds(6, 60, variation=0.02, run_spread=0.04, seed=3)
    for method in ("closed_form", "bootstrap"):
        several = latency_ratio(made[:5], made[5:], method=method)
        one = latency_ratio(made[:1], made[5:], method=method)
        assert several.run_spread == pytest.approx(0.04, rel=0.6)
        assert one.run_spread == 0.01
        assert several.upper / several.lower > 1.5 * (one.upper / one.lower - 1) + 1
        assert (several.runs_base, several.rounds_base) == (5, 300)


def test_correlation_is_estimated() -> None:
    """The variance inflation is (1 + r) / (1 - r) for long AR(1) series, 1 at least, and 1 for equal rounds."""
    for r in (0.0, 0.4, 0.8):
        made = simulated_rounds(50, 5000, variation=0.03, correlation=r, seed=2)
        assert np.median(variance_inflation(np.log(made))) == pytest.approx((1 + r) / (1 - r), rel=0.1)
    assert variance_inflation(np.ones(50)) == 1
    assert variance_inflation([1.0, 2.0] * 25) == 1


def test_error_of_the_median_is_its_spread() -> None:
    """The standard error of the log median is the spread of medians over runs, normal or long-tailed."""
    for make in (stats.norm(loc=10).rvs, stats.lognorm(s=0.8).rvs):
        made = np.abs(make(size=(3000, 40), random_state=np.random.default_rng(0)))
        found = summarize_rounds(made)
        assert np.sqrt((found.scale**2 / 40).mean()) == pytest.approx(np.log(found.median).std(), rel=0.12)
    made = np.random.default_rng(1).normal(10, 0.3, size=20_000)
    quartiles = scale_from_quartiles(np.median(made), stats.iqr(made))
    assert float(quartiles) == pytest.approx(float(summarize_rounds(made).scale), rel=0.1)


ROUNDS = st.lists(st.floats(0.001, 10), min_size=6, max_size=40)


@given(base=ROUNDS, new=ROUNDS, factor=st.floats(1e-3, 1e3))
@settings(max_examples=60, deadline=None)
def test_ratio_properties(base: list[float], new: list[float], factor: float) -> None:
    """The ratio and its interval ignore the unit; swapping sides gives the reciprocals; the point is inside."""
    there = latency_ratio([base], [new], method="closed_form")
    back = latency_ratio([new], [base], method="closed_form")
    scaled = latency_ratio([[x * factor for x in base]], [[x * factor for x in new]], method="closed_form")
    assert there.ratio == pytest.approx(np.median(new) / np.median(base))
    assert there.lower <= there.ratio <= there.upper
    assert (1 / there.upper, 1 / there.lower) == pytest.approx((back.lower, back.upper), rel=1e-6)
    assert (scaled.lower, scaled.upper) == pytest.approx((there.lower, there.upper), rel=1e-6)
    assert 0 <= there.p <= 1
    assert 0 <= there.mann_whitney_p <= 1
    drawn = latency_ratio([base], [new], method="bootstrap", draws=200)
    assert drawn.lower <= drawn.ratio <= drawn.upper
    assert drawn == latency_ratio([base], [new], method="bootstrap", draws=200)


@given(rounds=ROUNDS)
@settings(max_examples=40, deadline=None)
def test_equal_rounds_have_ratio_one(rounds: list[float]) -> None:
    """A run against itself: ratio 1, p 1, no effect."""
    found = latency_ratio([rounds], [rounds])
    assert (found.ratio, found.p, found.cliffs_delta) == (1.0, 1.0, 0.0)
    assert found.mann_whitney_p == 1.0


@given(
    base=st.lists(st.integers(0, 20), min_size=2, max_size=30),
    new=st.lists(st.integers(0, 20), min_size=2, max_size=30),
)
@settings(max_examples=50, deadline=None)
def test_mann_whitney_is_scipys(base: list[int], new: list[int]) -> None:
    """With ties and continuity correction the p is scipy's; where all values are equal it is 1."""
    if len({*base, *new}) == 1:
        assert mann_whitney_p(base, new) == 1.0
    else:
        assert mann_whitney_p(base, new) == pytest.approx(stats.mannwhitneyu(base, new, method="asymptotic").pvalue)
    assert mann_whitney_p(base, new, inflation=3.0) >= mann_whitney_p(base, new)


def test_columns_equal_single_comparisons() -> None:
    """A column of runs gives what each pair gives alone in closed form."""
    made = simulated_rounds(20, 40, variation=0.05, correlation=0.3, seed=6)
    columns = latency_columns(summarize_rounds(made[:10]), summarize_rounds(made[10:]), confidence=0.99)
    for row in range(10):
        single = latency_ratio([made[row]], [made[10 + row]], confidence=0.99, method="closed_form")
        expected = (columns.ratio[row], columns.lower[row], columns.upper[row], columns.p[row])
        assert (single.ratio, single.lower, single.upper, single.p) == pytest.approx(expected, rel=1e-9)


def test_few_rounds_are_inconclusive_with_the_reason() -> None:
    """Five rounds give a ratio and no interval; columns say it with NaN."""
    found = latency_ratio([[1.0] * 30], [[2.0] * 5])
    assert found.ratio == pytest.approx(2.0)
    assert (found.lower, found.upper, found.p, found.mann_whitney_p) == (None, None, None, None)
    assert found.reason == "5 rounds in a run; an interval of a median needs at least 6"
    columns = latency_columns(summarize_rounds(np.ones((2, 30))), summarize_rounds(np.ones((2, 5))))
    assert np.isnan([columns.lower, columns.upper, columns.p]).all()
    assert (columns.ratio == 1).all()


def test_clear_changes_need_no_draws() -> None:
    """Auto decides twice as slow and no change in closed form, and resamples what lies at the interval's end."""
    rounds = simulated_rounds(1, 50, variation=0.03, seed=1)[0]
    found = {factor: latency_ratio([rounds], [rounds * factor]).method for factor in (1.0, 1.035, 2.0)}
    assert found == {1.0: "order statistics", 1.035: "bootstrap of runs and rounds", 2.0: "order statistics"}


@pytest.mark.parametrize("rounds", [[], [1.0, math.nan], [1.0, 0.0], [1.0, -1.0], [math.inf]])
def test_rounds_that_are_no_times_are_refused(rounds: list[float]) -> None:
    """No round, NaN, infinity, zero and negative times give one clear error."""
    with pytest.raises(DataError, match="positive number of seconds"):
        latency_ratio([[1.0] * 10], [rounds])
    with pytest.raises(DataError, match="holds no run"):
        latency_ratio([], [[1.0] * 10])


def test_columns_are_fast() -> None:
    """Intervals of 10,000 cases x 20 runs from their summaries take well under the 3 s of a whole comparison."""
    made = summarize_rounds(simulated_rounds(2000, 30, variation=0.03, seed=0))
    many = type(made)(
        median=np.tile(made.median, 100),
        scale=np.tile(made.scale, 100),
        effective=np.tile(made.effective, 100),
        rounds=30,
    )
    start = time.process_time()
    latency_columns(many, many, confidence=1 - 0.05 / 10_000)
    assert time.process_time() - start < 1.5


def test_runs_of_other_lengths() -> None:
    """Runs of one side need not have the same number of rounds; each counts the same in the center."""
    sides = [[[1.0, 1.1] * 5, [2.0, 2.2] * 20], [[1.5] * 12]]
    found = latency_ratio(*sides)
    assert found.base_seconds == pytest.approx(math.sqrt(1.05 * 2.1))
    assert found.rounds_base == sum(map(len, itertools.chain(sides[0])))


def test_resampled_runs_spread_as_runs_do() -> None:
    """Where runs differ far more than their rounds, the bootstrap's interval is the closed form's within a third."""
    made = simulated_rounds(12, 40, variation=0.002, run_spread=0.05, seed=4)
    for base, new in ((made[:6], made[6:]), (made[:6], made[6:7])):
        closed, drawn = (latency_ratio(base, new, method=method) for method in ("closed_form", "bootstrap"))
        widths = [math.log(found.upper / found.lower) for found in (closed, drawn)]
        assert widths[1] == pytest.approx(widths[0], rel=0.33)
