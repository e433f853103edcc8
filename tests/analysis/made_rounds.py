"""Made-up rounds, and the medians of raw ones as an index would give them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from emobench.analysis.median_ratios import Medians, medians
from emobench.records.rounds import summarize
from tests.analysis.column_runs import Figures


def medians_of(block: Sequence[Sequence[float]] | np.ndarray) -> Medians:
    """Medians of cases, shape (C,), from their rounds of shape (C, n)."""
    values = np.asarray(block, np.float64)
    figures = summarize(values)
    n = np.full(len(values), values.shape[1])
    rounds = Figures(n=n, **{name: figures[name] for name in ("median", "low", "high", "lag1")})
    return medians(rounds, np.arange(len(values)))


def base_of(runs: Sequence[Sequence[float]]) -> Medians:
    """Medians of the base runs of one case, shape (R, 1)."""
    return Medians.stacked([medians_of([rounds]) for rounds in runs])
