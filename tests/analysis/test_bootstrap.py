"""Resampling against scipy and scikit-learn, and that counting kinds of examples is the example bootstrap."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as reference

from emobench.analysis.bootstrap import bootstrap_interval
from emobench.analysis.class_scores import SCORES, ClassCounts, class_counts, influences, kinds_of, scores_of
from emobench.analysis.resampled_scores import resampled_scores, swapped_differences


def by_sklearn(name: str, labels: np.ndarray, predicted: np.ndarray, classes: int) -> float:
    if name == "accuracy":
        return float(reference.accuracy_score(labels, predicted))
    score, average = name.split("_")
    function = {
        "f1": reference.f1_score,
        "precision": reference.precision_score,
        "recall": reference.recall_score,
    }[score]
    options = {"labels": [1], "average": "macro"} if average == "binary" else {"average": average}
    return float(function(labels, predicted, zero_division=0, **({"labels": range(classes)} | options)))


@st.composite
def predictions(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, int]:
    classes = draw(st.integers(2, 5))
    rows = draw(st.lists(st.tuples(st.integers(0, classes - 1), st.integers(0, classes - 1)), min_size=1, max_size=40))
    labels, predicted = np.array(rows).T
    return labels, predicted, classes


@pytest.mark.slow
@pytest.mark.parametrize("name", SCORES)
@given(case=predictions())
@settings(max_examples=40)
def test_scores_equal_scikit_learn(name: str, case: tuple[np.ndarray, np.ndarray, int]) -> None:
    """Every score from counts is scikit-learn's over all classes, absent ones included."""
    labels, predicted, classes = case
    found = scores_of(name, class_counts(labels, predicted, np.ones((1, len(labels))), classes=classes))
    assert float(found[0]) == pytest.approx(by_sklearn(name, labels, predicted, classes), abs=1e-12)


@pytest.mark.parametrize("name", SCORES)
def test_influence_is_the_effect_of_weighting_an_example(name: str) -> None:
    """The influence of an example is the derivative of scikit-learn's score by its weight, times n; they sum to 0."""
    rng = np.random.default_rng(1)
    labels, predicted = rng.integers(0, 3, 60), rng.integers(0, 3, 60)
    counts = class_counts(labels, predicted, np.ones((1, 60)), classes=3)
    found = influences(name, labels, predicted, counts)[0]
    assert found.sum() == pytest.approx(0, abs=1e-9)
    for row in range(0, 60, 7):
        more = np.ones(60)
        more[row] += 1e-5
        hits = np.bincount(labels, weights=more * (labels == predicted), minlength=3)
        support, counted = (np.bincount(values, weights=more, minlength=3) for values in (labels, predicted))
        before = scores_of(name, counts)[0]
        after = scores_of(name, ClassCounts(hits=hits, support=support, predicted=counted))
        assert found[row] / 60 == pytest.approx(float(after - before) / 1e-5, abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["f1_macro", "accuracy"])
def test_drawing_kinds_is_drawing_examples(name: str) -> None:
    """Mean and spread of scores over resampled kinds are those of scikit-learn on resampled examples."""
    rng = np.random.default_rng(2)
    labels, base = rng.integers(0, 3, 90), rng.integers(0, 3, 90)
    new = np.where(rng.random(90) < 0.5, base, labels)
    kinds = kinds_of(labels, base, new)
    first, second = resampled_scores(name, kinds, classes=3, draws=8000, seed=0)
    slow = []
    for _ in range(200):
        rows = rng.integers(0, 90, 90)
        slow.append([by_sklearn(name, labels[rows], side[rows], 3) for side in (base, new)])
    theirs = np.array(slow)
    for ours, column in ((first, theirs[:, 0]), (second, theirs[:, 1])):
        assert ours.mean() == pytest.approx(column.mean(), abs=4 * column.std() / math.sqrt(200))
        assert ours.std() == pytest.approx(column.std(), rel=0.2)
    # The same resampled set for both: their difference varies as it does for examples.
    assert (second - first).std() == pytest.approx((theirs[:, 1] - theirs[:, 0]).std(), rel=0.2)


def test_kinds_keep_every_example() -> None:
    """Counting kinds loses nothing."""
    rng = np.random.default_rng(3)
    labels, base, new = rng.integers(0, 4, (3, 200))
    kinds = kinds_of(labels, base, new)
    again = np.repeat(np.stack([kinds.labels, kinds.base, kinds.new]), kinds.counts[0], axis=1)
    assert sorted(map(tuple, again.T.tolist())) == sorted(map(tuple, np.stack([labels, base, new]).T.tolist()))


def test_swaps_keep_the_sum_and_center_on_zero() -> None:
    """Exchanging predictions leaves the mean difference at 0 and its spread at that of sign flips."""
    rng = np.random.default_rng(4)
    labels = rng.integers(0, 2, 300)
    base, new = (np.where(rng.random(300) < share, labels, 1 - labels) for share in (0.8, 0.7))
    found = swapped_differences("accuracy", kinds_of(labels, base, new), classes=2, draws=8000, seed=0)
    discordant = int((base != new).sum())
    assert found.mean() == pytest.approx(0, abs=4 * found.std() / math.sqrt(8000))
    assert found.std() == pytest.approx(math.sqrt(discordant) / 300, rel=0.05)


def test_ends_beyond_the_draws_come_from_the_standard_error() -> None:
    """With 2,000 draws a 99.99 % percentile would be their extreme: the normal quantile is taken instead."""
    draws = np.random.default_rng(0).normal(size=2000)
    assert bootstrap_interval(draws, point=0.0, confidence=0.95) == pytest.approx((-1.96, 1.96), abs=0.1)
    expected = stats.norm.ppf(0.99995) * draws.std(ddof=1)
    assert bootstrap_interval(draws, point=0.0, confidence=0.9999) == pytest.approx((-expected, expected))
