"""Pictures of the trade-off: quality against what it costs, with the Pareto line, and a radar of shares of the best."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from emobench.analysis.tradeoff import QUALITY, Candidate, Group, radar
from emobench.reports.canvas import (
    WIDTH,
    add_legend,
    add_title,
    bar_lengths,
    make_canvas,
    nothing_here,
    series_entries,
    value_axis,
)
from emobench.reports.quantities import axis_title, shown
from emobench.reports.style import GREY, MOST_SERIES, SMALL_POINTS, house_style, look, text_width, wrapped_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SERIES_BY = ("model", "method", "precision", "device")
RADAR_WORDS = {
    QUALITY: "quality",
    "latency_p50_seconds": "speed",
    "memory_bytes": "memory",
    "train_seconds": "training time",
}
_NAME_WIDTH = 44
_PANEL_INCHES = 3.5


def series_of(candidates: Sequence[Candidate]) -> tuple[str, list[str]]:
    """The axis that colors the points and its values: the first with several, and no more than can be told apart."""
    for axis in SERIES_BY:
        values = list(dict.fromkeys(str(item.row.case.get(axis) or "") for item in candidates))
        if 1 < len(values) <= MOST_SERIES:
            return axis, values
    return "", [""]


def scatter_figure(groups: Sequence[Group], *, width: float = WIDTH) -> Figure:
    """A panel a group: quality against its quantity, 95 % intervals as bars, the Pareto line and its cases numbered.

    Raises:
        ValueError: no group.
        MissingExtraError: matplotlib is not installed.
    """
    if not groups:
        raise ValueError("no group to draw")
    axis, values = series_of([item for group in groups for item in group.candidates])
    with house_style():
        figure, grid = make_canvas(width, _PANEL_INCHES * len(groups), len(groups), 1)
        keys: list[str] = []
        for group, axes in zip(groups, grid, strict=True):
            _draw_group(axes, group, axis, values, keys, inches=width - 0.9)
        add_legend(figure, _legend_entries(axis, values, keys), width=width)
    return figure


def _draw_group(axes: Axes, group: Group, axis: str, values: Sequence[str], keys: list[str], *, inches: float) -> None:
    (title,) = wrapped_names([group.name], int(inches / text_width("x", 10.5)))
    axes.set_title(title)
    axes.set_ylabel("accuracy")
    if not group.shown:
        nothing_here(axes)
        return
    factor = shown(group.across).factor
    axes.set_xlabel(axis_title(group.across))
    for item in group.shown:
        index = values.index(str(item.row.case.get(axis) or "")) if axis else 0
        style = look(index, len(values))
        _draw_point(axes, item, group.across, factor, style)
    ends = [end * factor for item in group.shown for end in item.costs[group.across].bounds]
    value_axis(axes, ends, log=True, which="x", from_zero=False)
    value_axis(axes, [end for item in group.shown for end in item.quality.bounds], log=False, from_zero=False)
    _draw_front(axes, group, factor, keys, inches=inches)


def _draw_point(axes: Axes, item: Candidate, across: str, factor: float, style: dict[str, Any]) -> None:
    x, y = item.costs[across], item.quality
    axes.errorbar(
        [x.value * factor],
        [y.value],
        xerr=bar_lengths([x], factor),
        yerr=bar_lengths([y], 1),
        color=style["color"],
        marker=style["marker"],
        markersize=7,
        markeredgecolor="white",
        markeredgewidth=0.6,
        elinewidth=0.9,
        capsize=0,
        linestyle="",
        zorder=3,
    )


def _draw_front(axes: Axes, group: Group, factor: float, keys: list[str], *, inches: float) -> None:
    """The line through the front, and numbers at its cases: above and to the left no case can be."""
    front = sorted((item for item in group.shown if item.on_front), key=lambda item: item.quality.value)
    points = [(item.costs[group.across].value * factor, item.quality.value) for item in front]
    axes.plot(
        [x for x, _ in points], [y for _, y in points], color=GREY, linewidth=1.2, drawstyle="steps-post", zorder=2
    )
    placed: list[tuple[float, float]] = []
    for item, point in zip(front, points, strict=True):
        keys.append(item.label or group.common)
        where = axes.transData.transform(point) / axes.figure.dpi
        share = (where[0], where[1])
        if all(math.dist(share, other) > 0.3 for other in placed):
            axes.annotate(
                str(len(keys)),
                point,
                xytext=(-4, 4),
                textcoords="offset points",
                ha="right",
                va="bottom",
                fontsize=SMALL_POINTS + 0.5,
                fontweight="bold",
                bbox={"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.8},
                zorder=4,
            )
            placed.append(share)


def _legend_entries(axis: str, values: Sequence[str], keys: Sequence[str]) -> list[tuple[Any, str]]:
    from matplotlib.lines import Line2D

    names = wrapped_names(values, _NAME_WIDTH) if axis else []
    entries: list[tuple[Any, str]] = []
    for index, name in enumerate(names):
        style = {**look(index, len(values)), "linestyle": ""}
        entries.append((Line2D([], [], markersize=7, **style), name))
    entries.append((Line2D([], [], color=GREY, linewidth=1.2), "Pareto line"))
    entries.append((Line2D([], [], color=GREY, marker="+", linestyle="", markersize=9), "95 % intervals"))
    front = wrapped_names(keys, _NAME_WIDTH)
    return entries + [(Line2D([], [], linestyle=""), f"{index}: {name}") for index, name in enumerate(front, start=1)]


def radar_figure(group: Group, *, width: float = WIDTH) -> Figure | None:
    """Quality, speed, memory and cost of a group's first cases as shares of the best; None where there is no radar."""
    quantities, rows = radar(group)
    if not rows:
        return None
    words = [RADAR_WORDS.get(name, "cost") for name in quantities]
    angles = [2 * math.pi * index / len(words) for index in range(len(words))]
    with house_style():
        figure, (axes,) = make_canvas(width, 3.9, 1, 1)
        axes.set_axis_off()
        axes.set(xlim=(-1.75, 1.75), ylim=(-1.25, 1.25), aspect="equal")
        _draw_web(axes, words, angles)
        for index, (_, shares) in enumerate(rows):
            xs, ys = _corners(shares, angles)
            style = {**look(index, len(rows)), "linewidth": 1.6}
            axes.plot([*xs, xs[0]], [*ys, ys[0]], **style)
        add_title(figure, group.name, width=width)
        add_legend(figure, series_entries([item.label for item, _ in rows], _NAME_WIDTH), width=width)
    return figure


