"""Overview: what several runs say together, as facts for a report. The words and pictures are made by the pages.

Random weights are never compared with pretrained ones. Nothing here reads a file, tests a hypothesis or compares a run
with a baseline.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from emobench.analysis.rows import Pick, Row, SavedRun, batch_of, best_of, labels, weights
from emobench.analysis.tradeoff import LATENCY, Group, groups_of
from emobench.kinds import FORWARD, SHRINKING
from emobench.outcomes import Status


@dataclass(frozen=True, kw_only=True)
class Speed:
    """The fastest of the inference cases that were given the same work: equal profile and length of input."""

    name: str
    """What tells this work from others of the report; empty where there is one only."""
    fastest: Pick
    """The lowest median latency at the smallest batch that was timed."""
    highest: Pick | None
    """The highest throughput at any batch; None where none was recorded."""


@dataclass(frozen=True, kw_only=True)
class Overview:
    """What the cases of all runs say together."""

    rows: tuple[Row, ...]
    current: tuple[Row, ...]
    """The ok ones, each case once: of the newest run that has it."""
    groups: tuple[Group, ...]
    speeds: tuple[Speed, ...]
    smallest: Pick | None
    """The fewest bytes of weights."""
    not_ok: tuple[Row, ...] = ()

    def count(self, status: Status) -> int:
        """Cases of a status."""
        return sum(row.result.status is status for row in self.rows)


def overview(runs: Mapping[str, SavedRun]) -> Overview:
    """Sum up the runs, given by name. A case that is in several runs is judged by the newest of them."""
    rows = tuple(Row(run=name, result=result) for name, run in runs.items() for result in run.records)
    dates = {name: run.datetime for name, run in runs.items()}
    newest = _newest(rows, dates)
    good = [row for row in newest if row.result.status is Status.OK]
    timed = _comparable([row for row in good if row.case.get("kind") in FORWARD and row.metric(LATENCY)])
    sized = _comparable([row for row in good if row.metric("model_bytes")])
    return Overview(
        rows=rows,
        current=tuple(good),
        groups=groups_of(good),
        speeds=_speeds(timed),
        smallest=_pick(_one_a_size(sized), "model_bytes"),
        not_ok=tuple(row for row in rows if row.result.status is not Status.OK),
    )


def _newest(rows: Sequence[Row], dates: Mapping[str, str]) -> list[Row]:
    """The last row of each case; on other hardware it is another case."""
    found: dict[tuple[str, str, str, str], Row] = {}
    for row in sorted(rows, key=lambda row: dates[row.run]):
        found[(row.id, str(row.case.get("profile")), weights(row), row.hardware)] = row
    return list(found.values())


def _speeds(rows: Sequence[Row]) -> tuple[Speed, ...]:
    works: dict[tuple[str, Any], list[Row]] = {}
    for row in rows:
        works.setdefault((str(row.case.get("profile") or ""), row.case.get("length")), []).append(row)
    found = []
    for (profile, length), members in works.items():
        least = min(batch_of(row) for row in members)
        fastest = _pick([row for row in members if batch_of(row) == least], LATENCY)
        highest = _pick([row for row in members if row.metric("samples_per_second")], "samples_per_second")
        assert fastest is not None
        parts = [f"profile {profile}" if profile else "", f"{length} tokens" if length is not None else ""]
        name = ", ".join(part for part in parts if part) if len(works) > 1 else ""
        found.append(Speed(name=name, fastest=fastest, highest=highest))
    return tuple(found)


def _comparable(rows: Sequence[Row]) -> list[Row]:
    """The rows with pretrained weights; those with random ones only where there are no others."""
    pretrained = [row for row in rows if weights(row) == "pretrained"]
    return pretrained or list(rows)


def _one_a_size(rows: Sequence[Row]) -> list[Row]:
    """One row for each configuration whose weights differ: batch size, length and training data change no size."""
    found: dict[tuple[Any, ...], Row] = {}
    for row in rows:
        shrunk = row.case.get("method") if row.case.get("kind") in SHRINKING else None
        found.setdefault((row.case.get("model"), row.case.get("precision"), shrunk), row)
    return list(found.values())


def _pick(rows: Sequence[Row], quantity: str) -> Pick | None:
    items = [(row, row.measured(quantity)) for row in rows]
    return best_of([(row, item) for row, item in items if item is not None], quantity, labels(rows)[1])
