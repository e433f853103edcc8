"""Rounds in numbers: what a comparison needs of a case's raw rounds, for many cases at once. Compares nothing."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from emobench.order_statistics import FEWEST, median_rank

Floats = npt.NDArray[np.float64]

FIGURES = ("median", "iqr", "mad", "low", "high", "lag1")
"""Figures of a case's rounds, as ``index.RoundSummary`` explains them."""


def summarize(block: npt.ArrayLike) -> dict[str, Floats]:
    """The figures of rounds of shape (cases, n), n at least 1, each of shape (cases,)."""
    values = np.asarray(block, np.float64)
    n = values.shape[1]
    ordered = np.sort(values, axis=1)
    median = np.median(ordered, axis=1)
    lower, upper = np.quantile(ordered, (0.25, 0.75), axis=1)
    low, high = np.full(len(values), np.nan), np.full(len(values), np.nan)
    if n >= FEWEST:
        rank = median_rank(n)
        low, high = ordered[:, rank - 1], ordered[:, n - rank]
    return {
        "median": median,
        "iqr": upper - lower,
        "mad": np.median(np.abs(values - median[:, None]), axis=1),
        "low": low,
        "high": high,
        "lag1": lag1(np.log(values)),
    }


def lag1(series: npt.ArrayLike) -> Floats:
    """Correlation of neighbors, shape (..., n) to (...): of values cut at three median deviations; 0 where none vary.

    The cut keeps one stall from hiding or feigning a correlation. Not corrected for its bias at small n.
    """
    values = np.asarray(series, np.float64)
    away = values - np.median(values, axis=-1, keepdims=True)
    deviation = np.median(np.abs(away), axis=-1, keepdims=True)
    # 4.4 unscaled median deviations are three standard deviations of a normal distribution.
    cut = np.where(deviation > 0, np.clip(away, -4.4 * deviation, 4.4 * deviation), np.sign(away))
    cut = cut - cut.mean(axis=-1, keepdims=True)
    total = (cut**2).sum(axis=-1)
    lagged = (cut[..., 1:] * cut[..., :-1]).sum(axis=-1)
    return np.asarray(np.divide(lagged, total, out=np.zeros(total.shape), where=total > 0))
