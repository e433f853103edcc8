"""The forms that go and the forms that stay give the same numbers, on many made inputs."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emobench.analysis.binary_kinds import binary_kinds
from emobench.analysis.binary_scores import binary_scores, class_bits, count_classes
from emobench.analysis.class_scores import SCORES, kinds_of
from emobench.analysis.latency import latency_ratio
from emobench.analysis.median_ratios import is_clear, median_ratios, resampled_ratio
from emobench.analysis.paired_scores import paired_score
from emobench.analysis.score_differences import resampled_difference, score_differences, seed_differences
from emobench.analysis.significance import mean_differences, paired_counts, scalar_difference
from tests.analysis.made_rounds import base_of, medians_of

TIMES = st.one_of(st.floats(0.3, 2), st.sampled_from([0.5, 0.6, 0.7]))
RUN = st.lists(TIMES, min_size=6, max_size=40)
LEVELS = st.sampled_from([0.8, 0.95, 0.9975])
# Few effective rounds at the level of 10,000 comparisons, and rounds far apart, overflow the old form.


@given(base=st.lists(RUN, min_size=1, max_size=4), new=RUN, confidence=LEVELS, least=st.sampled_from([0.0, 0.01]))
@settings(max_examples=400, deadline=None)
def test_ratios(base: list[list[float]], new: list[float], confidence: float, least: float) -> None:
    """Closed form and bootstrap of a ratio of medians."""
    options = {"confidence": confidence, "run_spread": least}
    old = latency_ratio(base, [new], method="closed_form", **options)
    sides = base_of(base), medians_of([new])
    found = median_ratios(*sides, **options)
    ends = [float(np.exp(end[0])) for end in (found.point, found.lower, found.upper, found.base)]
    assert [*ends, found.p[0]] == pytest.approx([old.ratio, old.lower, old.upper, old.base_seconds, old.p], rel=1e-12)
    half = found.upper[0] - found.point[0]
    drawn = latency_ratio(base, [new], method="bootstrap", draws=50, seed=1, **options)
    rounds = [np.asarray(run) for run in base], np.asarray(new)
    again = resampled_ratio(*rounds, *sides, draws=50, seed=1, **options)
    assert np.exp(again).tolist() == pytest.approx([drawn.lower, drawn.upper], rel=1e-10)
    if all(abs(abs(math.log(old.ratio)) - end * half) > 1e-9 for end in (0.7, 1.4)):
        auto = latency_ratio(base, [new], draws=50, **options)
        assert (auto.method == "order statistics") == is_clear(found)[0]


@st.composite
def guesses(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    classes, seeds, n = draw(st.integers(2, 5)), draw(st.integers(1, 4)), draw(st.integers(1, 60))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    labels = rng.integers(0, draw(st.integers(1, classes)), n)
    sides = [
        np.where(rng.random((seeds, n)) < draw(st.sampled_from([0.2, 0.8, 1.0])), labels, rng.integers(0, classes, n))
        for _ in range(2)
    ]
    return labels, *sides, classes


@given(case=guesses(), metric=st.sampled_from(list(SCORES)), confidence=LEVELS)
@settings(max_examples=600, deadline=None)
def test_scores(case: tuple[np.ndarray, np.ndarray, np.ndarray, int], metric: str, confidence: float) -> None:
    """One seed and several, closed form and resampled; of accuracy the exact test."""
    labels, base, new, classes = case
    options = {"classes": classes, "confidence": confidence}
    old = paired_score(labels, base, new, metric=metric, method="closed_form", **options)
    kinds = kinds_of(labels, base[0], new[0])
    if len(base) > 1:
        found = seed_differences(metric, labels, base, new, **options)
    elif metric == "accuracy":
        b, c = ((side == labels) & (other != labels) for side, other in ((base[0], new[0]), (new[0], base[0])))
        found = paired_counts([b.sum()], [c.sum()], len(labels), confidence=confidence)
    else:
        found = score_differences(metric, kinds, **options)
        drawn = paired_score(labels, base, new, metric=metric, method="bootstrap", draws=50, seed=3, **options)
        again = resampled_difference(metric, kinds, draws=50, seed=3, **options)
        assert again == pytest.approx((drawn.lower, drawn.upper, drawn.p), abs=1e-12)
    for name in ("base", "new", "point", "lower", "upper", "p"):
        if hasattr(found, name):
            assert getattr(found, name)[0] == pytest.approx(getattr(old, name), abs=1e-12), name


@given(case=guesses(), metric=st.sampled_from(list(SCORES)))
@settings(max_examples=200, deadline=None)
def test_bits(case: tuple[np.ndarray, np.ndarray, np.ndarray, int], metric: str) -> None:
    """Two classes from bits."""
    labels, base, new, _ = case
    labels, base, new = labels % 2, base % 2 == labels % 2, new % 2 == labels % 2
    given_bits = class_bits(labels), labels, np.packbits(base, axis=1), np.packbits(new, axis=1)
    old = binary_scores(metric, count_classes(*given_bits), confidence=0.99)
    found = score_differences(metric, binary_kinds(*given_bits), classes=2, confidence=0.99)
    # Accuracy goes to the exact test: the old columns' interval of it was no one's.
    for name in ("base", "new", "point") if metric == "accuracy" else ("base", "new", "point", "lower", "upper", "p"):
        assert getattr(found, name) == pytest.approx(getattr(old, name), abs=1e-12), name


VALUES = st.lists(st.one_of(st.floats(0.1, 1e6), st.just(5.0)), min_size=2, max_size=8)


@given(base=VALUES, new=VALUES, confidence=LEVELS)
@settings(max_examples=400, deadline=None)
def test_means(base: list[float], new: list[float], confidence: float) -> None:
    """Welch's interval."""
    old = scalar_difference(base, new, confidence=confidence)
    found = mean_differences(np.array(base)[:, None], np.array(new)[:, None], confidence=confidence)
    for name in ("point", "lower", "upper", "p"):
        assert getattr(found, name)[0] == pytest.approx(getattr(old, name), rel=1e-12), name
