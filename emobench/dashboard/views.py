"""Views: what each part of the page shows of a run, as plain values made by the functions the reports use.

A run that cannot be read is told in place of a view. Nothing here knows Gradio.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from emobench.analysis.findings import curve_panels
from emobench.analysis.rows import Row, measured
from emobench.dashboard import html_pieces as marks
from emobench.dashboard.saved_runs import Entry
from emobench.errors import EmoBenchError
from emobench.outcomes import METRICS, Metric
from emobench.records.secrets import redact
from emobench.reports.case_table import Cell, Head, Table, case_tables
from emobench.reports.chart import Chart
from emobench.reports.charts import (
    bar_chart,
    batch_charts,
    curve_charts,
    radar_chart,
    scatter_chart,
)
from emobench.reports.content import Content
from emobench.reports.phrases import (
    INTERVALS,
    OVERLAP,
    radar_caption,
    scatter_caption,
    skip_rows,
    summary_lines,
    target_rows,
)
from emobench.reports.quantities import figure_text
from emobench.reports.sweep import answer_lines
from emobench.reports.sweep import heading as sweep_heading
from emobench.reports.tables import MIB, number

FILTERS = ("model", "dataset", "method", "precision", "device", "batch_size", "status")
"""Axes that the table of cases is filtered by."""
MOST_SWEEPS = 20
"""Batch sweeps that are shown; the report has all."""
MOST_CHARTS = 60
"""Charts of one sort, as in the report."""
COUNTED = ("parameters", "steps")
"""Units of things that are counted."""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A table of cells: numbers with the text they are shown as, so that a column is sorted by its numbers."""

    heads: tuple[str, ...]
    cells: tuple[tuple[str | float | None, ...], ...]
    texts: tuple[tuple[str, ...], ...]
    numeric: tuple[bool, ...] = field(default=())


def told(error: EmoBenchError) -> str:
    """An error as a view."""
    return marks.problem(redact(f"{error.problem}: {error.why}. {error.fix[:1].upper()}{error.fix[1:]}."))


# Runs.


def runs_html(entries: Sequence[Entry]) -> str:
    """All runs of the storage; of one that cannot be read, why."""
    if not entries:
        return marks.problem("No run is saved here yet. Make one: pytest benchmarks, or emobench run.")
    rows = [
        (
            entry.number,
            entry.datetime[:16].replace("T", " "),
            entry.commit[:10] + (" (changed)" if entry.dirty else ""),
            entry.profile,
            "" if entry.problem else f"{entry.cases:,}",
            "" if entry.problem else f"{entry.ok:,}",
            f"cannot be read: {entry.problem}" if entry.problem else "",
            entry.key,
        )
        for entry in entries
    ]
    return marks.table(("run", "saved, UTC", "commit", "profile", "cases", "ok", "problem", "file"), rows, right=(4, 5))


# Summary.


def summary_html(content: Content) -> str:
    """The questions a reader asks first, with their answers; then where the run was made."""
    parts = [marks.pairs(summary_lines(content)), marks.note(f"{INTERVALS} {OVERLAP}")]
    for sweep, found in [*zip(content.sweeps, content.answers, strict=True)][:MOST_SWEEPS]:
        parts += [marks.heading(f"Batch size: {sweep_heading(sweep)}"), marks.pairs(answer_lines(sweep, found))]
    left = len(content.sweeps) - MOST_SWEEPS
    parts.append(marks.note(f"{left} more batch sweeps are in emobench report." if left > 0 else ""))
    if content.targets:
        heads = ("", "case", "target", "reached")
        parts += [marks.heading("Targets"), marks.table(heads, target_rows(content))]
    for session in content.sessions:
        parts += [marks.heading("Where it was made"), marks.pairs(session.facts)]
    if content.skips:
        parts += [marks.heading("Not run"), marks.table(("why", "such as"), skip_rows(content))]
    return "".join(parts)


# Charts.


def charts_of(content: Content) -> dict[str, Chart]:
    """Every chart of the report by a title of its own, quality against cost first."""
    made: list[Chart] = []
    for group in content.overview.groups:
        if group.across:
            scatter = scatter_chart(group, scatter_caption(group))
            made.append(replace(scatter, title=f"Accuracy against cost: {scatter.title}"))
    for group in content.overview.groups:
        if radar := radar_chart(group, radar_caption(group)):
            made.append(radar)
    made += [bar_chart(item) for item in content.bars[:MOST_CHARTS]]
    made += batch_charts(content.sweeps[:MOST_SWEEPS])
    made += [chart for panel in content.curves[:MOST_CHARTS] for chart in curve_charts(panel)]
    found: dict[str, Chart] = {}
    for chart in made:
        found[_unused(chart.title, found)] = chart
    return found


