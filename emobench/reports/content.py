"""Content: everything a report shows, gathered once, so that the page, the PDF and the texts say the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

from emobench.analysis.answers import Answers, answer
from emobench.analysis.bars import BarChart, bar_charts
from emobench.analysis.findings import (
    Confusion,
    CurvePanel,
    SkipGroup,
    Target,
    TraceFinding,
    confusions,
    curve_panels,
    skips,
    targets,
    traces,
)
from emobench.analysis.history import HistoryPanel, PastRun, history, past_of_columns, past_of_records
from emobench.analysis.overview import Overview, overview
from emobench.analysis.rows import Row
from emobench.analysis.sessions import Session, sessions
from emobench.analysis.sweep import Source, Sweep, sweeps
from emobench.records.hardware import hardware_class
from emobench.records.index import RunIndex
from emobench.records.record import Record
from emobench.records.secrets import redact, without_secrets
from emobench.records.store import Run


@dataclass(frozen=True, kw_only=True)
class Content:
    """A report, before it has a form."""

    title: str
    records: Mapping[str, tuple[Record, ...]]
    """By run."""
    overview: Overview
    sessions: tuple[Session, ...]
    bars: tuple[BarChart, ...]
    curves: tuple[CurvePanel, ...]
    confusions: tuple[Confusion, ...]
    traces: tuple[TraceFinding, ...]
    targets: tuple[Target, ...]
    skips: tuple[SkipGroup, ...]
    history: tuple[HistoryPanel, ...]
    sweeps: tuple[Sweep, ...]
    answers: tuple[Answers, ...]
    """One for each sweep."""
    notes: tuple[str, ...] = field(default=())
    """What was left out while the runs were gathered."""


def content(
    runs: Mapping[str, Run],
    *,
    earlier: Mapping[str, RunIndex] | None = None,
    target_seconds: float | None = None,
    notes: tuple[str, ...] = (),
) -> Content:
    """Gather the report on the runs, given by name; ``earlier`` runs are shown in the history only, and
    of them the columns are enough.

    Credentials and user names are taken out of every text here, before anything is made of it.
    """
    clean = {name: without_secrets(run) for name, run in runs.items()}
    sources = [Source(name=name, results=run.records, timings=run.timings) for name, run in clean.items()]
    found = overview(clean)
    swept = sweeps(sources)
    return Content(
        title="EmoBench report: " + (f"run {next(iter(clean))}" if len(clean) == 1 else f"{len(clean)} runs"),
        records={name: run.records for name, run in clean.items()},
        overview=found,
        sessions=tuple(sessions(clean)),
        bars=tuple(bar_charts(found.current)),
        curves=tuple(curve_panels(found.rows)),
        confusions=tuple(confusions(found.rows)),
        traces=tuple(traces(found.rows)),
        targets=tuple(targets(found.rows)),
        skips=tuple(skips(clean)),
        history=tuple(history(_past(clean, earlier or {}))),
        sweeps=tuple(swept),
        answers=tuple(answer(sweep, sources, target_seconds=target_seconds) for sweep in swept),
        notes=notes,
    )


def _past(runs: Mapping[str, Run], earlier: Mapping[str, RunIndex]) -> dict[str, PastRun]:
    """The runs of the history; one that is among both is taken as a whole."""
    found = {name: past_of_columns(name, index, redact) for name, index in earlier.items() if name not in runs}
    return found | {name: past_of_records(name, run, partial(_hardware, run)) for name, run in runs.items()}


def _hardware(run: Run, row: Row) -> str:
    return hardware_class(row.result.environment, run.machine_info)
