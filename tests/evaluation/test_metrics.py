"""Quality metrics against independent references: scikit-learn, scipy, slow float64 loops."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as reference

from emobench.errors import DataError
from emobench.evaluation.metrics import (
    bootstrap_intervals,
    calibration_error,
    resampled_counts,
    score,
    shares_from_counts,
    wilson_interval,
)
from emobench.outcomes import METRICS, Metric, Status
from emobench.records.record import Record, checked


def by_name(metrics: tuple[Metric, ...]) -> dict[str, Metric]:
    return {item.name: item for item in metrics}


@st.composite
def predictions(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    classes = draw(st.integers(2, 5))
    n = draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    probabilities = rng.dirichlet(np.full(classes, draw(st.sampled_from([0.05, 1.0, 20.0]))), size=n)
    return rng.integers(0, classes, n), probabilities.astype(np.float32)


def slow_calibration_error(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """The definition of Guo et al. 2017, bin by bin and example by example."""
    total = 0.0
    for bin_index in range(15):
        inside = []
        for label, row in zip(labels.tolist(), probabilities.astype(np.float64).tolist(), strict=True):
            confidence = max(row)
            lower, upper = bin_index / 15, (bin_index + 1) / 15
            if lower < confidence <= upper or (bin_index == 14 and confidence > 1):
                inside.append((confidence, row.index(confidence) == label))
        if inside:
            confidence = math.fsum(pair[0] for pair in inside) / len(inside)
            accuracy = sum(pair[1] for pair in inside) / len(inside)
            total += len(inside) / len(labels) * abs(accuracy - confidence)
    return total


@given(case=predictions())
def test_calibration_error_equals_the_definition(case: tuple[np.ndarray, np.ndarray]) -> None:
    """ECE equals an independent float64 loop over bins and examples."""
    labels, probabilities = case
    assert calibration_error(labels, probabilities) == pytest.approx(
        slow_calibration_error(labels, probabilities), abs=1e-12
    )


def test_calibration_error_on_a_bin_edge() -> None:
    """A confidence on an edge belongs to the bin below it: 0.6 and 0.65 are not averaged together."""
    probabilities = np.array([[0.6, 0.4], [0.65, 0.35]])
    assert calibration_error(np.array([0, 1]), probabilities) == pytest.approx((0.4 + 0.65) / 2)


@pytest.mark.slow
@given(case=predictions())
def test_scores_equal_scikit_learn(case: tuple[np.ndarray, np.ndarray]) -> None:
    """Every share equals scikit-learn's over all classes, seen or not, with 0 for 0/0."""
    labels, probabilities = case
    classes = list(range(probabilities.shape[1]))
    predicted = probabilities.argmax(axis=1)
    scores = score(labels, probabilities, [f"c{index}" for index in classes])
    found = by_name(scores.metrics)
    kwargs = {"labels": classes, "zero_division": 0}
    assert found["accuracy"].value == pytest.approx(reference.accuracy_score(labels, predicted))
    assert found["f1_macro"].value == pytest.approx(reference.f1_score(labels, predicted, average="macro", **kwargs))
    assert found["f1_weighted"].value == pytest.approx(
        reference.f1_score(labels, predicted, average="weighted", **kwargs)
    )
    assert found["precision_macro"].value == pytest.approx(
        reference.precision_score(labels, predicted, average="macro", **kwargs)
    )
    assert found["recall_macro"].value == pytest.approx(
        reference.recall_score(labels, predicted, average="macro", **kwargs)
    )
    if len(classes) == 2:
        assert found["f1_binary"].value == pytest.approx(
            reference.f1_score(labels, predicted, pos_label=1, zero_division=0)
        )
    else:
        assert "f1_binary" not in found
    assert np.array_equal(scores.confusion, reference.confusion_matrix(labels, predicted, labels=classes))
    assert [entry["support"] for entry in scores.per_class] == np.bincount(labels, minlength=len(classes)).tolist()
    assert all(item.n == len(labels) for item in scores.metrics)


@pytest.mark.slow
@given(case=predictions())
def test_shares_from_counts_equal_the_reported_values(case: tuple[np.ndarray, np.ndarray]) -> None:
    """The bootstrap's formulas give scikit-learn's figures on the original confusion matrix."""
    labels, probabilities = case
    scores = score(labels, probabilities, [f"c{index}" for index in range(probabilities.shape[1])])
    found = by_name(scores.metrics)
    for name, value in shares_from_counts(np.array(scores.confusion)).items():
        assert float(value) == pytest.approx(found[name].value, abs=1e-12), name


