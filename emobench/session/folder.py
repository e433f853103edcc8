"""Run folders: made so that no two runs share one, held while a run goes on, found again to be resumed."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emobench.cases.names import LOCK
from emobench.errors import SpecError

if TYPE_CHECKING:
    from filelock import BaseFileLock

FOLDERS = "runs"
"""Folder of the storage that the runs' own folders lie in."""
LATEST = "latest"
_HEAD = b'{"event": "head"'
_RESUMED = re.compile(r"journal-resume(\d+)\.jsonl")


def new_name() -> str:
    """A name no other run has: the moment to the millisecond, by which runs are ordered, and 32 random bits."""
    moment = datetime.now(UTC)
    return f"{moment:%Y%m%dT%H%M%S}{moment.microsecond // 1000:03d}-{secrets.token_hex(4)}"


def make(storage: Path) -> Path:
    """A new run folder; another process that makes one at the same moment gets another.

    Raises:
        OSError: the storage cannot be written to.
    """
    parent = storage / FOLDERS
    parent.mkdir(parents=True, exist_ok=True)
    while True:
        folder = parent / new_name()
        with contextlib.suppress(FileExistsError):
            os.mkdir(folder)
            return folder


def hold(folder: Path) -> BaseFileLock | None:
    """A lock on a run that this process now ends; None where another process holds it. It goes with the process."""
    from filelock import FileLock, Timeout

    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return None
    return lock


def find_unfinished(storage: Path, wanted: str) -> Path | None:
    """The folder to go on with: the one that is named, else the newest unfinished one, else the newest.

    An unfinished run counts no more where a later one that finished was of all its cases. A run that a process still
    works on is not among them; None where no run has begun: a folder without a whole head holds none.

    Raises:
        SpecError: there is none of that name, or all are still being worked on.
    """
    if wanted != LATEST:
        return _named(storage, wanted)
    begun = _with_journals(storage)
    folders = [folder for folder in begun if not is_held(folder)]
    if begun and not folders:
        raise still_running(begun[0])
    later: list[Path] = []
    for folder in folders:
        if is_finished(folder):
            later.append(folder)
        elif not any(_makes_up_for(other, folder) for other in later):
            return folder
    return folders[0] if folders else None


def _makes_up_for(finished: Path, folder: Path) -> bool:
    """Whether a finished run was of all cases of an unfinished one, at the keys that those began with."""
    from emobench.records.fold import standing

    wanted = _asked_for(folder)
    if not wanted or not wanted <= _asked_for(finished):
        return False
    begun, ended = ({name: key for name, (key, _) in standing(place).items()} for place in (folder, finished))
    return begun.items() <= ended.items()


def _asked_for(folder: Path) -> frozenset[str]:
    """Ids of the cases that the sessions of a run were to run."""
    from emobench.records.journal import journal_files, read_part

    # Of all processes: under xdist the one that ends the run collects nothing.
    heads = [read_part(path).body("head").get("head") or {} for path in journal_files(folder)]
    return frozenset(str(name) for head in heads for name in head.get("manifest") or ())


def still_running(folder: Path) -> SpecError:
    """The error for a run that another process works on."""
    return SpecError(
        f"the run {folder.name} is still running",
        why=f"a process holds {folder / LOCK}",
        fix="wait for it to end, or stop it",
    )


def is_held(folder: Path) -> bool:
    """Whether a process works on this run."""
    if not (folder / LOCK).exists():
        return False
    lock = hold(folder)
    if lock is None:
        return True
    lock.release()
    return False


def is_finished(folder: Path) -> bool:
    """Whether the last session of a run ended by itself.

    Raises:
        BrokenFileError: its journal cannot be read.
    """
    from emobench.records.journal import read_part

    path = _main_journals(folder)[-1]
    ended = read_part(path).body("ended")
    return bool(ended) and not ended["end"].get("interrupted")


def generations(folder: Path) -> int:
    """How many sessions have worked on a run."""
    main = newest_head(folder)
    return int(main["generation"]) if main else 0


def newest_head(folder: Path) -> dict[str, Any] | None:
    """What the last session of a run says of itself; None where the folder holds no run.

    Raises:
        BrokenFileError: its journal cannot be read.
    """
    from emobench.records.journal import read_part

    found = _main_journals(folder)
    return read_part(found[-1]).body("head") if found else None


def _main_journals(folder: Path) -> list[Path]:
    """The journals of the sessions that worked on a run, without those of their workers, oldest first."""
    from emobench.records.journal import FILE_NAME

    resumed = {
        int(match[1]): path for path in folder.glob("journal-*.jsonl") if (match := _RESUMED.fullmatch(path.name))
    }
    found = [folder / FILE_NAME, *(resumed[number] for number in sorted(resumed))]
    return [path for path in found if _has_head(path)]


def _named(storage: Path, wanted: str) -> Path:
    for folder in (Path(wanted), storage / wanted, storage / FOLDERS / wanted):
        inside = folder.resolve().is_relative_to(storage.resolve())
        if folder.is_dir() and inside and _main_journals(folder):
            if is_held(folder):
                raise still_running(folder)
            return folder.resolve()
    raise SpecError(
        f"--emo-resume={wanted} names no run",
        why=f"no folder of that name with a journal is below {storage / FOLDERS}",
        fix="name one of " + (", ".join(folder.name for folder in _with_journals(storage)[:5]) or "none: run first"),
    )


def _with_journals(storage: Path) -> list[Path]:
    """Run folders with journals that a run can be made of, the newest first."""
    return [folder for folder in sorted((storage / FOLDERS).glob("*"), reverse=True) if _main_journals(folder)]


def _has_head(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        line = stream.readline()
    return line.startswith(_HEAD) and line.endswith(b"\n")


def worker_part(name: str) -> str:
    """Name of the journal of a process that works for a run."""
    return f"{name}-{os.getpid()}-{secrets.token_hex(2)}"
