"""Ranks of a median's interval, against scipy.stats."""

from __future__ import annotations

import pytest
from scipy import stats

from emobench.order_statistics import FEWEST, median_quantile, median_rank

COUNTS = [*range(FEWEST, 400), 10_000, 1_000_003]


def test_ranks_are_the_innermost_pair_that_covers_95_percent() -> None:
    """The rank's coverage is 95 % or more and that of the next rank is not (binomial)."""
    for n in COUNTS:
        rank = median_rank(n)
        assert 1 - 2 * stats.binom.cdf(rank - 1, n, 0.5) >= 0.95
        assert 1 - 2 * stats.binom.cdf(rank, n, 0.5) < 0.95


@pytest.mark.parametrize("n", range(1, FEWEST))
def test_with_fewer_values_no_pair_covers_it(n: int) -> None:
    """Not even the smallest and the largest."""
    assert median_rank(n) == 1
    assert 1 - 2 * stats.binom.cdf(0, n, 0.5) < 0.95


def test_quantiles_are_those_of_the_coverage() -> None:
    """Between plus and minus the quantile a normal distribution has what the ranks cover."""
    for n in COUNTS:
        covered = 1 - 2 * stats.binom.cdf(median_rank(n) - 1, n, 0.5)
        assert stats.norm.cdf(median_quantile(n)) - stats.norm.cdf(-median_quantile(n)) == pytest.approx(covered)
