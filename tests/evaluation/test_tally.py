"""Counting part by part gives what scoring all examples at once gives."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, precision_recall_fscore_support

from emobench.errors import DataError
from emobench.evaluation.metrics import score
from emobench.evaluation.tally import Tally


def examples(n: int, classes: int, entropy: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(entropy)
    # Labels of few classes only: some classes have no example, some are never predicted.
    return rng.integers(0, max(1, classes - 1), n), rng.dirichlet(np.full(classes, 0.3), n).astype(np.float32)


def tallied(labels: np.ndarray, probabilities: np.ndarray, cuts: list[int]) -> Tally:
    tally = Tally([f"class {index}" for index in range(probabilities.shape[1])])
    edges = [0, *sorted(cut % (len(labels) + 1) for cut in cuts), len(labels)]
    for start, stop in itertools.pairwise(edges):
        tally.add(labels[start:stop], probabilities[start:stop])
    return tally


@pytest.mark.slow
@given(
    n=st.integers(1, 200),
    classes=st.integers(2, 24),
    entropy=st.integers(0, 2**32 - 1),
    cuts=st.lists(st.integers(0, 1000), max_size=6),
)
def test_parts_score_as_the_whole(n: int, classes: int, entropy: int, cuts: list[int]) -> None:
    """Every metric, interval, class row and the confusion matrix are those of ``score``, however it is cut."""
    labels, probabilities = examples(n, classes, entropy)
    tally = tallied(labels, probabilities, cuts)
    wanted = score(labels, probabilities, tally.class_names)
    found = tally.scores()
    assert len(tally) == n
    assert found.confusion == wanted.confusion
    values = {item.name: item for item in found.metrics}
    assert values.keys() == {item.name for item in wanted.metrics}
    for item in wanted.metrics:
        assert values[item.name].value == pytest.approx(item.value, abs=1e-12)
        assert values[item.name].n == item.n
        assert values[item.name].ci == (None if item.ci is None else pytest.approx(item.ci, abs=1e-12))
    for row, expected in zip(found.per_class, wanted.per_class, strict=True):
        assert row == {key: value if key == "name" else pytest.approx(value) for key, value in expected.items()}


def test_metrics_are_scikit_learns() -> None:
    """An independent reference: accuracy, F1 of three kinds, and precision and recall a class."""
    labels, probabilities = examples(500, 5, 1)
    predicted = probabilities.argmax(axis=1)
    found = tallied(labels, probabilities, [17, 200]).scores()
    values = {item.name: item.value for item in found.metrics}
    classes = list(range(5))
    assert values["accuracy"] == pytest.approx(accuracy_score(labels, predicted))
    for average in ("macro", "weighted"):
        wanted = f1_score(labels, predicted, labels=classes, average=average, zero_division=0)
        assert values[f"f1_{average}"] == pytest.approx(wanted)
    precision, recall, f1, support = precision_recall_fscore_support(labels, predicted, labels=classes, zero_division=0)
    assert [row["precision"] for row in found.per_class] == pytest.approx(precision.tolist())
    assert [row["recall"] for row in found.per_class] == pytest.approx(recall.tolist())
    assert [row["f1"] for row in found.per_class] == pytest.approx(f1.tolist())
    assert [row["support"] for row in found.per_class] == support.tolist()
    assert np.array_equal(found.confusion, confusion_matrix(labels, predicted, labels=classes))


def test_what_is_not_finite_spoils_every_metric() -> None:
    """One NaN among thousands: all metrics are NaN, as ``score`` has it, and the other rows are still counted."""
    labels, probabilities = examples(50, 3, 2)
    probabilities[31] = np.nan
    tally = tallied(labels, probabilities, [10, 40])
    found, wanted = tally.scores(), score(labels, probabilities, tally.class_names)
    assert len(tally) == 50
    assert {item.name for item in found.metrics} == {item.name for item in wanted.metrics}
    assert all(math.isnan(item.value) for item in found.metrics)
    assert found.confusion == wanted.confusion
    assert all(math.isnan(row["f1"]) for row in found.per_class)


def test_what_does_not_fit_is_refused() -> None:
    """Wrong shapes, labels that are no class, and no example at all are errors that say so."""
    tally = Tally(["a", "b"])
    with pytest.raises(DataError, match="there is no example to evaluate; the data set gave no row"):
        tally.scores()
    with pytest.raises(DataError, match=r"labels of shape \(1,\) and probabilities of shape \(1, 3\)"):
        tally.add([0], [[0.1, 0.2, 0.7]])
    with pytest.raises(DataError, match="labels run from -1 to 2; the 2 classes are 0 to 1"):
        tally.add([-1, 2], [[0.5, 0.5], [0.5, 0.5]])
    tally.add(np.zeros(0, dtype=np.int64), np.zeros((0, 2)))
    assert len(tally) == 0
