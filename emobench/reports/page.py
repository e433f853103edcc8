"""The report as one HTML page that needs no network: sections, tables, charts, and a policy that lets nothing else in.

No text from data becomes markup or script. Jinja2 escapes every value; what is not escaped is the style sheet, the two
scripts and the charts' JSON, all of them written here. The policy names those two scripts by their hash, so that
another one would not run even if it got into the page.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

from emobench.analysis.findings import Confusion
from emobench.extras import require
from emobench.reports.case_table import Table, case_tables
from emobench.reports.chart import Chart
from emobench.reports.charts import (
    bar_chart,
    batch_charts,
    curve_charts,
    history_chart,
    radar_chart,
    scatter_chart,
)
from emobench.reports.content import Content
from emobench.reports.phrases import (
    INTERVALS,
    OVERLAP,
    case_of,
    history_caption,
    name_of,
    radar_caption,
    scatter_caption,
    skip_rows,
    summary_lines,
    target_rows,
)
from emobench.reports.sweep import answer_lines, heading
from emobench.reports.tables import shortened

MOST_MATRICES = 60
MOST_CHARTS = 60
"""Of one section: more make a page that no one scrolls through."""
MOST_CLASSES = 30
_EMPTY_STYLE = "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
"""Plotly makes an empty style element and fills it through the object model, which the policy does not touch."""

Pairs = Sequence[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class Placed:
    """A chart and its index in the page's list."""

    index: int
    title: str
    caption: str
    wide: bool


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the page; what is empty is not shown."""

    anchor: str
    title: str
    note: str = ""
    pairs: Pairs = ()
    blocks: Sequence[tuple[str, Pairs]] = ()
    charts: Sequence[Placed] = ()
    tables: Sequence[Table] = ()
    matrices: Sequence[Mapping[str, Any]] = ()
    heads: Sequence[str] = ()
    grid: Sequence[Sequence[str]] = ()


@dataclass(kw_only=True)
class Book:
    """Charts of the page in the order of their indices."""

    charts: list[Chart] = field(default_factory=list)

    def place(self, charts: Sequence[Chart]) -> list[Placed]:
        """Take charts into the page."""
        start = len(self.charts)
        shown = charts[:MOST_CHARTS]
        self.charts += shown
        return [
            Placed(index=start + index, title=chart.title, caption=chart.caption, wide=chart.wide)
            for index, chart in enumerate(shown)
        ]

    def json(self) -> str:
        """All charts as JSON that can stand inside a script element: no character of it can end the element."""
        content = [{"data": chart.data, "layout": chart.layout, "height": chart.height} for chart in self.charts]
        text = json.dumps(_rounded(content), allow_nan=False, separators=(",", ":"))
        return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _rounded(value: Any) -> Any:
    """Plain values with numbers of six digits: more cannot be seen, and long curves would double the page."""
    if isinstance(value, dict):
        return {name: _rounded(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def report_html(content: Content) -> bytes:
    """The whole page, UTF-8.

    Raises:
        MissingExtraError: Plotly or Jinja2 is not installed.
    """
    jinja = require("jinja2", feature="the HTML report", extra="report")
    offline = require("plotly.offline", feature="the HTML report", extra="report")
    from markupsafe import Markup

    environment = jinja.Environment(autoescape=True, undefined=jinja.StrictUndefined, trim_blocks=True)
    environment.filters["line"] = shortened
    environment.filters["plain"] = lambda value: f"{value:.6g}"
    book = Book()
    sections = _sections(content, book)
    plotly, script, css = str(offline.get_plotlyjs()), _own("report.js"), _own("report.css")
    page = environment.from_string(_own("report.html.j2")).render(
        title=content.title,
        note=f"{INTERVALS} {OVERLAP}",
        policy=policy(scripts=(plotly, script), style=css),
        sections=sections,
        charts=Markup(book.json()),  # made above of JSON without angle brackets
        plotly=Markup(plotly),  # the package's file
        script=Markup(script),  # our file
        css=Markup(css),  # our file
    )
    return str(page).encode()


def policy(*, scripts: Sequence[str], style: str) -> str:
    """A Content-Security-Policy under which these scripts and this style are all that counts, and nothing is loaded."""
    allowed = " ".join(f"'{_hash(text)}'" for text in scripts)
    return (
        f"default-src 'none'; script-src {allowed}; style-src '{_hash(style)}' '{_EMPTY_STYLE}'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


@cache
def _own(name: str) -> str:
    return files("emobench.reports").joinpath("templates", name).read_text(encoding="utf-8")


def _sections(content: Content, book: Book) -> list[Section]:
    found = [Section(anchor="summary", title="Summary", pairs=summary_lines(content))]
    found += _chart_sections(content, book)
    tables = case_tables(content.overview.rows)
    found.append(Section(anchor="cases", title="All cases", tables=tables))
    found += _sweep_sections(content, book)
    curves = [chart for panel in content.curves for chart in curve_charts(panel)]
    found.append(Section(anchor="training", title="Training", charts=book.place(curves)))
    found.append(_matrices(content))
    past = [history_chart(panel) for panel in content.history]
    found.append(Section(anchor="history", title="History", note=history_caption(), charts=book.place(past)))
    found += _finding_sections(content)
    blocks = [(f"run {session.run}", session.facts) for session in content.sessions]
    found.append(Section(anchor="environment", title="Environment", blocks=blocks))
    return [section for section in found if any(_filled(section))]


def _filled(section: Section) -> tuple[object, ...]:
    return section.pairs, section.blocks, section.charts, section.tables, section.matrices, section.grid


def _chart_sections(content: Content, book: Book) -> list[Section]:
    charts: list[Chart] = []
    for group in content.overview.groups:
        if group.across:
            charts.append(scatter_chart(group, scatter_caption(group)))
        if radar := radar_chart(group, radar_caption(group)):
            charts.append(radar)
    return [
        Section(anchor="quality", title="Quality and what it costs", charts=book.place(charts)),
        Section(
            anchor="throughput",
            title="Throughput and memory",
            charts=book.place([bar_chart(chart) for chart in content.bars]),
        ),
    ]


def _sweep_sections(content: Content, book: Book) -> list[Section]:
    pairs = zip(content.sweeps, content.answers, strict=True)
    blocks = [(heading(sweep), answer_lines(sweep, found)) for sweep, found in pairs]
    note = "In the shaded charts the shade is the share of the best value of the chart; the darkest is the best."
    return [
        Section(
            anchor="batches",
            title="Batch sizes",
            note=note,
            blocks=blocks,
            charts=book.place(batch_charts(content.sweeps)),
        )
    ]


def _matrices(content: Content) -> Section:
    several = len(content.records) > 1
    shown = [item for item in content.confusions if len(item.classes) <= MOST_CLASSES][:MOST_MATRICES]
    left = len(content.confusions) - len(shown)
    note = "Rows are labels, columns predictions; the shade is the share of the label's rows."
    return Section(
        anchor="confusion",
        title="Confusion matrices",
        note=note + (f" {left} more are in the saved runs." if left else ""),
        matrices=[_matrix(item, several=several) for item in shown],
    )


def _matrix(item: Confusion, *, several: bool) -> dict[str, Any]:
    rows = [
        {
            "name": name,
            "cells": [{"count": f"{count:,}", "shade": round(share * 10)} for count, share in zip(*pair, strict=True)],
        }
        for name, *pair in zip(item.classes, item.counts, item.shares, strict=True)
    ]
    title = name_of(item.row) + (f", run {item.row.run}" if several else "")
    return {"title": title, "classes": item.classes, "rows": rows}


def _finding_sections(content: Content) -> list[Section]:
    traces = [
        (
            case_of(content, item.row),
            item.verdict,
            "" if item.achieved_share is None else f"{item.achieved_share:.0%}",
            ", ".join(f"{name} {share:.0%}" for name, share in item.largest),
            item.advice,
        )
        for item in content.traces
    ]
    heads = ("case", "limited by", "of the ceiling", "takes most of the time", "advice")
    return [
        Section(anchor="traces", title="Traces", heads=heads, grid=traces),
        Section(anchor="targets", title="Targets", heads=("", "case", "target", "reached"), grid=target_rows(content)),
        Section(anchor="skipped", title="Not run", heads=("why", "such as"), grid=skip_rows(content)),
    ]
