"""Tests, intervals, effect sizes and the gate's rule against scipy, statsmodels, published numbers and simulation."""

import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar

from emobench.analysis.significance import gate_decisions, mcnemar_exact, mean_differences, paired_counts

COUNTS = st.tuples(*[st.integers(0, 60)] * 3).filter(any)
LEVELS = st.floats(0.01, 0.9999)


@settings(max_examples=50, deadline=None)
@given(b=st.integers(0, 400), c=st.integers(0, 400))
def test_mcnemar_equals_statsmodels_and_the_binomial_test(b: int, c: int) -> None:
    """The exact p is statsmodels' and, where a pair differs, scipy's binomial test of b out of b + c."""
    found = float(mcnemar_exact(b, c))
    assert found == pytest.approx(mcnemar([[3, b], [c, 7]], exact=True).pvalue if b + c else 1.0, rel=1e-9)
    if b + c:
        assert found == pytest.approx(stats.binomtest(b, b + c, 0.5).pvalue, rel=1e-9)


def test_interval_equals_the_published_one() -> None:
    """Airway hyper-responsiveness before and after transplantation (1, 1, 7, 12): Bonett-Price -0.508 to -0.013, as in
    Fagerland, Lydersen and Laake (2014)."""
    found = paired_counts(7, 1, 21)
    assert float(found.point) == pytest.approx(-6 / 21)
    assert (round(float(found.lower), 3), round(float(found.upper), 3)) == (-0.508, -0.013)


@given(counts=COUNTS, confidence=LEVELS)
def test_swapping_base_and_new_mirrors_everything(counts: tuple[int, int, int], confidence: float) -> None:
    """new - base and base - new are each other's negative, interval included; p is the same."""
    b, c, rest = counts
    there = paired_counts([b], [c], b + c + rest, confidence=confidence)
    back = paired_counts([c], [b], b + c + rest, confidence=confidence)
    assert there.point == -back.point
    assert (there.lower, there.upper) == (-back.upper, -back.lower)
    assert there.p == back.p
    assert there.lower <= there.point <= there.upper
    assert 0 <= there.p <= 1
    assert there.point == (c - b) / (b + c + rest)


@given(n=st.integers(1, 60))
def test_equal_predictions_differ_by_nothing(n: int) -> None:
    """Identical inputs: difference 0, p 1, an interval about 0 that still has a width."""
    found = paired_counts([0], [0], n)
    assert (found.point[0], found.p[0]) == (0.0, 1.0)
    assert found.lower < 0 < found.upper


def test_columns_are_comparisons_of_their_own() -> None:
    """A column of counts gives what each gives alone."""
    b, c = np.random.default_rng(3).integers(0, 30, (2, 25))
    columns = paired_counts(b, c, 80, confidence=0.99)
    for row in range(25):
        single = paired_counts(b[row], c[row], 80, confidence=0.99)
        for name in ("point", "lower", "upper", "p"):
            assert getattr(columns, name)[row] == getattr(single, name)


@pytest.mark.parametrize(("n", "discordant", "shift"), [(100, 0.1, 0.0), (100, 0.3, 0.1), (1000, 0.05, 0.02)])
def test_accuracy_interval_covers_its_level(n: int, discordant: float, shift: float) -> None:
    """Of 20,000 simulated test sets the 95 % interval holds the true difference in 95 % (exact: 94 to 97 %)."""
    rng = np.random.default_rng(0)
    pairs = rng.multinomial(n, [(discordant - shift) / 2, (discordant + shift) / 2, 1 - discordant], size=20_000)
    found = paired_counts(pairs[:, 0], pairs[:, 1], n)
    covered = float(((found.lower <= shift) & (shift <= found.upper)).mean())
    assert 0.945 <= covered <= 0.975


VALUES = st.lists(st.floats(0.1, 1e6), min_size=2, max_size=8)


@given(base=VALUES, new=VALUES)
@settings(max_examples=50, deadline=None)
def test_differences_of_means_are_welchs(base: list[float], new: list[float]) -> None:
    """With two seeds or more a side interval and p are scipy's Welch test, unless nothing varies."""
    found = mean_differences(np.array(base)[:, None], np.array(new)[:, None], confidence=0.9)
    # scipy refuses a side that does not vary.
    if min(np.ptp(base) / max(base), np.ptp(new) / max(new)) < 1e-6:
        return
    theirs = stats.ttest_ind(new, base, equal_var=False)
    interval = theirs.confidence_interval(0.9)
    scale = max(*base, *new)
    assert found.p[0] == pytest.approx(theirs.pvalue, rel=1e-6, abs=1e-12)
    ends = found.lower[0], found.upper[0]
    assert ends == pytest.approx((interval.low, interval.high), rel=1e-6, abs=1e-6 * scale)


def test_values_that_do_not_vary_are_a_count() -> None:
    """Equal bytes at every seed differ by exactly nothing; other equal bytes by exactly their difference."""
    found = mean_differences(np.full((2, 2), 5.0), np.array([[5.0, 6.0]] * 2))
    for column, expected in ((found.point, [0, 1]), (found.lower, [0, 1]), (found.upper, [0, 1]), (found.p, [1, 0])):
        assert column.tolist() == expected


