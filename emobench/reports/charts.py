"""Charts for a browser: the same pictures as the static ones, as plain values that Plotly draws. It draws nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from emobench.analysis.bars import BarChart
from emobench.analysis.findings import CurvePanel
from emobench.analysis.history import HistoryPanel
from emobench.analysis.sweep import Measured, Sweep, names
from emobench.analysis.tradeoff import QUALITY, Group, radar
from emobench.reports.chart import FONT, HOVER, Chart, axis_of, error_bars, layout_of, legend_pixels, look, text
from emobench.reports.figures import HEAT, Panel, batches_of, cells_of, panels_of, recorded
from emobench.reports.quantities import axis_title, figure_text, shown
from emobench.reports.scatter import RADAR_WORDS, series_of
from emobench.reports.style import COLORS, GREY, MOST_SERIES
from emobench.reports.tables import number, one_line

MOST_BARS = 60


def scatter_chart(group: Group, caption: str) -> Chart:
    """Quality against what it costs, a point a case, the Pareto line behind the points."""
    factor = shown(group.across).factor
    axis, values = series_of(group.shown)
    front = sorted((item for item in group.shown if item.on_front), key=lambda item: item.quality.value)
    data: list[dict[str, Any]] = [
        {
            "type": "scatter",
            "mode": "lines",
            "name": "Pareto line",
            "x": [item.costs[group.across].value * factor for item in front],
            "y": [item.quality.value for item in front],
            "line": {"color": GREY, "width": 1.4, "shape": "hv"},
            "hoverinfo": "skip",
        }
    ]
    for index, value in enumerate(values):
        members = [item for item in group.shown if not axis or str(item.row.case.get(axis) or "") == value]
        style = look(index, len(values))
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": text(value) if axis else "cases",
                "x": [item.costs[group.across].value * factor for item in members],
                "y": [item.quality.value for item in members],
                "error_x": error_bars([item.costs[group.across] for item in members], factor, style["marker"]["color"]),
                "error_y": error_bars([item.quality for item in members], 1, style["marker"]["color"]),
                "marker": {**style["marker"], "size": 11, "line": {"color": "white", "width": 1}},
                "text": [
                    "<br>".join(
                        (
                            text(item.label or group.common),
                            f"accuracy {figure_text(QUALITY, item.quality)}",
                            f"{shown(group.across).title} {figure_text(group.across, item.costs[group.across])}",
                            *(["on the Pareto line"] if item.on_front else []),
                        )
                    )
                    for item in members
                ],
                "hovertemplate": HOVER,
            }
        )
    xs = [end * factor for item in group.shown for end in item.costs[group.across].bounds]
    layout = layout_of(xaxis=axis_of(axis_title(group.across), xs, log=True), yaxis=axis_of("accuracy"))
    height = 400 + legend_pixels(data, wide=True)
    return Chart(title=group.name, caption=caption, data=data, layout=layout, height=height, wide=True)


def radar_chart(group: Group, caption: str) -> Chart | None:
    """Shares of the best, a closed line a case; None where there is no radar."""
    quantities, rows = radar(group)
    if not rows:
        return None
    words = [RADAR_WORDS.get(name, "cost") for name in quantities]
    data = [
        {
            "type": "scatterpolar",
            "mode": "lines+markers",
            "name": text(item.label),
            "r": [*shares, shares[0]],
            "theta": [*words, words[0]],
            "text": [f"{text(item.label)}<br>{word} {share:.0%} of the best" for word, share in _pairs(words, shares)],
            "hovertemplate": HOVER,
            **look(index, len(rows)),
        }
        for index, (item, shares) in enumerate(rows)
    ]
    polar = {
        "gridshape": "linear",
        "bgcolor": "white",
        "radialaxis": {
            "range": [0, 1.05],
            "tickvals": [0.25, 0.5, 0.75, 1],
            "tickformat": ".0%",
            "angle": 45,
            "tickangle": 45,
            "gridcolor": "#dddddd",
            "tickfont": {**FONT, "color": GREY},
            "showline": False,
        },
        "angularaxis": {"rotation": 90, "direction": "clockwise", "gridcolor": "#dddddd", "tickfont": FONT},
    }
    layout = layout_of(polar=polar, margin={"l": 70, "r": 70, "t": 24, "b": 24})
    layout["legend"] |= {"y": 1.1}
    title, height = f"Shares of the best: {group.name}", 430 + legend_pixels(data, wide=True)
    return Chart(title=title, caption=caption, data=data, layout=layout, height=height, wide=True)


def _pairs(words: Sequence[str], shares: Sequence[float]) -> list[tuple[str, float]]:
    return list(zip([*words, words[0]], [*shares, shares[0]], strict=True))


def bar_chart(chart: BarChart) -> Chart:
    """Horizontal bars, the best case on top."""
    how = shown(chart.quantity)
    bars = chart.bars[:MOST_BARS]
    ticks = [text(bar.label, width=30) for bar in bars]
    row = max(30, 10 + 16 * max(tick.count("<br>") + 1 for tick in ticks))
    written = [number(bar.item.value * how.factor) for bar in bars]
    data = [
        {
            "type": "bar",
            "orientation": "h",
            "x": [bar.item.value * how.factor for bar in bars],
            "y": list(range(len(bars))),
            "text": written,
            "textposition": "outside",
            "textfont": FONT,
            "cliponaxis": False,
            "hovertext": [f"{text(bar.row.id)}<br>{figure_text(chart.quantity, bar.item)}" for bar in bars],
            "hovertemplate": "%{hovertext}<extra></extra>",
            "marker": {"color": COLORS[2]},
        }
    ]
    top = max(bar.item.value for bar in bars) * how.factor
    y_axis = axis_of("", tickvals=list(range(len(bars))), ticktext=ticks, autorange="reversed", showgrid=False)
    layout = layout_of(
        xaxis=axis_of(axis_title(chart.quantity), range=[0, top * 1.2 or 1]), yaxis=y_axis, bargap=0.3, showlegend=False
    )
    left = len(chart.bars) - len(bars)
    caption = one_line(chart.common) + (f"; {left} more cases are in the table" if left else "")
    return Chart(title=chart.title, caption=caption, data=data, layout=layout, height=90 + row * len(bars))


def curve_charts(panel: CurvePanel) -> list[Chart]:
    """Training loss and validation accuracy over the steps."""
    count = len(panel.curves)
    losses, scores = [], []
    for index, curve in enumerate(panel.curves):
        style = look(index, count)
        base = {"type": "scatter", "name": text(curve.label), "hovertemplate": "step %{x}: %{y:.4f}", **style}
        losses.append({**base, "mode": "lines" if len(curve.losses) > 3 else "lines+markers"})
        losses[-1] |= {"x": list(curve.steps), "y": list(curve.losses)}
        if curve.validation:
            scores.append({**base, "mode": "lines+markers"})
            scores[-1] |= {"x": [x for x, _ in curve.validation], "y": [y for _, y in curve.validation]}
    averaged = max((curve.averaged for curve in panel.curves), default=1)
    what = "loss, nats" + (f" (mean of {averaged} steps)" if averaged > 1 else "")
    step = axis_of("optimizer step", rangemode="tozero")
    layout = layout_of(xaxis=step, yaxis=axis_of(what, rangemode="tozero"))
    height = 310 + legend_pixels(losses)
    charts = [Chart(title=f"Loss: {panel.title}", data=losses, layout=layout, height=height)]
    if scores:
        layout = layout_of(xaxis=step, yaxis=axis_of("validation accuracy"))
        charts.append(Chart(title=f"Validation: {panel.title}", data=scores, layout=layout, height=height))
    return charts


def history_chart(panel: HistoryPanel) -> Chart:
    """A line a case over the runs; those that changed most, as many as can be told apart."""
    how = shown(panel.metric)
    lines = panel.lines[:MOST_SERIES]
    data = []
    for index, line in enumerate(lines):
        style = look(index, len(lines))
        items = [item for _, item in line.points]
        told = [
            f"{text(line.case_id)}<br>run {text(panel.runs[at])}, {text(panel.dates[at])} UTC<br>"
            f"{figure_text(panel.metric, item)}"
            for at, item in line.points
        ]
        series = _line(line.label, [at for at, _ in line.points], items, how.factor, style)
        data.append({**series, "text": told, "hovertemplate": HOVER})
    places = range(0, len(panel.runs), math.ceil(len(panel.runs) / 8))
    ticks: dict[str, Any] = {"tickvals": list(places), "ticktext": [text(panel.runs[at], width=18) for at in places]}
    ends = [end * how.factor for line in lines for _, item in line.points for end in item.bounds]
    layout = layout_of(
        xaxis=axis_of("run", range=[-0.5, len(panel.runs) - 0.5], **ticks),
        yaxis=axis_of(axis_title(panel.metric), ends, log=True),
    )
    left = len(panel.lines) - len(lines)
    caption = f"{len(lines)} of {len(panel.lines)} cases, those that changed most" if left else ""
    height = 310 + legend_pixels(data)
    return Chart(title=f"{panel.kind}: {how.title}", caption=caption, data=data, layout=layout, height=height)


def _line(
    name: str, x: Sequence[int], items: Sequence[Measured], factor: float, style: dict[str, Any]
) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": text(name),
        "x": list(x),
        "y": [item.value * factor for item in items],
        "error_y": error_bars(items, factor, style["marker"]["color"]),
        **style,
    }


def batch_charts(sweeps: Sequence[Sweep]) -> list[Chart]:
    """All charts of sweeps, as many sweeps in one as can be told apart."""
    parts = [sweeps[start : start + MOST_SERIES] for start in range(0, len(sweeps), MOST_SERIES)]
    return [chart for some in parts for chart in (*sweep_charts(some), *heat_charts(some))]


def sweep_charts(sweeps: Sequence[Sweep]) -> list[Chart]:
    """A chart a panel of the static picture, a line a sweep over the batch size."""
    common, own = names(sweeps)
    labels = own if len(sweeps) > 1 else [common]
    return [_sweep_chart(panel, sweeps, labels, common) for panel in panels_of(sweeps) if recorded(panel, sweeps)]


def _sweep_chart(panel: Panel, sweeps: Sequence[Sweep], labels: Sequence[str], common: str) -> Chart:
    data = []
    for index, (sweep, label) in enumerate(zip(sweeps, labels, strict=True)):
        style = look(index, len(sweeps))
        levels = [level for level in sweep.levels if panel.quantity in level.values]
        items = [level.values[panel.quantity] for level in levels]
        series = _line(label, [level.batch_size for level in levels], items, panel.factor, style)
        data.append({**series, "hovertemplate": "batch %{x}: %{y:.4g}"})
    batches = batches_of(sweeps)
    values = [value for series in data for value in series["y"]]
    x_axis = axis_of("batch size", type="log", tickvals=batches, ticktext=[str(batch) for batch in batches])
    log = panel.factor != 100
    y_axis = axis_of(panel.unit, values, log=log, rangemode="tozero")
    layout, height = layout_of(xaxis=x_axis, yaxis=y_axis), 310 + legend_pixels(data)
    return Chart(title=panel.title, caption=one_line(common), data=data, layout=layout, height=height)


def heat_charts(sweeps: Sequence[Sweep]) -> list[Chart]:
    """A block a quantity: the figure in each cell, the shade its share of the best of the block."""
    common, own = names(sweeps)
    labels = [text(label, width=26) for label in own] if len(sweeps) > 1 else [""]
    batches = batches_of(sweeps)
    charts = []
    for panel in HEAT:
        if not recorded(panel, sweeps):
            continue
        shares, texts = cells_of(panel, sweeps)
        data = {
            "type": "heatmap",
            "x": [str(batch) for batch in batches],
            "y": list(range(len(sweeps))),
            "z": [[None if math.isnan(share) else share for share in row] for row in shares],
            "text": [[cell.replace("\n", "<br>") for cell in row] for row in texts],
            "texttemplate": "%{text}",
            "hovertemplate": "batch %{x}: %{text}<extra></extra>",
            "textfont": FONT,
            # Light enough for dark figures in every cell.
            "colorscale": [[0, "#f6f9fd"], [1, "#78abd9"]],
            "zmin": 0,
            "zmax": 1,
            "showscale": False,
            "xgap": 2,
            "ygap": 2,
        }
        y_axis = axis_of("", tickvals=list(range(len(sweeps))), ticktext=labels, autorange="reversed", showgrid=False)
        layout = layout_of(xaxis=axis_of("batch size", type="category", showgrid=False), yaxis=y_axis)
        title = f"{panel.title}, {panel.unit}"
        height = 110 + 46 * len(sweeps)
        charts.append(Chart(title=title, caption=one_line(common), data=[data], layout=layout, height=height))
    return charts
