"""Compare: which runs are meant, and in which form the comparison is shown. Verdicts are made in ``analysis``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from emobench.commands.project_place import Place
from emobench.errors import SpecError, unknown_name
from emobench.files import write_bytes

if TYPE_CHECKING:
    from emobench.records.index import RunIndex

SHOWN_AT_MOST = 400
"""Rows that a terminal is given; of more only those with a difference, unless verdicts are named."""


@dataclass(frozen=True, kw_only=True)
class CompareOptions:
    """What ``emobench compare`` takes."""

    by: str | None = None
    metrics: Sequence[str] = ()
    only: Sequence[str] = ()
    """Verdicts; each may hold several, with commas between."""
    form: str = "text"
    across: bool = False


def compare_text(base: str, new: Sequence[str], place: Place, options: CompareOptions) -> str:
    """Compare each new run with the base, a blessed baseline or a run.

    Raises:
        SpecError: no such run, metric, verdict, axis or form.
        BaselineError: the base cannot be used.
        BrokenFileError: a run cannot be read.
    """
    from emobench.analysis.compare import AXES, MAIN, VERDICTS, compare
    from emobench.analysis.pairs import EVERYTHING
    from emobench.records.index import read_index
    from emobench.records.store import find_run
    from emobench.reports import comparison as pages

    if options.by is not None and options.by not in AXES:
        raise unknown_name("axis in --by:", options.by, AXES)
    check_form(options.form)
    only = [part.strip() for text in options.only for part in text.split(",") if part.strip()]
    for verdict in only:
        if verdict not in VERDICTS:
            raise unknown_name("verdict in --only:", verdict, VERDICTS)
    storage = place.root / "results"
    indexes, name = base_runs(base, storage)
    across = EVERYTHING if options.across else frozenset()
    found = [
        compare(indexes, read_index(find_run(storage, run)), metrics=options.metrics or MAIN, across=across, name=name)
        for run in new
    ]
    if options.form == "text" and not only and sum(len(item.rows) for item in found) > SHOWN_AT_MOST:
        only = [verdict for verdict in VERDICTS if verdict not in ("same", "inconclusive")]
    found = [pages.chosen(item, only) for item in found]
    if options.form == "csv":
        return pages.comparison_csv(found)
    if options.form == "json":
        return pages.comparison_json(found)
    if options.form == "markdown":
        return "\n\n".join(pages.comparison_markdown(item, by=options.by) for item in found)
    return "\n\n".join(pages.comparison_text(item, by=options.by) for item in found)


def base_runs(base: str, storage: Path) -> tuple[tuple[RunIndex, ...], str]:
    """Indexes of the base's runs, and what it is called; ``latest`` may be compared with, though not gated."""
    from emobench.records.index import read_index
    from emobench.records.store import find_run
    from emobench.session.gate import find_base

    if base == "latest":
        path = find_run(storage, base)
        return (read_index(path),), path.stem
    found = find_base(base, storage)
    return found.indexes, found.name or found.runs[0].source


def check_form(form: str) -> None:
    """See that the form is one that pages come in."""
    from emobench.reports.comparison import FORMATS

    if form not in FORMATS:
        raise unknown_name("form in --format:", form, FORMATS)


def put(text: str, output: Path | None) -> str:
    """Write the page where it was asked for and say so, or return it."""
    if output is None:
        return text.rstrip("\n")
    if output.is_dir():
        raise SpecError(f"--output {output}", why="it is a folder", fix="name a file")
    write_bytes(output, text.rstrip("\n").encode() + b"\n")
    return f"written: {output}"
