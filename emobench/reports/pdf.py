"""The report as PDF: pages of A4 with text, tables and the static pictures. What is said comes from the other pages."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from emobench.analysis.findings import Target
from emobench.analysis.sweep import Sweep
from emobench.records.record import Record
from emobench.reports.bars import bar_parts, bars_figure
from emobench.reports.canvas import WIDTH
from emobench.reports.content import Content
from emobench.reports.curves import MOST_ROWS, curves_figure, history_figure, sheets
from emobench.reports.figures import heat_figure, sweep_figure
from emobench.reports.matrices import A_PAGE, matrices_figure
from emobench.reports.phrases import (
    INTERVALS,
    OVERLAP,
    history_caption,
    limit_text,
    name_of,
    radar_caption,
    scatter_caption,
    skip_text,
    summary_lines,
    value_text,
)
from emobench.reports.scatter import radar_figure, scatter_figure
from emobench.reports.style import (
    GREY,
    MOST_SERIES,
    SMALL_POINTS,
    TEXT_POINTS,
    house_style,
    printable,
    text_width,
)
from emobench.reports.sweep import answer_lines, heading
from emobench.reports.tables import one_line, results_table, shortened

if TYPE_CHECKING:
    from matplotlib.figure import Figure

A4 = (8.27, 11.69)
MARGIN = 0.5
MOST_PAGES = 6
"""Of pictures of one sort; the HTML page has the rest."""
_LINE = 1.35
"""Distance of lines, in heights of the text."""
_ROWS_A_TABLE = 40
_MOST_BLOCKS = 60
"""Cases that a list of one sort tells of."""
_HEAT_ROWS = 4
"""Sweeps whose four blocks fit on a page."""
_MONO = "DejaVu Sans Mono"


@dataclass(frozen=True, kw_only=True)
class Page:
    """A page before it is numbered: a picture under a heading, above its caption."""

    figure: Figure
    heading: str = ""
    caption: str = ""
    landscape: bool = False
    whole: bool = field(default=False)
    """The figure is the page: it has its own margins."""


def report_pdf(content: Content) -> bytes:
    """All pages as one PDF; the same content gives the same bytes.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    target = io.BytesIO()
    with house_style():
        from matplotlib.backends.backend_pdf import PdfPages

        made = list(pages(content))
        metadata = {"Title": printable(one_line(content.title)), "Creator": "EmoBench", "CreationDate": None}
        with PdfPages(target, metadata=metadata) as pdf:
            for number, page in enumerate(made, start=1):
                finish(page, content.title, number, len(made))
                pdf.savefig(page.figure, bbox_inches=page_box(page), pad_inches=0)
    return target.getvalue()


def pages(content: Content) -> Iterator[Page]:
    """All pages in order."""
    words = [(question, [text]) for question, text in summary_lines(content)]
    yield from text_pages(content.title, [("", [f"{INTERVALS} {OVERLAP}"]), *words])
    yield from _trade_off_pages(content)
    yield from (
        Page(figure=bars_figure(part), heading="Throughput and memory") for part in bar_parts(content.bars)[:MOST_PAGES]
    )
    yield from _table_pages(content)
    yield from _sweep_pages(content)
    for part in sheets(content.curves)[:MOST_PAGES]:
        yield Page(figure=curves_figure(part), heading="Training")
    yield from _matrix_pages(content)
    yield from _history_pages(content)
    yield from _finding_pages(content)
    told = [(f"run {found.run}", [f"{name}: {text}" for name, text in found.facts]) for found in content.sessions]
    yield from text_pages("Environment", told)


def _trade_off_pages(content: Content) -> Iterator[Page]:
    for group in content.overview.groups:
        if group.across:
            yield Page(
                figure=scatter_figure([group]), heading="Quality and what it costs", caption=scatter_caption(group)
            )
        figure = radar_figure(group)
        if figure is not None:
            yield Page(figure=figure, heading="Shares of the best", caption=radar_caption(group))


def _table_pages(content: Content) -> Iterator[Page]:
    several = len(content.records) > 1
    for run, records in content.records.items():
        title = f"Cases of run {run}" if several else "Cases"
        for part in _parts([_in_one_width(record) for record in records]):
            yield from mono_pages(title, results_table(part).splitlines())


def _in_one_width(record: Record) -> Record:
    """The case's names as they are printed: a sign of two widths that the font lacks would shift the columns."""
    case = {
        name: printable(text, family=_MONO) if isinstance(text, str) else text for name, text in record.case.items()
    }
    return replace(record, case=case)


