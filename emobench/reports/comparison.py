"""Comparisons and gates as text of at most 120 columns, Markdown, CSV and JSON. It computes no figure.

What comes from files (case ids, reasons) is shown without control characters; a Markdown cell has its pipes and angle
brackets escaped, and a CSV cell cannot start a formula.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import lru_cache
from typing import Any

import numpy as np

from emobench.analysis.compare import Comparison, Rows
from emobench.analysis.gates import Decision, Judgment, shown_change
from emobench.analysis.metric_kinds import is_share
from emobench.outcomes import METRICS
from emobench.records.secrets import redact, redacted
from emobench.reports.tables import MIB, WIDTH, grid, number, wrapped

FORMATS = ("text", "markdown", "csv", "json")

_HEADS = ("metric", "base", "new", "change", "95 %\ninterval", "p\n(Holm)", "could\nshow", "effect", "verdict")
_ALIGN = ("left", "right", "right", "right", "right", "right", "right", "right", "left")
_MARKDOWN_HEADS = (
    *("case", "metric", "base", "new", "change", "95 % interval", "p", "p (Holm)", "could show", "effect", "verdict"),
)
_MILLISECONDS = ("latency_", "ttft_", "tpot_")
_COLUMNS = (
    *("case", "model", "dataset", "method", "device", "metric", "unit", "base", "new", "change", "change_low"),
    *("change_high", "p", "p_holm", "p_bh", "detectable", "effect", "verdict", "how"),
)
_APART_SHOWN = 5
EFFECT = "effect: of a score Cohen's h, of a time or speed Cliff's delta of its rounds (-1 to 1)"


def clean(text: object) -> str:
    """The text on one line, without credentials; what a terminal would take for a command is spelled out."""
    return _clean(str(text))


@lru_cache(maxsize=2**15)
def _clean(text: str) -> str:
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in _redact(text))


# The same ids, words and reasons stand in many rows.
_redact = lru_cache(maxsize=2**15)(redact)


def figure(metric: str, value: float) -> str:
    """A value in the unit that :func:`metric_label` names."""
    if not math.isfinite(value):
        return ""
    kind = METRICS.get(metric)
    unit = kind.unit if kind else ""
    if unit == "bytes":
        return number(value / MIB)
    if metric.startswith(_MILLISECONDS) and unit == "s":
        return number(value * 1e3)
    return f"{value:.4f}" if unit == "share" else number(value)


def metric_label(metric: str) -> str:
    """The metric's name, and the unit where it is shown in another than the metric's own."""
    kind = METRICS.get(metric)
    if kind and kind.unit == "bytes":
        return f"{metric}, MiB"
    return f"{metric}, ms" if kind and kind.unit == "s" and metric.startswith(_MILLISECONDS) else metric


def probability(p: float) -> str:
    """A p-value; empty where there is none."""
    if not math.isfinite(p):
        return ""
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def effect_size(effect: float) -> str:
    """With its sign, two decimals; empty where there is none."""
    # Adding 0 takes the sign off a rounded -0.0.
    return f"{round(effect, 2) + 0.0:+.2f}" if math.isfinite(effect) else ""


def _bounds(metric: str, lower: float, upper: float) -> str:
    if not (math.isfinite(lower) and math.isfinite(upper)):
        return ""
    digits = 2 if is_share(metric) else 1
    ends = [round(100 * end, digits) + 0.0 for end in (lower, upper)]
    return f"{ends[0]:+.{digits}f} to {ends[1]:+.{digits}f}"


# Comparisons.


def comparison_text(found: Comparison, *, by: str | None = None) -> str:
    """One run against the base: a line a metric below its case, counts, and what is not compared."""
    lines = wrapped(f"{clean(found.new)} against {clean(found.base)}")
    rows = found.rows
    groups = _groups(rows, by)
    table = _table_lines(rows)
    lines += table["head"] if rows and any(rows.metric != "") else []
    for title, places in groups:
        lines += [f"{by}: {clean(title)}"] if by else []
        lines += _case_lines(rows, places, table["rows"])
    return "\n".join([*lines, *_closing(found)])


def _groups(rows: Rows, by: str | None) -> list[tuple[str, list[int]]]:
    if by is None:
        return [("", list(range(len(rows))))]
    found: dict[str, list[int]] = {}
    for place, value in enumerate(getattr(rows, by)):
        found.setdefault(str(value) or "(none)", []).append(place)
    return sorted(found.items())


def _table_lines(rows: Rows) -> dict[str, list[str]]:
    """Head lines, and one line a row; rows of whole cases are empty there."""
    cells = [_cells(rows, place) for place in range(len(rows))]
    lines = grid(list(_HEADS), cells or [[""] * len(_HEADS)], list(_ALIGN)).splitlines()
    # Indented here: the grid strips what a cell begins with.
    lines = [f"  {line}".rstrip() for line in lines]
    return {"head": lines[: -len(cells)] if cells else lines[:-1], "rows": lines[-len(cells) :] if cells else []}


def _cells(rows: Rows, place: int) -> list[str]:
    metric = str(rows.metric[place])
    if not metric:
        return [""] * len(_HEADS)
    point = float(rows.point[place])
    shown = float(rows.detectable[place])
    return [
        metric_label(metric),
        figure(metric, float(rows.base[place])),
        figure(metric, float(rows.new[place])),
        shown_change(metric, point) if math.isfinite(point) else "",
        _bounds(metric, float(rows.lower[place]), float(rows.upper[place])),
        probability(float(rows.p_holm[place])),
        shown_change(metric, shown).lstrip("+") if math.isfinite(shown) else "",
        effect_size(float(rows.effect[place])),
        str(rows.verdict[place]),
    ]


def _case_lines(rows: Rows, places: Sequence[int], table: Sequence[str]) -> list[str]:
    lines, before = [], None
    for place in places:
        case = clean(rows.case[place])
        if not rows.metric[place]:
            how = clean(rows.how[place])
            lines += wrapped(f"{case}: {rows.verdict[place]}{f' ({how})' if how else ''}")
        else:
            lines += [_cut(case)] if case != before else []
            lines.append(table[place])
        before = case
    return lines


def _cut(text: str) -> str:
    return text if len(text) <= WIDTH else f"{text[: WIDTH - 12]}..{text[-10:]}"


def _closing(found: Comparison) -> list[str]:
    counts = ", ".join(f"{count} {verdict}" for verdict, count in found.counts().items())
    lines = [f"in all: {counts or 'nothing to compare'}"]
    lines += [EFFECT] if np.isfinite(found.rows.effect).any() else []
    reasons: dict[str, list[str]] = {}
    for case, why in found.apart:
        reasons.setdefault(why, []).append(case)
    for why, cases in reasons.items():
        more = f" and {len(cases) - _APART_SHOWN} more" if len(cases) > _APART_SHOWN else ""
        names = ", ".join(cases[:_APART_SHOWN])
        lines += wrapped(clean(f"not compared, {why}: {names}{more}"))
    return lines + [line for note in found.notes for line in wrapped(clean(note))]


def chosen(found: Comparison, only: Sequence[str]) -> Comparison:
    """The comparison with rows of these verdicts alone; all where none is named."""
    if not only:
        return found
    keep = np.isin(found.rows.verdict.astype(str), list(only))
    note = f"shown: {', '.join(only)}; {int((~keep).sum())} other rows are left out"
    hidden = Counter(found.rows.verdict[~keep].tolist())
    return replace(found, rows=found.rows.where(keep), hidden=hidden, notes=(*found.notes, note))


def comparison_markdown(found: Comparison, *, by: str | None = None) -> str:
    """The same as Markdown tables, one a group."""
    parts = [f"**{markdown_cell(found.new)} against {markdown_cell(found.base)}**"]
    for title, places in _groups(found.rows, by):
        parts += [f"### {by}: {markdown_cell(title)}"] if by else []
        parts.append(markdown_table(_MARKDOWN_HEADS, [_markdown_row(found.rows, place) for place in places]))
    return "\n\n".join([*parts, *map(markdown_cell, _closing(found))])


def _markdown_row(rows: Rows, place: int) -> list[object]:
    label = metric_label(str(rows.metric[place])) or str(rows.how[place])
    _, base, new, change, interval, p_holm, shown, effect, _ = _cells(rows, place)
    p = probability(float(rows.p[place]))
    return [rows.case[place], label, base, new, change, interval, p, p_holm, shown, effect, str(rows.verdict[place])]


def markdown_table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table with every cell escaped."""
    lines = [" | ".join(heads), " | ".join("---" for _ in heads)]
    lines += [" | ".join(markdown_cell(cell) for cell in row) for row in rows]
    return "\n".join(f"| {line} |" for line in lines)


