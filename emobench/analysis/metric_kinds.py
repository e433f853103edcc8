"""Kinds of metrics: which changes are in points, which depend on the hardware, which are exact. It reads no value."""

from __future__ import annotations

from emobench.outcomes import METRICS

EXACT = frozenset(
    {
        *("parameters", "trainable_parameters", "model_bytes", "disk_bytes", "kv_cache_bytes", "memory_ratio"),
        *("train_steps", "device_memory_peak_bytes", "device_memory_allocated_bytes"),
    }
)
"""Counts that the same code gives again: their change is not an estimate."""

TIMED_UNITS = frozenset({"s", "samples/s", "tokens/s", "batches/s", "J", "x", "price"})
"""Units of what depends on the hardware and differs between runs of the same code."""


def is_share(metric: str) -> bool:
    """Whether its change is in points and not relative."""
    kind = METRICS.get(metric)
    return kind is not None and kind.unit == "share"


def is_timed(metric: str) -> bool:
    """Whether it depends on the hardware it was measured on; a metric that no table knows counts as such."""
    kind = METRICS.get(metric)
    return kind is None or kind.unit in TIMED_UNITS


def is_quality(metric: str) -> bool:
    """Whether it is a score on data, which only means the same on the same data."""
    return is_share(metric) and metric not in EXACT and not metric.endswith("_utilization")
