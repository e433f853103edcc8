"""Ranks of the order statistics that enclose a median, whatever the distribution."""

from __future__ import annotations

from functools import cache

FEWEST = 6
"""With fewer values no two of them enclose the median with 95 %."""


@cache
def median_rank(n: int) -> int:
    """The largest rank r for which the r-th smallest and the r-th largest of n hold the median with 95 % or more.

    At least 1. Their coverage is 1 - 2 P(Bin(n, 1/2) < r) (Conover, Practical Nonparametric Statistics, section 3.2).
    """
    # scipy.stats would take a second to import; collecting tests needs neither.
    from scipy.special import bdtr, bdtrik

    rank = int(bdtrik(0.025, n, 0.5)) + 1
    while rank > 1 and bdtr(rank - 1, n, 0.5) > 0.025:
        rank -= 1
    return rank


@cache
def median_quantile(n: int) -> float:
    """Standard deviations from the median at which the ends of that interval lie, were the values' median normal."""
    from scipy.special import bdtr, ndtri

    return -float(ndtri(bdtr(median_rank(n) - 1, n, 0.5)))
