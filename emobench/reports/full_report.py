"""The full report: HTML page, Markdown, CSV, JSON, PDF and pictures of the same content, written into one folder."""

from __future__ import annotations

from pathlib import Path

from emobench.files import write_bytes
from emobench.reports.bars import bar_parts, bars_figure
from emobench.reports.content import Content
from emobench.reports.curves import MOST_ROWS, curves_figure, history_figure, sheets
from emobench.reports.matrices import A_PAGE, matrices_figure
from emobench.reports.page import report_html
from emobench.reports.pdf import report_pdf
from emobench.reports.phrases import name_of
from emobench.reports.scatter import radar_figure, scatter_figure
from emobench.reports.style import png_bytes
from emobench.reports.sweep import summary_text as sweep_text
from emobench.reports.sweep import sweep_files
from emobench.reports.texts import report_csv, report_json, report_markdown, summary_text


def write_report(content: Content, folder: Path) -> tuple[str, list[Path]]:
    """Write every form of the report into the folder; return the summary as text and the files written.

    Raises:
        MissingExtraError: matplotlib, Plotly or Jinja2 is not installed; nothing was written.
        OSError: the folder cannot be written.
    """
    drawn = pictures(content)
    swept = sweep_files(content.sweeps, content.answers)
    shown = [*drawn, *(name for name in swept if name.endswith(".png"))]
    text = told(content)
    made = {
        "report.html": report_html(content),
        "report.pdf": report_pdf(content),
        "report.md": report_markdown(content, shown),
        "report.csv": report_csv(content),
        "report.json": report_json(content),
        "summary.txt": f"{text}\n".encode(),
        **drawn,
        **swept,
    }
    for name, data in made.items():
        write_bytes(folder / name, data)
    return text, [folder / name for name in made]


def told(content: Content) -> str:
    """What a terminal shows: the summary, then the answers of every sweep."""
    parts = [summary_text(content)]
    if content.sweeps:
        parts.append(sweep_text(content.sweeps, content.answers))
    return "\n\n".join(parts)


def pictures(content: Content) -> dict[str, bytes]:
    """File name to PNG. Of several pages of one sort the first is a file; the PDF has all."""
    found: dict[str, bytes] = {}
    groups = [group for group in content.overview.groups if group.across]
    if groups:
        found["tradeoff.png"] = png_bytes(scatter_figure(groups[:2]))
        if radar := next(filter(None, map(radar_figure, groups)), None):
            found["radar.png"] = png_bytes(radar)
    if content.bars:
        found["bars.png"] = png_bytes(bars_figure(bar_parts(content.bars)[0]))
    if content.curves:
        found["training.png"] = png_bytes(curves_figure(sheets(content.curves)[0]))
    if content.confusions:
        some = content.confusions[:A_PAGE]
        found["confusion.png"] = png_bytes(matrices_figure(some, [name_of(item.row) for item in some]))
    if content.history:
        first = [panel for panel in content.history if panel.kind == content.history[0].kind]
        found["history.png"] = png_bytes(history_figure(first[:MOST_ROWS]))
    return found
