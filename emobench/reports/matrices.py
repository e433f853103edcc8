"""Pictures of confusion matrices: shares of each label as shades, counts as figures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from emobench.analysis.findings import Confusion
from emobench.reports.canvas import WIDTH, draw_cells, make_canvas
from emobench.reports.style import house_style, text_width, wrapped_names
from emobench.reports.tables import short_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

A_PAGE = 6
"""Matrices in one figure."""
MOST_WRITTEN = 8
"""Classes up to which the counts stand in the cells, and the names at the axes."""
_CLASS_WIDTH = 12


def matrices_figure(found: Sequence[Confusion], titles: Sequence[str], *, width: float = WIDTH) -> Figure:
    """At most ``A_PAGE`` matrices in two columns: labels down, predictions across.

    Raises:
        ValueError: no matrix, or too many.
        MissingExtraError: matplotlib is not installed.
    """
    if not 1 <= len(found) <= A_PAGE:
        raise ValueError(f"{len(found)} matrices in one picture; 1 to {A_PAGE} fit")
    rows = math.ceil(len(found) / 2)
    with house_style():
        figure, grid = make_canvas(width, 3.2 * rows, rows, 2)
        names = wrapped_names(titles, int((width / 2 - 1.15) / text_width("x", 10.5)))
        for index, axes in enumerate(grid):
            if index >= len(found):
                axes.set_axis_off()
                continue
            _draw(axes, found[index], names[index])
    return figure


def _draw(axes: Axes, matrix: Confusion, title: str) -> None:
    axes.set_title(title)
    written = len(matrix.classes) <= MOST_WRITTEN
    counts = [[_count(count) for count in row] for row in matrix.counts] if written else []
    draw_cells(axes, matrix.shares, counts, aspect="equal")
    axes.set(xlabel="predicted", ylabel="label")
    axes.tick_params(length=0)
    if not written:
        return
    short = short_names(set(matrix.classes), _CLASS_WIDTH)
    names = wrapped_names([short[name] for name in matrix.classes], _CLASS_WIDTH)
    axes.set_xticks(range(len(names)), names, rotation=0 if len(names) < 4 else 90)
    axes.set_yticks(range(len(names)), names)


def _count(count: int) -> str:
    return f"{count:,}" if count < 10_000 else f"{count / 1000:,.0f}k"