def _unused(title: str, taken: Mapping[str, object]) -> str:
    numbers = (title if number == 1 else f"{title} ({number})" for number in range(1, len(taken) + 2))
    return next(name for name in numbers if name not in taken)


# Cases.


def tables_of(content: Content) -> dict[str, Table]:
    """The tables of cases by their kind."""
    return {table.title: table for table in case_tables(content.overview.rows)}


def choices_of(content: Content) -> dict[str, list[str]]:
    """For each axis to filter by, the values that cases have."""
    return {name: sorted({value for row in content.overview.rows if (value := _axis(row, name))}) for name in FILTERS}


def _axis(row: Row, name: str) -> str:
    if name == "status":
        return row.result.status.value.replace("_", " ")
    value = row.case.get(name)
    return "" if value is None else str(value)


def chosen_rows(content: Content, wanted: Mapping[str, Sequence[str]], words: str = "") -> list[Row]:
    """The cases that have one of the wanted values on every axis that is filtered by, and all words in their id."""
    parts = words.casefold().split()
    return [
        row
        for row in content.overview.rows
        if all(not values or _axis(row, name) in values for name, values in wanted.items())
        and all(part in row.id.casefold() for part in parts)
    ]


def case_grid(rows: Sequence[Row], kind: str) -> tuple[Grid, str]:
    """The report's table of the cases of a kind, with their ids, and what they have in common."""
    table = next((table for table in case_tables(rows) if table.title == kind), None)
    if table is None:
        return Grid(heads=("case",), cells=(), texts=(), numeric=(False,)), f"No case of {kind} is left by the filters."
    heads = [f"{head.title} {head.unit}".strip() for head in table.heads]
    cells = tuple((*map(_value, row.cells, table.heads), row.case_id) for row in table.rows)
    texts = tuple((*(cell.text for cell in row.cells), row.case_id) for row in table.rows)
    grid = Grid(
        heads=(*(_unused(head, dict.fromkeys(heads[:at])) for at, head in enumerate(heads)), "case"),
        cells=cells,
        texts=texts,
        numeric=(*(head.numeric for head in table.heads), False),
    )
    count = f"{len(table.rows):,} case{'' if len(table.rows) == 1 else 's'}"
    return grid, f"{count}; the same in all: {table.common}" if table.common else count


def _value(cell: Cell, head: Head) -> str | float | None:
    return cell.value if head.numeric else cell.text


# One case.


def case_html(content: Content, row: Row) -> str:
    """What is known of a case: how it ended, its metrics with intervals, its confusion matrix, its trace."""
    facts = [("status", _axis(row, "status")), *(("reason", reason) for reason in row.result.reasons)]
    facts += [
        (name.replace("_", " "), ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value))
        for name, value in row.case.items()
        if value not in (None, "", []) and name not in ("id", "key")
    ]
    facts += [("limited by", f"{item.verdict}. {item.advice}") for item in content.traces if item.row is row]
    metrics = [
        (item.name, metric_text(item), "" if item.n is None else f"{item.n:,}", _meaning(item.name))
        for item in row.result.metrics
    ]
    matrices = [marks.matrix(item) for item in content.confusions if item.row is row]
    left = [marks.heading("Case"), marks.pairs(facts), *(marks.heading("Confusion matrix") + item for item in matrices)]
    heads = ("metric", "value (95 % interval)", "n", "meaning")
    right = marks.heading("Metrics") + marks.table(heads, metrics, right=(2,))
    return f"<div class='two'><div>{''.join(left)}</div><div>{right}</div></div>"


def metric_text(item: Metric) -> str:
    """A metric with its unit and interval; bytes as MiB, counts in full."""
    if item.unit == "bytes":
        values = [f"{number(value / MIB)}" for value in (item.value, *(item.ci or ()))]
        return f"{values[0]}{f' ({values[1]} to {values[2]})' if item.ci else ''} MiB"
    if isinstance(item.value, int) or (item.unit in COUNTED and float(item.value).is_integer()):
        return f"{int(item.value):,}"
    return figure_text(item.name, measured(item)) if item.name in METRICS else f"{item.value:.6g}"


def _meaning(name: str) -> str:
    return METRICS[name].meaning if name in METRICS else ""


def find_case(content: Content, case: object) -> Row | None:
    """The row of a case, or None."""
    return next((row for row in content.overview.rows if row.id == case), None)


def case_charts(row: Row) -> list[Chart]:
    """Training loss and validation accuracy of a case that was trained; a single point is no curve."""
    charts = [chart for panel in curve_panels([row]) for chart in curve_charts(panel)]
    return [chart for chart in charts if any(len(series["x"]) > 1 for series in chart.data)]
