"""Pictures of sweeps: six panels with a line a sweep, and a heat-map. It computes no figure and writes no file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from emobench.analysis.sweep import Level, Measured, Sweep, names, normalized
from emobench.outcomes import Status
from emobench.reports.canvas import (
    add_legend,
    add_title,
    bar_lengths,
    check_count,
    draw_cells,
    make_canvas,
    nothing_here,
    series_entries,
    value_axis,
)
from emobench.reports.style import (
    GREY,
    SMALL_POINTS,
    TEXT_POINTS,
    house_style,
    look,
    text_width,
    wrapped_names,
)
from emobench.reports.tables import MIB, number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_NAME_WIDTH = 34
"""Characters of a line of a name in a legend."""


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One quantity against the batch size."""

    quantity: str
    title: str
    unit: str
    factor: float = 1.0
    """To the unit, from that of the quantity."""


PANELS = (
    Panel(quantity="latency_p50_seconds", title="Latency of a batch", unit="ms, median", factor=1e3),
    Panel(quantity="samples_per_second", title="Throughput", unit="samples/s"),
    Panel(quantity="memory_bytes", title="Memory", unit="MiB", factor=1 / MIB),
    Panel(quantity="scaling_efficiency", title="Scaling efficiency", unit="% of proportional", factor=100),
    Panel(quantity="latency_per_sample_seconds", title="Latency per sample", unit="ms, median", factor=1e3),
    Panel(quantity="spread", title="Spread of the rounds", unit="% IQR over median", factor=100),
)
UTILIZATION = Panel(quantity="utilization", title="Utilization", unit="%", factor=100)
"""In place of the spread where a sweep recorded it."""

HEAT = (PANELS[1], PANELS[0], PANELS[2], PANELS[5])
"""Blocks of the heat-map. Latency per sample and efficiency would be shaded as throughput and latency are."""
_CELL_INCHES = 0.62
_FEW = 2
"""Sweeps up to which the 90th percentile is drawn beside the median."""
_MARK_BAND = 0.09
"""Height of a row of marks, as a share of the panel's height above them."""


def sweep_figure(sweeps: Sequence[Sweep], *, width: float = 10.0) -> Figure:
    """Six panels: latency, throughput, memory, scaling efficiency, latency per sample, spread or utilization.

    One line a sweep over the batch size (axis in powers of two), with 95 % intervals as error bars where there are
    any. What does not fit or is invalid has a mark at the foot of the throughput panel. ``width`` is in inches: that
    of the place where it is shown, text keeps its size; from 9 on there are three panels in a row, below two.

    Raises:
        ValueError: no sweep, or more than ``MOST_SERIES`` (they could not be told apart).
        MissingExtraError: matplotlib is not installed.
    """
    check_count(sweeps)
    panels = panels_of(sweeps)
    columns = 3 if width >= 9 else 2
    rows = math.ceil(len(panels) / columns)
    with house_style():
        figure, grid = make_canvas(width, 2.6 * rows, rows, columns)
        batches = batches_of(sweeps)
        ticks = _ticks(batches, inches=width / columns - 0.9)
        for index, (panel, axes) in enumerate(zip(panels, grid, strict=True)):
            _draw_panel(axes, panel, sweeps)
            _batch_axis(axes, batches, ticks, label=index >= len(panels) - columns)
        add_title(figure, names(sweeps)[0], width=width)
        add_legend(figure, [*_series(sweeps), *_mark_unmeasured(grid[1], sweeps)], width=width)
    return figure


def panels_of(sweeps: Sequence[Sweep]) -> list[Panel]:
    """What is drawn against the batch size."""
    return [*PANELS[:-1], UTILIZATION if recorded(UTILIZATION, sweeps) else PANELS[-1]]


def recorded(panel: Panel, sweeps: Sequence[Sweep]) -> bool:
    """Whether any of the sweeps has the quantity."""
    return any(panel.quantity in level.values for sweep in sweeps for level in sweep.levels)


def batches_of(sweeps: Sequence[Sweep]) -> list[int]:
    """Every batch size, in order."""
    return sorted({level.batch_size for sweep in sweeps for level in sweep.levels})


def _draw_panel(axes: Axes, panel: Panel, sweeps: Sequence[Sweep]) -> None:
    axes.set_title(_panel_title(panel, sweeps))
    axes.set_ylabel(panel.unit)
    ends: list[float] = []
    for index, sweep in enumerate(sweeps):
        points = [(level.batch_size, level.values.get(panel.quantity)) for level in sweep.levels]
        ends += _draw_line(axes, points, panel.factor, look(index, len(sweeps)))
    if panel.quantity == "scaling_efficiency" and ends:
        axes.axhline(100, color=GREY, linewidth=0.8, linestyle=(0, (1, 2)), zorder=1)
        ends.append(100)
    if not ends:
        nothing_here(axes)
        return
    if panel is PANELS[0] and len(sweeps) <= _FEW:
        ends += _draw_p90(axes, sweeps, panel.factor)
    # Shares are read against 0 and 100 %.
    value_axis(axes, ends, log=panel.factor != 100, top=100 if panel.quantity == "utilization" else None)


