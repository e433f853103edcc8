"""Pictures of bars: one case a bar, the figure written at its end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from emobench.analysis.bars import Bar, BarChart
from emobench.reports.canvas import WIDTH, bar_lengths, make_canvas, tick_text
from emobench.reports.quantities import figure_text, shown
from emobench.reports.style import SMALL_POINTS, house_style, text_width, wrapped_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_BARS = 20
"""In one panel."""
_PAGE_INCHES = 9.6
_HEAD_INCHES = 0.3
"""Of a panel: its axis, and the room above its title."""
_LINE_INCHES = 0.15
_TITLE_WIDTH = 66
"""Characters of a line of a title."""
_NAME_WIDTH = 36
_COLOR = "#0b5a94"


@dataclass(frozen=True, kw_only=True)
class Part:
    """Bars of one chart that one panel holds."""

    chart: BarChart
    bars: tuple[Bar, ...]
    names: tuple[str, ...]
    """Labels as they are printed, told apart over the whole chart."""

    @property
    def inches(self) -> float:
        """Height of the panel."""
        return _head_inches(self.chart) + len(self.bars) * _row_inches(self.names)


def _title(chart: BarChart) -> str:
    """What is shown in a line of its own, and below it what all bars have in common."""
    common = wrapped_names([chart.common], _TITLE_WIDTH) if chart.common else []
    return "\n".join([f"{chart.title}, {shown(chart.quantity).unit}", *common])


def _head_inches(chart: BarChart) -> float:
    return _HEAD_INCHES + _LINE_INCHES * (_title(chart).count("\n") + 1)


def _row_inches(names: Sequence[str]) -> float:
    return 0.14 + _LINE_INCHES * max(name.count("\n") + 1 for name in names)


def bar_parts(charts: Sequence[BarChart]) -> list[list[Part]]:
    """All charts in parts that a page holds one above the other."""
    found: list[list[Part]] = []
    for part in (part for chart in charts for part in _parts(chart)):
        if found and sum(other.inches for other in found[-1]) + part.inches <= _PAGE_INCHES:
            found[-1].append(part)
        else:
            found.append([part])
    return found


def _parts(chart: BarChart) -> Iterator[Part]:
    wrapped = wrapped_names([bar.label for bar in chart.bars], _NAME_WIDTH, lines=2)
    names = [_at_most_three_lines(name, place) for place, name in enumerate(wrapped, start=1)]
    most = min(MOST_BARS, int((_PAGE_INCHES - _head_inches(chart)) / _row_inches(names)))
    for start in range(0, len(names), most):
        end = start + most
        yield Part(chart=chart, bars=chart.bars[start:end], names=tuple(names[start:end]))


def _at_most_three_lines(name: str, place: int) -> str:
    """A longer label, which differs from others at its end only, is told apart by its place in the chart."""
    lines = name.split("\n")
    return name if len(lines) <= 3 else "\n".join([f"{place}:", lines[0], f"{lines[1][:-3]}..."])


def bars_figure(parts: Sequence[Part], *, width: float = WIDTH) -> Figure:
    """A panel a part: horizontal bars, with 95 % intervals where there are any. One entry of :func:`bar_parts`.

    Raises:
        ValueError: no part.
        MissingExtraError: matplotlib is not installed.
    """
    if not parts:
        raise ValueError("no bars to draw")
    with house_style():
        heights = [part.inches for part in parts]
        figure, grid = make_canvas(width, sum(heights), len(parts), 1, heights=heights)
        for part, axes in zip(parts, grid, strict=True):
            how = shown(part.chart.quantity)
            axes.set_title(_title(part.chart))
            _draw(axes, part.bars, part.chart.quantity, how.factor, width)
            axes.set_yticks(range(len(part.bars)), part.names)
            axes.set_ylim(len(part.bars) - 0.4, -0.6)
    return figure


def _draw(axes: Axes, bars: Sequence[Bar], quantity: str, factor: float, width: float) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    values = [bar.item.value * factor for bar in bars]
    ends = [bar.item.bounds[1] * factor for bar in bars]
    lows, highs = bar_lengths([bar.item for bar in bars], factor)
    axes.barh(range(len(bars)), values, height=0.62, color=_COLOR, zorder=2)
    if any(lows) or any(highs):
        axes.errorbar(
            values, range(len(bars)), xerr=[lows, highs], fmt="none", ecolor="black", elinewidth=0.9, zorder=3
        )
    texts = [figure_text(quantity, bar.item, interval=False) for bar in bars]
    for index, (end, text) in enumerate(zip(ends, texts, strict=True)):
        axes.annotate(text, (end, index), xytext=(4, 0), textcoords="offset points", va="center", fontsize=SMALL_POINTS)
    # Room for the texts behind the longest bar.
    room = max(text_width(text, SMALL_POINTS) for text in texts) + 0.15
    axes.set_xlim(0, max(ends, default=1) / max(0.3, 1 - room / (width * 0.55)) or 1)
    axes.grid(visible=False, axis="y")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: tick_text(value)))
    axes.tick_params(axis="y", length=0)
