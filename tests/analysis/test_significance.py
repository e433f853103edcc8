"""Tests, intervals, effect sizes and the gate's rule against scipy, statsmodels, published numbers and simulation."""

import itertools
import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import proportion_effectsize

from emobench.analysis.significance import (
    cliffs_delta,
    cohens_h,
    gate_decision,
    gate_decisions,
    mcnemar_exact,
    paired_accuracy,
    paired_counts,
    scalar_difference,
)
from emobench.errors import DataError

PAIRS = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60)
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


@given(pairs=PAIRS, confidence=LEVELS)
def test_swapping_base_and_new_mirrors_everything(pairs: list[tuple[bool, bool]], confidence: float) -> None:
    """new - base and base - new are each other's negative, interval and effect size included; p is the same."""
    base, new = np.array(pairs).T
    there = paired_accuracy(base, new, confidence=confidence)
    back = paired_accuracy(new, base, confidence=confidence)
    assert there.point == -back.point
    assert (there.lower, there.upper) == (-back.upper, -back.lower)
    assert there.p == back.p
    assert there.cohens_h == pytest.approx(-back.cohens_h)
    assert there.odds_ratio == pytest.approx(1 / back.odds_ratio)
    assert there.lower <= there.point <= there.upper
    assert 0 <= there.p <= 1
    assert there.point == pytest.approx(there.new - there.base)


@given(right=st.lists(st.booleans(), min_size=1, max_size=60))
def test_equal_predictions_differ_by_nothing(right: list[bool]) -> None:
    """Identical inputs: difference 0, p 1, an interval about 0 that still has a width."""
    found = paired_accuracy(right, right)
    assert (found.point, found.p, found.base_only, found.new_only) == (0.0, 1.0, 0, 0)
    assert found.lower < 0 < found.upper


def test_columns_equal_single_comparisons() -> None:
    """A column of counts gives what each pair of predictions gives alone."""
    rng = np.random.default_rng(3)
    base, new = rng.random((2, 25, 80)) < np.array([0.8, 0.7])[:, None, None]
    columns = paired_counts((base & ~new).sum(axis=1), (~base & new).sum(axis=1), 80, confidence=0.99)
    for row in range(25):
        single = paired_accuracy(base[row], new[row], confidence=0.99)
        assert (single.point, single.lower, single.upper, single.p) == (
            columns.point[row],
            columns.lower[row],
            columns.upper[row],
            columns.p[row],
        )


@pytest.mark.parametrize(("n", "discordant", "shift"), [(100, 0.1, 0.0), (100, 0.3, 0.1), (1000, 0.05, 0.02)])
def test_accuracy_interval_covers_its_level(n: int, discordant: float, shift: float) -> None:
    """Of 20,000 simulated test sets the 95 % interval holds the true difference in 95 % (exact: 94 to 97 %)."""
    rng = np.random.default_rng(0)
    pairs = rng.multinomial(n, [(discordant - shift) / 2, (discordant + shift) / 2, 1 - discordant], size=20_000)
    found = paired_counts(pairs[:, 0], pairs[:, 1], n)
    covered = float(((found.lower <= shift) & (shift <= found.upper)).mean())
    assert 0.945 <= covered <= 0.975


def test_bootstrap_interval_equals_scipys() -> None:
    """The multinomial over kinds of pairs is the bootstrap over examples: scipy's percentiles, within the grid."""
    rng = np.random.default_rng(5)
    base, new = rng.random(400) < 0.8, rng.random(400) < 0.75
    ours = paired_accuracy(base, new, method="bootstrap", draws=20_000, seed=1)
    theirs = stats.bootstrap(
        ((new * 1.0 - base),), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(2)
    ).confidence_interval
    assert (ours.lower, ours.upper) == pytest.approx((theirs.low, theirs.high), abs=1.01 / 400)
    assert ours == paired_accuracy(base, new, method="bootstrap", draws=20_000, seed=1)