def markdown_cell(value: object) -> str:
    """A text that is neither markup nor the end of a cell."""
    text = clean(value).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    for sign in "\\`*_|[]":
        text = text.replace(sign, f"\\{sign}")
    return text


def csv_cell(value: object) -> object:
    """A value as it may stand in a CSV cell: a text that a spreadsheet would take for a formula is quoted."""
    if isinstance(value, float | int) or value is None:
        return "" if value is None or not math.isfinite(value) else value
    text = clean(value)
    return f"'{text}" if text.lstrip().startswith(("=", "+", "-", "@")) else text


def comparison_csv(comparisons: Sequence[Comparison]) -> str:
    """All rows of all comparisons, figures in the metrics' units and changes as shares or ratios less 1."""
    return csv_text(
        ("base_run", "new_run", *_COLUMNS),
        [
            [found.base, found.new, *(row[name] for name in _COLUMNS)]
            for found in comparisons
            for row in _plain_rows(found.rows)
        ],
    )


def csv_text(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A CSV with every cell escaped."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(heads)
    writer.writerows([csv_cell(cell) for cell in row] for row in rows)
    return out.getvalue()


def comparison_json(comparisons: Sequence[Comparison]) -> str:
    """The same as JSON; null where there is no number."""
    content = [
        {
            "base": _redact(found.base),
            "new": _redact(found.new),
            "counts": found.counts(),
            "rows": _plain_rows(found.rows),
            "not_compared": [{"case": _redact(case), "why": _redact(why)} for case, why in found.apart],
        }
        for found in comparisons
    ]
    return json.dumps(content, indent=1, allow_nan=False)


def _plain_rows(rows: Rows) -> list[dict[str, Any]]:
    numbers = {"base": "base", "new": "new", "change": "point", "change_low": "lower", "change_high": "upper"}
    numbers |= {name: name for name in ("p", "p_holm", "p_bh", "detectable", "effect")}
    columns: dict[str, list[Any]] = {
        name: [value if math.isfinite(value) else None for value in getattr(rows, field).tolist()]
        for name, field in numbers.items()
    }
    for name in ("case", "model", "dataset", "method", "device", "metric", "verdict", "how"):
        columns[name] = [_redact(str(value)) for value in getattr(rows, name)]
    columns["unit"] = [METRICS[name].unit if name in METRICS else "" for name in columns["metric"]]
    return [
        dict(zip(_COLUMNS, values, strict=True)) for values in zip(*(columns[key] for key in _COLUMNS), strict=True)
    ]


# Gates.


def decision_text(item: Decision) -> str:
    """One decision in a line: numbers, interval and limit."""
    what = f"{item.metric} is {item.outcome}" if item.metric else item.outcome
    if item.outcome == "not gated":
        return clean(f"{item.metric} is not gated: {item.reason}")
    if item.point is None or item.base is None or item.new is None:
        limit = f"; limit {item.limit}" if item.limit else ""
        return clean(f"{what}: {item.reason}{limit}")
    unit = _unit(item.metric)
    values = f"{figure(item.metric, item.base)} to {figure(item.metric, item.new)}{unit}"
    interval = ""
    if item.lower is not None and item.upper is not None and item.confidence is not None:
        size = "pt" if is_share(item.metric) else "%"
        level = f"{100 * item.confidence:.7g}"
        interval = f" ({level} % interval {_bounds(item.metric, item.lower, item.upper)} {size})"
    return clean(
        f"{what}: {values}, {shown_change(item.metric, item.point)}{interval}, limit {item.limit}; {item.reason}"
    )


def _unit(metric: str) -> str:
    label = metric_label(metric)
    kind = METRICS[metric]
    if label != metric:
        return f" {label.rpartition(' ')[2]}"
    return "" if kind.unit == "share" else f" {kind.unit}"


def gate_lines(found: Judgment, *, base: str) -> list[str]:
    """What a gate found: every pair that is not fine, how many were gated, and what the notes say."""
    lines = []
    for outcome in ("worse", "incomplete", "inconclusive", "not gated"):
        shown = found.of(outcome)
        lines += [line for item in shown for line in wrapped(f"{clean(item.case)}: {decision_text(item)}")]
    lines.append(gated_line(found, base=base))
    return lines + [line for note in found.notes for line in wrapped(clean(note))]


def gated_line(found: Judgment, *, base: str) -> str:
    """``Gated N of M`` and what they came to."""
    counts = {
        outcome: len(found.of(outcome))
        for outcome in ("worse", "better", "same", "inconclusive", "incomplete", "not gated")
    }
    words = ", ".join(f"{number} {name}" for name, number in counts.items() if number)
    against = f" against {clean(base)}" if base else ""
    return f"Gated {found.gated} of {found.planned}{against}: {words or 'nothing to gate'}"


def gate_markdown(found: Judgment, *, base: str, new: str) -> str:
    """All decisions as a Markdown table, what is not fine first."""
    order = {name: at for at, name in enumerate(("worse", "incomplete", "inconclusive", "not gated", "better", "same"))}
    heads = ("case", "metric", "base", "new", "change", "interval", "limit", "outcome")
    body = []
    for item in sorted(found.decisions, key=lambda item: order[item.outcome]):
        values = [figure(item.metric, math.nan if value is None else value) for value in (item.base, item.new)]
        change = "" if item.point is None else shown_change(item.metric, item.point)
        ends = [math.nan if end is None else end for end in (item.lower, item.upper)]
        told = item.outcome if item.point is not None else f"{item.outcome} ({item.reason})"
        label = metric_label(item.metric)
        body.append([item.case, label, *values, change, _bounds(item.metric, *ends), item.limit, told])
    title = f"**{markdown_cell(new)}: {markdown_cell(gated_line(found, base=base))}**"
    return "\n\n".join([title, markdown_table(heads, body), *map(markdown_cell, found.notes)])


def gate_csv(found: Judgment) -> str:
    """All decisions, figures in the metrics' units."""
    heads = list(asdict(Decision(case="", metric="", outcome="same")))
    return csv_text(heads, [list(asdict(item).values()) for item in found.decisions])


def gate_json(found: Judgment, *, base: str, new: str) -> str:
    """All decisions with the counts and the exit code."""
    content = {
        "base": _redact(base),
        "new": _redact(new),
        "gated": found.gated,
        "planned": found.planned,
        "exit_code": found.exit_code,
        "inconclusive": found.inconclusive,
        "decisions": [redacted(asdict(item)) for item in found.decisions],
        "notes": redacted(list(found.notes)),
    }
    return json.dumps(content, indent=1, allow_nan=False)