def _corners(shares: Sequence[float], angles: Sequence[float]) -> tuple[list[float], list[float]]:
    """From the top, clockwise."""
    return (
        [share * math.sin(angle) for share, angle in zip(shares, angles, strict=True)],
        [share * math.cos(angle) for share, angle in zip(shares, angles, strict=True)],
    )


def _draw_web(axes: Axes, words: Sequence[str], angles: Sequence[float]) -> None:
    for share in (0.25, 0.5, 0.75, 1.0):
        xs, ys = _corners([share] * len(words), angles)
        axes.plot([*xs, xs[0]], [*ys, ys[0]], color="#cccccc", linewidth=0.7, zorder=1)
    for word, angle in zip(words, angles, strict=True):
        x, y = math.sin(angle), math.cos(angle)
        axes.plot([0, x], [0, y], color="#cccccc", linewidth=0.7, zorder=1)
        side = "center" if abs(x) < 0.3 else "left" if x > 0 else "right"
        level = "bottom" if y > 0.3 else "top" if y < -0.3 else "center"
        axes.text(x * 1.06, y * 1.06, word, ha=side, va=level)
    # Half way between two spokes no line of the web carries another text.
    middle = (angles[0] + angles[1]) / 2
    for share in (0.5, 1.0):
        reach = share * math.cos(middle - angles[0]) + 0.04
        axes.text(
            reach * math.sin(middle),
            reach * math.cos(middle),
            f"{share:.0%}",
            fontsize=SMALL_POINTS,
            color=GREY,
            ha="left",
            va="bottom",
        )
