"""Bless: which runs become a baseline, and what is said about it. Baselines are made in ``records``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from emobench.commands.project_place import Place
from emobench.errors import BaselineError
from emobench.records.baselines import FOLDER, Baseline, check_name, load_baseline
from emobench.records.bless import bless
from emobench.records.store import find_run


def bless_text(
    wanted: Sequence[str], name: str, place: Place, *, allow_incomplete: bool = False, cases: Sequence[str] = ()
) -> str:
    """Make the named runs the baseline ``name``; return what was blessed and what that replaced.

    A run is named as everywhere: by path, number, the start of its name, or ``latest``. Predictions are kept of
    ``cases``, of all where none is named.

    Raises:
        SpecError: no such run or case, an impossible name, or a run given twice.
        BrokenFileError: a run cannot be read.
        BaselineError: a run is incomplete or has no ok case.
    """
    check_name(name)
    storage = place.root / "results"
    paths = [find_run(storage, run) for run in wanted]
    before = _before(name, storage)
    bless(paths, name, storage, cases=cases, allow_incomplete=allow_incomplete)
    return "\n".join([*_lines(load_baseline(name, storage)), before])


def _lines(made: Baseline) -> list[str]:
    found = [f"blessed as {made.name}: {_count(len(made.runs), 'run')}, {_size(made.size_bytes)}"]
    for run in made.runs:
        dirty = " with uncommitted changes" if run.dirty else ""
        found.append(
            f"  {run.source}: {run.ok} of {_count(run.cases, 'case')} ok, {run.predictions} with predictions, "
            f"commit {run.commit[:10] or 'unknown'}{dirty}"
        )
        found += [f"    incomplete: {text}" for text in run.incomplete]
        if run.redacted:
            found.append(f"    credentials or home folders were taken out of {_count(run.redacted, 'text')}")
    found += [f"  {text}" for text in _differences(made)]
    return [*found, f"checksum {made.checksum}"]


def _differences(made: Baseline) -> list[str]:
    """What keeps the runs of one baseline from being repeats of one another."""
    found = []
    for what in ("profile", "weights", "hardware"):
        values = sorted({getattr(index.facts, what) for index in made.indexes})
        if len(values) > 1:
            found.append(f"the runs differ in {what}: {'; '.join(values)}; such cases are not paired")
    return found


def _before(name: str, storage: Path) -> str:
    if not (storage / FOLDER / name).is_dir():
        return f"there was no baseline {name} before"
    try:
        old = load_baseline(name, storage)
    except BaselineError as error:
        return f"replaced one that could not be used: {error.why}"
    return f"replaced that of {old.blessed}: {', '.join(run.source for run in old.runs)} (checksum {old.checksum})"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def _size(size: int) -> str:
    return f"{size / 2**20:.1f} MiB" if size >= 2**20 else f"{size / 2**10:.1f} KiB"
