"""History: a metric of the same case on the same hardware over several runs. It judges no difference.

A run comes in as its ok cases with the few metrics that are followed. Those of an earlier run are taken from its
columns, so that twenty runs of thousands of cases are followed without parsing one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from emobench.analysis.columns import Ints, Results, Texts
from emobench.analysis.rows import NAMING, Row, SavedRun, labels, weights
from emobench.analysis.sweep import Measured
from emobench.outcomes import METRICS, Status

WATCHED = (
    "accuracy",
    "latency_p50_seconds",
    "train_seconds",
    "device_memory_peak_bytes",
    "host_memory_growth_bytes",
)


@dataclass(frozen=True, kw_only=True)
class PastCase:
    """An ok case of one run."""

    run: str
    case: Mapping[str, Any]
    """Its id and axes."""
    same: tuple[str, ...]
    """What is equal where it is the same case."""
    values: Mapping[str, Measured]
    """Of the metrics in :data:`WATCHED`."""


@dataclass(frozen=True, kw_only=True)
class PastRun:
    """What the history keeps of one run."""

    datetime: str
    cases: tuple[PastCase, ...]


@dataclass(frozen=True, kw_only=True)
class Line:
    """One case over the runs."""

    label: str
    case_id: str
    points: tuple[tuple[int, Measured], ...]
    """Index into the runs of the history, and the value there; runs without it are left out."""

    @property
    def change(self) -> float:
        """Largest over smallest value, less one; infinite where the smallest is 0 and the largest is not."""
        values = [item.value for _, item in self.points]
        low, high = min(values), max(values)
        return 0.0 if low == high else high / low - 1 if low > 0 else float("inf")


@dataclass(frozen=True, kw_only=True)
class HistoryPanel:
    """A metric of one kind of case over the runs: the cases in which it changed most come first."""

    kind: str
    metric: str
    runs: tuple[str, ...]
    """Names, oldest first."""
    dates: tuple[str, ...]
    lines: tuple[Line, ...]

    @property
    def unit(self) -> str:
        """The metric's."""
        return METRICS[self.metric].unit


def past_of_records(name: str, run: SavedRun, hardware: Callable[[Row], str]) -> PastRun:
    """A run that was read as a whole; ``hardware`` gives a case's hardware class."""
    rows = [Row(run=name, result=result) for result in run.records if result.status is Status.OK]
    cases = tuple(
        PastCase(
            run=name,
            case=row.case,
            same=(row.id, str(row.case.get("profile") or ""), weights(row), hardware(row)),
            values={metric: item for metric in WATCHED if (item := row.measured(metric))},
        )
        for row in rows
    )
    return PastRun(datetime=run.datetime, cases=cases)


def past_of_columns(name: str, run: Results, clean: Callable[[str], str] = str) -> PastRun:
    """A run of which the columns were read; ``clean`` takes out of a text what must not be shown."""
    # What another plugin timed has no model.
    rows = np.flatnonzero((run.status == "ok") & (run.model != ""))
    axes = {axis: _column(getattr(run, axis)[rows], clean) for axis in ("id", "weights", *NAMING)}
    same = zip(
        axes["id"],
        axes["profile"],
        (text or "pretrained" for text in axes["weights"]),
        _column(run.hardware[rows], clean),
        strict=True,
    )
    # An axis that a case does not have is an empty text or 0 in the columns.
    cases = [
        {
            axis: clean(value) if isinstance(value, str) else value
            for axis, value in zip(axes, row, strict=True)
            if value
        }
        for row in zip(*axes.values(), strict=True)
    ]
    return PastRun(
        datetime=run.facts.datetime,
        cases=tuple(
            PastCase(run=name, case=case, same=key, values=values)
            for case, key, values in zip(cases, same, _watched(run, rows.tolist()), strict=True)
        ),
    )


def _column(values: Texts | Ints, clean: Callable[[str], str]) -> list[Any]:
    """Plain values; each distinct text is cleaned once."""
    found: list[Any] = values.tolist()
    if values.dtype != object:
        return found
    known = {text: clean(text) for text in set(found)}
    return [known[text] for text in found]


def _watched(run: Results, rows: Sequence[int]) -> list[dict[str, Measured]]:
    found: list[dict[str, Measured]] = [{} for _ in rows]
    for metric in WATCHED:
        if (at := run.column(metric)) is None:
            continue
        value, low, high = (part[:, at].tolist() for part in (run.value, run.low, run.high))
        for entry, row in zip(found, rows, strict=True):
            if value[row] == value[row]:
                known = low[row] == low[row]
                ends = (low[row], high[row]) if known else (None, None)
                entry[metric] = Measured(value=value[row], low=ends[0], high=ends[1])
    return found


def history(runs: Mapping[str, PastRun]) -> list[HistoryPanel]:
    """A panel for each kind of case and metric that some case has an ok value of in at least two of the runs.

    The same case is one of equal id, profile, weights and hardware class.
    """
    order = sorted(runs, key=lambda name: runs[name].datetime)
    seen: dict[tuple[str, ...], dict[int, PastCase]] = {}
    for index, name in enumerate(order):
        for case in runs[name].cases:
            seen.setdefault(case.same, {})[index] = case
    kinds: dict[str, list[dict[int, PastCase]]] = {}
    for found in seen.values():
        if len(found) > 1:
            kinds.setdefault(str(next(iter(found.values())).case.get("kind") or ""), []).append(found)
    dates = tuple(runs[name].datetime[:16].replace("T", " ") for name in order)
    return [
        HistoryPanel(kind=kind, metric=metric, runs=tuple(order), dates=dates, lines=tuple(lines))
        for kind, repeated in kinds.items()
        for metric in WATCHED
        if (lines := _lines(repeated, metric))
    ]


def _lines(repeated: Sequence[dict[int, PastCase]], metric: str) -> list[Line]:
    """Lines of the cases that have the metric twice; a case is called the same in every metric of its kind."""
    _, names = labels([next(iter(cases.values())) for cases in repeated])
    lines = []
    for cases, name in zip(repeated, names, strict=True):
        points = [(index, item) for index, case in cases.items() if (item := case.values.get(metric))]
        if len(points) > 1:
            first = str(next(iter(cases.values())).case["id"])
            lines.append(Line(label=name or first, case_id=first, points=tuple(points)))
    return sorted(lines, key=lambda line: -line.change)
