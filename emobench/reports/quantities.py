"""Quantities as a reader sees them: what they are called, in which unit and how many digits. It computes nothing."""

from __future__ import annotations

from dataclasses import dataclass

from emobench.analysis.rows import MEMORY
from emobench.analysis.sweep import Measured
from emobench.outcomes import METRICS
from emobench.reports.tables import MIB, number


@dataclass(frozen=True, kw_only=True)
class Shown:
    """How a quantity is shown."""

    title: str
    unit: str
    factor: float = 1.0
    """From the quantity's own unit to the one shown."""


_TITLES = {
    "accuracy": Shown(title="accuracy", unit=""),
    "latency_p50_seconds": Shown(title="median latency of a batch", unit="ms", factor=1e3),
    "train_seconds": Shown(title="training time", unit="s"),
    MEMORY: Shown(title="memory", unit="MiB", factor=1 / MIB),
    "model_bytes": Shown(title="size of the weights", unit="MiB", factor=1 / MIB),
    "samples_per_second": Shown(title="throughput", unit="samples/s"),
    "train_samples_per_second": Shown(title="training throughput", unit="samples/s"),
    "tokens_per_second": Shown(title="throughput", unit="tokens/s"),
    "cost_per_run": Shown(title="price of a run", unit=""),
    "cost_per_thousand_samples": Shown(title="price of 1,000 samples", unit=""),
    "device_memory_peak_bytes": Shown(title="device memory, peak", unit="MiB", factor=1 / MIB),
    "host_memory_growth_bytes": Shown(title="host memory, growth", unit="MiB", factor=1 / MIB),
}


def shown(quantity: str) -> Shown:
    """Title, unit and factor of a quantity; a metric without an entry of its own is shown as it is."""
    if quantity in _TITLES:
        return _TITLES[quantity]
    kind = METRICS[quantity]
    return Shown(title=quantity.replace("_", " "), unit="" if kind.unit in ("share", "price") else kind.unit)


def axis_title(quantity: str) -> str:
    """Title and unit, as an axis has them."""
    how = shown(quantity)
    return f"{how.title}, {how.unit}" if how.unit else how.title


def figure_text(quantity: str, item: Measured, *, interval: bool = True) -> str:
    """A value with its unit and, in brackets, its interval: ``10.0 (9.00 to 11.0) ms``."""
    how = shown(quantity)

    def text(value: float) -> str:
        return f"{value:.3f}" if quantity == "accuracy" else number(value * how.factor)

    found = text(item.value)
    if interval and item.low is not None and item.high is not None:
        found += f" ({text(item.low)} to {text(item.high)})"
    return f"{found} {how.unit}".strip()
