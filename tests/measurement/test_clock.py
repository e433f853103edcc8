"""Rounds, percentiles and the synchronised call."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from emobench.measurement import clock


def test_percentiles_keep_to_their_floors() -> None:
    """p90 needs 44 rounds and p99 needs 459; below that they are absent, not guessed."""

    def names(n: int) -> set[str]:
        return {item.name for item in clock.latency_metrics([0.1] * n, samples=1, tokens=1)}

    assert "latency_p90_seconds" not in names(43)
    assert "latency_p90_seconds" in names(44)
    assert "latency_p99_seconds" not in names(458)
    assert "latency_p99_seconds" in names(459)


@given(st.lists(st.floats(1e-4, 10), min_size=1, max_size=200))
def test_percentile_is_numpys(seconds: list[float]) -> None:
    """The median and the 90th percentile are numpy's of the raw rounds."""
    assert clock.percentile(seconds, 50) == pytest.approx(np.quantile(seconds, 0.5))
    if len(seconds) >= 44:
        assert clock.percentile(seconds, 90) == pytest.approx(np.quantile(seconds, 0.9))


@pytest.mark.parametrize("n", [6, 10, 11, 50, 200])
def test_median_interval_covers_at_least_95_percent(n: int) -> None:
    """The ranks taken have the binomial coverage they promise, and the next narrower ones would not."""
    low, high = clock.median_interval([float(i) for i in range(1, n + 1)]) or (0, 0)
    rank = int(low)
    assert high == n + 1 - rank
    assert 1 - 2 * binom.cdf(rank - 1, n, 0.5) >= 0.95
    assert 1 - 2 * binom.cdf(rank, n, 0.5) < 0.95


def test_no_interval_from_five_rounds() -> None:
    """Five rounds cannot hold the median with 95 %: no interval."""
    assert clock.median_interval([1.0, 2.0, 3.0, 4.0, 5.0]) is None


def test_time_covers_work_the_device_still_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that only queues work is timed with the wait for it: dropping the synchronisation would fail here."""
    monkeypatch.setattr(clock, "synchronize", lambda device: time.sleep(0.02))
    start = time.perf_counter()
    clock.synchronized(lambda: None, "cuda")()
    assert time.perf_counter() - start >= 0.02


def test_throughput_is_work_over_the_median() -> None:
    """Samples and tokens a second come from the median, not the mean."""
    found = {item.name: item.value for item in clock.latency_metrics([1.0, 1.0, 10.0], samples=8, tokens=100)}
    assert found["samples_per_second"] == 8
    assert found["tokens_per_second"] == 100
    assert found["batches_per_second"] == 1
    assert found["latency_per_sample_seconds"] == pytest.approx(1 / 8)
    assert found["latency_total_seconds"] == 12


@given(st.lists(st.floats(1e-3, 10), min_size=2, max_size=50), st.floats(0.1, 100))
def test_spread_has_no_unit(seconds: list[float], factor: float) -> None:
    """The spread is the same in any unit of time, and nothing where all rounds are equal."""
    assert clock.spread([factor * value for value in seconds]) == pytest.approx(clock.spread(seconds), abs=1e-9)
    assert clock.spread([seconds[0]] * 5) == 0
