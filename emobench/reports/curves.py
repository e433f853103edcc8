"""Pictures of curves: loss and validation accuracy over the steps of a training, and a metric over the runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from emobench.analysis.findings import Curve, CurvePanel
from emobench.analysis.history import HistoryPanel
from emobench.reports.canvas import (
    WIDTH,
    add_legend,
    bar_lengths,
    check_count,
    make_canvas,
    nothing_here,
    series_entries,
    value_axis,
)
from emobench.reports.quantities import axis_title, shown
from emobench.reports.style import MOST_SERIES, SMALL_POINTS, house_style, look, text_width, wrapped_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_ROWS = 4
"""Rows of panels that a page holds."""
_NAME_WIDTH = 40


def sheets(panels: Sequence[CurvePanel]) -> list[list[CurvePanel]]:
    """The panels in parts that one figure holds: at most four rows, and no more series than can be told apart."""
    pieces = [
        CurvePanel(title=panel.title, curves=panel.curves[start : start + MOST_SERIES])
        for panel in panels
        for start in range(0, len(panel.curves), MOST_SERIES)
    ]
    found: list[list[CurvePanel]] = []
    for piece in pieces:
        fits = found and len(found[-1]) < MOST_ROWS and len(_names([*found[-1], piece])) <= MOST_SERIES
        if fits:
            found[-1].append(piece)
        else:
            found.append([piece])
    return found


def _names(panels: Sequence[CurvePanel]) -> list[str]:
    return list(dict.fromkeys(curve.label for panel in panels for curve in panel.curves))


def curves_figure(panels: Sequence[CurvePanel], *, width: float = WIDTH) -> Figure:
    """A row a panel: training loss at the left, validation accuracy at the right. One part of :func:`sheets`.

    Raises:
        ValueError: no panel, or more series than can be told apart.
        MissingExtraError: matplotlib is not installed.
    """
    names = _names(panels)
    check_count(names)
    with house_style():
        figure, grid = make_canvas(width, 2.3 * len(panels), len(panels), 2)
        for index, panel in enumerate(panels):
            left, right = grid[2 * index : 2 * index + 2]
            (title,) = wrapped_names([panel.title], int((width / 2 - 0.7) / text_width("x", 10.5)))
            left.set_title(title)
            _draw_losses(left, panel.curves, names)
            _draw_validation(right, panel.curves, names)
            if index == len(panels) - 1:
                left.set_xlabel("optimizer step")
                right.set_xlabel("optimizer step")
        add_legend(figure, series_entries(names, _NAME_WIDTH), width=width)
    return figure


def _draw_losses(axes: Axes, curves: Sequence[Curve], names: Sequence[str]) -> None:
    averaged = max(curve.averaged for curve in curves)
    axes.set_ylabel("loss, nats" + (f"\n(mean of {averaged} steps)" if averaged > 1 else ""))
    ends: list[float] = []
    for curve in curves:
        style = {**look(names.index(curve.label), len(names)), "marker": "" if len(curve.losses) > 3 else "o"}
        axes.plot(curve.steps, curve.losses, **{**style, "linewidth": 1.1})
        ends += curve.losses
    _step_axis(axes)
    if ends:
        value_axis(axes, ends, log=False)
    else:
        nothing_here(axes)


def _draw_validation(axes: Axes, curves: Sequence[Curve], names: Sequence[str]) -> None:
    axes.set_ylabel("validation accuracy")
    ends: list[float] = []
    for curve in curves:
        style = look(names.index(curve.label), len(names))
        axes.plot([x for x, _ in curve.validation], [y for _, y in curve.validation], **style)
        ends += [y for _, y in curve.validation]
    if not ends:
        nothing_here(axes)
        return
    _step_axis(axes)
    last = max([step for curve in curves for step in curve.steps], default=1.0)
    axes.set_xlim(0, last * 1.05 + 1)
    value_axis(axes, ends, log=False, from_zero=False)


def _step_axis(axes: Axes) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))


def chosen_lines(panels: Sequence[HistoryPanel]) -> list[str]:
    """Labels of the cases that are drawn: those that changed most in any metric, as many as can be told apart."""
    changes: dict[str, float] = {}
    for panel in panels:
        for line in panel.lines:
            changes[line.label] = max(changes.get(line.label, 0.0), line.change)
    return sorted(changes, key=lambda name: -changes[name])[:MOST_SERIES]


def history_figure(panels: Sequence[HistoryPanel], *, width: float = WIDTH) -> Figure:
    """A panel a metric: a line a case over the runs, with 95 % intervals. Of many cases those that changed most.

    Raises:
        ValueError: no panel.
        MissingExtraError: matplotlib is not installed.
    """
    names = chosen_lines(panels)
    if not names:
        raise ValueError("no history to draw")
    with house_style():
        figure, grid = make_canvas(width, 2.1 * len(panels), len(panels), 1)
        for panel, axes in zip(panels, grid, strict=True):
            _draw_history(axes, panel, names, inches=width - 1.0)
        add_legend(figure, series_entries(names, _NAME_WIDTH), width=width)
    return figure


def _draw_history(axes: Axes, panel: HistoryPanel, names: Sequence[str], *, inches: float) -> None:
    how = shown(panel.metric)
    axes.set_title(axis_title(panel.metric))
    ends: list[float] = []
    for line in panel.lines:
        if line.label not in names:
            continue
        items = [item for _, item in line.points]
        axes.errorbar(
            [index for index, _ in line.points],
            [item.value * how.factor for item in items],
            yerr=bar_lengths(items, how.factor),
            elinewidth=0.9,
            capsize=2,
            **look(names.index(line.label), len(names)),
        )
        ends += [end * how.factor for item in items for end in item.bounds]
    if ends:
        value_axis(axes, ends, log=True, from_zero=panel.metric != "accuracy")
    else:
        nothing_here(axes, "not among the cases that changed most")
    _run_axis(axes, panel.runs, inches=inches)


def _run_axis(axes: Axes, runs: Sequence[str], *, inches: float) -> None:
    """Names of the runs, as many as have room; the last one always."""
    names = wrapped_names(runs, 18)
    axes.set_xlim(-0.5, len(runs) - 0.5)
    step = inches / len(runs)
    every = max(1, int((max(text_width(name, SMALL_POINTS) for name in names) + 0.15) / step) + 1) if step else 1
    places = list(range(len(runs) - 1, -1, -every))[::-1]
    axes.set_xticks(places, [names[place] for place in places])
