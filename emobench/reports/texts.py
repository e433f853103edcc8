"""The report as text: Markdown, CSV and JSON. What is said comes from ``phrases``; every name is made harmless here."""

from __future__ import annotations

import csv
import io
import json
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from emobench.analysis.rows import Pick, Row
from emobench.analysis.tradeoff import Group
from emobench.outcomes import METRICS
from emobench.reports.case_fields import CASE_FIELDS
from emobench.reports.case_table import Table, case_tables
from emobench.reports.content import Content
from emobench.reports.phrases import (
    INTERVALS,
    OVERLAP,
    limit_text,
    scatter_caption,
    skip_text,
    summary_lines,
    value_text,
)
from emobench.reports.sweep import answer_lines, cell, heading, markdown
from emobench.reports.tables import WIDTH, one_line

SCHEMA = 1
"""Version of ``report.json``."""
_MOST_LINES = 40
"""Of a list in the Markdown, which is read on a small page; the JSON has all."""


def summary_text(content: Content) -> str:
    """The summary as plain text of at most 120 columns."""
    lines = [INTERVALS]
    for question, text in summary_lines(content):
        lines += textwrap.wrap(one_line(f"{question}: {text}"), WIDTH, subsequent_indent="    ", break_on_hyphens=False)
    return "\n".join(lines)


def report_markdown(content: Content, pictures: Sequence[str] = ()) -> bytes:
    """The report as GitHub shows it; ``pictures`` are file names beside it."""
    blocks = [f"# {markdown(content.title)}", f"{INTERVALS} {OVERLAP}"]
    blocks.append(_pairs(summary_lines(content)))
    blocks += [f"![{markdown(name)}]({name})" for name in pictures]
    blocks += [f"{markdown(group.name)}: {markdown(scatter_caption(group))}" for group in content.overview.groups]
    for table in case_tables(content.overview.rows):
        blocks += [
            f"## {markdown(table.title)}",
            *([markdown(table.common)] if table.common else []),
            _case_table(table),
        ]
    for sweep, found in zip(content.sweeps, content.answers, strict=True):
        blocks += [f"## Batch sizes: {markdown(heading(sweep))}", _pairs(answer_lines(sweep, found))]
    blocks += _findings(content)
    for session in content.sessions:
        blocks += [f"## Environment of run {markdown(session.run)}", _pairs(session.facts)]
    return ("\n\n".join(blocks) + "\n").encode()


def _pairs(lines: Sequence[tuple[str, str]]) -> str:
    rows = [f"| {markdown(name)} | {markdown(text)} |" for name, text in lines]
    return "\n".join(["| | |", "|---|---|", *rows])


def _case_table(table: Table) -> str:
    heads = [markdown(f"{head.title} {head.unit}".strip()) for head in table.heads]
    rule = ["---:" if head.numeric else "---" for head in table.heads]
    rows = [[markdown(found.text) for found in row.cells] for row in table.rows]
    lines = [heads, rule, *rows]
    reasons = [f"- {row.status}: {markdown(row.case_id)}: {markdown(row.reason)}" for row in table.rows if row.reason]
    text = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return "\n\n".join([text, "\n".join(reasons)]) if reasons else text


def _findings(content: Content) -> Iterator[str]:
    if content.targets:
        yield "## Targets"
        yield _listed(
            f"{'met' if target.met else 'missed'}: {markdown(target.row.id)}: {markdown(limit_text(target))}, "
            f"reached {markdown(value_text(target.metric, target.value))}"
            for target in content.targets
        )
    if content.traces:
        yield "## Traces"
        yield _listed(
            f"{markdown(trace.row.id)}: {markdown(trace.verdict)}: {markdown(trace.advice)}" for trace in content.traces
        )
    if content.skips:
        yield "## Not run"
        yield _listed(markdown(skip_text(group)) for group in content.skips)


def _listed(items: Iterator[str]) -> str:
    found = list(items)
    more = [f"- and {len(found) - _MOST_LINES} more"] if len(found) > _MOST_LINES else []
    return "\n".join([*(f"- {item}" for item in found[:_MOST_LINES]), *more])


