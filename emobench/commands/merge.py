"""Merge: runs of several machines, shards or executors as one saved run, and what is missing from it."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from emobench.commands.project_place import Place
from emobench.errors import SpecError

INCOMPLETE = 11
"""Exit code where a case of the matrix has no result."""
SHOWN_AT_MOST = 10


@dataclass(frozen=True, kw_only=True)
class MergedText:
    """What a merge says, and whether it is whole."""

    text: str
    exit_code: int


def merge_runs(
    given: Sequence[str], place: Place, *, to: Path | None = None, allow_mixed_commits: bool = False
) -> MergedText:
    """Merge runs, each a saved run's file, number or name, or a run's folder, into one saved run below ``to``.

    Raises:
        SpecError: there is no such run, or they do not belong together; nothing is left behind.
        BrokenFileError: a run cannot be read.
    """
    from emobench.executors.merged_runs import find_source, merge
    from emobench.session.folder import make

    storage = (to or place.root / "results").resolve()
    paths = list(dict.fromkeys(_path_of(name, place).resolve() for name in given))
    sources = [find_source(path) for path in paths]
    folders = [source.folder for source in sources if source.folder is not None]
    if len(set(folders)) < len(folders):
        raise SpecError(
            "the same run is given twice",
            why="a file and a folder, or two files, are of one run",
            fix="name each run once",
        )
    if len(sources) < 2 and not any(source.is_shard for source in sources):
        raise SpecError(
            f"{len(sources)} run is nothing to merge",
            why="a merge takes two or more, or a shard, whose missing parts it shows",
            fix="name all runs",
        )
    into = make(storage)
    try:
        merged = merge(sources, into, storage=storage, mixed_commits=allow_mixed_commits)
    except BaseException:
        # A folder with half of the journals would look like a run.
        shutil.rmtree(into)
        raise
    return MergedText(text="\n".join(_lines(merged, len(sources))), exit_code=0 if merged.complete else INCOMPLETE)


def _path_of(name: str, place: Place) -> Path:
    from emobench.records.store import find_run

    path = Path(name)
    return path if path.exists() else find_run(place.root / "results", name)


def _lines(merged: object, runs: int) -> list[str]:
    from emobench.executors.merged_runs import Merged

    assert isinstance(merged, Merged)
    counts = ", ".join(f"{count} {status}" for status, count in sorted(merged.statuses.items()))
    lines = [
        f"merged {runs} run{'s' if runs > 1 else ''} into {merged.path}: {merged.cases} cases ({counts})",
        *merged.notes,
    ]
    if merged.missing:
        shown = ", ".join(merged.missing[:SHOWN_AT_MOST])
        more = len(merged.missing) - SHOWN_AT_MOST
        lines.append(f"no result of {len(merged.missing)} cases: {shown}{f' and {more} more' if more > 0 else ''}")
    if merged.shards:
        lines.append(f"not given: shard {', '.join(merged.shards)}")
    return lines
