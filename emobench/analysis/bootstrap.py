"""Bootstrap: how much is drawn at a time, and the interval of what was drawn. Nothing here decides anything."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from emobench.analysis.columns import Floats
from emobench.analysis.quantiles import two_sided_z

DRAWS = 2000
"""Draws of a bootstrap where the caller names none."""

TAIL_DRAWS = 10
"""Fewest draws beyond an end of a percentile interval; with fewer the end is taken from the draws' standard error."""

CHUNK_NUMBERS = 4_000_000
"""Numbers held at a time while drawing: 32 MB of float64."""


def chunks(draws: int, width: int) -> Iterator[int]:
    """Sizes of the parts in which ``draws`` rows of ``width`` numbers are made, so that memory stays bounded."""
    step = max(1, CHUNK_NUMBERS // max(1, width))
    for start in range(0, draws, step):
        yield min(step, draws - start)


def bootstrap_interval(draws: Floats, *, point: float, confidence: float) -> tuple[float, float]:
    """Percentile interval of the draws, widened to hold the point.

    Where fewer than :data:`TAIL_DRAWS` lie beyond an end (a high confidence after a correction) the percentile would be
    a guess: the interval is then the point and a normal quantile times the draws' standard deviation.
    """
    tail = (1 - confidence) / 2
    if len(draws) * tail < TAIL_DRAWS:
        half = float(two_sided_z(confidence)) * float(draws.std(ddof=1))
        return point - half, point + half
    low, high = np.quantile(draws, (tail, 1 - tail))
    return min(float(low), point), max(float(high), point)
