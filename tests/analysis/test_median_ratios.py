"""Ratios of medians against scipy and simulation: level under correlated noise, runs that differ, few rounds."""

import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from emobench.analysis.median_ratios import Medians, is_clear, median_ratios, resampled_ratio
from emobench.errors import DataError
from tests.analysis.made_rounds import drawn_ratio, medians_of, ratio, ratios, simulated_rounds


def binomial_error(level: float, simulations: int) -> float:
    """Two standard errors of a share estimated from simulations."""
    return 2 * math.sqrt(level * (1 - level) / simulations)


@pytest.mark.parametrize("correlation", [0.0, 0.3, 0.5, 0.7])
@pytest.mark.parametrize("rounds", [30, 100])
def test_level_holds_under_correlated_noise(rounds: int, correlation: float) -> None:
    """A/A of log-normal AR(1) rounds, closed form without any run spread: at most 5 % and 1 % come out different."""
    made = simulated_rounds(4000, rounds, variation=0.03, correlation=correlation, seed=rounds)
    found = ratios(made[:2000], made[2000:], run_spread=0.0)
    for level in (0.05, 0.01):
        assert (found.p < level).mean() <= level + binomial_error(level, 2000)
    assert ((found.p < 0.05) == ((found.lower > 0) | (found.upper < 0))).all()


def test_ignoring_correlation_would_fail() -> None:
    """The same noise taken for independent gives several times the stated level: the correction is what holds it."""
    made = simulated_rounds(2000, 30, variation=0.03, correlation=0.7, seed=1)
    naive = [stats.mannwhitneyu(*pair, method="asymptotic").pvalue < 0.05 for pair in made.reshape(1000, 2, 30)[:300]]
    assert np.mean(naive) > 0.15


@pytest.mark.slow
@pytest.mark.parametrize(("drawn", "run_spread"), [("close", 0.0), ("all", 0.0), ("close", 0.01)])
def test_level_of_200_single_comparisons(drawn: str, run_spread: float) -> None:
    """200 A/A comparisons of 30 rounds (CV 3 %, correlation 0.3, runs apart by what is assumed): at most 5 % and noise,
    and at a 5 % limit and the level of 20 comparisons none is worse."""
    made = simulated_rounds(400, 30, variation=0.03, correlation=0.3, run_spread=run_spread, seed=5)
    different = alarms = 0
    for index, (base, new) in enumerate(made.reshape(200, 2, 30)):
        found = ratio([base], new, run_spread=run_spread)
        lower, upper = float(found.lower[0]), float(found.upper[0])
        if drawn == "all" or not is_clear(found)[0]:
            lower, upper = drawn_ratio([base], new, run_spread=run_spread, draws=500, seed=index)
        different += not lower <= 0 <= upper
        gate = ratio([base], new, confidence=0.9975, run_spread=run_spread)
        alarms += bool(gate.point[0] > math.log(1.05) and gate.lower[0] > 0)
    assert different / 200 <= 0.05 + binomial_error(0.05, 200)
    assert alarms == 0


def test_baseline_runs_show_their_spread() -> None:
    """Five baseline runs that differ by 4 % widen the interval of the same rounds, in both methods."""
    made = simulated_rounds(6, 60, variation=0.02, run_spread=0.04, seed=3)
    several, one = ratio(made[:5], made[5]), ratio(made[:1], made[5])
    widths = [float((found.upper - found.lower)[0]) for found in (several, one)]
    drawn = [upper - lower for lower, upper in (drawn_ratio(made[:size], made[5]) for size in (5, 1))]
    for wide, narrow in (widths, drawn):
        assert math.exp(wide) > 1.5 * (math.exp(narrow) - 1) + 1
    # The error is that between runs, of the five and of the new one: nearly all of it.
    assert float(several.error[0]) == pytest.approx(0.04 * math.sqrt(1 + 1 / 5), rel=0.6)


def test_correlation_is_estimated() -> None:
    """The variance inflation is (1 + r) / (1 - r) for long AR(1) series, 1 at least, and 1 for equal rounds."""
    for r in (0.0, 0.4, 0.8):
        made = simulated_rounds(50, 5000, variation=0.03, correlation=r, seed=2)
        assert np.median(5000 / medians_of(made).effective) == pytest.approx((1 + r) / (1 - r), rel=0.1)
    assert medians_of([np.ones(50)]).effective == 50
    assert medians_of([[1.0, 2.0] * 25]).effective == 50


def test_error_of_the_median_is_its_spread() -> None:
    """The standard error of the log median is the spread of medians over runs, normal or long-tailed."""
    for make in (stats.norm(loc=10).rvs, stats.lognorm(s=0.8).rvs):
        made = np.abs(make(size=(3000, 40), random_state=np.random.default_rng(0)))
        found = medians_of(made)
        independent = found.variance * found.effective / 40
        assert np.sqrt(independent.mean()) == pytest.approx(found.center.std(), rel=0.12)


ROUNDS = st.lists(st.floats(0.001, 10), min_size=6, max_size=40)