def report_csv(content: Content) -> bytes:
    """One line a case of a run, in SI units: axes, status, then each metric with the ends of its interval. UTF-8.

    A text that a spreadsheet would take for a formula begins with an apostrophe.
    """
    rows = content.overview.rows
    used = [name for name in METRICS if any(row.metric(name) for row in rows)]
    fields = [f"{name}{end}" for name in used for end in ("", "_low", "_high")]
    axes = [name for name in CASE_FIELDS if name != "seeds"]
    target = io.StringIO()
    writer = csv.DictWriter(target, ["run", *axes, "status", "reasons", *fields])
    writer.writeheader()
    for row in rows:
        texts = {"run": row.run, **{name: row.case.get(name) for name in axes}, "status": row.result.status.value}
        texts["reasons"] = "; ".join(row.result.reasons)
        writer.writerow({name: cell(value) for name, value in texts.items()} | dict(_ends(row, used)))
    return target.getvalue().encode()


def _ends(row: Row, names: Sequence[str]) -> Iterator[tuple[str, float | None]]:
    for name in names:
        if item := row.measured(name):
            yield from ((name, item.value), (f"{name}_low", item.low), (f"{name}_high", item.high))


def report_json(content: Content) -> bytes:
    """Everything of the report in SI units, for programs; texts are as they were saved, without secrets."""
    found = {
        "schema": SCHEMA,
        "title": content.title,
        "summary": [{"question": question, "answer": text} for question, text in summary_lines(content)],
        "metrics": {name: asdict(kind) for name, kind in METRICS.items()},
        "runs": [
            {"name": session.run, "facts": [list(fact) for fact in session.facts]} for session in content.sessions
        ],
        "cases": [_case(row) for row in content.overview.rows],
        "groups": [_group(group) for group in content.overview.groups],
        "speeds": [
            {"work": speed.name, "fastest": _pick(speed.fastest), "highest_throughput": _pick(speed.highest)}
            for speed in content.overview.speeds
        ],
        "smallest": _pick(content.overview.smallest),
        "targets": [
            {"run": item.row.run, "case": item.row.id, "metric": item.metric, "target": item.limit}
            | {"value": item.value, "met": item.met}
            for item in content.targets
        ],
        "traces": [
            {"run": item.row.run, "case": item.row.id, "verdict": item.verdict, "advice": item.advice}
            | {"achieved_share": item.achieved_share, "largest": [list(part) for part in item.largest]}
            for item in content.traces
        ],
        "history": [
            {"kind": panel.kind, "metric": panel.metric, "unit": panel.unit, "runs": list(panel.runs)}
            | {"dates": list(panel.dates)}
            | {
                "cases": [
                    {
                        "case": line.case_id,
                        "points": [{"run": panel.runs[at], **asdict(item)} for at, item in line.points],
                    }
                    for line in panel.lines
                ]
            }
            for panel in content.history
        ],
        "skipped": [asdict(group) for group in content.skips],
    }
    return json.dumps(found, indent=1, allow_nan=False).encode()


def _case(row: Row) -> dict[str, Any]:
    return {
        "run": row.run,
        "case": {name: row.case[name] for name in CASE_FIELDS if name in row.case},
        "status": row.result.status.value,
        "reasons": list(row.result.reasons),
        "metrics": {
            item.name: {"value": item.value, "unit": item.unit, "better": item.better, "n": item.n}
            | {"ci": list(item.ci) if item.ci else None}
            for item in row.result.metrics
        },
    }


def _group(group: Group) -> dict[str, Any]:
    return {
        "dataset": group.dataset,
        "profile": group.profile,
        "shown_against": group.across or None,
        "best_quality": _pick(group.best),
        "trade_off": _pick(group.trade_off),
        "cases": [
            {"run": item.row.run, "case": item.row.id, "label": item.label, "on_pareto_front": item.on_front}
            | {"accuracy": asdict(item.quality), "latency_case": item.latency_case or None}
            | {"costs": {name: asdict(value) for name, value in item.costs.items()}}
            for item in group.candidates
        ],
    }


def _pick(pick: Pick | None) -> dict[str, Any] | None:
    if pick is None:
        return None
    found = {"run": pick.row.run, "case": pick.row.id, "quantity": pick.quantity, **asdict(pick.item)}
    return {**found, "tied": list(pick.tied)}