def _draw_p90(axes: Axes, sweeps: Sequence[Sweep], factor: float) -> list[float]:
    drawn = []
    for index, sweep in enumerate(sweeps):
        points = [(level.batch_size, level.value("latency_p90_seconds")) for level in sweep.levels]
        there = [(batch, value * factor) for batch, value in points if value is not None]
        color = look(index, len(sweeps))["color"]
        axes.plot([batch for batch, _ in there], [value for _, value in there], "_", color=color, markersize=11)
        drawn += [value for _, value in there]
    return drawn


def _panel_title(panel: Panel, sweeps: Sequence[Sweep]) -> str:
    kinds = {sweep.memory_kind for sweep in sweeps}
    if panel.quantity != "memory_bytes" or len(kinds) > 1:
        return panel.title
    return f"{panel.title} ({'device peak' if 'device' in kinds else 'growth on the host'})"


def _draw_line(
    axes: Axes, points: Sequence[tuple[int, Measured | None]], factor: float, style: dict[str, Any]
) -> list[float]:
    """Draw one sweep; a batch size without a value breaks the line. Returns every end of what was drawn."""
    batches = [batch for batch, _ in points]
    values = [math.nan if item is None else item.value * factor for _, item in points]
    axes.plot(batches, values, markeredgecolor="white", markeredgewidth=0.5, clip_on=False, zorder=3, **style)
    for batch, item in points:
        if item is not None and item.low is not None:
            bar = bar_lengths([item], factor)
            axes.errorbar(
                [batch], [item.value * factor], bar, color=style["color"], elinewidth=1.0, capsize=2.5, zorder=2
            )
    return [end * factor for _, item in points if item is not None for end in item.bounds]


def _ticks(batches: Sequence[int], *, inches: float) -> list[int]:
    """The batch sizes that are written at the axis: all that have room, always the first and the last."""
    span = math.log2(batches[-1] / batches[0]) or 1.0

    def apart(left: int, right: int) -> bool:
        room = math.log2(right / left) / span * inches
        return room > (text_width(str(left), SMALL_POINTS) + text_width(str(right), SMALL_POINTS)) / 2 + 0.09

    kept = [batches[0]]
    for batch in batches[1:-1]:
        if apart(kept[-1], batch) and apart(batch, batches[-1]):
            kept.append(batch)
    return [*kept, batches[-1]] if len(batches) > 1 else kept


def _batch_axis(axes: Axes, batches: Sequence[int], ticks: Sequence[int], *, label: bool) -> None:
    from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_major_formatter(FixedFormatter([str(batch) for batch in ticks]))
    axes.xaxis.set_minor_locator(NullLocator())
    margin = 2 ** (0.06 * max(1.0, math.log2(batches[-1] / batches[0])))
    axes.set_xlim(batches[0] / margin, batches[-1] * margin)
    if label:
        axes.set_xlabel("batch size")


