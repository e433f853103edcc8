"""Two-sided quantiles and p-values of the normal and Student's t distribution, for numbers and for columns."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri, stdtr, stdtrit

Floats = npt.NDArray[np.float64]

NEARLY_NORMAL = 1e6
"""Degrees of freedom above which the normal distribution is taken; infinity means a known error."""


def two_sided_z(confidence: npt.ArrayLike) -> Floats:
    """Normal quantile z with P(|Z| <= z) = confidence."""
    level = np.asarray(confidence, dtype=np.float64)
    if not ((level > 0) & (level < 1)).all():
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence!r}")
    # The lower tail keeps its digits where the confidence is close to 1.
    return np.asarray(-ndtri((1 - level) / 2), dtype=np.float64)


def two_sided_t(confidence: npt.ArrayLike, df: npt.ArrayLike) -> Floats:
    """Student quantile t with P(|T_df| <= t) = confidence; above a million degrees of freedom it is the normal one."""
    level = np.asarray(confidence, dtype=np.float64)
    if not ((level > 0) & (level < 1)).all():
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence!r}")
    freedom, tail = np.asarray(df, dtype=np.float64), (1 - level) / 2
    return np.asarray(
        -np.where(freedom > NEARLY_NORMAL, ndtri(tail), stdtrit(np.minimum(freedom, NEARLY_NORMAL), tail))
    )


def t_test_p(point: npt.ArrayLike, error: npt.ArrayLike, df: npt.ArrayLike) -> Floats:
    """Two-sided p of point / error under Student's t; where the error is 0: 1 for a point of 0, else 0."""
    size, scale = np.abs(np.asarray(point, dtype=np.float64)), np.asarray(error, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(scale > 0, size / scale, np.where(size > 0, np.inf, 0.0))
    freedom = np.asarray(df, dtype=np.float64)
    tail = np.where(freedom > NEARLY_NORMAL, ndtr(-ratio), stdtr(np.minimum(freedom, NEARLY_NORMAL), -ratio))
    return np.asarray(2.0 * tail)
