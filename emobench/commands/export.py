"""Exports of saved runs: which run is meant, and what is said about it. The forms are made in ``reports``."""

from __future__ import annotations

from pathlib import Path

from emobench.commands.project_place import Place


def export_text(wanted: str, place: Place, *, to: str, output: Path) -> str:
    """Write the run in another tool's form; return what was written.

    A run is named as everywhere: by path, number, the start of its name, or ``latest``.

    Raises:
        SpecError: no such run or format, an output of the wrong kind, or nothing to export.
        BrokenFileError: the run cannot be read.
        MissingExtraError: the other tool's package is not installed.
        UnsupportedError: that package could not write.
    """
    from emobench.records.store import find_run, load_run
    from emobench.reports.exports import export_run

    return "\n".join(export_run(load_run(find_run(place.root / "results", wanted)), to, output))
