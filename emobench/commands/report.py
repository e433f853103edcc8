"""Reports on saved runs: which runs are meant, and what is said about them. Runs and measures nothing."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from emobench.commands.project_place import Place
from emobench.errors import BrokenFileError, SpecError

if TYPE_CHECKING:
    from emobench.analysis.sweep import Source
    from emobench.records.index import RunIndex
    from emobench.records.store import Run

HISTORY = 20
"""Runs of the same folder that the history of a metric goes back, those of the report included."""
_STAMP = re.compile(r"\d{8}_\d{6}")


def report_text(
    wanted: Sequence[str], place: Place, *, to: Path, latency_target_ms: float | None = None, history: int = HISTORY
) -> str:
    """Write the report on the runs into the folder ``to``; return its summary and the files written.

    A run is named as everywhere: by path, number, the start of its name, or ``latest``. ``history`` is the largest
    number of runs, with those that lie beside the named ones, that metrics are followed over.

    Raises:
        SpecError: no such run, no case in any of them, or an option that means nothing.
        BrokenFileError: a named run cannot be read; one beside it that cannot is left out, which the report says.
        MissingExtraError: matplotlib, Plotly or Jinja2 is not installed.
    """
    from emobench.reports.content import content
    from emobench.reports.full_report import write_report

    _check(to, latency_target_ms, history)
    paths = _paths(wanted, place.root / "results")
    beside = _beside(paths, history - len(paths))
    names = _names([*paths, *beside])
    runs = {name: _load(path) for name, path in zip(names, paths, strict=False)}
    if not any(run.records for run in runs.values()):
        raise SpecError(
            f"no case in {', '.join(runs)}",
            why="a report is made of cases, and these runs hold none of EmoBench",
            fix="run some: pytest benchmarks",
        )
    earlier, notes = _earlier(beside, names[len(paths) :])
    target = None if latency_target_ms is None else latency_target_ms / 1e3
    summary, files = write_report(content(runs, earlier=earlier, target_seconds=target, notes=tuple(notes)), to)
    return "\n".join([summary, "", "written:", *(f"  {path}" for path in files)])


def _check(to: Path, latency_target_ms: float | None, history: int) -> None:
    if latency_target_ms is not None and not 0 < latency_target_ms < float("inf"):
        raise SpecError(
            f"--latency-target {latency_target_ms:g}",
            why="a latency is a number of milliseconds above 0",
            fix="give one, such as --latency-target 50",
        )
    if history < 0:
        raise SpecError(f"--history {history}", why="it is a number of runs", fix="give 0 for none, or more")
    if to.exists() and not to.is_dir():
        raise SpecError(f"--to {to}", why="there is a file of that name", fix="name a folder; it is made if need be")


def sources(wanted: Sequence[str], storage: Path) -> list[Source]:
    """The runs a user names, each once and each under a name of its own.

    Raises:
        SpecError: a run is not there; names those that are nearest.
        BrokenFileError: a run cannot be read.
    """
    from emobench.analysis.sweep import Source

    paths = _paths(wanted, storage)
    runs = [_load(path) for path in paths]
    return [
        Source(name=name, results=run.records, timings=run.timings)
        for name, run in zip(_names(paths), runs, strict=True)
    ]


def _paths(wanted: Sequence[str], storage: Path) -> list[Path]:
    from emobench.records.store import find_run

    return list(dict.fromkeys(find_run(storage, name).resolve() for name in wanted))


def _load(path: Path) -> Run:
    from emobench.records.store import load_run

    return load_run(path)


def _beside(paths: Sequence[Path], most: int) -> list[Path]:
    """The newest other runs in the folders of these, at most so many; by the date in their names."""
    from emobench.records.store import run_files

    folders = dict.fromkeys(path.parent for path in paths)
    found = [path for folder in folders for path in run_files(folder) if path.parent == folder and path not in paths]
    found.sort(key=lambda path: (_STAMP.search(path.stem) or [""])[0])
    return found[-most:] if most > 0 else []


def _earlier(paths: Sequence[Path], names: Sequence[str]) -> tuple[dict[str, RunIndex], list[str]]:
    from emobench.records.index import read_index

    found, notes = {}, []
    for path, name in zip(paths, names, strict=True):
        try:
            found[name] = read_index(path)
        except BrokenFileError as error:
            notes.append(f"run {name} is not in the history: {error.why}")
    return found, notes


def _names(paths: Sequence[Path]) -> list[str]:
    """The number of each run; its whole name where two have the same number, its path where even that is not enough."""
    numbers = [path.stem.partition("_")[0] for path in paths]
    stems = Counter(path.stem for path in paths)
    twice = Counter(numbers)
    return [
        number if twice[number] == 1 else path.stem if stems[path.stem] == 1 else str(path)
        for number, path in zip(numbers, paths, strict=True)
    ]
