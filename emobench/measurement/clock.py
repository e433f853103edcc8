"""What raw seconds say: percentiles, intervals, throughput, spread. It times nothing itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from emobench.devices import synchronize
from emobench.order_statistics import FEWEST, median_rank
from emobench.outcomes import Metric, metric
from emobench.specs import DeviceKind

PERCENTILE_FLOORS = {50: 1, 90: 44, 99: 459}
"""Fewest rounds for which a percentile is given: a quantile q needs about ln(0.01) / ln(q) samples for the largest of
them to exceed it with 99 % probability (44 at 0.90, 459 at 0.99)."""


def synchronized(call: Callable[[], object], device: DeviceKind) -> Callable[[], object]:
    """The call followed by a wait for the device, so that wall time covers all of its work."""

    def run() -> object:
        result = call()
        synchronize(device)
        return result

    return run


def percentile(samples: Sequence[float], percent: int) -> float | None:
    """The percentile in the samples' unit (linear interpolation), or None below its floor."""
    if len(samples) < PERCENTILE_FLOORS[percent]:
        return None
    return float(np.percentile(np.asarray(samples, dtype=np.float64), percent))


def median_interval(samples: Sequence[float]) -> tuple[float, float] | None:
    """A 95 % interval of the median from order statistics (binomial, distribution-free); None below six samples."""
    n = len(samples)
    if n < FEWEST:
        return None
    ordered, rank = sorted(samples), median_rank(n)
    return ordered[rank - 1], ordered[n - rank]


def latency_metrics(seconds: Sequence[float], *, samples: int, tokens: int) -> list[Metric]:
    """Latency percentiles of a batch and the throughput at the median; nothing where nothing was timed.

    ``samples`` and ``tokens`` are the real examples and tokens (no padding) of one batch.
    """
    found: list[Metric] = []
    if not seconds:
        return found
    for percent in PERCENTILE_FLOORS:
        value = percentile(seconds, percent)
        if value is not None:
            interval = median_interval(seconds) if percent == 50 else None
            found.append(metric(f"latency_p{percent}_seconds", value, ci=interval, n=len(seconds)))
    median = float(np.median(np.asarray(seconds, dtype=np.float64)))
    found.append(metric("latency_per_sample_seconds", median / samples, n=len(seconds)))
    found.append(metric("latency_total_seconds", float(np.sum(seconds)), n=len(seconds)))
    found.append(metric("batches_per_second", 1 / median, n=len(seconds)))
    found.append(metric("samples_per_second", samples / median, n=len(seconds)))
    found.append(metric("tokens_per_second", tokens / median, n=len(seconds)))
    return found


def spread(seconds: Sequence[float]) -> float:
    """Interquartile range over the median: how much the middle half of the rounds differs."""
    low, middle, high = np.percentile(np.asarray(seconds, dtype=np.float64), (25, 50, 75))
    return float((high - low) / middle)
