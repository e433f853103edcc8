"""What is wrong with the texts of a drawn figure. It draws nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from emobench.reports.style import SMALL_POINTS, house_style


def text_faults(figure: Figure, *, box: Any = None) -> list[str]:
    """What is wrong with the texts of a figure as drawn: cut off by its edge, overlapping, or too small.

    Empty where every text can be read. Extents are those of the renderer; a text of blanks is none. ``box`` is what is
    printed, in inches from the figure's lower left corner, where that is not the figure itself.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    with house_style():
        canvas = FigureCanvasAgg(figure)
        canvas.draw()  # type: ignore[no-untyped-call]  # matplotlib's
        renderer = canvas.get_renderer()  # type: ignore[no-untyped-call]  # matplotlib's
        boxes = [(text, text.get_window_extent(renderer)) for text in _drawn_texts(figure)]
    faults = [
        f"{text.get_text()!r} is {text.get_fontsize():g} points"
        for text, _ in boxes
        if text.get_fontsize() < SMALL_POINTS
    ]
    # One pixel: the extents of a text are whole pixels around its ink.
    edge = figure.bbox.padded(1)
    if box is not None:
        from matplotlib.transforms import Bbox

        edge = Bbox(box.get_points() * figure.dpi)
    for text, box in boxes:
        if box.x0 < edge.x0 or box.y0 < edge.y0 or box.x1 > edge.x1 or box.y1 > edge.y1:
            faults.append(f"{text.get_text()!r} is cut off")
    return faults + _overlaps([(text.get_text(), box.padded(-0.5)) for text, box in boxes])


def _overlaps(boxes: Sequence[tuple[str, Any]]) -> list[str]:
    return [
        f"{text!r} overlaps {other!r}"
        for index, (text, box) in enumerate(boxes)
        for other, second in boxes[index + 1 :]
        if box.overlaps(second)
    ]


def _drawn_texts(figure: Figure) -> list[Any]:
    from matplotlib.axis import Axis
    from matplotlib.text import Text

    hidden: set[int] = set()
    for axis in figure.findobj(Axis):
        assert isinstance(axis, Axis)
        low, high = sorted(axis.get_view_interval())
        shown = axis.get_visible() and axis.axes.axison and axis.axes.get_visible()
        for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
            # Ticks outside of the limits are kept for later and not drawn.
            if not shown or not low <= tick.get_loc() <= high:
                hidden |= {id(tick.label1), id(tick.label2)}
    texts = [text for text in figure.findobj(Text) if isinstance(text, Text)]
    return [text for text in texts if id(text) not in hidden and text.get_visible() and text.get_text().strip()]
