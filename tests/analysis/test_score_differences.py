"""F1 and several seeds: agreement of closed form and resampling, coverage, and what must hold for any predictions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from emobench.analysis.class_scores import SCORES, kinds_of
from emobench.analysis.median_ratios import CLEAR
from emobench.analysis.quantiles import two_sided_t
from emobench.analysis.score_differences import (
    resampled_difference,
    score_differences,
    seed_differences,
    seeds_and_examples,
)
from emobench.analysis.significance import Differences, paired_counts


def guesses(rng: np.random.Generator, labels: np.ndarray, share: float, classes: int = 3) -> np.ndarray:
    """Predictions right with about this share."""
    return np.where(rng.random(labels.shape) < share, labels, rng.integers(0, classes, labels.shape))


def compared(labels: np.ndarray, base: np.ndarray, new: np.ndarray, metric: str, *, classes: int = 3) -> Differences:
    """The closed form of one pair of predictors, of one seed a side or of several."""
    base, new = np.atleast_2d(base), np.atleast_2d(new)
    if len(base) > 1:
        return seed_differences(metric, labels, base, new, classes=classes).change
    return score_differences(metric, kinds_of(labels, base[0], new[0]), classes=classes).change


def test_f1_difference_equals_scikit_learn() -> None:
    """The point is the difference of scikit-learn's scores."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 400)
    base, new = guesses(rng, labels, 0.8), guesses(rng, labels, 0.7)
    found = score_differences("f1_macro", kinds_of(labels, base, new), classes=3)
    expected = [f1_score(labels, side, average="macro") for side in (base, new)]
    assert (found.base[0], found.new[0]) == pytest.approx(expected)
    assert found.change.point[0] == pytest.approx(expected[1] - expected[0])


@pytest.mark.parametrize("metric", [name for name in SCORES if name != "accuracy"])
def test_closed_form_and_bootstrap_agree(metric: str) -> None:
    """On 3,000 examples the delta method's interval is the bootstrap's within a tenth of its width."""
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 3, 3000)
    base = guesses(rng, labels, 0.8)
    new = np.where(rng.random(3000) < 0.85, base, guesses(rng, labels, 0.7))
    closed = compared(labels, base, new, metric)
    ends = float(closed.lower[0]), float(closed.upper[0])
    drawn = resampled_difference(metric, kinds_of(labels, base, new), classes=3, draws=8000)
    assert drawn[:2] == pytest.approx(ends, abs=0.1 * (ends[1] - ends[0]))
    assert drawn[:2] != ends


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["f1_macro", "f1_binary"])
@pytest.mark.parametrize("resampled", [False, True], ids=["closed form", "close ones resampled"])
def test_f1_interval_covers(metric: str, resampled: bool) -> None:
    """Equally good predictors, 300 test sets of 200: the 95 % interval misses 0 in no more than 5 % and noise."""
    rng = np.random.default_rng(2)
    missed = significant = 0
    for index in range(300):
        labels = (rng.random(200) < 0.3).astype(int)
        base = guesses(rng, labels, 0.6, 2)
        new = np.where(rng.random(200) < 0.7, base, guesses(rng, labels, 0.6, 2))
        kinds = kinds_of(labels, base, new)
        change = score_differences(metric, kinds, classes=2).change
        point, lower, upper, p = (float(part[0]) for part in (change.point, change.lower, change.upper, change.p))
        half = upper - point
        if resampled and CLEAR[0] * half < abs(point) < CLEAR[1] * half:
            lower, upper, p = resampled_difference(metric, kinds, classes=2, draws=500, seed=index)
        missed += not lower <= 0 <= upper
        significant += p < 0.05
    assert missed / 300 <= 0.05 + 2 * 0.0126
    assert significant / 300 <= 0.05 + 2 * 0.0126


def test_one_class_in_the_sample_is_no_error() -> None:
    """A class without an example or a prediction counts as 0 on both sides."""
    found = compared(np.array([0, 0, 0]), np.array([0, 0, 0]), np.array([0, 1, 0]), "f1_macro")
    assert found.point < 0
    assert found.lower <= found.point <= found.upper


def test_accuracy_has_the_exact_test() -> None:
    """Accuracy of one seed is McNemar's and Bonett and Price's answer, whatever the number of classes."""
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 3, 200)
    base, new = guesses(rng, labels, 0.8), guesses(rng, labels, 0.7)
    found = score_differences("accuracy", kinds_of(labels, base, new), classes=3)
    right = base == labels, new == labels
    expected = paired_counts((right[0] & ~right[1]).sum(), (right[1] & ~right[0]).sum(), 200)
    for name in ("point", "lower", "upper", "p"):
        assert getattr(found.change, name)[0] == getattr(expected, name)
    assert (found.base[0], found.new[0]) == (right[0].mean(), right[1].mean())


@st.composite
def tables(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray, str]:
    seeds, n = draw(st.integers(1, 4)), draw(st.integers(1, 30))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    labels, base, new = rng.integers(0, 3, n), rng.integers(0, 3, (seeds, n)), rng.integers(0, 3, (seeds, n))
    return labels, base, new, draw(st.sampled_from(list(SCORES)))