def test_other_examples_are_refused() -> None:
    """Runs of test sets of other sizes are not paired; the message says what to do."""
    with pytest.raises(DataError, match=r"shape \(3,\).*shape \(2,\).*same test split"):
        paired_accuracy([1, 0, 1], [1, 0])
    with pytest.raises(DataError, match="at least one"):
        paired_accuracy([], [])


VALUES = st.lists(st.floats(0.1, 1e6), min_size=2, max_size=8)


@given(base=VALUES, new=VALUES)
@settings(max_examples=50, deadline=None)
def test_scalar_difference_is_welchs(base: list[float], new: list[float]) -> None:
    """With two seeds or more a side interval and p are scipy's Welch test, unless nothing varies."""
    found = scalar_difference(base, new, confidence=0.9)
    # scipy refuses a side that does not vary.
    if min(np.ptp(base) / max(base), np.ptp(new) / max(new)) < 1e-6:
        return
    theirs = stats.ttest_ind(new, base, equal_var=False)
    interval = theirs.confidence_interval(0.9)
    scale = max(*base, *new)
    assert found.p == pytest.approx(theirs.pvalue, rel=1e-6, abs=1e-12)
    assert (found.lower, found.upper) == pytest.approx((interval.low, interval.high), rel=1e-6, abs=1e-6 * scale)


@given(base=VALUES, new=VALUES, factor=st.floats(1e-3, 1e3))
def test_relative_difference_ignores_the_unit(base: list[float], new: list[float], factor: float) -> None:
    """Seconds or milliseconds: new / base - 1 and its interval stay."""
    found = scalar_difference(base, new, relative=True)
    scaled = scalar_difference([x * factor for x in base], [x * factor for x in new], relative=True)
    assert found.lower is not None
    assert found.lower <= found.point <= (found.upper or math.inf)
    assert scaled.point == pytest.approx(found.point, rel=1e-6, abs=1e-9)


def test_one_value_has_no_interval() -> None:
    """A single seed gives a point and says why there is no interval."""
    found = scalar_difference([100.0], [110.0, 112.0], relative=True)
    assert found.point == pytest.approx(math.sqrt(1.1 * 1.12) - 1)
    assert (found.lower, found.upper, found.p) == (None, None, None)
    assert found.reason == "1 and 2 values: an interval needs two seeds on each side"


def test_values_that_do_not_vary_are_a_count() -> None:
    """Equal bytes at every seed differ by exactly nothing; other equal bytes by exactly their difference."""
    same, more = scalar_difference([5.0, 5.0], [5.0, 5.0]), scalar_difference([5.0, 5.0], [6.0, 6.0])
    assert (same.point, same.lower, same.upper, same.p) == (0.0, 0.0, 0.0, 1.0)
    assert (more.point, more.lower, more.upper, more.p) == (1.0, 1.0, 1.0, 0.0)


@pytest.mark.parametrize(("base", "relative"), [([], False), ([math.nan], False), ([0.0], True)])
def test_values_that_cannot_be_compared_are_refused(base: list[float], relative: bool) -> None:
    """No value, a NaN, and a zero under a ratio are named."""
    with pytest.raises(DataError, match="the base values"):
        scalar_difference(base, [1.0], relative=relative)


@settings(max_examples=50, deadline=None)
@given(base=st.lists(st.integers(0, 9), min_size=1, max_size=30), new=st.lists(st.integers(0, 9), min_size=1))
def test_cliffs_delta_counts_pairs(base: list[int], new: list[int]) -> None:
    """Equal to the count over all pairs, and to Mann-Whitney's U."""
    pairs = [(y > x) - (y < x) for x, y in itertools.product(base, new)]
    found = cliffs_delta(base, new)
    assert found == pytest.approx(sum(pairs) / len(pairs))
    u = stats.mannwhitneyu(new, base, method="asymptotic").statistic if len({*base, *new}) > 1 else len(pairs) / 2
    assert (found + 1) / 2 == pytest.approx(u / len(pairs))


