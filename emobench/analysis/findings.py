"""Findings: what single records hold beside their metrics, in one form: curves, matrices, verdicts, targets, skips.

A record of another version, or edited by hand, may hold anything there: what has not the expected form is left out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from emobench.analysis.rows import Row, SavedRun, labels

MOST_POINTS = 300
"""Points a curve is drawn with; longer ones are averaged over equal parts."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Loss and validation accuracy of one seed's training."""

    label: str
    steps: tuple[float, ...]
    losses: tuple[float, ...]
    """Of every step, or the means of equal parts where there are more than :data:`MOST_POINTS`; nats."""
    averaged: int
    """Steps in each mean; 1 where every step stands for itself."""
    validation: tuple[tuple[float, float], ...] = ()
    """Step and accuracy."""


@dataclass(frozen=True, kw_only=True)
class CurvePanel:
    """The curves of one model on one data set."""

    title: str
    curves: tuple[Curve, ...]


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """How often each class was taken for which: rows are labels, columns predictions."""

    row: Row
    classes: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]

    @property
    def shares(self) -> list[list[float]]:
        """Each count over the examples of its label; 0 for a label without examples."""
        return [[count / sum(row) if sum(row) else 0.0 for count in row] for row in self.counts]


@dataclass(frozen=True, kw_only=True)
class TraceFinding:
    """What the trace of a case found to be its limit."""

    row: Row
    verdict: str
    achieved_share: float | None
    """Of the nearest ceiling."""
    largest: tuple[tuple[str, float], ...]
    advice: str


@dataclass(frozen=True, kw_only=True)
class Target:
    """A limit on a metric, and what a case reached."""

    row: Row
    metric: str
    limit: float
    value: float
    met: bool


@dataclass(frozen=True, kw_only=True)
class SkipGroup:
    """Cases that were not run for one reason."""

    runs: tuple[str, ...]
    """The runs it was so in."""
    of_runs: int
    """Runs that were looked at."""
    reason: str
    count: int
    """Over all runs."""
    examples: tuple[str, ...]


def curve_panels(rows: Sequence[Row]) -> list[CurvePanel]:
    """A panel for each model and data set with a training, in order of appearance; a curve a seed."""
    groups: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        if _trainings(row):
            key = (str(row.case.get("model")), str(row.case.get("dataset") or ""), str(row.case.get("profile") or ""))
            groups.setdefault(key, []).append(row)
    panels = []
    for (model, data, profile), members in groups.items():
        _, own = labels(members)
        title = f"{model} on {data}" if data else model
        found = [curve for row, name in zip(members, own, strict=True) for curve in _curves(row, name, len(members))]
        panels.append(CurvePanel(title=f"{title}, {profile}" if profile else title, curves=tuple(found)))
    return panels


def _trainings(row: Row) -> list[Mapping[str, Any]]:
    entries = row.result.details.get("training")
    if not isinstance(entries, list):
        return []
    return [entry for entry in entries if isinstance(entry, Mapping) and _numbers(entry.get("losses"))]


def _numbers(values: object) -> list[float]:
    if not isinstance(values, list):
        return []
    return [math.nan if value is None or not isinstance(value, int | float) else float(value) for value in values]


def _curves(row: Row, name: str, of: int) -> list[Curve]:
    entries = _trainings(row)
    found = []
    for entry in entries:
        losses = _numbers(entry["losses"])
        steps, means, size = _thinned(losses)
        seed = f"seed {entry.get('seed')}" if len(entries) > 1 else ""
        label = ", ".join(part for part in (name if of > 1 else str(row.case.get("method") or ""), seed) if part)
        found.append(
            Curve(
                label=label or row.id,
                steps=steps,
                losses=means,
                averaged=size,
                validation=tuple(_validation(entry.get("validation"))),
            )
        )
    return found