def _parts(records: Sequence[Record]) -> Iterator[Sequence[Record]]:
    """Records of one kind each, as many as a page holds: every page has its own heads."""
    for kind in dict.fromkeys(str(record.case.get("kind")) for record in records):
        members = [record for record in records if str(record.case.get("kind")) == kind]
        for start in range(0, len(members), _ROWS_A_TABLE):
            yield members[start : start + _ROWS_A_TABLE]


def _sweep_pages(content: Content) -> Iterator[Page]:
    if content.sweeps:
        pairs = zip(content.sweeps, content.answers, strict=True)
        told = [
            (heading(sweep), [f"{name}: {text}" for name, text in answer_lines(sweep, found)]) for sweep, found in pairs
        ]
        yield from text_pages("Batch sizes", told)
    for start in range(0, min(len(content.sweeps), MOST_SERIES * MOST_PAGES), MOST_SERIES):
        yield Page(figure=sweep_figure(content.sweeps[start : start + MOST_SERIES], width=WIDTH), heading="Batch sizes")
    for start in range(0, min(len(content.sweeps), _HEAT_ROWS * MOST_PAGES), _HEAT_ROWS):
        for heat in _heat_figures(content.sweeps[start : start + _HEAT_ROWS]):
            landscape = bool(heat.get_figwidth() > WIDTH + 0.01)
            yield Page(figure=heat, heading="Batch sizes: heat-map", landscape=landscape)


def _heat_figures(some: Sequence[Sweep]) -> list[Figure]:
    """One heat-map; one a sweep where long names would make it higher than a page."""
    together = heat_figure(some, width=WIDTH)
    if together.get_figheight() + 2 * MARGIN + 0.8 <= A4[1]:
        return [together]
    return [heat_figure([sweep], width=WIDTH) for sweep in some]


def _matrix_pages(content: Content) -> Iterator[Page]:
    for start in range(0, min(len(content.confusions), A_PAGE * MOST_PAGES), A_PAGE):
        some = content.confusions[start : start + A_PAGE]
        runs = len(content.records) > 1
        titles = [name_of(item.row) + (f", run {item.row.run}" if runs else "") for item in some]
        caption = "Counts of test rows; the shade is the share of the label's rows."
        yield Page(figure=matrices_figure(some, titles), heading="Confusion matrices", caption=caption)


def _history_pages(content: Content) -> Iterator[Page]:
    for kind in dict.fromkeys(panel.kind for panel in content.history):
        panels = [panel for panel in content.history if panel.kind == kind][:MOST_ROWS]
        yield Page(figure=history_figure(panels), heading=f"History of {kind} cases", caption=history_caption())


def _finding_pages(content: Content) -> Iterator[Page]:
    traces = [(item.row.id, [f"{item.verdict}: {item.advice}"]) for item in content.traces]
    judged = [_target(item) for item in content.targets]
    skipped = [("", [skip_text(group)]) for group in content.skips]
    for title, blocks in (("Traces", traces), ("Targets", judged), ("Not run", skipped)):
        left = len(blocks) - _MOST_BLOCKS
        more = [("", [f"and {left} more, in the HTML page"])] if left > 0 else []
        if blocks:
            yield from text_pages(title, [*blocks[:_MOST_BLOCKS], *more])


def _target(item: Target) -> tuple[str, list[str]]:
    reached = value_text(item.metric, item.value)
    return f"{'met' if item.met else 'missed'}: {item.row.id}", [f"{limit_text(item)}; it reached {reached}"]


