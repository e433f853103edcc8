"""The frame of every static picture: panels, value axes, title and legend. It knows nothing of what is drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from emobench.analysis.sweep import Measured
from emobench.reports.style import GREY, MOST_SERIES, SMALL_POINTS, TEXT_POINTS, look, text_width, wrapped_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LOG_FROM = 12.0
"""Ratio of largest to smallest value from which an axis is logarithmic; below, it starts at 0."""
_WHITE_FROM = 0.6
"""Share from which a cell is dark enough for white text."""
WIDTH = 7.27
"""Inches between the margins of an A4 page: the width of a picture that is made for one."""


def check_count(series: Sequence[object]) -> None:
    """Refuse what could not be told apart.

    Raises:
        ValueError: no series, or more than ``MOST_SERIES``.
    """
    if not 1 <= len(series) <= MOST_SERIES:
        raise ValueError(f"{len(series)} series in one picture; 1 to {MOST_SERIES} can be told apart")


def make_canvas(
    width: float, height: float, rows: int, columns: int, *, heights: Sequence[float] | None = None
) -> tuple[Figure, list[Axes]]:
    """A figure of this size in inches whose layout keeps texts apart, and its axes row by row.

    ``heights`` are those of the rows, as ratios.
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    layout = ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.06, wspace=0.03, hspace=0.04)
    figure = Figure(figsize=(width, height), layout=layout)
    return figure, list(figure.subplots(rows, columns, squeeze=False, height_ratios=heights).flat)


def value_axis(
    axes: Axes,
    ends: Sequence[float],
    *,
    log: bool,
    top: float | None = None,
    which: Literal["x", "y"] = "y",
    from_zero: bool = True,
) -> None:
    """Scale an axis for values whose ends are given.

    Logarithmic where that is allowed and they are positive and spread; else from 0 (or, without ``from_zero``, from
    below the smallest) to above the largest or ``top``.
    """
    from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

    axis = axes.yaxis if which == "y" else axes.xaxis
    low, high = min(ends), max(ends)
    if log and spread(ends):
        axes.set(**{f"{which}scale": "log"})
        axis.set_major_locator(FixedLocator(log_ticks(low, high)))
        axis.set_minor_locator(NullLocator())
        margin = (high / low) ** 0.06
        limits = low / margin, high * margin
    else:
        axis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]))
        limits = (0.0, top or (high * 1.08 or 1.0)) if from_zero else _around(low, high)
    axes.set(**{f"{which}lim": limits})
    axis.set_major_formatter(FuncFormatter(lambda value, _: tick_text(value)))


def spread(values: Sequence[float]) -> bool:
    """Whether only a logarithmic axis would show both the smallest and the largest of these."""
    return min(values) > 0 and max(values) / min(values) >= LOG_FROM


def log_ticks(low: float, high: float) -> list[float]:
    """Round numbers from below the lowest to above the highest value, fewer steps a decade where there are many."""
    decades = math.log10(high / low)
    steps = (1, 2, 5) if decades < 2 else (1, 3) if decades < 3.5 else (1,)
    powers = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1)
    ticks = [step * 10.0**power for power in powers for step in steps]
    return [float(f"{tick:.3g}") for tick in ticks if low / 2 <= tick <= high * 2]


def _around(low: float, high: float) -> tuple[float, float]:
    margin = (high - low) * 0.08 or abs(high) * 0.05 or 1.0
    return low - margin, high + margin


def tick_text(value: float) -> str:
    """A round number without needless zeros: ``0.5``, ``2,000``, ``2e+06``."""
    return f"{value:,.6g}" if abs(value) < 1e6 else f"{value:g}"


def add_title(figure: Figure, text: str, *, width: float) -> None:
    """A bold line above all panels, wrapped to the width; nothing where the text is empty."""
    if text:
        characters = int(width / text_width("x", (TEXT_POINTS + 2) * 1.1)) - 2
        (wrapped,) = wrapped_names([text], characters)
        figure.suptitle(wrapped, fontsize=TEXT_POINTS + 2, fontweight="bold")


def series_entries(names: Sequence[str], width: int) -> list[tuple[Any, str]]:
    """Legend entries of lines, their names on lines of ``width`` characters."""
    from matplotlib.lines import Line2D

    count = len(names)
    return [(Line2D([], [], **look(at, count)), name) for at, name in enumerate(wrapped_names(names, width))]


def add_legend(figure: Figure, entries: Sequence[tuple[Any, str]], *, width: float) -> None:
    """A legend below the panels; the figure grows by its height."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    if not entries:
        return
    widest = max(text_width(text, SMALL_POINTS + 0.5) for _, text in entries) + 0.6
    legend = figure.legend(
        [handle for handle, _ in entries],
        [text for _, text in entries],
        loc="outside lower center",
        ncols=max(1, min(len(entries), int((width - 0.3) / widest))),
        handlelength=3.2,
    )
    renderer = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]  # matplotlib's
    figure.set_figheight(figure.get_figheight() + legend.get_window_extent(renderer).height / figure.dpi)


def bar_lengths(items: Sequence[Measured], factor: float) -> tuple[list[float], list[float]]:
    """Of error bars, down and up from the values: the 95 % intervals; 0 where there is none."""
    ends = [(item.value * factor, *(end * factor for end in item.bounds)) for item in items]
    return [value - low for value, low, _ in ends], [high - value for value, _, high in ends]


def draw_cells(axes: Axes, shares: Any, texts: Sequence[Sequence[str]], *, aspect: Literal["equal", "auto"]) -> Any:
    """A table of shades, 0 to 1, with a text in each cell; returns what a colour bar needs."""
    axes.grid(visible=False)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect=aspect, interpolation="nearest")
    for y, row in enumerate(texts):
        for x, text in enumerate(row):
            color = "white" if shares[y][x] > _WHITE_FROM else "black"
            axes.text(x, y, text, ha="center", va="center", fontsize=SMALL_POINTS, color=color)
    return image


def nothing_here(axes: Axes, text: str = "not recorded") -> None:
    """Say in a panel that it has nothing to show."""
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=GREY)
    axes.set(xticks=[], yticks=[])
