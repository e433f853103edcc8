"""Rows: one case of one run each, what a case is called beside others, and which of several is the best.

Nothing here reads a file or puts anything into a sentence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from emobench.analysis.sweep import Measured, Result
from emobench.outcomes import METRICS, Metric

MEMORY = "memory_bytes"
"""Peak of the device's memory; without a device of its own, what the process's memory grew by."""
NAMING = ("kind", "model", "dataset", "method", "precision", "device", "batch_size", "length", "backend", "profile")
"""Axes a label is made of, in its order."""


class SavedRun(Protocol):
    """What is read of a saved run; the store's fits it as it is."""

    @property
    def records(self) -> Sequence[Result]: ...
    @property
    def timings(self) -> Mapping[str, Sequence[float]]: ...
    @property
    def datetime(self) -> str: ...
    @property
    def machine_info(self) -> Mapping[str, Any]: ...
    @property
    def commit_info(self) -> Mapping[str, Any]: ...
    @property
    def settings(self) -> Mapping[str, Any]: ...
    @property
    def skipped(self) -> Sequence[Mapping[str, Any]]: ...
    @property
    def notes(self) -> Sequence[str]: ...


class Named(Protocol):
    """What a label is made of."""

    @property
    def run(self) -> str: ...
    @property
    def case(self) -> Mapping[str, Any]: ...


@dataclass(frozen=True, kw_only=True)
class Row:
    """One case of one run."""

    run: str
    result: Result

    @property
    def case(self) -> Mapping[str, Any]:
        """The case's axes."""
        return self.result.case

    @property
    def id(self) -> str:
        """The case's id."""
        return str(self.result.case["id"])

    def metric(self, name: str) -> Metric | None:
        """The metric of that name, or None."""
        return next((item for item in self.result.metrics if item.name == name), None)

    def measured(self, name: str) -> Measured | None:
        """The metric (or :data:`MEMORY`) as value and interval, or None."""
        if name == MEMORY:
            return self.measured("device_memory_peak_bytes") or self.measured("host_memory_growth_bytes")
        item = self.metric(name)
        return None if item is None else measured(item)

    @property
    def hardware(self) -> str:
        """Name of the device it ran on; empty where none was recorded."""
        return str(self.result.environment.get("device_name") or "")


@dataclass(frozen=True, kw_only=True)
class Pick:
    """The case that is first in something."""

    label: str
    row: Row
    quantity: str
    item: Measured
    tied: tuple[str, ...] = ()
    """Labels of others that the 95 % intervals do not tell from it."""


def weights(row: Row) -> str:
    """``pretrained`` or ``random``; records made before the field existed are pretrained."""
    return str(row.case.get("weights") or "pretrained")


def batch_of(row: Row) -> int:
    """Its batch size; 0 where it has none."""
    return int(row.case.get("batch_size") or 0)


def measured(item: Metric) -> Measured:
    """A metric as value and interval."""
    low, high = item.ci or (None, None)
    return Measured(value=item.value, low=low, high=high)


def lower_is_better(quantity: str) -> bool:
    """Whether less of a quantity of this page is better."""
    return quantity == MEMORY or METRICS[quantity].better == "lower"


def best_of(items: Sequence[tuple[Row, Measured]], quantity: str, names: Sequence[str]) -> Pick | None:
    """The best item and those that its interval overlaps; None without any."""
    if not items:
        return None
    sign = -1 if lower_is_better(quantity) else 1
    first = max(range(len(items)), key=lambda index: sign * items[index][1].value)
    row, item = items[first]
    tied = [
        names[index]
        for index, (_, other) in enumerate(items)
        if index != first and item.low is not None and other.low is not None and overlap(item, other)
    ]
    return Pick(label=names[first], row=row, quantity=quantity, item=item, tied=tuple(tied))


def overlap(first: Measured, second: Measured) -> bool:
    """Whether two intervals share a point; a value without one is a point."""
    return first.bounds[0] <= second.bounds[1] and second.bounds[0] <= first.bounds[1]


def labels(rows: Sequence[Named]) -> tuple[str, list[str]]:
    """What all rows share, and for each what tells it from the others; the run where nothing else does."""
    if not rows:
        return "", []
    texts = [_texts(row.case) for row in rows]
    same = {name for name in NAMING if len({text[name] for text in texts}) == 1}
    common = ", ".join(texts[0][name] for name in NAMING if name in same and texts[0][name])
    own = [", ".join(text[name] for name in NAMING if name not in same and text[name]) for text in texts]
    if len(set(own)) < len(own):
        own = [
            ", ".join(part for part in (name, f"run {row.run}") if part) for name, row in zip(own, rows, strict=True)
        ]
    return (common, own) if len(rows) > 1 else ("", [common])


def _texts(case: Mapping[str, Any]) -> dict[str, str]:
    found = {name: "" if case.get(name) is None else str(case[name]) for name in NAMING}
    found["batch_size"] = f"batch {case['batch_size']}" if case.get("batch_size") is not None else ""
    found["length"] = f"{case['length']} tokens" if case.get("length") is not None else ""
    found["backend"] = "" if case.get("backend") in (None, "eager") else str(case["backend"])
    found["profile"] = f"profile {case['profile']}" if case.get("profile") else ""
    found["model"] += " (random weights)" if case.get("weights") == "random" else ""
    return found