def test_a_small_example_by_hand() -> None:
    """Rows of the confusion matrix are labels, columns predictions; positive is the second class."""
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7], [0.4, 0.6]])
    scores = score([0, 0, 1, 1], probabilities, ["negative", "positive"])
    found = by_name(scores.metrics)
    assert scores.confusion == ((1, 1), (0, 2))
    assert found["accuracy"].value == 0.75
    assert found["f1_binary"].value == pytest.approx(0.8)
    assert found["f1_macro"].value == pytest.approx((2 / 3 + 0.8) / 2)
    assert scores.per_class[1] == {
        "name": "positive",
        "precision": pytest.approx(2 / 3),
        "recall": 1.0,
        "f1": pytest.approx(0.8),
        "support": 2,
    }
    assert {item.name for item in scores.metrics} == {
        "accuracy",
        "f1_macro",
        "f1_weighted",
        "f1_binary",
        "precision_macro",
        "recall_macro",
        "calibration_error",
    }
    assert all(item.unit == METRICS[item.name].unit for item in scores.metrics)


def test_an_unseen_class_is_in_the_confusion_matrix() -> None:
    """A class with neither label nor prediction has a row, a column and support 0."""
    scores = score([0, 1], [[0.8, 0.1, 0.1], [0.1, 0.8, 0.1]], ["a", "b", "c"])
    assert scores.confusion == ((1, 0, 0), (0, 1, 0), (0, 0, 0))
    assert scores.per_class[2] == {"name": "c", "precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0}
    assert by_name(scores.metrics)["f1_macro"].value == pytest.approx(2 / 3)


@given(n=st.integers(1, 5000), share=st.floats(0, 1))
def test_wilson_interval_equals_scipy(n: int, share: float) -> None:
    """The accuracy's interval is scipy's Wilson interval and holds the share itself."""
    correct = round(n * share)
    low, high = wilson_interval(correct, n)
    expected = stats.binomtest(correct, n).proportion_ci(0.95, method="wilson")
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-9)
    assert 0 <= low <= correct / n <= high <= 1


def test_bootstrap_has_the_right_standard_error() -> None:
    """Resampled accuracies spread by sqrt(p(1-p)/n): not by that over the root of the number of draws."""
    counts = np.array([[400, 100], [60, 440]])
    sampled = resampled_counts(counts, draws=4000)
    accuracies = np.trace(sampled, axis1=1, axis2=2) / 1000
    assert np.std(accuracies) == pytest.approx(stats.binom.std(1000, 0.84) / 1000, rel=0.05)
    assert (sampled.sum(axis=(1, 2)) == 1000).all()


def test_bootstrap_is_seeded_and_covers() -> None:
    """The same counts give the same interval, and it holds the value; another seed gives another one."""
    counts = np.array([[400, 100], [60, 440]])
    first, second, other = bootstrap_intervals(counts), bootstrap_intervals(counts), bootstrap_intervals(counts, seed=1)
    assert first == second
    assert first != other
    value = shares_from_counts(counts)
    for name, (low, high) in first.items():
        assert low < value[name] < high, name
        assert high - low < 0.06, name


@settings(max_examples=20)
@given(cell=st.tuples(st.integers(0, 1), st.integers(0, 1)), row=st.integers(0, 3))
def test_nan_probabilities_are_seen(cell: tuple[int, int], row: int) -> None:
    """One NaN probability makes every metric NaN, so that the record becomes invalid instead of a little worse."""
    probabilities = np.full((4, 2), 0.5)
    probabilities[row, cell[0]] = math.inf if cell[1] else math.nan
    scores = score([0, 1, 0, 1], probabilities, ["negative", "positive"])
    assert all(math.isnan(item.value) for item in scores.metrics)
    assert np.sum(scores.confusion) == 3
    record = checked(Record(case={"id": "x"}, metrics=scores.metrics, details={"per_class": scores.per_class}))
    assert record.status is Status.INVALID
    assert record.metrics == ()
    assert "accuracy is nan, not a finite number" in record.reasons


@pytest.mark.parametrize(
    ("labels", "probabilities", "message"),
    [
        ([], np.zeros((0, 2)), "there is no example to evaluate; the split is empty; take a split with rows"),
        (
            [0, 2],
            np.full((2, 2), 0.5),
            "row 1 has label 2; the 2 classes are 0 to 1 (negative, positive); "
            "map or drop this label in the data set's row",
        ),
        (
            [0],
            np.full((1, 3), 0.3),
            "labels of shape (1,) and probabilities of shape (1, 3) do not fit together; "
            "2 classes (negative, positive) need one column each, and one row a label; "
            "evaluate with the label map the model was trained with",
        ),
    ],
)
def test_what_cannot_be_scored_is_said(labels: list[int], probabilities: np.ndarray, message: str) -> None:
    """Empty splits, unknown labels and wrong shapes are errors in three parts."""
    with pytest.raises(DataError) as caught:
        score(labels, probabilities, ["negative", "positive"])
    assert str(caught.value) == message
