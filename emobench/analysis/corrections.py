"""Corrections for many comparisons: adjusted p-values of a whole matrix, and the level of one test among many.

Adjusting needs all p-values and is done after the fact; a gate that must decide before the later tests have run takes
:func:`bonferroni_level` of what was collected. Nothing here computes a p-value.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def bonferroni_level(alpha: float, comparisons: int) -> float:
    """Level of each of ``comparisons`` tests that keeps the chance of any false alarm at most ``alpha``.

    The interval that goes with it has confidence ``1 - bonferroni_level(alpha, comparisons)``.

    Raises:
        ValueError: ``alpha`` is not between 0 and 1, or there is no comparison (a programmer's mistake).
    """
    if not 0 < alpha < 1 or comparisons < 1:
        raise ValueError(f"alpha={alpha} must lie between 0 and 1 and comparisons={comparisons} be at least 1")
    return alpha / comparisons


def holm(p_values: npt.ArrayLike) -> Floats:
    """Adjusted p-values of shape (m,) by Holm (1979): rejecting those <= alpha keeps the familywise error at alpha.

    Valid under any dependence between the tests.

    Raises:
        ValueError: a value is not between 0 and 1 (NaN is none), or the array has not one dimension.
    """
    values, order = _sorted(p_values)
    m = len(values)
    steps = np.maximum.accumulate(values[order] * (m - np.arange(m)))
    return _unsorted(steps, order)


def benjamini_hochberg(p_values: npt.ArrayLike) -> Floats:
    """Adjusted p-values of shape (m,) by Benjamini and Hochberg (1995): rejecting those <= q keeps the expected share
    of false ones among the rejected at most q.

    Valid for independent and positively dependent tests.

    Raises:
        ValueError: a value is not between 0 and 1 (NaN is none), or the array has not one dimension.
    """
    values, order = _sorted(p_values)
    m = len(values)
    scaled = values[order] * m / np.arange(1, m + 1)
    steps = np.minimum.accumulate(scaled[::-1])[::-1]
    return _unsorted(steps, order)


def _sorted(p_values: npt.ArrayLike) -> tuple[Floats, npt.NDArray[np.intp]]:
    values = np.asarray(p_values, dtype=np.float64)
    if values.ndim != 1 or not ((values >= 0) & (values <= 1)).all():
        raise ValueError(f"p-values must be one row of numbers between 0 and 1, got {values!r}")
    return values, np.argsort(values, kind="stable")


def _unsorted(steps: Floats, order: npt.NDArray[np.intp]) -> Floats:
    adjusted = np.empty_like(steps)
    adjusted[order] = np.minimum(steps, 1.0)
    return adjusted
