"""The look of every static picture: one style, a palette that survives grey, names made fit to print, PNG bytes.

It draws no data. matplotlib is imported inside functions: it takes half a second, and tables do without it.
"""

from __future__ import annotations

import io
import textwrap
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

from emobench.extras import require

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TEXT_POINTS = 9.0
SMALL_POINTS = 8.0
"""The smallest text of any picture."""
DPI = 200
GREY = "#5a5a5a"

HOUSE = {
    "figure.dpi": 100,
    "figure.facecolor": "white",
    "font.family": "sans-serif",
    # The font that comes with matplotlib: a picture has the same extents on every machine.
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": TEXT_POINTS,
    "axes.titlesize": TEXT_POINTS + 0.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": TEXT_POINTS,
    "xtick.labelsize": SMALL_POINTS,
    "ytick.labelsize": SMALL_POINTS,
    "legend.fontsize": SMALL_POINTS + 0.5,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": "black",
    "ytick.labelcolor": "black",
    "lines.linewidth": 1.5,
    "lines.markersize": 5.0,
    # Names come from data: a dollar sign in one is no formula.
    "text.parse_math": False,
    "axes.unicode_minus": True,
}

COLORS = ("#0a1f44", "#7a1533", "#0b5a94", "#a8450f", "#2f7f78", "#b9741a", "#7b92c9", "#bda43a")
"""Dark to light, bluish and reddish in turn: told apart in grey by luminance, by the colour-blind by hue as well."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
LINES = ("-", (0, (5, 1.5)), (0, (1, 1.2)), (0, (5, 1.5, 1, 1.5)))
MOST_SERIES = len(COLORS)
"""More lines than this in one panel are not told apart; the caller makes more pictures."""

_LOCK = threading.RLock()


@contextmanager
def house_style() -> Iterator[None]:
    """Everything drawn inside looks alike, whatever the user's own settings; those are back afterwards.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    require("matplotlib", feature="drawing pictures", extra="report")
    from matplotlib import style

    # The settings are global to the process: two threads that draw at once would mix them.
    with _LOCK, style.context(["default", HOUSE]):
        yield


def look(index: int, count: int) -> dict[str, Any]:
    """Color, marker and line style of series ``index`` of ``count``; few series are spread over the luminance range."""
    color = COLORS[2 if count == 1 else round(index * (len(COLORS) - 1) / (count - 1))]
    return {"color": color, "marker": MARKERS[index % len(MARKERS)], "linestyle": LINES[index % len(LINES)]}


def printable(text: str, *, family: str = "DejaVu Sans") -> str:
    """The text without what the font has no sign for: those, and control characters, become a question mark."""
    known = _known_characters(family)
    return "".join(char if ord(char) in known and char.isprintable() else "?" for char in text)


@cache
def _known_characters(family: str) -> frozenset[int]:
    from matplotlib.font_manager import FontProperties, findfont, get_font

    return frozenset(get_font(findfont(FontProperties(family=family))).get_charmap())


def wrapped_names(names: Sequence[str], width: int, *, lines: int = 3) -> list[str]:
    """Names on lines of at most ``width`` characters.

    Where one would take more than ``lines`` lines, what all begin or end with is left out of all; a single name, or
    one that is still too long, loses its middle, unless that would make two of them the same.
    """
    clean = [printable(" ".join(name.split())) for name in names]
    if max(map(len, clean), default=0) > width * lines * 3 // 4:
        clean = _without_common_ends(clean)
    short = [_without_middle(name, width * lines * 3 // 4) for name in clean]
    clean = short if len(set(short)) == len(set(clean)) else clean
    # A legend leaves out names that begin with an underscore.
    clean = [f" {name}" if name.startswith("_") else name for name in clean]
    return ["\n".join(textwrap.wrap(name, width, drop_whitespace=len(name) > width)) for name in clean]


def _without_middle(name: str, most: int) -> str:
    return name if len(name) <= most else f"{name[: most // 2 - 2]}...{name[-(most - most // 2 - 1) :]}"


def _without_common_ends(names: list[str]) -> list[str]:
    if len(set(names)) < 2:
        return names
    start = _shared_start(names)
    end = _shared_start([name[len(start) :][::-1] for name in names])
    return [
        ("..." if start else "") + name[len(start) : len(name) - len(end)] + ("..." if end else "") for name in names
    ]


def _shared_start(names: Sequence[str]) -> str:
    """What all begin with, up to its last separator; empty where that is too short to be worth leaving out."""
    same = [len(set(signs)) == 1 for signs in zip(*names, strict=False)]
    shared = names[0][: same.index(False)] if False in same else names[0][: len(same)]
    cut = max(shared.rfind(sign) for sign in "/-_ ")
    return shared[: cut + 1] if cut >= 8 else ""


def text_width(text: str, points: float) -> float:
    """About how many inches the longest line of a text takes: enough to choose a layout, before it is drawn."""
    return max(len(line) for line in text.splitlines() or [""]) * points * 0.6 / 72


def png_bytes(figure: Figure, *, dpi: int = DPI) -> bytes:
    """The figure as PNG; the same figure gives the same bytes."""
    target = io.BytesIO()
    with house_style():
        figure.savefig(target, format="png", dpi=dpi, metadata={"Software": None})
    return target.getvalue()