@given(case=tables())
@settings(max_examples=60, deadline=None)
def test_swapping_and_identity(case: tuple[np.ndarray, np.ndarray, np.ndarray, str]) -> None:
    """For any predictions: swapping sides mirrors, a side against itself is 0 with p 1, p is in 0 to 1."""
    labels, base, new, metric = case
    there, back = compared(labels, base, new, metric), compared(labels, new, base, metric)
    for ours, theirs in ((there.point, back.point), (there.lower, back.upper), (there.upper, back.lower)):
        assert ours == pytest.approx(-theirs, abs=1e-12)
    same = compared(labels, base, base, metric)
    assert (same.point[0], same.p[0]) == (0.0, 1.0)
    assert same.lower < 0 < same.upper
    drawn = resampled_difference(metric, kinds_of(labels, base[0], new[0]), classes=3, draws=200)
    one = compared(labels, base[0], new[0], metric).point[0]
    for point, lower, upper, p in ((there.point, there.lower, there.upper, there.p), (one, *drawn)):
        assert lower <= point <= upper
        assert 0 <= p <= 1


@given(case=tables(), copies=st.integers(2, 3))
@settings(max_examples=60, deadline=None)
def test_columns_are_pairs_of_their_own(case: tuple[np.ndarray, np.ndarray, np.ndarray, str], copies: int) -> None:
    """A column of counts gives what each pair of predictors gives alone."""
    labels, base, new, metric = case
    kinds = kinds_of(labels, base[0], new[0])
    rng = np.random.default_rng(copies)
    counts = rng.integers(1, 9, (copies, len(kinds.labels)))
    several: dict[str, Any] = {"labels": kinds.labels, "base": kinds.base, "new": kinds.new}
    found = score_differences(metric, type(kinds)(**several, counts=counts), classes=3)
    for row in range(copies):
        alone = score_differences(metric, type(kinds)(**several, counts=counts[[row]]), classes=3)
        for name in ("point", "lower", "upper", "p"):
            assert getattr(found.change, name)[row] == pytest.approx(getattr(alone.change, name)[0], abs=1e-12)


@pytest.mark.parametrize(("seeds", "seed_spread"), [(3, 0.0), (3, 0.02), (5, 0.05)])
def test_seed_interval_covers(seeds: int, seed_spread: float) -> None:
    """Seeds that move a whole run, examples shared: the 95 % interval holds the truth in 95 % of 400 simulations."""
    rng = np.random.default_rng(seeds)
    n, covered = 400, 0
    for _ in range(400):
        moved = rng.normal(size=(seeds, 1)) * seed_spread
        table = moved + 0.3 * rng.normal(size=(1, n)) + 0.3 * rng.normal(size=(seeds, n))
        spread = seeds_and_examples(table)
        covered += abs(table.mean()) <= float(two_sided_t(0.95, spread.df)) * spread.error
    assert covered / 400 >= 0.95 - 2 * 0.011


def test_examples_alone_would_be_too_sure() -> None:
    """Three seeds that scatter by 3 points: pooling 3 x 1,000 examples is far narrower than the seeds allow."""
    rng = np.random.default_rng(7)
    labels = rng.integers(0, 2, 1000)
    base = np.stack([guesses(rng, labels, share, 2) for share in (0.70, 0.80, 0.60)])
    new = np.stack([guesses(rng, labels, share, 2) for share in (0.72, 0.60, 0.78)])
    found = compared(labels, base, new, "accuracy", classes=2)
    pooled = compared(np.tile(labels, 3), base.ravel(), new.ravel(), "accuracy", classes=2)
    assert found.point == pytest.approx(pooled.point)
    assert found.upper - found.lower > 3 * (pooled.upper - pooled.lower)


def test_seed_interval_is_that_of_seeds_and_examples() -> None:
    """Accuracy over seeds: Student's t times the two-way error of new right - base right, hardly widened."""
    rng = np.random.default_rng(9)
    labels = rng.integers(0, 2, 2000)
    base, new = (guesses(rng, np.tile(labels, (4, 1)), share, 2) for share in (0.8, 0.78))
    found = compared(labels, base, new, "accuracy", classes=2)
    spread = seeds_and_examples((new == labels).astype(float) - (base == labels))
    half = float(two_sided_t(0.95, spread.df)) * spread.error
    assert half <= (found.upper[0] - found.lower[0]) / 2 <= 1.03 * half


@pytest.mark.parametrize("metric", ["accuracy", "f1_macro"])
def test_seed_interval_is_a_resampling_of_seeds_and_examples(metric: str) -> None:
    """Drawing examples jointly for all seeds, then seeds, gives the closed form's interval or a wider one.

    Seeds' deviations are scaled by sqrt(S / (S - 1)), since S resampled seeds vary too little; resampling counts the
    noise of a seed on an example more than once (Owen 2007, the pigeonhole bootstrap).
    """
    rng = np.random.default_rng(8)
    labels = rng.integers(0, 3, 600)
    base, new = guesses(rng, np.tile(labels, (4, 1)), 0.75), guesses(rng, np.tile(labels, (4, 1)), 0.7)
    drawn = []
    for _ in range(1000):
        rows = rng.integers(0, 600, 600)
        scores = [
            compared(labels[rows], one[rows], other[rows], metric).point[0]
            for one, other in zip(base, new, strict=True)
        ]
        center = np.mean(scores)
        drawn.append(center + np.sqrt(4 / 3) * (np.mean(rng.choice(scores, 4)) - center))
    found = compared(labels, base, new, metric)
    # The degrees of freedom of accuracy; those of F1 hardly differ.
    df = seeds_and_examples((new == labels).astype(float) - (base == labels)).df
    half = float(two_sided_t(0.95, df)) * np.std(drawn)
    assert 0.95 <= 2 * half / (found.upper[0] - found.lower[0]) <= 2.0
