"""Two runs: two runs side by side, in the figures and verdicts of ``emobench compare``. It tests nothing itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from emobench.analysis.compare import VERDICTS, Comparison, compare
from emobench.analysis.gates import shown_change
from emobench.analysis.pairs import EVERYTHING
from emobench.dashboard import html_pieces as marks
from emobench.dashboard.saved_runs import Shelf
from emobench.dashboard.views import Grid
from emobench.records.secrets import redact
from emobench.reports.comparison import EFFECT, clean, effect_size, figure, metric_label, probability

MOST_ROWS = 5000
"""Rows that a browser still scrolls well through."""
HEADS = ("verdict", "case", "metric", "base", "new", "change", "from", "to", "p (Holm)", "effect", "how")
WIDTHS = (105, 255, 180, 70, 70, 80, 80, 80, 80, 65, 150)
"""Pixels; by themselves the columns would be as wide as their first rows."""
_NUMERIC = (False, False, False, True, True, True, True, True, True, True, False)
_VALUES = ("base", "new", "point", "lower", "upper", "p_holm", "effect")
_FIRST = ("worse", "invalid", "gone", "better", "inconclusive", "new", "same")
_NOT_COMPARED = 8


@dataclass(frozen=True, kw_only=True)
class Compared:
    """A comparison as the page shows it."""

    words: str
    """HTML."""
    grid: Grid


def compared(shelf: Shelf, base: object, new: object, *, only: Sequence[str] = (), across: bool = False) -> Compared:
    """Compare a listed run with another or with a baseline; rows of all verdicts, or of those in ``only``.

    What got worse comes first.

    Raises:
        SpecError, BrokenFileError: a run is not there or cannot be read.
        BaselineError: the baseline cannot be used.
    """
    name, bases = shelf.bases(base)
    found = compare(bases, shelf.index(new), across=EVERYTHING if across else frozenset(), name=name)
    grid, left = _grid(found, only)
    return Compared(words=_words(found, left), grid=grid)


def _words(found: Comparison, left: int) -> str:
    counts = ", ".join(f"{count} {verdict}" for verdict, count in found.counts().items()) or "nothing to compare"
    lines = [("new", found.new), ("base", found.base), ("in all", counts)]
    lines += [("note", "both are the same run")] if found.new == found.base else []
    reasons: dict[str, list[str]] = {}
    for case, why in found.apart:
        reasons.setdefault(why, []).append(case)
    for why, cases in reasons.items():
        more = f" and {len(cases) - _NOT_COMPARED} more" if len(cases) > _NOT_COMPARED else ""
        lines.append(("not compared", f"{why}: {', '.join(cases[:_NOT_COMPARED])}{more}"))
    lines += [("note", text) for text in found.notes]
    if left:
        lines.append(("note", f"{left:,} more rows are not listed; emobench compare lists all"))
    shown = marks.pairs([(name, redact(text)) for name, text in lines])
    note = marks.note(
        "A verdict needs a 95 % interval that excludes zero and a p that holds after Holm's correction over all rows. "
        f"Changes of shares are in points, others in percent. {EFFECT[0].upper()}{EFFECT[1:]}."
    )
    return shown + note


def _grid(found: Comparison, only: Sequence[str]) -> tuple[Grid, int]:
    rows = found.rows
    wanted = [verdict for verdict in only if verdict in VERDICTS]
    places = [at for at in range(len(rows)) if not wanted or rows.verdict[at] in wanted]
    order = {verdict: at for at, verdict in enumerate(_FIRST)}
    places.sort(key=lambda at: order.get(str(rows.verdict[at]), len(order)))
    left, places = max(0, len(places) - MOST_ROWS), places[:MOST_ROWS]
    cells, texts = [], []
    for at in places:
        metric = str(rows.metric[at])
        values = [float(getattr(rows, name)[at]) for name in _VALUES]
        shown = [figure(metric, value) if metric else "" for value in values[:2]]
        shown += [shown_change(metric, value) if metric and math.isfinite(value) else "" for value in values[2:5]]
        shown += [probability(values[5]), effect_size(values[6])]
        case, how = redact(clean(rows.case[at])), redact(clean(rows.how[at]))
        names = (str(rows.verdict[at]), case, metric_label(metric) if metric else "the whole case")
        cells.append((*names, *(value if math.isfinite(value) else None for value in values), how))
        texts.append((*names, *shown, how))
    return Grid(heads=HEADS, cells=tuple(cells), texts=tuple(texts), numeric=_NUMERIC), left
