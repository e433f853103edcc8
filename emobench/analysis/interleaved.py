"""Two calls timed by turns: the ratio of their times, with an interval that a machine's drift does not widen.

Calls of one pair follow one another, so a slow minute hits both; every other pair has the order turned around, so what
it costs to go first cancels. What is estimated stands here before anything is measured: the mean over the two orders of
the median logarithm of a pair's ratio. A pair with one interrupted call moves a median by one place, however long the
interruption was.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

FEWEST_PAIRS = 40
"""Below this the interval of a median jumps from one pair to the next."""
DRAWS = 2000
_AT_ONCE = 100
"""Draws whose picks are in memory together."""


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """The first call's time over the second's, with its 95 % interval."""

    value: float
    low: float
    high: float
    pairs: int

    @property
    def half_width(self) -> float:
        """Of the interval."""
        return (self.high - self.low) / 2


def ratio_by_turns(first: Sequence[float], second: Sequence[float], *, seed: int = 0) -> Ratio:
    """Ratio of two series of seconds; ``first[i]`` and ``second[i]`` are pair i, and the order turns with each pair.

    The interval is a percentile bootstrap over the pairs of each order (Efron and Tibshirani, An Introduction to the
    Bootstrap, chapter 13).

    Raises:
        ValueError: series of different length, or of fewer than :data:`FEWEST_PAIRS`.
    """
    if len(first) != len(second) or len(first) < FEWEST_PAIRS:
        raise ValueError(f"{len(first)} and {len(second)} calls; {FEWEST_PAIRS} pairs or more can be told")
    logs = np.log(np.asarray(first, dtype=np.float64) / np.asarray(second, dtype=np.float64))
    orders = (logs[::2], logs[1::2])
    value = float(np.mean([np.median(order) for order in orders]))
    rng = np.random.default_rng(seed)
    drawn = np.mean([_medians(order, rng) for order in orders], axis=0)
    low, high = (float(end) for end in np.percentile(drawn, (2.5, 97.5)))
    return Ratio(value=math.exp(value), low=math.exp(low), high=math.exp(high), pairs=len(logs))


def pairs_wanted(pilot: Ratio, *, half_width: float, most: int) -> int:
    """Pairs, an even number, for an interval of this half width, from a pilot of a call against itself.

    The width goes with the root of the pairs; half as many are added, as the pilot's own width is uncertain.
    """
    wanted = math.ceil(1.5 * pilot.pairs * (pilot.half_width / half_width) ** 2)
    return max(FEWEST_PAIRS, min(wanted, most)) // 2 * 2


def _medians(values: Floats, rng: np.random.Generator) -> Floats:
    """Medians of :data:`DRAWS` draws with replacement."""
    picks = (rng.integers(0, len(values), (_AT_ONCE, len(values))) for _ in range(DRAWS // _AT_ONCE))
    return np.concatenate([np.median(values[pick], axis=1) for pick in picks])
