"""Scores from counts of kinds of examples: accuracy, F1, precision and recall, and what each example does to them.

A kind is a label with both predictions for it; of thousands of pairs of predictors only the numbers of examples of each
kind differ. Nothing here draws or decides anything.

Shapes: C pairs of predictors or draws, K classes, U kinds of examples.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from emobench.analysis.columns import Floats

Numbers = npt.NDArray[Any]
Classes = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True, kw_only=True)
class ScoreKind:
    """A score of the form mean over classes of ``hit_weight * hits / (support_weight * s + predicted_weight * p)``.

    ``hits`` of a class are its examples predicted as it, ``s`` its examples, ``p`` the predictions of it.
    """

    hit_weight: float
    support_weight: float
    predicted_weight: float
    average: Literal["macro", "weighted", "binary", "all"]
    """``all`` is hits of all classes over all examples, ``binary`` the class 1."""


SCORES: Mapping[str, ScoreKind] = {
    "accuracy": ScoreKind(hit_weight=1, support_weight=1, predicted_weight=0, average="all"),
    "f1_macro": ScoreKind(hit_weight=2, support_weight=1, predicted_weight=1, average="macro"),
    "f1_weighted": ScoreKind(hit_weight=2, support_weight=1, predicted_weight=1, average="weighted"),
    "f1_binary": ScoreKind(hit_weight=2, support_weight=1, predicted_weight=1, average="binary"),
    "precision_macro": ScoreKind(hit_weight=1, support_weight=0, predicted_weight=1, average="macro"),
    "recall_macro": ScoreKind(hit_weight=1, support_weight=1, predicted_weight=0, average="macro"),
}
"""Scores that can be compared from labels and predictions, by their name in the metric table."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Kinds:
    """The combinations of a label and the predictions of base and new, and how many examples each pair has of them."""

    labels: Classes
    """(U,)"""
    base: Classes
    """(U,)"""
    new: Classes
    """(U,)"""
    counts: Numbers
    """(C, U)"""


def kinds_of(labels: Classes, base: Classes, new: Classes) -> Kinds:
    """Sort the n examples of one pair of predictors into kinds; shapes (n,), C = 1."""
    stacked = np.stack([np.asarray(values, np.int64) for values in (labels, base, new)])
    # One number a column: np.unique of columns compares bytes and is many times slower.
    size = int(stacked.max()) + 1
    codes, counts = np.unique((stacked[0] * size + stacked[1]) * size + stacked[2], return_counts=True)
    return Kinds(labels=codes // size**2, base=codes // size % size, new=codes % size, counts=counts[None])


@dataclass(frozen=True, kw_only=True, eq=False)
class ClassCounts:
    """Examples of each class, of shape (..., K)."""

    hits: Numbers
    support: Numbers
    predicted: Numbers


def class_counts(labels: Classes, predicted: Classes, counts: Numbers, *, classes: int) -> ClassCounts:
    """Counts of shape (C, K) from those of kinds, shape (C, U); ``labels`` and ``predicted`` (U,)."""
    every = np.ones(len(labels), bool)
    return ClassCounts(
        hits=_by_class(counts, labels, labels == predicted, classes),
        support=_by_class(counts, labels, every, classes),
        predicted=_by_class(counts, predicted, every, classes),
    )


def _by_class(counts: Numbers, values: Classes, counted: npt.NDArray[np.bool_], classes: int) -> Floats:
    """Sums of the kinds of each class that are counted, shape (C, K)."""
    if len(counts) == 1:
        # Of one pair every example may be a kind of its own, and a table of them by the classes would be large.
        return np.asarray(np.bincount(values, weights=counts[0] * counted, minlength=classes)[None], np.float64)
    table = np.zeros((len(values), classes), dtype=np.float64)
    table[np.arange(len(values)), values] = counted
    return np.asarray(counts @ table)


def scores_of(name: str, counts: ClassCounts) -> Floats:
    """The score, shape (...). 0/0 counts as 0, and macro runs over all K."""
    kind = SCORES[name]
    if kind.average == "all":
        return _ratio(counts.hits.sum(axis=-1), counts.support.sum(axis=-1))
    per_class = _ratio(kind.hit_weight * counts.hits, _under(kind, counts))
    if kind.average == "macro":
        return np.asarray(per_class.mean(axis=-1))
    if kind.average == "binary":
        return np.asarray(per_class[..., 1])
    return _ratio((per_class * counts.support).sum(axis=-1), counts.support.sum(axis=-1))


def _under(kind: ScoreKind, counts: ClassCounts) -> Floats:
    return np.asarray(kind.support_weight * counts.support + kind.predicted_weight * counts.predicted)


def _ratio(over: Numbers, under: Numbers) -> Floats:
    result = np.zeros(np.shape(under), dtype=np.float64)
    np.divide(over, under, out=result, where=under > 0)
    return result


def influences(name: str, labels: Classes, predicted: Classes, counts: ClassCounts) -> Floats:
    """First-order influence of an example of each kind on the score, shape (C, U); over the examples they sum to 0.

    The delta method: the variance of the score over test sets is the mean square of these over the examples. For
    accuracy it is (right or wrong) - accuracy.
    """
    kind = SCORES[name]
    right = (labels == predicted).astype(np.float64)
    if kind.average == "all":
        return np.asarray(right - scores_of(name, counts)[:, None])
    n, under = counts.support.sum(axis=1, keepdims=True), _under(kind, counts)
    per_class = _ratio(kind.hit_weight * counts.hits, under)
    gain = n * _class_weights(kind, counts.support) / np.maximum(under, 1) * (under > 0)
    lost = gain * per_class
    moved = kind.hit_weight * right * gain[:, labels]
    moved -= kind.support_weight * lost[:, labels] + kind.predicted_weight * lost[:, predicted]
    if kind.average == "weighted":
        moved += per_class[:, labels] - (per_class * counts.support).sum(axis=1, keepdims=True) / n
    return np.asarray(moved)


def _class_weights(kind: ScoreKind, support: Numbers) -> Floats:
    """Weights of the classes in the mean, shape (C, K) or one row for all."""
    classes = support.shape[1]
    if kind.average == "macro":
        return np.full((1, classes), 1 / classes)
    if kind.average == "binary":
        return np.asarray(np.arange(classes)[None] == 1, dtype=np.float64)
    return np.asarray(support / support.sum(axis=1, keepdims=True))


def typical_influence(name: str, counts: ClassCounts) -> Floats:
    """Root mean square over the labels of what one more hit in that class adds, times n; at least 1; shape (C,).

    The size of a change that has not been seen yet: it keeps the interval of two equal predictors above zero width.
    """
    kind = SCORES[name]
    n = counts.support.sum(axis=1)
    if kind.average == "all":
        return np.ones(len(n))
    weights = _class_weights(kind, counts.support)
    gain = kind.hit_weight * n[:, None] * weights / np.maximum(_under(kind, counts), 1)
    # A class that nothing is in and nothing is taken for has no gain: at least that of accuracy.
    return np.asarray(np.maximum(1.0, np.sqrt((counts.support * gain**2).sum(axis=1) / n)))