@given(base=ROUNDS, new=ROUNDS, factor=st.floats(1e-3, 1e3))
@settings(max_examples=60, deadline=None)
def test_ratio_properties(base: list[float], new: list[float], factor: float) -> None:
    """The ratio and its interval ignore the unit; swapping sides gives the reciprocals; the point is inside."""
    there, back = ratio([base], new), ratio([new], base)
    scaled = ratio([[x * factor for x in base]], [x * factor for x in new])
    assert np.exp(there.point) == pytest.approx(np.median(new) / np.median(base))
    assert there.lower <= there.point <= there.upper
    ends, turned, again = (np.array([item.lower, item.upper]) for item in (there, back, scaled))
    assert turned == pytest.approx(-ends[::-1], rel=1e-6, abs=1e-9)
    assert again == pytest.approx(ends, rel=1e-6, abs=1e-9)
    assert 0 <= there.p <= 1
    drawn = drawn_ratio([base], new, draws=200)
    assert drawn[0] <= there.point <= drawn[1]
    assert drawn == drawn_ratio([base], new, draws=200)


@given(rounds=ROUNDS)
@settings(max_examples=40, deadline=None)
def test_equal_rounds_have_ratio_one(rounds: list[float]) -> None:
    """A run against itself: ratio 1, p 1."""
    found = ratio([rounds], rounds)
    assert (found.point[0], found.p[0]) == (0.0, 1.0)


@given(sides=st.tuples(*[st.lists(st.floats(0.3, 3), min_size=3, max_size=3)] * 2), runs=st.integers(1, 3))
@settings(max_examples=60, deadline=None)
def test_known_medians_are_the_pooled_t_test(sides: tuple[list[float], list[float]], runs: int) -> None:
    """Medians without an error: where base runs show their spread, the pooled t test of one and several, as scipy's."""
    centers, now = np.log(sides[0][:runs]), math.log(sides[1][0])
    nothing = np.zeros((runs, 1))
    base = Medians(center=centers[:, None], variance=nothing, effective=nothing + 30)
    new = Medians(center=np.array([now]), variance=np.zeros(1), effective=np.full(1, 30.0))
    found = median_ratios(base, new)
    if runs == 1 or centers.std(ddof=1) <= 0.01:
        assert found.upper - found.point == pytest.approx(stats.norm.isf(0.025) * 0.01 * math.sqrt(1 + 1 / runs))
        return
    theirs = stats.ttest_ind([now], centers)
    assert found.p == pytest.approx(theirs.pvalue)
    low, high = theirs.confidence_interval(0.95)
    assert (found.lower[0], found.upper[0]) == pytest.approx((low, high))


def test_columns_are_cases_of_their_own() -> None:
    """A column of cases gives what each gives alone."""
    made = simulated_rounds(20, 40, variation=0.05, correlation=0.3, seed=6)
    columns = ratios(made[:10], made[10:], confidence=0.99)
    for row in range(10):
        single = ratio([made[row]], made[10 + row], confidence=0.99)
        for name in ("base", "point", "lower", "upper", "p"):
            assert getattr(columns, name)[row] == pytest.approx(getattr(single, name)[0], rel=1e-12)


def test_few_rounds_have_no_interval() -> None:
    """Five rounds give a ratio and no interval."""
    found = ratios(np.ones((2, 30)), np.ones((2, 5)))
    assert np.isnan([found.lower, found.upper, found.p]).all()


def test_clear_changes_need_no_draws() -> None:
    """Twice as slow and no change are decided in closed form, and what lies at the interval's end is resampled."""
    rounds = simulated_rounds(1, 50, variation=0.03, seed=1)[0]
    found = {factor: bool(is_clear(ratio([rounds], rounds * factor))[0]) for factor in (1.0, 1.035, 2.0)}
    assert found == {1.0: True, 1.035: False, 2.0: True}


@pytest.mark.parametrize("rounds", [[1.0, math.nan], [1.0, 0.0], [1.0, -1.0], [math.inf]])
def test_rounds_that_are_no_times_are_refused(rounds: list[float]) -> None:
    """NaN, infinity, zero and negative times give one clear error."""
    known = medians_of([[1.0] * 10])
    with pytest.raises(DataError, match="positive number of seconds"):
        resampled_ratio([np.ones(10)], np.array(rounds), Medians.stacked([known]), known)


def test_columns_are_fast() -> None:
    """Intervals of 10,000 cases x 20 runs from their medians take well under the 3 s of a whole comparison."""
    made = medians_of(simulated_rounds(2000, 30, variation=0.03, seed=0))
    many = Medians(**{name: np.tile(getattr(made, name), 100) for name in ("center", "variance", "effective")})
    start = time.process_time()
    median_ratios(Medians.stacked([many]), many, confidence=1 - 0.05 / 10_000)
    assert time.process_time() - start < 1.5


def test_runs_of_other_lengths() -> None:
    """Runs of one side need not have the same number of rounds; each counts the same in the center."""
    found = ratio([[1.0, 1.1] * 5, [2.0, 2.2] * 20], [1.5] * 12)
    assert math.exp(found.base[0]) == pytest.approx(math.sqrt(1.05 * 2.1))


def test_resampled_runs_spread_as_runs_do() -> None:
    """Where runs differ far more than their rounds, the bootstrap's interval is the closed form's within a third."""
    made = simulated_rounds(12, 40, variation=0.002, run_spread=0.05, seed=4)
    closed, drawn = ratio(made[:6], made[6]), drawn_ratio(made[:6], made[6])
    assert drawn[1] - drawn[0] == pytest.approx(float((closed.upper - closed.lower)[0]), rel=0.33)
