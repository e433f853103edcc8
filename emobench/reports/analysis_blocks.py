"""Blocks of the analysis page: bars, a histogram, points on logarithmic axes, tables, lists; and figures in words.

Pictures are given as places and sizes that a template draws as SVG: text keeps its size whatever the width. Texts are
as the data has them; the template escapes them. It knows no section of an analysis.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from emobench.reports.tables import number

UNKNOWN = "unknown"
Block = Mapping[str, Any]
Values = Mapping[str, Any]

_PLOT_HEIGHT = 150
_TICKS = 6


def percent(value: float | None) -> str:
    """A share in percent; one that is neither 0 nor 1 is never shown as such."""
    if value is None:
        return UNKNOWN
    scaled = 100 * value
    if 0 < scaled < 0.1:
        return "< 0.1 %"
    return "> 99.9 %" if 99.9 < scaled < 100 else f"{scaled:.1f} %"


def share_text(entry: Values) -> str:
    """A share with its 95 % interval where it has one."""
    share = entry.get("share")
    bounds = entry.get("interval")
    brackets = f" [{percent(bounds[0])} to {percent(bounds[1])}]" if bounds else ""
    return f"{percent(share)}{brackets}"


def counted(entry: Values) -> str:
    """A count with its share."""
    return f"{entry['count']:,} ({share_text(entry)})"


def figure(value: float | None) -> str:
    """A whole number as it is, any other with three digits."""
    if value is None:
        return UNKNOWN
    return f"{value:,.0f}" if value == round(value) or abs(value) >= 1000 else number(value)


def large(value: float | None) -> str:
    """A number of parameters or tokens in thousands, millions or billions."""
    if value is None:
        return UNKNOWN
    for scale, unit in ((1e9, " billion"), (1e6, " million"), (1e3, " thousand")):
        if value >= scale:
            return f"{float(f'{value / scale:.3g}'):g}{unit}"
    return f"{value:,.0f}"


def bars(title: str, entries: Iterable[tuple[str, float, str]]) -> Block:
    """Horizontal bars of (name, share, text); the bar is the share itself, 1 the whole width."""
    found = [
        {"name": name, "percent": f"{100 * min(1.0, max(0.0, share)):.2f}", "text": text}
        for name, share, text in entries
    ]
    return {"kind": "bars", "title": title, "bars": found}


def grid(
    title: str,
    heads: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    numeric: Iterable[int] = (),
    samples: Iterable[int] = (),
    marks: Iterable[int] = (),
) -> Block:
    """A table; columns ``numeric`` to the right, ``samples`` of text from the data, ``marks`` of yes and no."""
    columns = {"numeric": set(numeric), "samples": set(samples), "marks": set(marks)}
    return {"kind": "grid", "title": title, "heads": heads, "rows": rows, **columns}


def listed(title: str, texts: Sequence[str]) -> Block:
    """Lines of text."""
    return {"kind": "list", "title": title, "texts": texts}


def histogram(title: str, bins: Sequence[Values], *, caption: str) -> Block:
    """Columns of equal width for bins with ``from``, ``to`` and ``documents``; a tick where a bin begins."""
    most = max((entry["documents"] for entry in bins), default=0)
    width = 94 / max(1, len(bins))
    step = math.ceil(len(bins) / _TICKS)
    columns = []
    for place, entry in enumerate(bins):
        height = _PLOT_HEIGHT * entry["documents"] / most if most else 0
        # What is not empty can be seen.
        height = max(2.0, height) if entry["documents"] else 0.0
        span = f"{entry['from']:,}" if entry["from"] == entry["to"] else f"{entry['from']:,} to {entry['to']:,}"
        columns.append(
            {
                "left": round(4 + place * width, 3),
                "width": round(width * 0.94, 3),
                "height": round(height, 1),
                "text": f"{span}: {entry['documents']:,}",
                "tick": f"{entry['from']:,}" if place % step == 0 else "",
            }
        )
    top = f"largest column: {most:,} documents"
    return {"kind": "histogram", "title": title, "columns": columns, "top": top, "caption": caption}


def growth(title: str, points: Sequence[tuple[int, int]], fit: Values | None, *, caption: str) -> Block:
    """Points (x, y) on logarithmic axes with the line y = k x**beta."""
    xs, ys = [x for x, _ in points], [max(1, y) for _, y in points]
    across, up = _scale(xs, 9.0, 98.0), _scale(ys, 200.0, 14.0)
    placed = [
        {"x": round(across(x), 2), "y": round(up(y), 1), "text": f"{x:,} words, {y:,} different"}
        for x, y in zip(xs, ys, strict=True)
    ]
    line = None
    if fit is not None:
        ends = [fit["k"] * x ** fit["beta"] for x in (xs[0], xs[-1])]
        line = {"x1": round(across(xs[0]), 2), "x2": round(across(xs[-1]), 2)}
        line |= {"y1": round(up(ends[0]), 1), "y2": round(up(ends[1]), 1)}
    return {
        "kind": "growth",
        "title": title,
        "points": placed,
        "fit": line,
        "x_ticks": [{"at": round(across(tick), 2), "text": large(tick)} for tick in _powers_of_ten(xs)],
        "y_ticks": [{"at": round(up(tick), 1), "text": large(tick)} for tick in _powers_of_ten(ys)],
        "caption": caption,
    }


def _scale(values: Sequence[float], start: float, end: float) -> Any:
    low, high = math.log(min(values)), math.log(max(values))
    span = (high - low) or 1.0
    return lambda value: start + (end - start) * (math.log(max(value, 1e-9)) - low) / span


def _powers_of_ten(values: Sequence[float]) -> list[int]:
    low, high = min(values), max(values)
    found = [10**power for power in range(13) if low <= 10**power <= high]
    return found or [int(low)]
