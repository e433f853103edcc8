"""HTML pieces: small pieces of HTML, each text escaped and on one line. What a piece says is decided elsewhere."""

from __future__ import annotations

import html
from collections.abc import Sequence

from emobench.analysis.findings import Confusion
from emobench.reports.comparison import clean


def mark(value: object) -> str:
    """A text from data as HTML: no markup, and signs that a terminal or page would act on are spelled out."""
    return html.escape(clean(value)).replace("$", "&#36;").replace("{", "&#123;")


def view(inside: str) -> str:
    """Pieces as one view, which the style sheet knows."""
    return f"<div class='emo'>{inside}</div>" if inside else ""


def pairs(lines: Sequence[tuple[str, str]]) -> str:
    """Names and what is said of them, as a list."""
    return f"<dl>{''.join(f'<dt>{mark(name)}</dt><dd>{mark(said)}</dd>' for name, said in lines)}</dl>" if lines else ""


def heading(text: str) -> str:
    """A heading inside a view."""
    return f"<h3>{mark(text)}</h3>"


def note(text: str) -> str:
    """A sentence in small print; empty for none."""
    return f"<p class='note'>{mark(text)}</p>" if text else ""


def problem(text: str) -> str:
    """What is wrong, in a box."""
    return f"<p class='problem' role='alert'>{mark(text)}</p>"


def table(heads: Sequence[str], rows: Sequence[Sequence[object]], *, right: Sequence[int] = ()) -> str:
    """A table; columns of ``right`` are figures."""
    kind = [" class='n'" if at in right else "" for at in range(len(heads))]
    top = "".join(f"<th{how}>{mark(head)}</th>" for how, head in zip(kind, heads, strict=True))
    body = "".join(
        f"<tr>{''.join(f'<td{how}>{mark(cell)}</td>' for how, cell in zip(kind, row, strict=True))}</tr>"
        for row in rows
    )
    return f"<div class='scroll'><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>"


def matrix(item: Confusion) -> str:
    """A confusion matrix: rows are labels, columns predictions, the shade is the share of the label's rows."""
    top = "".join(f"<th>{mark(name)}</th>" for name in item.classes)
    rows = "".join(
        f"<tr><th>{mark(name)}</th>{''.join(map(_cell, counts, shares))}</tr>"
        for name, counts, shares in zip(item.classes, item.counts, item.shares, strict=True)
    )
    return f"<table class='matrix'><tr><th>label \\ predicted</th>{top}</tr>{rows}</table>"


def _cell(count: int, share: float) -> str:
    return f"<td class='c{round(share * 10)}'>{count:,}</td>"