def test_cohens_h_is_statsmodels() -> None:
    """The effect size of two shares is statsmodels'."""
    assert cohens_h(0.8, 0.85) == pytest.approx(proportion_effectsize(0.85, 0.8))


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


@pytest.mark.parametrize(("point", "lower", "upper", "limit", "better", "verdict"), GATE_ROWS)
def test_gate_rule(point, lower, upper, limit, better, verdict) -> None:  # type: ignore[no-untyped-def]
    """The written rule, case by case; a loss of exactly the limit is tolerated."""
    assert gate_decision(point, lower, upper, limit, better) == verdict


def test_gate_columns_equal_the_single_rule() -> None:
    """Columns with NaN for no interval and no limit give the single verdicts."""
    table = [[math.nan if cell is None else cell for cell in row[:4]] for row in GATE_ROWS]
    found = gate_decisions(*np.array(table).T, lower_is_better=[row[4] == "lower" for row in GATE_ROWS])
    assert found.tolist() == [row[5] for row in GATE_ROWS]


NUMBERS = st.floats(-1, 1)


@given(ends=st.tuples(NUMBERS, NUMBERS, NUMBERS).map(sorted), limit=st.floats(0, 1))
def test_gate_is_the_same_for_both_directions(ends: list[float], limit: float) -> None:
    """A metric and its negative with the other direction get one verdict; more tolerance never makes it worse."""
    lower, point, upper = ends
    verdict = gate_decision(point, lower, upper, limit, "higher")
    assert verdict == gate_decision(-point, -upper, -lower, limit, "lower")
    order = ["better", "same", "inconclusive", "worse"]
    looser = gate_decision(point, lower, upper, limit * 2, "higher")
    assert order.index(looser) <= order.index(verdict)


def test_resolution_decides_only_between_same_and_inconclusive() -> None:
    """A narrower interval of its own may exclude a loss, and never makes or hides a regression."""
    assert gate_decision(0.0, -0.012, 0.012, 0.01, "higher") == "inconclusive"
    assert gate_decision(0.0, -0.012, 0.012, 0.01, "higher", resolution=(-0.008, 0.008)) == "same"
    assert gate_decision(-0.02, -0.04, 0.001, 0.01, "higher", resolution=(-0.03, -0.01)) == "inconclusive"
    assert gate_decision(-0.02, -0.03, -0.001, 0.01, "higher", resolution=(-0.025, -0.015)) == "worse"


@pytest.mark.parametrize(
    ("point", "limit", "better", "message"),
    [
        (math.nan, 0.01, "higher", "NaN cannot be judged"),
        (0.0, math.nan, "higher", "NaN cannot be judged"),
        (0.0, -0.01, "higher", "at least 0"),
        (0.0, 0.01, "none", "direction"),
    ],
)
def test_gate_refuses_what_it_cannot_judge(point: float, limit: float, better: str, message: str) -> None:
    """A NaN never passes as unchanged."""
    with pytest.raises(ValueError, match=message):
        gate_decision(point, -0.1, 0.1, limit, better)  # type: ignore[arg-type]


def test_columns_are_fast() -> None:
    """Intervals, p-values and verdicts of 10,000 cases x 20 runs take well under the 3 s of a whole comparison."""
    rng = np.random.default_rng(0)
    pairs = rng.multinomial(5000, [0.04, 0.04, 0.92], size=200_000)
    start = time.process_time()
    found = paired_counts(pairs[:, 0], pairs[:, 1], 5000, confidence=1 - 0.05 / 10_000)
    verdicts = gate_decisions(found.point, found.lower, found.upper, 0.01, lower_is_better=False)
    assert time.process_time() - start < 1.5
    assert (verdicts == "worse").sum() <= 5
