"""Saved runs: the saved runs of a storage as the page offers them, each read once until its file changes.

A run is asked for by the key it was listed under and by nothing else, so that no request can name a file.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from emobench.errors import BrokenFileError, SpecError
from emobench.records.baselines import known_baselines, load_baseline
from emobench.records.index import RunIndex, read_index
from emobench.records.secrets import redact
from emobench.records.store import Run, load_run, run_files
from emobench.reports.content import Content, content

BASELINE = "baseline:"
"""What the key of a baseline begins with; no path of a run does."""
KEPT = 8
"""Runs that are held in memory."""

Found = TypeVar("Found")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A run as the page lists it; one that cannot be read has its problem and nothing else."""

    key: str
    """Path below the storage; what a request names the run by."""
    number: str
    name: str
    datetime: str = ""
    commit: str = ""
    dirty: bool = False
    profile: str = ""
    cases: int = 0
    ok: int = 0
    problem: str = ""

    @property
    def label(self) -> str:
        """The run in a picker."""
        if self.problem:
            return f"{self.number}, cannot be read: {self.name}"
        moment = self.datetime[:16].replace("T", " ")
        parts = [self.number, moment, self.commit[:7], f"{self.cases} case{'' if self.cases == 1 else 's'}"]
        parts.append(f"{self.cases - self.ok} not ok" if self.ok < self.cases else "")
        return ", ".join(part for part in parts if part)


class _Kept(Generic[Found]):
    """The last few things read, by key, each until its file changes."""

    def __init__(self, read: Callable[[Path], Found]) -> None:
        self._read = read
        self._held: OrderedDict[str, tuple[object, Found]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: str, path: Path) -> Found:
        stamp = _stamp(path)
        with self._lock:
            held = self._held.get(key)
        if held is None or held[0] != stamp:
            held = stamp, self._read(path)
        with self._lock:
            self._held[key] = held
            self._held.move_to_end(key)
            while len(self._held) > KEPT:
                self._held.popitem(last=False)
        return held[1]


def _stamp(path: Path) -> object:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns, found.st_ino


class Shelf:
    """The runs of one storage."""

    def __init__(self, storage: Path) -> None:
        self.storage = storage
        self._runs = _Kept(load_run)
        self._contents = _Kept(lambda path: content({path.stem.partition("_")[0]: load_run(path)}))
        self._entries: dict[str, tuple[object, Entry]] = {}

    def entries(self) -> list[Entry]:
        """All runs, the newest first; those that cannot be read are among them."""
        found: dict[str, tuple[object, Entry]] = {}
        for path in run_files(self.storage):
            key, stamp = path.relative_to(self.storage).as_posix(), _stamp(path)
            known = self._entries.get(key)
            found[key] = known if known is not None and known[0] == stamp else (stamp, _entry(key, path))
        self._entries = found
        # One that cannot be read has no date; the time stamp in its name stands where the others' does.
        listed = [entry for _, entry in found.values()]
        return sorted(listed, key=lambda entry: (entry.datetime or _moment(entry.name), entry.key), reverse=True)

    def baselines(self) -> list[tuple[str, str]]:
        """Label and key of each blessed baseline, by name; whether one can be used is found when it is opened."""
        return [(f"baseline {name}", f"{BASELINE}{name}") for name in known_baselines(self.storage)]

    def bases(self, key: object) -> tuple[str, tuple[RunIndex, ...]]:
        """Name and runs of what a run is compared with: all runs of a baseline, or one listed run.

        Raises:
            SpecError, BrokenFileError: as :meth:`run`.
            BaselineError: the baseline cannot be used.
        """
        if isinstance(key, str) and key.startswith(BASELINE):
            name = key.removeprefix(BASELINE)
            if name not in known_baselines(self.storage):
                raise SpecError("this baseline is not there", why="it was deleted or renamed", fix="press Refresh")
            return name, load_baseline(name, self.storage).indexes
        return "", (self.index(key),)

    def path(self, key: object) -> Path:
        """The file of a listed run.

        Raises:
            SpecError: no run is listed under this key.
        """
        known = {path.relative_to(self.storage).as_posix(): path for path in run_files(self.storage)}
        if not isinstance(key, str) or key not in known:
            raise SpecError("this run is not there", why="it was deleted or renamed", fix="press Refresh")
        return known[key]

    def run(self, key: object) -> Run:
        """A run as it was saved; its texts may hold what no page shows.

        Raises:
            SpecError, BrokenFileError: it is not there or cannot be read.
        """
        path = self.path(key)
        return self._runs.get(str(key), path)

    def content(self, key: object) -> Content:
        """Everything a report on this run shows, without credentials and user names.

        Raises:
            SpecError, BrokenFileError: as :meth:`run`.
        """
        path = self.path(key)
        return self._contents.get(str(key), path)

    def index(self, key: object) -> RunIndex:
        """The run as columns, for comparing.

        Raises:
            SpecError, BrokenFileError: as :meth:`run`.
        """
        return read_index(self.path(key))


def _entry(key: str, path: Path) -> Entry:
    number = path.stem.partition("_")[0]
    try:
        index = read_index(path)
    except BrokenFileError as error:
        return Entry(key=key, number=number, name=path.stem, problem=redact(error.why))
    facts = index.facts
    return Entry(
        key=key,
        number=number,
        name=path.stem,
        datetime=facts.datetime,
        commit=facts.commit,
        dirty=facts.dirty,
        profile=facts.profile,
        cases=len(index),
        ok=int(index.ok.sum()),
    )


def _moment(name: str) -> str:
    for date, time in zip(name.split("_"), name.split("_")[1:], strict=False):
        if len(date) == 8 and len(time) == 6 and (date + time).isdigit():
            return f"{date[:4]}-{date[4:6]}-{date[6:]}T{time[:2]}:{time[2:4]}:{time[4:]}"
    return ""
