"""Ratios of calls timed by turns: what the estimate is, and what drift, order and interruptions do to it."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest

from emobench.analysis.interleaved import FEWEST_PAIRS, Ratio, pairs_wanted, ratio_by_turns


def measured(seed: int, pairs: int, *, slower: float = 1.0, noise: float = 0.02) -> tuple[list[float], list[float]]:
    """Seconds of two calls on a bad machine: it drifts, what goes second takes 2 % longer, one call in five thrice."""
    rng = np.random.default_rng(seed)
    drift = 0.1 * np.exp(np.cumsum(rng.normal(0, 0.01, pairs)).clip(-0.3, 0.3))
    factors = np.exp(rng.normal(0, noise, (pairs, 2))) * np.where(rng.random((pairs, 2)) < 0.2, 3, 1)
    order = np.where(np.arange(pairs)[:, None] % 2 == [0, 1], 1.0, 1.02)
    seconds = drift[:, None] * factors * order * [slower, 1]
    return seconds[:, 0].tolist(), seconds[:, 1].tolist()


def test_the_estimate_is_the_mean_of_the_orders_medians() -> None:
    """Against the standard library, over pairs of both orders."""
    first, second = measured(1, 60)
    logs = [math.log(one / other) for one, other in zip(first, second, strict=True)]
    wanted = math.exp((statistics.median(logs[::2]) + statistics.median(logs[1::2])) / 2)
    found = ratio_by_turns(first, second)
    assert found.value == pytest.approx(wanted, rel=1e-12)
    assert (found.pairs, found.low < found.value < found.high) == (60, True)


@pytest.mark.parametrize("slower", [1.0, 1.02])
def test_the_interval_holds_the_truth(slower: float) -> None:
    """In about 95 of 100 measurements on the bad machine, for equal calls and for one that is 2 % slower."""
    found = [ratio_by_turns(*measured(seed, 120, slower=slower)) for seed in range(100)]
    covered = sum(item.low <= slower <= item.high for item in found)
    assert 89 <= covered <= 100
    assert np.median([item.value for item in found]) == pytest.approx(slower, abs=0.002)


def test_drift_and_interruptions_cost_little() -> None:
    """The interval is less than half as wide as that of the ratio of the two medians, over the same rounds."""
    first, second = measured(3, 400)
    draws = np.random.default_rng(0).integers(0, 400, (500, 400))
    medians = [np.median(np.asarray(side)[draws], axis=1) for side in (first, second)]
    low, high = np.percentile(medians[0] / medians[1], (2.5, 97.5))
    assert ratio_by_turns(first, second).half_width < (high - low) / 2 / 2


def test_a_planted_cost_of_a_percent_and_a_half_is_seen() -> None:
    """With the pairs a pilot of equal calls asks for, it is told from nothing and from 3 %."""
    pairs = pairs_wanted(ratio_by_turns(*measured(10, 160)), half_width=0.004, most=10_000)
    found = ratio_by_turns(*measured(11, pairs, slower=1.015))
    assert found.half_width < 0.005
    assert 1.005 < found.low < 1.015 < found.high < 1.025


def test_the_bounds_of_the_number_of_pairs() -> None:
    """A quiet pilot asks for the fewest, a wild one for the most there is time for, always an even number."""
    wide = Ratio(value=1, low=0.9, high=1.1, pairs=100)
    assert pairs_wanted(wide, half_width=0.05, most=10_000) == 600
    assert pairs_wanted(wide, half_width=0.001, most=333) == 332
    assert pairs_wanted(Ratio(value=1, low=1, high=1, pairs=100), half_width=0.05, most=333) == FEWEST_PAIRS
    for calls in (([1.0] * 39, [1.0] * 39), ([1.0] * 50, [1.0] * 51)):
        with pytest.raises(ValueError, match="pairs or more can be told"):
            ratio_by_turns(*calls)
