"""What all charts of the page share: names made harmless, colors, axes, error bars. Plain values that Plotly draws.

Plotly reads names as a small markup with links. Every text that comes from data goes through :func:`text`, and none
into a template.
"""

from __future__ import annotations

import html
import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from emobench.analysis.sweep import Measured
from emobench.reports import style
from emobench.reports.canvas import bar_lengths, log_ticks, spread, tick_text
from emobench.reports.style import GREY, MOST_SERIES
from emobench.reports.tables import one_line

MARKERS = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "x", "star")
DASHES = ("solid", "dash", "dot", "dashdot")
FONT = {"family": "system-ui, 'Segoe UI', Helvetica, Arial, sans-serif", "size": 12, "color": "#111111"}
HOVER = "%{text}<extra></extra>"


@dataclass(frozen=True, kw_only=True)
class Chart:
    """One chart of the page."""

    title: str
    caption: str = ""
    data: list[dict[str, Any]] = field(default_factory=list)
    layout: dict[str, Any] = field(default_factory=dict)
    height: int = 310
    """Pixels."""
    wide: bool = False
    """It takes the width of the page."""


def text(name: str, *, width: int = 40, lines: int = 3) -> str:
    """A name as Plotly shows it unchanged: no markup, no link, no control character, on lines of ``width``."""
    clean = one_line(name)
    most = width * lines
    if len(clean) > most:
        clean = f"{clean[: most // 2 - 2]}...{clean[-(most - most // 2 - 1) :]}"
    return "<br>".join(html.escape(line, quote=False) for line in textwrap.wrap(clean, width) or [""])


def look(index: int, count: int) -> dict[str, Any]:
    """Color, marker and dash of a series, as in the static pictures."""
    color = style.look(index % MOST_SERIES, min(count, MOST_SERIES))["color"]
    return {
        "marker": {"color": color, "symbol": MARKERS[index % len(MARKERS)], "size": 9},
        "line": {"color": color, "dash": DASHES[index % len(DASHES)], "width": 1.8},
    }


def layout_of(**more: Any) -> dict[str, Any]:
    """A layout with the page's font, without a title, its legend above the panel."""
    base: dict[str, Any] = {
        "font": FONT,
        "margin": {"l": 60, "r": 16, "t": 12, "b": 48},
        "paper_bgcolor": "white",
        "plot_bgcolor": "white",
        "hovermode": "closest",
        "hoverlabel": {"font": FONT, "bgcolor": "white", "align": "left"},
        # Above the panel, where no axis title can be under it.
        "legend": {
            "orientation": "h",
            "x": 0,
            "xanchor": "left",
            "y": 1.02,
            "yanchor": "bottom",
            # Without it the legend scrolls from half of the height on.
            "maxheight": 2000,
        },
    }
    return {**base, **more}


def legend_pixels(data: Sequence[dict[str, Any]], *, wide: bool = False) -> int:
    """About how high the legend above a panel is: Plotly would take that from the panel."""
    labels = [str(series["name"]).split("<br>") for series in data if "name" in series]
    if len(labels) < 2:
        return 0
    widest = max(len(line) for lines in labels for line in lines) * 7 + 50
    columns = max(1, (1080 if wide else 500) // widest)
    return math.ceil(len(labels) / columns) * 19 * max(map(len, labels))


def axis_of(title: str, values: Sequence[float] = (), *, log: bool = False, **more: Any) -> dict[str, Any]:
    axis = {
        "title": {"text": title, "font": {"size": FONT["size"]}, "standoff": 8},
        "automargin": True,
        "gridcolor": "#dddddd",
        "linecolor": GREY,
        "zeroline": False,
        "nticks": 7,
        **more,
    }
    if log and values and spread(values):
        ticks = log_ticks(min(values), max(values))
        axis |= {"type": "log", "tickvals": ticks, "ticktext": [tick_text(tick) for tick in ticks]}
    return axis


def error_bars(items: Sequence[Measured], factor: float, color: str) -> dict[str, Any] | None:
    """The 95 % intervals of a series; None where it has none."""
    if all(item.low is None for item in items):
        return None
    down, up = bar_lengths(items, factor)
    return {
        "type": "data",
        "symmetric": False,
        "array": up,
        "arrayminus": down,
        "color": color,
        "thickness": 1,
        "width": 0,
    }
