"""A random sample of the documents, and 95 % intervals of what is said of all of them from it.

Each document is in the sample with the same probability, whatever it holds, so that shares and means are unbiased.
A sample of a file of N documents says more than n draws from an endless source would: intervals are narrowed by the
finite population correction, sqrt(1 - n / N) (Cochran, Sampling Techniques, 3rd ed., section 2.6), and where all
documents were read there is none.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emobench.errors import SpecError

Z = 1.959963984540054
"""Standard normal quantile of a two-sided 95 % interval."""
_BLOCK = 4096
ACROSS_DOCUMENTS = frozenset({"duplicates", "boilerplate", "vocabulary"})
"""Sections that compare documents: of two like ones both must be drawn, so a sample's share is not that of all."""


class Sampler:
    """Says of each document in turn whether it is in the sample; equal percent and seed choose equal places."""

    def __init__(self, percent: float, *, seed: int = 0) -> None:
        if not 5 <= percent <= 100:
            raise SpecError(
                f"a sample of {percent:g} %",
                why="a sample has 5 to 100 % of the documents",
                fix="take --sample 5 to 100",
            )
        self.percent = percent
        self.seed = seed
        self.read = 0
        self.given = 0
        self._rng = np.random.default_rng(seed)
        self._block: list[bool] = []

    def __iter__(self) -> Iterator[bool]:
        return self

    def __next__(self) -> bool:
        if not self._block:
            self._block = (self._rng.random(_BLOCK) < self.percent / 100).tolist()
        taken = self._block.pop()
        self.read += 1
        self.given += taken
        return taken

    @property
    def fraction(self) -> float:
        """Share of the documents read that are in the sample; 1 where all are."""
        return self.given / self.read if self.read else 1.0

    def facts(self) -> Mapping[str, Any]:
        """Plain values for the report."""
        return {
            "percent": self.percent,
            "seed": self.seed,
            "documents": self.given,
            "of": self.read,
            "confidence": 0.95,
            "methods": {
                "share": "Wilson score, finite population",
                "mean": "normal, finite population",
                "ratio": "normal, linearized, finite population",
                "percentile": "order statistics, binomial",
            },
        }


def share_interval(count: int, of: int, *, fraction: float = 0.0) -> tuple[float, float] | None:
    """Wilson's 95 % interval of a share; ``fraction`` of all documents were looked at. None for no documents.

    The number of draws is taken as ``of / (1 - fraction)``, which is the same as narrowing the variance.
    """
    if of == 0:
        return None
    share = count / of
    if fraction >= 1:
        return share, share
    draws = of / (1 - fraction)
    middle = (share + Z * Z / (2 * draws)) / (1 + Z * Z / draws)
    half = Z / (1 + Z * Z / draws) * math.sqrt(share * (1 - share) / draws + Z * Z / (4 * draws * draws))
    # At a share of 0 or 1 the bound is exact, and rounding would move it.
    return (0.0 if count == 0 else max(0.0, middle - half)), (1.0 if count == of else min(1.0, middle + half))


def mean_interval(mean: float, deviation: float, of: int, *, fraction: float = 0.0) -> tuple[float, float] | None:
    """Normal 95 % interval of a mean from the sample's standard deviation; None for fewer than two documents."""
    if of < 2:
        return None
    half = Z * deviation * math.sqrt(max(0.0, 1 - fraction) / of)
    return mean - half, mean + half


def ratio_interval(
    above: int, below: int, squares: tuple[int, int, int], of: int, *, fraction: float = 0.0
) -> tuple[float, float] | None:
    """Normal 95 % interval of ``above / below``, two totals over ``of`` documents; None where they tell no variance.

    ``squares`` are the sums over documents of above squared, above times below, and below squared. The variance is that
    of the residuals above - ratio x below (Cochran, section 6.3); without any, as where nothing was cut, none is known.
    """
    if of < 2 or not below:
        return None
    ratio = above / below
    residual = squares[0] - 2 * ratio * squares[1] + ratio * ratio * squares[2]
    # What rounding leaves of nothing is nothing.
    if residual <= 1e-9 * squares[0]:
        return None
    deviation = math.sqrt(residual / (of - 1)) * of / below
    return mean_interval(ratio, deviation, of, fraction=fraction)


def percentile_ranks(level: float, of: int) -> tuple[int, int] | None:
    """Ranks, from 1, of the order statistics that enclose the quantile ``level`` with at least 95 % probability.

    By the binomial distribution of how many values lie below it (Conover, Practical Nonparametric Statistics, 3rd ed.,
    section 3.2); not narrowed for a finite population, so on the safe side. None where the sample is too small.
    """
    from scipy.stats import binom

    low = int(binom.ppf(0.025, of, level))
    high = int(binom.ppf(0.975, of, level)) + 1
    return (low, high) if low >= 1 and high <= of else None


def values_at(ranks: Sequence[int], values: NDArray[np.int64], counts: NDArray[np.int64]) -> list[int]:
    """Order statistics of a histogram: ``values`` rise, ``counts`` are how often each occurs, ranks count from 1."""
    places = np.searchsorted(np.cumsum(counts), np.asarray(ranks), side="left")
    return [int(value) for value in values[places]]


def with_shares(part: Any, fraction: float) -> Any:
    """Add ``share`` to every ``{count, of}``, and ``interval`` to it and every ``{mean, deviation, of}`` of a sample.

    The convention is that of ``passes``; anything else is given back as it is. ``fraction`` of all documents were
    looked at. What stands under a name of :data:`ACROSS_DOCUMENTS` gets ``within_sample`` in place of intervals.
    """
    if isinstance(part, Mapping):
        found = {}
        for key, value in part.items():
            across = key in ACROSS_DOCUMENTS and isinstance(value, Mapping) and fraction < 1
            found[key] = {**with_shares(value, 1.0), "within_sample": True} if across else with_shares(value, fraction)
        return {**found, **_additions(found, fraction)}
    if isinstance(part, list | tuple):
        return [with_shares(value, fraction) for value in part]
    return part


def _additions(part: Mapping[str, Any], fraction: float) -> dict[str, Any]:
    of = part.get("of")
    if not isinstance(of, int):
        return {}
    added: dict[str, Any] = {}
    interval: tuple[float, float] | None = None
    if isinstance(part.get("count"), int):
        added["share"] = part["count"] / of if of else None
        interval = share_interval(part["count"], of, fraction=fraction)
    elif isinstance(part.get("mean"), int | float) and isinstance(part.get("deviation"), int | float):
        interval = mean_interval(part["mean"], part["deviation"], of, fraction=fraction)
    else:
        return {}
    if fraction < 1:
        added["interval"] = None if interval is None else list(interval)
    return added
