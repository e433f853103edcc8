"""History: a metric of the same case on the same hardware over several runs. It judges no difference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from emobench.analysis.rows import Row, SavedRun, labels, weights
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


def history(runs: Mapping[str, SavedRun]) -> list[HistoryPanel]:
    """A panel for each kind of case and metric that some case has an ok value of in at least two of the runs.

    The same case is one of equal id, profile, weights and device name.
    """
    order = sorted(runs, key=lambda name: runs[name].datetime)
    seen: dict[tuple[str, str, str, str], dict[int, Row]] = {}
    for index, name in enumerate(order):
        for result in runs[name].records:
            if result.status is Status.OK:
                row = Row(run=name, result=result)
                seen.setdefault(_same(row), {})[index] = row
    kinds: dict[str, list[dict[int, Row]]] = {}
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


def _same(row: Row) -> tuple[str, str, str, str]:
    return row.id, str(row.case.get("profile")), weights(row), row.hardware


def _lines(repeated: Sequence[dict[int, Row]], metric: str) -> list[Line]:
    """Lines of the cases that have the metric twice; a case is called the same in every metric of its kind."""
    _, names = labels([next(iter(rows.values())) for rows in repeated])
    lines = []
    for rows, name in zip(repeated, names, strict=True):
        points = [(index, item) for index, row in rows.items() if (item := row.measured(metric))]
        if len(points) > 1:
            case = next(iter(rows.values()))
            lines.append(Line(label=name or case.id, case_id=case.id, points=tuple(points)))
    return sorted(lines, key=lambda line: -line.change)