GATE_ROWS = [
    # point, lower, upper, limit, better, verdict
    (-0.02, -0.03, -0.01, 0.01, "higher", "worse"),
    (-0.02, -0.045, 0.005, 0.01, "higher", "inconclusive"),
    (-0.008, -0.012, -0.004, 0.01, "higher", "inconclusive"),
    (-0.005, -0.009, -0.001, 0.01, "higher", "same"),
    (0.0, -0.009, 0.009, 0.01, "higher", "same"),
    (0.0, -0.02, 0.02, 0.01, "higher", "inconclusive"),
    (0.02, 0.01, 0.03, 0.01, "higher", "better"),
    (0.002, 0.001, 0.003, 0.01, "higher", "better"),
    (0.02, -0.005, 0.045, 0.01, "higher", "same"),
    (0.10, 0.06, 0.14, 0.05, "lower", "worse"),
    (0.06, -0.01, 0.13, 0.05, "lower", "inconclusive"),
    (-0.10, -0.14, -0.06, 0.05, "lower", "better"),
    (0.01, -0.02, 0.04, 0.05, "lower", "same"),
    (0.79 - 0.80, -0.0101, -0.0099, 0.01, "higher", "inconclusive"),
    (0.79 - 0.80, 0.79 - 0.80, 0.79 - 0.80, 0.01, "higher", "same"),
    (-0.5, None, None, 0.01, "higher", "inconclusive"),
    (0.0, None, None, 0.01, "higher", "inconclusive"),
    (7.0, 7.0, 7.0, 0.0, "lower", "worse"),
    (0.0, 0.0, 0.0, 0.0, "lower", "same"),
    (-0.001, -0.002, -0.0005, None, "higher", "worse"),
    (-0.1, -0.3, 0.1, None, "higher", "same"),
    (-0.1, None, None, None, "higher", "inconclusive"),
]


def decision(point: float, lower: float, upper: float, limit: float, better: str, **resolution: float) -> str:
    """The rule on a column of one."""
    numbers = [np.array([number]) for number in (point, lower, upper, limit)]
    return str(gate_decisions(*numbers, lower_is_better=better == "lower", **resolution)[0])


@pytest.mark.parametrize(("point", "lower", "upper", "limit", "better", "verdict"), GATE_ROWS)
def test_gate_rule(point, lower, upper, limit, better, verdict) -> None:  # type: ignore[no-untyped-def]
    """The written rule, case by case; a loss of exactly the limit is tolerated."""
    numbers = [math.nan if number is None else number for number in (lower, upper, limit)]
    assert decision(point, *numbers, better) == verdict


def test_gate_columns_are_decisions_of_their_own() -> None:
    """Columns with NaN for no interval and no limit give the single verdicts."""
    table = [[math.nan if cell is None else cell for cell in row[:4]] for row in GATE_ROWS]
    found = gate_decisions(*np.array(table).T, lower_is_better=[row[4] == "lower" for row in GATE_ROWS])
    assert found.tolist() == [row[5] for row in GATE_ROWS]


NUMBERS = st.floats(-1, 1)


@given(ends=st.tuples(NUMBERS, NUMBERS, NUMBERS).map(sorted), limit=st.floats(0, 1))
def test_gate_is_the_same_for_both_directions(ends: list[float], limit: float) -> None:
    """A metric and its negative with the other direction get one verdict; more tolerance never makes it worse."""
    lower, point, upper = ends
    verdict = decision(point, lower, upper, limit, "higher")
    assert verdict == decision(-point, -upper, -lower, limit, "lower")
    order = ["better", "same", "inconclusive", "worse"]
    looser = decision(point, lower, upper, limit * 2, "higher")
    assert order.index(looser) <= order.index(verdict)


def test_resolution_decides_only_between_same_and_inconclusive() -> None:
    """A narrower interval of its own may exclude a loss, and never makes or hides a regression."""
    assert decision(0.0, -0.012, 0.012, 0.01, "higher") == "inconclusive"
    assert decision(0.0, -0.012, 0.012, 0.01, "higher", resolution_lower=-0.008, resolution_upper=0.008) == "same"
    assert (
        decision(-0.02, -0.04, 0.001, 0.01, "higher", resolution_lower=-0.03, resolution_upper=-0.01) == "inconclusive"
    )
    assert decision(-0.02, -0.03, -0.001, 0.01, "higher", resolution_lower=-0.025, resolution_upper=-0.015) == "worse"


@pytest.mark.parametrize(("point", "limit"), [(math.nan, 0.01), (0.0, -0.01)])
def test_gate_refuses_what_it_cannot_judge(point: float, limit: float) -> None:
    """A NaN never passes as unchanged, and no limit is negative."""
    with pytest.raises(ValueError, match="a point must be a number and a limit at least 0"):
        decision(point, -0.1, 0.1, limit, "higher")


def test_columns_are_fast() -> None:
    """Intervals, p-values and verdicts of 10,000 cases x 20 runs take well under the 3 s of a whole comparison."""
    rng = np.random.default_rng(0)
    pairs = rng.multinomial(5000, [0.04, 0.04, 0.92], size=200_000)
    start = time.process_time()
    found = paired_counts(pairs[:, 0], pairs[:, 1], 5000, confidence=1 - 0.05 / 10_000)
    verdicts = gate_decisions(found.point, found.lower, found.upper, 0.01, lower_is_better=False)
    assert time.process_time() - start < 1.5
    assert (verdicts == "worse").sum() <= 5