def _mark_unmeasured(axes: Axes, sweeps: Sequence[Sweep]) -> list[tuple[Any, str]]:
    """Marks in a band below a panel where a case has no figures, a row a sweep; returns their legend entries."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Rectangle

    gaps = {index: [level for level in sweep.levels if not level.values] for index, sweep in enumerate(sweeps)}
    rows = [index for index, levels in gaps.items() if levels]
    if not rows:
        return []
    band = _MARK_BAND * len(rows) / (1 + _MARK_BAND * len(rows))
    _lower_bottom(axes, band)
    axes.add_patch(Rectangle((0, 0), 1, band, transform=axes.transAxes, color="#eeeeee", zorder=0.5))
    for row, index in enumerate(rows):
        for level in gaps[index]:
            axes.plot(
                [level.batch_size],
                [band * (row + 0.5) / len(rows)],
                marker=_mark(level),
                color=look(index, len(sweeps))["color"],
                transform=axes.get_xaxis_transform(),
                markersize=6,
                markeredgewidth=1.6,
            )
    used = {_mark(level) for levels in gaps.values() for level in levels}
    return [
        (Line2D([], [], marker=marker, linestyle="", color=GREY, markersize=6, markeredgewidth=1.6), text)
        for marker, text in (("x", "does not fit"), ("+", "invalid or not finished"))
        if marker in used
    ]


def _mark(level: Level) -> str:
    return "x" if level.status is Status.DOES_NOT_FIT else "+"


def _lower_bottom(axes: Axes, share: float) -> None:
    """Make room below the values: ``share`` of the height. The ticks stay where they were."""
    from matplotlib.ticker import FixedLocator

    low, high = axes.get_ylim()
    axes.yaxis.set_major_locator(FixedLocator([tick for tick in axes.get_yticks() if low <= tick <= high]))
    if axes.get_yscale() == "log":
        axes.set_ylim(low * (low / high) ** (share / (1 - share)), high)
    else:
        axes.set_ylim(low - (high - low) * share / (1 - share), high)


def _series(sweeps: Sequence[Sweep]) -> list[tuple[Any, str]]:
    """Legend entries of the lines, and of what the error bars are."""
    from matplotlib.lines import Line2D

    _, own = names(sweeps)
    lines = series_entries(own, _NAME_WIDTH) if len(sweeps) > 1 else []
    if any(item.low is not None for sweep in sweeps for level in sweep.levels for item in level.values.values()):
        lines.append((Line2D([], [], color=GREY, marker="|", linestyle="", markersize=9), "95 % interval"))
    if len(sweeps) <= _FEW and any("latency_p90_seconds" in level.values for sweep in sweeps for level in sweep.levels):
        lines.append((Line2D([], [], color=GREY, marker="_", linestyle="", markersize=11), "90th percentile"))
    return lines


def heat_figure(sweeps: Sequence[Sweep], *, width: float = 10.0) -> Figure:
    """A heat-map: a block a quantity, a row a sweep, a column a batch size; the figure itself stands in each cell.

    The shade is the value as a share of the best one of its block (dark is best, see ``analysis.sweep.normalized``).
    A cell without a figure says why. Many batch sizes make the picture wider than ``width``.

    Raises:
        ValueError: no sweep, or more than ``MOST_SERIES``.
        MissingExtraError: matplotlib is not installed.
    """
    check_count(sweeps)
    blocks = [block for block in HEAT if recorded(block, sweeps)] or [HEAT[0]]
    common, own = names(sweeps)
    with house_style():
        labels = wrapped_names(own, _NAME_WIDTH) if len(sweeps) > 1 else [""]
        batches = batches_of(sweeps)
        margin = max(text_width(label, SMALL_POINTS) for label in labels) + 0.6
        titles = max(text_width(_block_title(block, sweeps), TEXT_POINTS + 1) for block in blocks)
        block_width = max(_CELL_INCHES * len(batches), titles)
        columns = 2 if len(blocks) > 1 and margin + 2 * block_width <= width else 1
        width = max(width, margin + block_width)
        rows = math.ceil(len(blocks) / columns)
        row = 0.1 + max(2, *(label.count("\n") + 1 for label in labels)) * SMALL_POINTS * 1.25 / 72
        figure, grid = make_canvas(width, rows * (row * len(sweeps) + 0.45) + 1.5, rows, columns)
        for index, axes in enumerate(grid):
            if index >= len(blocks):
                axes.set_axis_off()
                continue
            image = _draw_block(axes, blocks[index], sweeps, batches)
            axes.set_yticks(range(len(sweeps)), labels if index % columns == 0 else [""] * len(sweeps))
            axes.set_xticks(range(len(batches)), [str(batch) for batch in batches])
            axes.tick_params(length=0)
            if index >= len(blocks) - columns:
                axes.set_xlabel("batch size")
        add_title(figure, common, width=width)
        _shade_bar(figure, image, grid)
    return figure


def _shade_bar(figure: Figure, image: Any, grid: Sequence[Axes]) -> None:
    # As high as a line of text whatever the height of the blocks.
    share = 0.16 / figure.get_figheight()
    bar = figure.colorbar(image, ax=grid, location="bottom", shrink=0.4, fraction=share, aspect=24, pad=0.02)
    bar.set_label("share of the best value of the block (1 is best)")
    bar.outline.set_visible(False)


def _draw_block(axes: Axes, block: Panel, sweeps: Sequence[Sweep], batches: Sequence[int]) -> Any:
    axes.set_title(_block_title(block, sweeps))
    axes.set_facecolor("#ececec")
    axes.spines[:].set_visible(False)
    # The best is dark.
    image = draw_cells(axes, *cells_of(block, sweeps), aspect="auto")
    # White lines between the cells.
    axes.set_xticks([place - 0.5 for place in range(len(batches) + 1)], minor=True)
    axes.set_yticks([place - 0.5 for place in range(len(sweeps) + 1)], minor=True)
    axes.grid(which="minor", color="white", linewidth=1.5, visible=True)
    axes.tick_params(which="minor", length=0)
    return image


def _block_title(block: Panel, sweeps: Sequence[Sweep]) -> str:
    return f"{_panel_title(block, sweeps)}, {block.unit}"


def cells_of(block: Panel, sweeps: Sequence[Sweep]) -> tuple[list[list[float]], list[list[str]]]:
    """Of every sweep at every batch size the share of the best, not a number where there is none, and the text."""
    batches = batches_of(sweeps)
    texts = [{level.batch_size: _cell_text(level, block) for level in sweep.levels} for sweep in sweeps]
    return (
        [[row.get(batch, math.nan) for batch in batches] for row in normalized(sweeps, block.quantity)],
        [[row.get(batch, "") for batch in batches] for row in texts],
    )


def _cell_text(level: Level, block: Panel) -> str:
    value = level.value(block.quantity)
    if value is not None:
        return number(value * block.factor)
    if level.status is Status.OK:
        return "-"
    return {Status.DOES_NOT_FIT: "does\nnot fit", Status.TIMED_OUT: "timed\nout"}.get(level.status, level.status.value)
