"""Samples are drawn evenly and repeatably; their intervals are those of scipy and statsmodels and hold as stated."""

from __future__ import annotations

import math
from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from emobench.data.analyze.sample import (
    Sampler,
    mean_interval,
    percentile_ranks,
    ratio_interval,
    share_interval,
    values_at,
    with_shares,
)
from emobench.errors import SpecError


@given(st.integers(1, 5000), st.data())
def test_a_share_of_an_endless_source_has_the_interval_of_statsmodels(of: int, data: st.DataObject) -> None:
    """With no finite population the interval is Wilson's, to the last digits."""
    count = data.draw(st.integers(0, of))
    found = share_interval(count, of)
    assert found == pytest.approx(proportion_confint(count, of, method="wilson"), abs=1e-9)


@given(st.integers(2, 500), st.floats(-5, 5), st.floats(0.1, 10))
def test_a_mean_has_the_interval_of_scipy(of: int, mean: float, deviation: float) -> None:
    """The normal interval of a mean."""
    expected = stats.norm.interval(0.95, loc=mean, scale=deviation / math.sqrt(of))
    assert mean_interval(mean, deviation, of) == pytest.approx(expected)


@given(st.integers(8, 3000), st.sampled_from([0.05, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99]))
def test_ranks_of_a_percentile_hold_95_percent_of_the_binomial(of: int, level: float) -> None:
    """At least 95 % of the probability lies between the ranks, as in scipy's own interval of a quantile."""
    ranks = percentile_ranks(level, of)
    if ranks is None:
        below = stats.binom.cdf(0, of, level)
        above = stats.binom.sf(of - 1, of, level)
        assert max(below, above) > 0.025
        return
    low, high = ranks
    assert stats.binom.cdf(high - 1, of, level) - stats.binom.cdf(low - 1, of, level) >= 0.95
    values = np.arange(1, of + 1)
    theirs = stats.quantile_test(values, q=0, p=level).confidence_interval(0.95)
    assert (low, high) == (theirs.low, theirs.high)


def test_a_whole_population_leaves_no_doubt() -> None:
    """Where every document was looked at, the interval is the value; nothing at all has none."""
    assert share_interval(3, 12, fraction=1) == (0.25, 0.25)
    assert share_interval(0, 0) is None
    assert mean_interval(1.0, 1.0, 1) is None


@pytest.mark.parametrize("fraction", [0.05, 0.5])
def test_the_interval_of_a_ratio_holds_what_it_says(fraction: float) -> None:
    """Of 1,000 samples about 95 % have the true ratio inside, though both of its sides vary together."""
    rng = np.random.default_rng(2)
    below = rng.integers(5, 60, 4000)
    above = np.minimum(below, 30)
    inside = 0
    for _ in range(1000):
        chosen = rng.random(len(below)) < fraction
        a, b = above[chosen], below[chosen]
        squares = (int(a @ a), int(a @ b), int(b @ b))
        found = ratio_interval(int(a.sum()), int(b.sum()), squares, len(a), fraction=len(a) / len(below))
        assert found is not None
        inside += found[0] <= above.sum() / below.sum() <= found[1]
    assert 0.925 < inside / 1000 < 0.975
    assert ratio_interval(3, 4, (9, 12, 16), 1) is None
    assert ratio_interval(3, 0, (9, 0, 0), 5) is None
    assert ratio_interval(12, 12, (50, 50, 50), 5) is None


@pytest.mark.parametrize("fraction", [0.05, 0.5, 0.9])
def test_intervals_of_a_finite_population_hold_what_they_say(fraction: float) -> None:
    """Of 2,000 samples about 95 % have the true share and mean inside; without the correction it would be more."""
    rng = np.random.default_rng(1)
    population = rng.lognormal(3, 1, 4000)
    truth = population > 40
    shares = means = uncorrected = 0
    for _ in range(2000):
        chosen = rng.random(len(population)) < fraction
        of = int(chosen.sum())
        done = of / len(population)
        low, high = share_interval(int(truth[chosen].sum()), of, fraction=done) or (1, 0)
        shares += low <= truth.mean() <= high
        wide_low, wide_high = share_interval(int(truth[chosen].sum()), of) or (1, 0)
        uncorrected += wide_low <= truth.mean() <= wide_high
        mean_low, mean_high = mean_interval(
            float(population[chosen].mean()), float(population[chosen].std(ddof=1)), of, fraction=done
        ) or (1, 0)
        means += mean_low <= population.mean() <= mean_high
    assert 0.93 < shares / 2000 < 0.97
    assert 0.91 < means / 2000 < 0.97
    if fraction >= 0.5:
        assert uncorrected / 2000 > 0.98


def test_a_sample_is_drawn_by_its_seed() -> None:
    """Equal seeds draw equal places, others others, and about the asked share is drawn."""
    first, again, other = (list(islice(Sampler(20, seed=seed), 20_000)) for seed in (1, 1, 2))
    assert first == again != other
    assert abs(sum(first) - 4000) < 5 * math.sqrt(20_000 * 0.2 * 0.8)
    sampler = Sampler(20)
    assert sum(islice(sampler, 1000)) == sampler.given == round(sampler.fraction * 1000)
    assert all(islice(Sampler(100), 10_000))


@pytest.mark.parametrize("percent", [0, 4.9, 101, math.nan])
def test_a_sample_that_is_too_small_is_refused(percent: float) -> None:
    """Five percent is the least."""
    with pytest.raises(SpecError, match="a sample has 5 to 100 % of the documents; take --sample 5 to 100"):
        Sampler(percent)


@given(st.lists(st.integers(0, 50), min_size=1, max_size=60))
def test_order_statistics_come_from_the_histogram(data: list[int]) -> None:
    """Every rank gives the value that sorting gives."""
    values, counts = np.unique(np.array(data), return_counts=True)
    ranks = list(range(1, len(data) + 1))
    assert values_at(ranks, values, counts) == sorted(data)


def test_shares_and_intervals_are_added_wherever_a_count_stands() -> None:
    """Deep inside too; across documents no interval is given."""
    part = {"a": [{"count": 5, "of": 50, "rule": "x"}], "duplicates": {"exact": {"count": 1, "of": 50}}}
    whole = with_shares(part, 1.0)
    assert whole == {
        "a": [{"count": 5, "of": 50, "rule": "x", "share": 0.1}],
        "duplicates": {"exact": {"count": 1, "of": 50, "share": 0.02}},
    }
    sampled = with_shares(part, 0.5)
    assert sampled["a"][0]["interval"] == list(share_interval(5, 50, fraction=0.5) or ())
    assert sampled["duplicates"] == {"exact": {"count": 1, "of": 50, "share": 0.02}, "within_sample": True}
    assert with_shares({"count": 0, "of": 0}, 1.0)["share"] is None
    assert with_shares({"mean": 2.0, "deviation": 1.0, "of": 4}, 1.0) == {"mean": 2.0, "deviation": 1.0, "of": 4}
