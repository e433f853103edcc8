"""Store: runs as files in pytest-benchmark's own format and naming, saved whole or not at all.

A run is what ``pytest_benchmark_generate_json`` gives, with a record in each ``extra_info.emobench`` and one top-level
key of ours, ``emobench``: schema, run, unmeasured (records without a timing), skipped, manifest. It compares nothing.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from emobench.errors import BrokenFileError, SpecError
from emobench.files import write_bytes
from emobench.records.record import Record, from_json, plain
from emobench.records.schemas import schema_fix

SCHEMA = 1
"""Version of the top-level key ``emobench``."""

_NUMBERED = re.compile(r"(\d{4,})_(.+)\.json")
_RESERVED = re.compile(r"\.(\d{4,})\.reserved")
_STAMP = re.compile(r"(?:^|_)(\d{8}_\d{6})(?:_|$)")


@dataclass(frozen=True, kw_only=True)
class Run:
    """A saved run, read back."""

    path: Path
    name: str
    """File name without ``.json``, such as ``0001_<commit>_20261101_120000``."""
    machine_info: Mapping[str, Any]
    commit_info: Mapping[str, Any]
    datetime: str
    """When it was saved: ISO 8601, UTC."""
    records: tuple[Record, ...]
    timings: Mapping[str, Sequence[float]]
    """Case id to its raw rounds in seconds, where the run kept them."""
    benchmarks: int = 0
    """Timed benchmarks in the file, those of other plugins included."""
    skipped: Sequence[Mapping[str, Any]] = ()
    manifest: Sequence[str] = ()
    """Ids of all cases that were collected and not deselected."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """What the session was: the ``run`` of our key."""
    notes: Sequence[str] = ()
    """What reading had to decide, such as a case that stands twice."""


@dataclass(frozen=True, kw_only=True)
class RunHeader:
    """One line of a list of runs. An unreadable run is a line too, with its ``problem``."""

    path: Path
    name: str
    number: str
    machine: str
    """Folder the run lies in; empty directly under the storage."""
    datetime: str = ""
    commit: str = ""
    dirty: bool = False
    statuses: Mapping[str, int] = field(default_factory=dict)
    """Status to number of cases."""
    benchmarks: int = 0
    """Timed benchmarks, those of other plugins included."""
    problem: str | None = None


def save_run(storage: Path, machine_id: str, run: Mapping[str, Any], *, commit: str | None) -> Path:
    """Save a run under the next free number and return its path.

    ``commit`` is the first part of the name; None takes the id in the run's ``commit_info``. Savers running at the same
    time get different numbers. What is no plain value is replaced (NaN and infinity by null, an object by
    ``UNSERIALIZABLE[...]`` as pytest-benchmark does) and its place noted in ``emobench.replaced``.

    Raises:
        OSError: the disk is full or the folder not writable; no part of the run is left under a run's name.
    """
    folder = storage / machine_id
    folder.mkdir(parents=True, exist_ok=True)
    data = run_bytes(run)
    tag = _tag(run, commit)
    with _reserved_number(folder) as number:
        path = folder / f"{number:04}_{tag}.json"
        write_bytes(path, data)
    return path


def run_bytes(run: Mapping[str, Any]) -> bytes:
    """A run as valid JSON; everything that had to be replaced is listed in ``emobench.replaced``."""
    replaced: list[str] = []
    content = {key: plain_or_text(value, str(key), replaced) for key, value in run.items()}
    if replaced:
        content["emobench"] = {**content.get("emobench", {"schema": SCHEMA}), "replaced": replaced}
    return json.dumps(content, ensure_ascii=True, indent=1, allow_nan=False).encode()


def plain_or_text(value: Any, place: str, replaced: list[str]) -> Any:
    """A copy in plain values; what is none becomes a text or null, and its place is appended to ``replaced``."""
    if isinstance(value, Mapping):
        return {str(key): plain_or_text(item, f"{place}.{key}", replaced) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain_or_text(item, f"{place}[{index}]", replaced) for index, item in enumerate(value)]
    try:
        return plain(value, place=place, non_finite=replaced)
    except TypeError:
        replaced.append(place)
        return f"UNSERIALIZABLE[{value!r}]"


def _tag(run: Mapping[str, Any], commit: str | None) -> str:
    info = run.get("commit_info") or {}
    moment = datetime.fromisoformat(run["datetime"]).astimezone(UTC)
    parts = [commit or str(info.get("id") or "unversioned"), moment.strftime("%Y%m%d_%H%M%S")]
    if info.get("dirty"):
        parts.append("uncommitted-changes")
    return "_".join(parts).replace("/", "-").replace("\\", "-")


@contextmanager
def _reserved_number(folder: Path) -> Iterator[int]:
    # pytest-benchmark's own saver looks for the largest number and writes: two at once take the same one. Here the
    # number is held by a file that only one process can create. A crash leaves that file, and the number unused.
    number = max((*_numbers(folder), 0)) + 1
    while True:
        lock = folder / f".{number:04}.reserved"
        try:
            os.close(os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        except FileExistsError:
            number += 1
            continue
        try:
            # Another saver may have finished with this number after the folder was listed.
            if not any(folder.glob(f"{number:04}_*.json")):
                yield number
                return
        finally:
            lock.unlink(missing_ok=True)
        number += 1


def _numbers(folder: Path) -> list[int]:
    matches = (_NUMBERED.fullmatch(name) or _RESERVED.fullmatch(name) for name in os.listdir(folder))
    return [int(match[1]) for match in matches if match]


def load_run(path: Path) -> Run:
    """Read a saved run.

    A case that stands more than once (a retry) is taken once: its last timed record, else its last one; ``notes`` says
    so. A pytest-benchmark file that is not ours gives a run without records.

    Raises:
        BrokenFileError: the file cannot be read, is no run, or is of an unknown schema; names the file.
    """
    return run_of(path, read_raw(path))


def run_of(path: Path, raw: Mapping[str, Any]) -> Run:
    """The run that the content of a file is, as :func:`load_run` gives it; for readers that also need the content.

    Raises:
        BrokenFileError: a record of it is unreadable; names the file.
    """
    ours = raw.get("emobench", {})
    timed, timings, twice = _timed_records(raw["benchmarks"], str(path))
    untimed: dict[str, Record] = {}
    for entry in ours.get("unmeasured") or ():
        record = from_json(entry, source=str(path))
        if record.id in timed or record.id in untimed:
            twice.append(record.id)
        if record.id not in timed:
            untimed[record.id] = record
    return Run(
        path=path,
        name=path.stem,
        machine_info=raw.get("machine_info") or {},
        commit_info=raw.get("commit_info") or {},
        datetime=str(raw.get("datetime", "")),
        records=(*timed.values(), *untimed.values()),
        timings=timings,
        benchmarks=len(raw["benchmarks"]),
        skipped=tuple(ours.get("skipped") or ()),
        manifest=tuple(ours.get("manifest") or ()),
        settings=ours.get("run") or {},
        notes=tuple(f"case {case} stands more than once; its last timed record is taken" for case in twice),
    )


def _timed_records(
    benchmarks: Sequence[Mapping[str, Any]], source: str
) -> tuple[dict[str, Record], dict[str, Sequence[float]], list[str]]:
    records: dict[str, Record] = {}
    timings: dict[str, Sequence[float]] = {}
    twice: list[str] = []
    for bench in benchmarks:
        entry = (bench.get("extra_info") or {}).get("emobench")
        if entry is None:
            continue
        record = from_json(entry, source=source)
        if record.id in records:
            twice.append(record.id)
        records[record.id] = record
        timings.pop(record.id, None)
        if rounds := (bench.get("stats") or {}).get("data"):
            timings[record.id] = tuple(rounds)
    return records, timings, twice


def read_raw(path: Path) -> dict[str, Any]:
    """The content of a saved run, ours or another pytest-benchmark file, with the shapes that readers rely on.

    Raises:
        BrokenFileError: the file cannot be read, is no run, or is of an unknown schema; names the file.
    """
    try:
        raw = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise _broken(path, "there is no such file") from None
    except RecursionError:
        raise _broken(path, "its JSON is nested too deeply to be a run") from None
    except (OSError, ValueError) as error:  # ValueError: no UTF-8, no JSON, or a number of thousands of digits
        raise _broken(path, f"it is not complete JSON ({error})") from error
    if not isinstance(raw, dict) or not isinstance(raw.get("benchmarks"), list):
        raise _broken(path, "it holds no list of benchmarks, so it is no pytest-benchmark run")
    if not all(isinstance(bench, dict) for bench in raw["benchmarks"]):
        raise _broken(path, "an entry of its benchmarks is no object")
    ours = raw.get("emobench", {"schema": SCHEMA})
    if not isinstance(ours, dict) or ours.get("schema") != SCHEMA:
        found = ours.get("schema") if isinstance(ours, dict) else ours
        fix = schema_fix(found, SCHEMA, _RESTORE)
        raise _broken(path, f"its schema is {found!r} and this EmoBench reads {SCHEMA}", fix=fix)
    misshapen = _misshapen(raw, ours)
    if misshapen:
        raise _broken(path, f"its {misshapen} is of another kind than a run has there")
    return raw


def _misshapen(raw: Mapping[str, Any], ours: Mapping[str, Any]) -> str | None:
    """Name of the first part that is not of the kind every reader takes it for; None where all are."""
    objects = [("machine_info", raw), ("commit_info", raw), ("run", ours)]
    lists = [("unmeasured", ours), ("skipped", ours), ("manifest", ours)]
    for kind, parts in ((dict, objects), (list, lists)):
        for name, holder in parts:
            if not isinstance(holder.get(name) or kind(), kind):
                return name
    if not all(isinstance(case, str) for case in ours.get("manifest") or ()):
        return "manifest"
    if not all(isinstance(skip, dict) for skip in ours.get("skipped") or ()):
        return "skipped"
    for bench in raw["benchmarks"]:
        for name in ("extra_info", "stats"):
            if not isinstance(bench.get(name) or {}, dict):
                return f"benchmarks.{name}"
        if not isinstance((bench.get("stats") or {}).get("data") or [], list):
            return "benchmarks.stats.data"
    return None


_RESTORE = "restore it from a copy, or delete it and run the cases again"


def _broken(path: Path, why: str, *, fix: str = _RESTORE) -> BrokenFileError:
    return BrokenFileError(f"{path} is no readable run", why=why, fix=fix)


def run_files(storage: Path) -> list[Path]:
    """Files named like runs, directly in the storage and in its machine folders, by folder and number."""
    found = [path for pattern in ("*.json", "*/*.json") for path in storage.glob(pattern)]
    numbered = [(path, _NUMBERED.fullmatch(path.name)) for path in found]
    order = sorted((str(path.parent), int(match[1]), path.name, path) for path, match in numbered if match)
    return [entry[-1] for entry in order]


def list_runs(storage: Path) -> list[RunHeader]:
    """All runs in the storage, oldest first; one that cannot be read is listed with its problem."""
    headers = [_header(storage, path) for path in run_files(storage)]
    return sorted(headers, key=lambda header: header.datetime)


def _header(storage: Path, path: Path) -> RunHeader:
    match = _NUMBERED.fullmatch(path.name)
    assert match is not None
    machine = path.parent.name if path.parent != storage else ""
    try:
        run = load_run(path)
    except BrokenFileError as error:
        return RunHeader(
            path=path,
            name=path.stem,
            number=match[1],
            machine=machine,
            datetime=_moment_of_name(path),
            problem=error.why,
        )
    return RunHeader(
        path=path,
        name=path.stem,
        number=match[1],
        machine=machine,
        datetime=run.datetime or _moment_of_name(path),
        commit=str(run.commit_info.get("id") or ""),
        dirty=bool(run.commit_info.get("dirty")),
        statuses=Counter(record.status.value for record in run.records),
        benchmarks=run.benchmarks,
    )


def _moment_of_name(path: Path) -> str:
    stamp = _STAMP.search(path.stem)
    if stamp:
        return datetime.strptime(stamp[1], "%Y%m%d_%H%M%S").replace(tzinfo=UTC).isoformat()
    return datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat()


def find_run(storage: Path, wanted: str | Path) -> Path:
    """Path of the run a user means: a path, a number such as ``0001``, the start of a name, or ``latest``.

    ``latest`` is the newest by its date, also where that one cannot be read: an older one in its place would be a
    different answer.

    Raises:
        SpecError: no run or more than one fits; names those that are there.
    """
    direct = Path(wanted)
    if direct.is_file():
        return direct
    files = run_files(storage)
    if not files:
        raise SpecError(f"no run {str(wanted)!r}", why=f"{storage} holds no runs", fix="make one: pytest benchmarks")
    if str(wanted) == "latest":
        return list_runs(storage)[-1].path
    fits = [path for path in files if _fits(path, str(wanted))]
    if len(fits) == 1:
        return fits[0]
    names = ", ".join(str(path.relative_to(storage)) for path in (fits or files)[-10:])
    raise SpecError(
        f"{'more than one run is' if fits else 'no run is'} called {str(wanted)!r}",
        why=f"{storage} holds {names}",
        fix="give the path of one of them",
    )


def _fits(path: Path, wanted: str) -> bool:
    if wanted.isdigit():
        match = _NUMBERED.fullmatch(path.name)
        return match is not None and int(match[1]) == int(wanted)
    return path.stem.startswith(wanted) or path.name == wanted
