"""Pareto front of many cases over two or more quantities. It knows nothing of what they mean."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def on_front(costs: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Which rows of ``costs`` (n, k), less being better, no other row dominates; shape (n,).

    A row dominates another where it is nowhere worse and somewhere better, so equal rows are on the front together. A
    row with a NaN cannot be compared: it is not on the front and dominates none. Two columns take O(n log n) by
    sorting; more take O(n * f) vectorized comparisons for f rows on the front.

    Raises:
        ValueError: ``costs`` is not a table of at least one column.
    """
    table = np.asarray(costs, np.float64)
    if table.ndim != 2 or table.shape[1] == 0:
        raise ValueError(f"costs have shape {table.shape}, not (rows, quantities)")
    found = np.zeros(len(table), bool)
    whole = np.flatnonzero(~np.isnan(table).any(axis=1))
    if len(whole):
        found[whole] = _sorted_front(table[whole]) if table.shape[1] <= 2 else _culled_front(table[whole])
    return found


def _sorted_front(table: Floats) -> npt.NDArray[np.bool_]:
    first, last = table[:, 0], table[:, -1]
    order = np.lexsort((last, first))
    # The best second quantity among all rows whose first is smaller, and the best among those of an equal first.
    starts = np.flatnonzero(np.concatenate(([True], first[order][1:] != first[order][:-1])))
    sizes = np.diff(np.append(starts, len(order)))
    least = last[order][starts]
    before = np.concatenate(([np.inf], np.minimum.accumulate(least)[:-1]))
    stays = np.repeat(least < before, sizes) & (last[order] == np.repeat(least, sizes))
    # An infinite cost in the best column is beaten by none before it, and stays as the only one of its kind.
    stays[: sizes[0]] = last[order][: sizes[0]] == least[0]
    found = np.zeros(len(table), bool)
    found[order] = stays
    return found


def _culled_front(table: Floats) -> npt.NDArray[np.bool_]:
    # A dominating row comes before those it dominates in this order, so every row that is reached is on the front.
    order = np.lexsort(table.T[::-1])
    rest, found = order, np.zeros(len(table), bool)
    while len(rest):
        row = table[rest[0]]
        equal = (table[rest] == row).all(axis=1)
        found[rest[equal]] = True
        rest = rest[(table[rest] < row).any(axis=1)]
    return found
