"""Metrics of a classifier's probabilities: what to make of predictions, never how they are made. No torch.

scikit-learn computes what it has. A division by zero (a class that is never predicted, or has no example) counts as 0
(``zero_division=0``), and macro means run over all classes of the task, those without an example included.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import confusion_matrix, f1_score, precision_recall_fscore_support

from emobench.errors import DataError
from emobench.outcomes import Metric, metric

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

CALIBRATION_BINS = 15
"""Equal-width bins of confidence, as in Guo et al. 2017."""

BOOTSTRAP_DRAWS = 1000
"""Resampled test sets behind the interval of F1, precision and recall."""

Z95 = 1.959963984540054
"""97.5 % quantile of the normal distribution."""


@dataclass(frozen=True, kw_only=True)
class Scores:
    """The parts of an ``Evaluation`` that follow from labels and probabilities."""

    metrics: tuple[Metric, ...]
    per_class: tuple[Mapping[str, Any], ...]
    """One entry a class: name, precision, recall, f1, support."""
    confusion: tuple[tuple[int, ...], ...]
    """Rows are labels, columns predictions; all classes are there, also unseen ones."""


def score(labels: npt.ArrayLike, probabilities: npt.ArrayLike, class_names: Sequence[str]) -> Scores:
    """Compute every quality metric of the table that applies.

    ``labels`` has shape (n,), ``probabilities`` (n, K) with K names. The prediction is the most probable class, the
    first of equals. A row with a NaN or an infinity makes every metric NaN, so that the record becomes invalid; the
    confusion matrix then counts the other rows.

    Raises:
        DataError: no example, shapes that do not fit together, or a label that is no class.
    """
    truth, table = _checked_input(labels, probabilities, class_names)
    finite = np.isfinite(table).all(axis=1)
    if not finite.all():
        return _not_a_number(truth[finite], table[finite], class_names)
    predicted = table.argmax(axis=1)
    classes = np.arange(len(class_names))
    precision, recall, f1, support = precision_recall_fscore_support(truth, predicted, labels=classes, zero_division=0)
    macro = precision_recall_fscore_support(truth, predicted, labels=classes, average="macro", zero_division=0)
    values = {
        "f1_macro": macro[2],
        "f1_weighted": f1_score(truth, predicted, labels=classes, average="weighted", zero_division=0),
        "precision_macro": macro[0],
        "recall_macro": macro[1],
    }
    if len(class_names) == 2:
        values["f1_binary"] = f1[1]
    counts = confusion_matrix(truth, predicted, labels=classes)
    intervals = bootstrap_intervals(counts)
    n = len(truth)
    correct = int(np.trace(counts))
    metrics = [metric("accuracy", correct / n, ci=wilson_interval(correct, n), n=n)]
    metrics += [metric(name, float(value), ci=intervals[name], n=n) for name, value in values.items()]
    metrics.append(metric("calibration_error", calibration_error(truth, table), n=n))
    return Scores(
        metrics=tuple(metrics),
        per_class=_per_class(class_names, precision, recall, f1, support),
        confusion=_rows(counts),
    )


def _checked_input(
    labels: npt.ArrayLike, probabilities: npt.ArrayLike, class_names: Sequence[str]
) -> tuple[Ints, Floats]:
    truth = np.asarray(labels)
    table = np.asarray(probabilities, dtype=np.float64)
    if truth.ndim != 1 or table.shape != (len(truth), len(class_names)):
        raise DataError(
            f"labels of shape {truth.shape} and probabilities of shape {table.shape} do not fit together",
            why=f"{len(class_names)} classes ({', '.join(class_names)}) need one column each, and one row a label",
            fix="evaluate with the label map the model was trained with",
        )
    if not len(truth):
        raise DataError("there is no example to evaluate", why="the split is empty", fix="take a split with rows")
    outside = np.flatnonzero((truth < 0) | (truth >= len(class_names)))
    if len(outside):
        row = int(outside[0])
        raise DataError(
            f"row {row} has label {int(truth[row])}",
            why=f"the {len(class_names)} classes are 0 to {len(class_names) - 1} ({', '.join(class_names)})",
            fix="map or drop this label in the data set's row",
        )
    return truth.astype(np.int64), table


def _not_a_number(truth: Ints, table: Floats, class_names: Sequence[str]) -> Scores:
    names = ["accuracy", "f1_macro", "f1_weighted", "precision_macro", "recall_macro", "calibration_error"]
    if len(class_names) == 2:
        names.append("f1_binary")
    size = len(class_names)
    counts = np.zeros((size, size), dtype=np.int64)
    np.add.at(counts, (truth, table.argmax(axis=1)), 1)
    nothing = np.full(size, math.nan)
    return Scores(
        metrics=tuple(metric(name, math.nan) for name in names),
        per_class=_per_class(class_names, nothing, nothing, nothing, counts.sum(axis=1)),
        confusion=_rows(counts),
    )


def _per_class(
    class_names: Sequence[str], precision: Floats, recall: Floats, f1: Floats, support: Ints
) -> tuple[Mapping[str, Any], ...]:
    return tuple(
        {
            "name": name,
            "precision": float(precision[index]),
            "recall": float(recall[index]),
            "f1": float(f1[index]),
            "support": int(support[index]),
        }
        for index, name in enumerate(class_names)
    )


def _rows(counts: Ints) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(int(cell) for cell in row) for row in counts)


def wilson_interval(correct: int, n: int) -> tuple[float, float]:
    """95 % interval of a share by Wilson (1927): inside 0 to 1 also for shares near the ends."""
    share = correct / n
    scale = 1 + Z95**2 / n
    center = (share + Z95**2 / (2 * n)) / scale
    half = Z95 / scale * math.sqrt(share * (1 - share) / n + Z95**2 / (4 * n**2))
    # Rounding may leave 1e-17 where the formula gives exactly 0 or 1.
    low = 0.0 if correct == 0 else max(0.0, center - half)
    high = 1.0 if correct == n else min(1.0, center + half)
    return low, high


def calibration_error(labels: npt.NDArray[np.integer[Any]], probabilities: Floats) -> float:
    """Expected calibration error: mean gap between confidence and accuracy over bins, weighted by their examples.

    Confidence is the largest probability; bin m of 15 holds those in ((m-1)/15, m/15] (Guo et al. 2017).
    """
    gaps = calibration_gaps(labels, probabilities)
    return float(np.abs(gaps).sum() / len(labels))


def calibration_gaps(labels: npt.NDArray[np.integer[Any]], probabilities: npt.NDArray[np.floating[Any]]) -> Floats:
    """Sum of (right - confidence) over the examples of each bin, shape (15,): gaps of parts of a set add up."""
    table = np.asarray(probabilities, dtype=np.float64)
    confidence = table.max(axis=1)
    correct = (table.argmax(axis=1) == labels).astype(np.float64)
    edges = np.arange(1, CALIBRATION_BINS + 1) / CALIBRATION_BINS
    # A float32 softmax may give a confidence just above 1: it belongs to the last bin.
    bins = np.minimum(np.searchsorted(edges, confidence, side="left"), CALIBRATION_BINS - 1)
    return np.bincount(bins, weights=correct - confidence, minlength=CALIBRATION_BINS).astype(np.float64)


def resampled_counts(counts: Ints, *, draws: int = BOOTSTRAP_DRAWS, seed: int = 0) -> Ints:
    """Confusion matrices of ``draws`` test sets drawn with replacement; shape (draws, K, K).

    Drawing n examples with replacement is drawing the matrix's cells from a multinomial with their shares.
    """
    flat = counts.reshape(-1)
    used = np.flatnonzero(flat)
    total = int(flat.sum())
    sampled = np.zeros((draws, flat.size), dtype=np.int64)
    sampled[:, used] = np.random.default_rng(seed).multinomial(total, flat[used] / total, size=draws)
    return sampled.reshape(draws, *counts.shape)


def shares_from_counts(counts: Ints) -> dict[str, Floats]:
    """F1, precision and recall of confusion matrices of shape (..., K, K), each of shape (...); 0 for 0/0."""
    hits = np.diagonal(counts, axis1=-2, axis2=-1).astype(np.float64)
    support = counts.sum(axis=-1)
    predicted = counts.sum(axis=-2)
    precision = _ratio(hits, predicted)
    recall = _ratio(hits, support)
    f1 = _ratio(2 * hits, support + predicted)
    shares = {
        "f1_macro": f1.mean(axis=-1),
        "f1_weighted": _ratio((f1 * support).sum(axis=-1), support.sum(axis=-1)),
        "precision_macro": precision.mean(axis=-1),
        "recall_macro": recall.mean(axis=-1),
    }
    if counts.shape[-1] == 2:
        shares["f1_binary"] = f1[..., 1]
    return shares


def _ratio(over: npt.NDArray[Any], under: npt.NDArray[Any]) -> Floats:
    result = np.zeros(np.shape(under), dtype=np.float64)
    np.divide(over, under, out=result, where=under > 0)
    return result


def bootstrap_intervals(counts: Ints, *, seed: int = 0) -> dict[str, tuple[float, float]]:
    """95 % percentile intervals of F1, precision and recall over resampled test sets; the same for the same seed."""
    shares = shares_from_counts(resampled_counts(counts, seed=seed))
    ends = {name: np.quantile(values, (0.025, 0.975)) for name, values in shares.items()}
    return {name: (float(low), float(high)) for name, (low, high) in ends.items()}