def text_pages(title: str, blocks: Sequence[tuple[str, Sequence[str]]]) -> list[Page]:
    """Pages of blocks: a question or a name in bold, what is said of it below."""
    characters = int(WIDTH / text_width("x", TEXT_POINTS))
    written: list[tuple[str, bool]] = []
    for name, said in blocks:
        if name:
            written += [(line, True) for line in _wrap(name, characters * 9 // 10)]
        written += [(line, False) for text in said for line in _wrap(text, characters)]
        written.append(("", False))
    return _sheets(title, written, points=TEXT_POINTS, family="DejaVu Sans", landscape=False)


def mono_pages(title: str, lines: Sequence[str]) -> list[Page]:
    """Pages of lines whose columns stand under one another; landscape, as 120 columns need it."""
    clean = [printable(line, family=_MONO) for line in lines]
    return _sheets(title, [(line, False) for line in clean], points=SMALL_POINTS, family=_MONO, landscape=True)


def _wrap(text: str, characters: int) -> list[str]:
    return textwrap.wrap(printable(shortened(text)), characters, break_on_hyphens=False) or [""]


def _sheets(
    title: str, lines: Sequence[tuple[str, bool]], *, points: float, family: str, landscape: bool
) -> list[Page]:
    from matplotlib.figure import Figure

    width, height = A4[::-1] if landscape else A4
    step = points * _LINE / 72
    top = MARGIN + 0.45
    room = int((height - top - MARGIN - 0.2) / step)
    found = []
    for start in range(0, max(1, len(lines)), room):
        figure = Figure(figsize=(width, height))
        for index, (line, bold) in enumerate(lines[start : start + room]):
            y = 1 - (top + step * index) / height
            weight = "bold" if bold else "normal"
            figure.text(MARGIN / width, y, line, fontsize=points, va="top", family=family, fontweight=weight)
        more = "" if start == 0 else ", continued"
        found.append(Page(figure=figure, heading=f"{title}{more}", landscape=landscape, whole=True))
    return found


def page_box(page: Page) -> object:
    """The page in inches, seen from the lower left corner of its figure; taller or wider only where the figure is."""
    from matplotlib.transforms import Bbox

    width, height = _size(page)
    x, y = _offset(page)
    return Bbox([[-x, -y], [width - x, height - y]])


def _size(page: Page) -> tuple[float, float]:
    width, height = A4[::-1] if page.landscape else A4
    if page.whole:
        return width, height
    own_width, own_height = page.figure.get_size_inches()
    below = _caption_height(page) + MARGIN + 0.3
    return max(width, own_width + 2 * MARGIN), max(height, own_height + MARGIN + 0.5 + below)


def _offset(page: Page) -> tuple[float, float]:
    """Where the figure's lower left corner is on the page: centered, below the heading."""
    if page.whole:
        return 0.0, 0.0
    width, height = _size(page)
    own_width, own_height = page.figure.get_size_inches()
    return (width - own_width) / 2, height - MARGIN - 0.5 - own_height


def _caption_lines(page: Page) -> list[str]:
    characters = int((_page_width(page) - 2 * MARGIN) / text_width("x", SMALL_POINTS + 0.5))
    return _wrap(page.caption, characters) if page.caption else []


def _page_width(page: Page) -> float:
    return A4[1] if page.landscape else A4[0]


def _caption_height(page: Page) -> float:
    return len(_caption_lines(page)) * (SMALL_POINTS + 0.5) * _LINE / 72


def finish(page: Page, title: str, number: int, of: int) -> None:
    """Write heading, caption and footer onto the page, outside of the picture."""
    width, height = _size(page)
    x, y = _offset(page)
    own_width, own_height = page.figure.get_size_inches()

    # The page is larger than the figure: its layout is settled first, and a legend outside of the panels, which hangs
    # on the edge, is tied to where the edge was.
    page.figure.draw_without_rendering()
    page.figure.set_layout_engine("none")
    for legend in page.figure.legends:
        legend.set_bbox_to_anchor((0, 0, 1, 1), transform=page.figure.transFigure)

    def write(text: str, left: float, bottom: float, **style: object) -> None:
        page.figure.text((left - x) / own_width, (bottom - y) / own_height, text, **style)  # type: ignore[arg-type]  # keywords of Text

    characters = int((width - 2 * MARGIN) / text_width("x", TEXT_POINTS + 4))
    head = textwrap.shorten(printable(one_line(page.heading)), characters, placeholder="...")
    write(head, MARGIN, height - MARGIN, va="top", fontsize=TEXT_POINTS + 3, fontweight="bold")
    caption = "\n".join(_caption_lines(page))
    write(caption, MARGIN, y - 0.08, va="top", fontsize=SMALL_POINTS + 0.5, linespacing=_LINE * 0.9)
    foot = textwrap.shorten(printable(one_line(title)), 80, placeholder="...")
    write(foot, MARGIN, MARGIN - 0.2, va="bottom", fontsize=SMALL_POINTS, color=GREY)
    write(f"{number} of {of}", width - MARGIN, MARGIN - 0.2, va="bottom", ha="right", fontsize=SMALL_POINTS, color=GREY)
