"""Figures of raw rounds, against numpy, scipy and the comparison that reads them."""

import numpy as np
import pytest
from scipy.stats import binom, norm

from emobench.order_statistics import median_rank
from emobench.records.rounds import FIGURES, summarize
from tests.analysis.made_rounds import medians_of

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("n", [1, 2, 5, 6, 7, 30, 101])
def test_figures_are_numpys(n: int) -> None:
    """Median, quartile distance and median deviation of each row are those of numpy on that row alone."""
    block = RNG.lognormal(0, 0.3, (4, n))
    found = summarize(block)
    assert tuple(found) == FIGURES
    for row, values in enumerate(block):
        assert found["median"][row] == np.median(values)
        assert found["iqr"][row] == pytest.approx(np.subtract(*np.quantile(values, (0.75, 0.25))))
        assert found["mad"][row] == pytest.approx(np.median(np.abs(values - np.median(values))))


def test_no_interval_below_six_rounds() -> None:
    """Five rounds cannot hold the median with 95 %: there is no interval rather than a wrong one."""
    assert np.isnan(summarize(RNG.random((1, 5)) + 1)["low"]).all()
    assert np.isfinite(summarize(RNG.random((1, 6)) + 1)["low"]).all()


@pytest.mark.parametrize("n", [6, 13, 30, 200])
def test_a_comparison_can_be_made_from_the_figures(n: int) -> None:
    """Interval and correlation give the error of the median and the effective rounds, as from the raw rounds."""
    walk = np.cumsum(RNG.normal(0, 0.01, (5, n)), axis=1) + RNG.normal(0, 0.02, (5, n))
    block = 0.1 * np.exp(walk)
    figures, found = summarize(block), medians_of(block)
    quantile = norm.isf(binom.cdf(median_rank(n) - 1, n, 0.5))
    rank = median_rank(n)
    ordered = np.sort(block, axis=1)
    error = np.log(ordered[:, n - rank] / ordered[:, rank - 1]) / (2 * quantile)
    r = np.clip(figures["lag1"] + (1 + 3 * figures["lag1"]) / n, 0, 0.95)
    assert found.center == pytest.approx(np.log(np.median(block, axis=1)))
    assert found.effective == pytest.approx(np.maximum(1, n * (1 - r) / (1 + r)))
    assert found.variance == pytest.approx(error**2 * n / found.effective)


def test_constant_rounds_are_not_correlated() -> None:
    """Rounds that are all alike give a spread and a correlation of 0, not NaN."""
    found = summarize(np.full((2, 10), 0.5))
    assert found["lag1"].tolist() == found["mad"].tolist() == [0.0, 0.0]
    assert found["low"].tolist() == [0.5, 0.5]
