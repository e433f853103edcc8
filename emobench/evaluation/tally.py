"""Tally: labels and probabilities counted part by part, and the metrics of all of them. No torch; keeps no row.

What is counted is a confusion matrix and the calibration's bins, so memory does not depend on the number of rows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from emobench.errors import DataError
from emobench.evaluation.metrics import (
    CALIBRATION_BINS,
    Floats,
    Ints,
    Scores,
    bootstrap_intervals,
    calibration_gaps,
    shares_from_counts,
    wilson_interval,
)
from emobench.outcomes import metric


class Tally:
    """Counts of one set of examples; :meth:`scores` gives what ``metrics.score`` gives for all of them at once."""

    def __init__(self, class_names: Sequence[str]) -> None:
        size = len(class_names)
        self.class_names = tuple(class_names)
        self.counts: Ints = np.zeros((size, size), dtype=np.int64)
        """Rows are labels, columns predictions; examples whose probabilities are not finite are not in it."""
        self.gaps: Floats = np.zeros(CALIBRATION_BINS)
        self.not_finite = 0

    def __len__(self) -> int:
        return int(self.counts.sum()) + self.not_finite

    def add(self, labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> None:
        """Count examples: labels of shape (n,), probabilities of shape (n, K).

        Raises:
            DataError: the shapes do not fit together, or a label is no class.
        """
        truth, table = np.asarray(labels), np.asarray(probabilities)
        if truth.ndim != 1 or table.shape != (len(truth), len(self.class_names)):
            raise DataError(
                f"labels of shape {truth.shape} and probabilities of shape {table.shape} do not fit together",
                why=f"{len(self.class_names)} classes ({', '.join(self.class_names)}) need one column each",
                fix="evaluate with the label map the model was trained with",
            )
        if len(truth) and not 0 <= truth.min() <= truth.max() < len(self.class_names):
            raise DataError(
                f"labels run from {truth.min()} to {truth.max()}",
                why=f"the {len(self.class_names)} classes are 0 to {len(self.class_names) - 1}",
                fix="map or drop this label in the data set's row",
            )
        finite = np.isfinite(table).all(axis=1)
        self.not_finite += int((~finite).sum())
        truth, table = truth[finite].astype(np.int64), table[finite]
        if len(truth):
            np.add.at(self.counts, (truth, table.argmax(axis=1)), 1)
            self.gaps += calibration_gaps(truth, table)

    def scores(self) -> Scores:
        """Every quality metric; all are NaN where a probability was not finite.

        Raises:
            DataError: nothing was counted.
        """
        n = len(self)
        if not n:
            raise DataError("there is no example to evaluate", why="the data set gave no row", fix="take one with rows")
        values = {name: float(value) for name, value in shares_from_counts(self.counts).items()}
        values["calibration_error"] = float(np.abs(self.gaps).sum() / n)
        correct = int(np.trace(self.counts))
        intervals = {} if self.not_finite else bootstrap_intervals(self.counts)
        if self.not_finite:
            metrics = [metric(name, math.nan) for name in ("accuracy", *values)]
        else:
            metrics = [metric("accuracy", correct / n, ci=wilson_interval(correct, n), n=n)]
            metrics += [metric(name, value, ci=intervals.get(name), n=n) for name, value in values.items()]
        return Scores(
            metrics=tuple(metrics),
            per_class=self._per_class(),
            confusion=tuple(tuple(int(cell) for cell in row) for row in self.counts),
        )

    def _per_class(self) -> tuple[Mapping[str, Any], ...]:
        found = []
        for index, name in enumerate(self.class_names):
            hits = int(self.counts[index, index])
            support, predicted = int(self.counts[index].sum()), int(self.counts[:, index].sum())
            shares = {
                "precision": hits / predicted if predicted else 0.0,
                "recall": hits / support if support else 0.0,
                "f1": 2 * hits / (support + predicted) if support + predicted else 0.0,
            }
            if self.not_finite:
                shares = dict.fromkeys(shares, math.nan)
            found.append({"name": name, **shares, "support": support})
        return tuple(found)
