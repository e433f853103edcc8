"""Differences of accuracy, F1, precision and recall of two classes for many pairs of predictors at once, from bits.

The delta method of ``paired_scores`` in columns: for two classes a prediction is known from the label and whether it is
right, so that eight examples cost one byte a side.

Shapes: C pairs of predictors, n examples; two classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from emobench.analysis.bootstrap import SCORES, ScoreKind, scores_of_counts
from emobench.analysis.quantiles import t_test_p, two_sided_z

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bits = npt.NDArray[np.uint8]

_ONES = np.array([bin(byte).count("1") for byte in range(256)], np.uint8)


@dataclass(frozen=True, kw_only=True, eq=False)
class ClassCounts:
    """Of each class's examples, how many both, only base, only new have right; of shape (C, 2)."""

    both: Ints
    base_only: Ints
    new_only: Ints
    support: Ints
    """(2,): first all examples that are not of class 1."""

    @classmethod
    def joined(cls, parts: Sequence[ClassCounts]) -> ClassCounts:
        """The parts of one set of examples, one below the other."""
        columns = {
            name: np.concatenate([getattr(part, name) for part in parts]) for name in ("both", "base_only", "new_only")
        }
        return cls(**columns, support=parts[0].support)


@dataclass(frozen=True, kw_only=True, eq=False)
class ScoreColumns:
    """Scores and their differences, of shape (C,)."""

    base: Floats
    new: Floats
    point: Floats
    lower: Floats
    upper: Floats
    p: Floats


def class_bits(labels: npt.NDArray[np.integer[Any]]) -> Bits:
    """Bits, as ``np.packbits`` makes them, of the examples of class 1."""
    return np.packbits(np.asarray(labels) == 1)


def count_classes(bits: Bits, labels: npt.NDArray[np.integer[Any]], base: Bits, new: Bits) -> ClassCounts:
    """Count from packed bits of right predictions, shape (C, ceil(n / 8)), padded with zeros."""
    columns = {}
    for name, both in (("both", base & new), ("base_only", base & ~new), ("new_only", new & ~base)):
        of_one, total = _count(both & bits), _count(both)
        columns[name] = np.stack([total - of_one, of_one], axis=1)
    ones = int((np.asarray(labels) == 1).sum())
    return ClassCounts(**columns, support=np.array([len(labels) - ones, ones], np.int64))


def _count(bits: Bits) -> Ints:
    ones = np.bitwise_count(bits) if hasattr(np, "bitwise_count") else _ONES[bits]
    return np.asarray(ones.sum(axis=1, dtype=np.int64))


def binary_scores(metric: str, counts: ClassCounts, *, confidence: float = 0.95) -> ScoreColumns:
    """Differences of a score of ``resampling.SCORES``, as ``paired_scores.paired_score`` gives for one seed a side."""
    kind, support = SCORES[metric], counts.support
    n = int(support.sum())
    sides = [_Side(kind, support, counts.both + only) for only in (counts.base_only, counts.new_only)]
    scores = [
        scores_of_counts(metric, side.hits, np.broadcast_to(support, side.hits.shape), side.predicted) for side in sides
    ]
    neither = support - counts.both - counts.base_only - counts.new_only
    groups = (
        (counts.both, True, True),
        (counts.base_only, True, False),
        (counts.new_only, False, True),
        (neither, False, False),
    )
    first, second = np.zeros(len(counts.both)), np.zeros(len(counts.both))
    for label in (0, 1):
        for number, base_right, new_right in groups:
            moved = sides[1].influence(label, new_right) - sides[0].influence(label, base_right)
            first += number[:, label] * moved
            second += number[:, label] * moved**2
    deviation = np.sqrt(np.maximum(0.0, second / n - (first / n) ** 2))
    unseen = np.sqrt(2) * np.maximum(sides[0].typical(), sides[1].typical()) / (n + 2)
    error = np.hypot(deviation / np.sqrt(n), unseen)
    point, half = scores[1] - scores[0], two_sided_z(confidence) * error
    p = t_test_p(point, error, np.inf)
    return ScoreColumns(base=scores[0], new=scores[1], point=point, lower=point - half, upper=point + half, p=p)


class _Side:
    """One side's counts, and the influence of an example on its score; see ``resampling.influences``."""

    def __init__(self, kind: ScoreKind, support: Ints, hits: Ints) -> None:
        self.kind, self.support, self.hits = kind, support, hits
        missed = support - hits
        self.predicted = hits + missed[:, ::-1]
        self.n = int(support.sum())
        under = kind.support_weight * support + kind.predicted_weight * self.predicted
        self.under = np.asarray(under, np.float64)
        safe = np.maximum(self.under, 1)
        self.per_class = np.where(self.under > 0, kind.hit_weight * hits / safe, 0.0)
        self.gain = np.where(self.under > 0, self.n * self._weights() / safe, 0.0)

    def _weights(self) -> Floats:
        if self.kind.average == "macro":
            return np.full(2, 0.5)
        if self.kind.average == "binary":
            return np.array([0.0, 1.0])
        if self.kind.average == "all":
            return np.full(2, 1.0)
        return np.asarray(self.support / self.n)

    def influence(self, label: int, right: bool) -> Floats:
        """(C,): of an example of this class, predicted right or as the other class."""
        predicted = label if right else 1 - label
        gained = self.gain * self.per_class
        moved = self.kind.hit_weight * right * self.gain[:, label]
        moved = moved - self.kind.support_weight * gained[:, label] - self.kind.predicted_weight * gained[:, predicted]
        if self.kind.average == "weighted":
            moved = moved + self.per_class[:, label] - (self.per_class * self.support).sum(axis=1) / self.n
        return np.asarray(moved)

    def typical(self) -> Floats:
        """(C,): see ``resampling.typical_influence``."""
        gain = self.kind.hit_weight * self.n * self._weights() / np.maximum(self.under, 1)
        return np.asarray(np.maximum(1.0, np.sqrt((self.support * gain**2).sum(axis=1) / self.n)))
