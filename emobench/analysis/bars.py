"""Bars: one figure a case, ordered, of throughput and of memory. It draws nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from emobench.analysis.rows import MEMORY, Row, labels
from emobench.analysis.sweep import AXES, Measured
from emobench.kinds import FORWARD, GENERATING, TRAINING


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One case and its figure."""

    label: str
    row: Row
    item: Measured


@dataclass(frozen=True, kw_only=True)
class BarChart:
    """Cases of one kind by one quantity, the best first."""

    title: str
    quantity: str
    common: str
    """What all cases share."""
    bars: tuple[Bar, ...]


def bar_charts(rows: Sequence[Row]) -> list[BarChart]:
    """Throughput and memory of inference, training and generation, where there are at least two cases of it.

    Cases of different profiles did different work and stand in charts of their own. Of an inference configuration the
    batch size with the highest throughput stands for all; its memory is of the same.
    """
    charts = []
    for profile in dict.fromkeys(row.case.get("profile") for row in rows):
        some = [row for row in rows if row.case.get("profile") == profile]
        charts += [_chart(title, quantity, members) for title, quantity, members in _wanted(some)]
    return [chart for chart in charts if len(chart.bars) > 1]


def _wanted(rows: Sequence[Row]) -> list[tuple[str, str, list[Row]]]:
    timed = _best_batches([row for row in rows if row.case.get("kind") in FORWARD])
    trained = [row for row in rows if row.case.get("kind") in TRAINING]
    written = [row for row in rows if row.case.get("kind") in GENERATING]
    return [
        ("Throughput of inference, best batch size", "samples_per_second", timed),
        ("Memory of inference, at that batch size", MEMORY, timed),
        ("Throughput of training", "train_samples_per_second", trained),
        ("Memory of training", MEMORY, trained),
        ("Throughput of generation", "tokens_per_second", written),
        ("Memory of generation", MEMORY, written),
    ]


def _best_batches(rows: Sequence[Row]) -> list[Row]:
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        if row.metric("samples_per_second"):
            key = (*(row.case.get(name) for name in AXES), row.case.get("profile"), row.hardware)
            groups.setdefault(key, []).append(row)
    return [max(members, key=lambda row: _value(row, "samples_per_second")) for members in groups.values()]


def _value(row: Row, quantity: str) -> float:
    item = row.measured(quantity)
    assert item is not None
    return item.value


def _chart(title: str, quantity: str, rows: Sequence[Row]) -> BarChart:
    there = [row for row in rows if row.measured(quantity)]
    common, names = labels(there)
    bars = [
        Bar(label=name, row=row, item=item)
        for row, name in zip(there, names, strict=True)
        if (item := row.measured(quantity))
    ]
    bars.sort(key=lambda bar: bar.item.value, reverse=quantity != MEMORY)
    return BarChart(title=title, quantity=quantity, common=common, bars=tuple(bars))