def _thinned(losses: Sequence[float]) -> tuple[tuple[float, ...], tuple[float, ...], int]:
    """Steps, means and the number of steps in each: a mean stands at the middle of its steps, NaN are left out."""
    size = max(1, math.ceil(len(losses) / MOST_POINTS))
    steps, means = [], []
    for start in range(0, len(losses), size):
        part = [loss for loss in losses[start : start + size] if math.isfinite(loss)]
        if part:
            steps.append(start + (min(size, len(losses) - start) + 1) / 2)
            means.append(sum(part) / len(part))
    return tuple(steps), tuple(means), size


def _validation(entries: object) -> list[tuple[float, float]]:
    found = []
    for entry in entries if isinstance(entries, list) else []:
        if isinstance(entry, Mapping):
            pair = _numbers([entry.get("step"), entry.get("accuracy")])
            if all(math.isfinite(value) for value in pair):
                found.append((pair[0], pair[1]))
    return found


def confusions(rows: Sequence[Row]) -> list[Confusion]:
    """The matrices of all cases that have a square one; classes without a name are numbered."""
    found = []
    for row in rows:
        table = row.result.details.get("confusion")
        if not isinstance(table, list) or not table or not all(isinstance(line, list) for line in table):
            continue
        if any(len(line) != len(table) or not all(isinstance(count, int) for count in line) for line in table):
            continue
        found.append(
            Confusion(
                row=row,
                classes=_classes(row.result.details.get("per_class"), len(table)),
                counts=tuple(tuple(line) for line in table),
            )
        )
    return found


def _classes(entries: object, count: int) -> tuple[str, ...]:
    named = entries if isinstance(entries, list) and len(entries) == count else [None] * count
    return tuple(
        str(entry["name"]) if isinstance(entry, Mapping) and "name" in entry else str(index)
        for index, entry in enumerate(named)
    )


def traces(rows: Sequence[Row]) -> list[TraceFinding]:
    """The verdicts of all traced cases."""
    found = []
    for row in rows:
        trace = row.result.details.get("trace")
        if not isinstance(trace, Mapping) or not trace.get("verdict"):
            continue
        share = trace.get("achieved_share")
        parts = trace.get("largest") or []
        largest = [
            (str(part["name"]), float(part["share"]))
            for part in (parts if isinstance(parts, list) else [])
            if isinstance(part, Mapping) and isinstance(part.get("share"), int | float) and "name" in part
        ]
        found.append(
            TraceFinding(
                row=row,
                verdict=str(trace["verdict"]),
                achieved_share=float(share) if isinstance(share, int | float) else None,
                largest=tuple(largest),
                advice=str(trace.get("advice") or ""),
            )
        )
    return found


def targets(rows: Sequence[Row]) -> list[Target]:
    """Every target that a case has a value for, as it was judged in its run; missed ones first."""
    found = []
    for row in rows:
        judged = row.result.details.get("targets")
        for name, entry in judged.items() if isinstance(judged, Mapping) else ():
            if isinstance(entry, Mapping):
                limit, value = _numbers([entry.get("target"), entry.get("value")])
                if math.isfinite(limit) and math.isfinite(value):
                    found.append(Target(row=row, metric=name, limit=limit, value=value, met=bool(entry.get("met"))))
    return sorted(found, key=lambda target: (target.met, target.metric))


def skips(runs: Mapping[str, SavedRun], *, examples: int = 3) -> list[SkipGroup]:
    """Cases that did not run by reason, the largest group first."""
    groups: dict[str, list[tuple[str, list[str], int]]] = {}
    for name, run in runs.items():
        for entry in run.skipped:
            cases = entry.get("cases")
            listed = [str(case) for case in cases] if isinstance(cases, list) else []
            count = entry.get("count")
            reason = str(entry.get("reason") or "no reason was recorded")
            groups.setdefault(reason, []).append((name, listed, count if isinstance(count, int) else len(listed)))
    found = [
        SkipGroup(
            runs=tuple(dict.fromkeys(name for name, _, _ in parts)),
            of_runs=len(runs),
            reason=reason,
            count=sum(count for _, _, count in parts),
            examples=tuple(dict.fromkeys(case for _, listed, _ in parts for case in listed[:examples]))[:examples],
        )
        for reason, parts in groups.items()
    ]
    return sorted(found, key=lambda group: -group.count)
