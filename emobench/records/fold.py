"""Fold: makes the saved run of journals; the one way there, for a session, a resume, workers and a merge.

It needs nothing but the journals. It saves nothing and decides nothing about cases that no journal names, except
where it is told that they are lost.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from emobench.errors import BrokenFileError
from emobench.files import writing
from emobench.outcomes import Status
from emobench.records.journal import Line, Part, create, journal_files, read_part
from emobench.records.record import Record, from_json
from emobench.records.store import SCHEMA, save_run

NO_WORD = "the process that ran it ended without a word"
"""Reason of a lost case."""
CUT_OFF = "the session ended without a word"
"""What ended a run whose session left no end in its journal."""


@dataclass(frozen=True, kw_only=True)
class Folded:
    """A run made of journals, as :func:`emobench.records.store.save_run` takes it."""

    content: dict[str, Any]
    machine_id: str
    """Folder of the storage that the run belongs in."""
    records: tuple[Record, ...]
    """All records, lost cases included, in the manifest's order."""
    duplicates: Mapping[str, tuple[Path, ...]]
    """Case id to the folders it finished in, where that is more than one. The last folder's record is in the run."""
    commits: frozenset[str] = frozenset()
    """Commits the journals were written at."""


@dataclass(kw_only=True)
class _Case:
    """What is known of one case: where it stands last."""

    started: Line | None = None
    finished: Line | None = None
    part: _Source | None = None
    generation: int = 0


@dataclass(frozen=True, kw_only=True)
class _Source:
    """A journal with its head."""

    part: Part
    folder: Path
    head: Mapping[str, Any]
    generation: int
    role: str
    end: Mapping[str, Any] | None


@dataclass(kw_only=True)
class _Gathered:
    """All cases of all journals."""

    sources: list[_Source] = field(default_factory=list)
    cases: dict[str, dict[str, _Case]] = field(default_factory=dict)
    """By case id, then by the test that ran it."""
    folders: dict[str, list[Path]] = field(default_factory=dict)


def fold(storage: Path, folders: Sequence[Path], *, missing: Literal["absent", "lost"] = "absent") -> Folded:
    """The run that the journals of these run folders tell of; the first folder is the run's own.

    Of a case that several sessions ran, the last one's record counts; within a session a record counts for more than
    a start. A case that started and has no record is ``lost``, or ``interrupted`` where the session says that it was.
    ``missing`` says whether a case of the manifest that never started, and was not skipped, is lost too: it is where
    all of them were to be run.

    Artifacts are looked for below the first folder: of several, :func:`gather` makes one.

    Raises:
        BrokenFileError: a journal or a record of it cannot be read, or no journal has a head.
    """
    found = _gathered(folders)
    if not found.sources:
        raise BrokenFileError(
            f"{', '.join(map(str, folders))} holds no run",
            why="no journal there says what the session was",
            fix="name the folder of a run, below runs in the storage",
        )
    main = max(found.sources, key=lambda source: (source.generation, source.role == "main"))
    latest = [source for source in found.sources if source.generation == main.generation]
    interrupted = _interrupted(main, latest)
    manifest = _manifest(found.sources, found.cases)
    skipped = _skipped(found.sources, found.cases)
    benchmarks: list[dict[str, Any]] = []
    records: list[Record] = []
    unmeasured: list[dict[str, Any]] = []
    replaced: list[str] = []
    left_out = {name for group in skipped for name in group["cases"]}
    known = [(name, case) for name in manifest for case in found.cases.get(name, {"": None}).values()]
    for name, case in known:
        if case is None and (missing == "absent" or name in left_out):
            continue
        record, row, places = _outcome(name, case, main, interrupted)
        records.append(record)
        if row is None:
            unmeasured.append(record.to_json())
            continue
        replaced += [f"benchmarks[{len(benchmarks)}].{place}" for place in places]
        benchmarks.append({**row, "extra_info": {**(row.get("extra_info") or {}), "emobench": record.to_json()}})
    ours: dict[str, Any] = {
        "schema": SCHEMA,
        "run": _facts(storage, folders[0], main, found.sources, manifest, interrupted),
        "unmeasured": unmeasured,
        "skipped": skipped,
        "manifest": manifest,
    }
    return Folded(
        content={
            "machine_info": main.head.get("machine_info") or {},
            "commit_info": main.head.get("commit_info") or {},
            "benchmarks": benchmarks,
            "datetime": datetime.now(UTC).isoformat(),
            "version": main.head.get("version"),
            "emobench": ours | ({"replaced": replaced} if replaced else {}),
        },
        machine_id=str(main.head.get("machine_id") or "unknown"),
        records=tuple(records),
        duplicates={name: tuple(places) for name, places in found.folders.items() if len(places) > 1},
        commits=frozenset(str((source.head.get("commit_info") or {}).get("id")) for source in found.sources),
    )


def standing(folder: Path, *, before: int | None = None) -> dict[tuple[str, str], tuple[str, str]]:
    """Case id and test to plan key and how it ended, by the sessions before this one; ``lost`` where it has no record.

    ``before`` None takes all sessions.

    Parses no records: ten thousand cases take a fraction of a second.

    Raises:
        BrokenFileError: a journal cannot be read.
    """
    found = _gathered([folder], before=before)
    return {
        (name, node): (case.finished.key, case.finished.status)
        if case.finished
        else (case.started.key if case.started else "", Status.LOST.value)
        for name, cases in found.cases.items()
        for node, case in cases.items()
    }


def save(storage: Path, folded: Folded) -> Path:
    """Save a folded run under the next free number; see :func:`emobench.records.store.save_run`."""
    return save_run(storage, folded.machine_id, folded.content, commit=None)


def gather(folders: Sequence[Path], into: Path) -> Path:
    """Copy journals and artifacts of several run folders into one, which is there and empty; returns it.

    Every file is whole or not there at all, journals come last: a folder whose journals are all there has everything.

    Raises:
        OSError: a file cannot be read or written.
    """
    for number, folder in enumerate(folders):
        journals = journal_files(folder)
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not path.is_symlink() and path not in journals and not path.name.startswith("."):
                _copy(path, into / path.relative_to(folder))
        for path in journals:
            name = path.stem.removeprefix("journal").lstrip("-") or "main"
            journal = create(into, f"from{number}-{name}")
            _copy(path, journal.path)
    return into


def _copy(source: Path, target: Path) -> None:
    with source.open("rb") as given, writing(target) as stream:
        shutil.copyfileobj(given, stream, 1 << 20)


def _gathered(folders: Sequence[Path], *, before: int | None = None) -> _Gathered:
    found = _Gathered()
    for folder in folders:
        sources = [_source(folder, read_part(path)) for path in journal_files(folder)]
        found.sources += [source for source in sources if source and (before is None or source.generation < before)]
    # Within a session the workers come first: the process that ends the run knows how they ended.
    found.sources.sort(key=lambda source: (source.generation, source.role == "main"))
    for source in found.sources:
        for line in source.part.lines:
            if line.id:
                _take(_case_of(line, found.cases.setdefault(line.id, {})), line, source)
            if line.event == "finished" and source.folder not in found.folders.setdefault(line.id, []):
                found.folders[line.id].append(source.folder)
    kept = {
        name: {node: case for node, case in cases.items() if case.started or case.finished}
        for name, cases in found.cases.items()
    }
    found.cases = {name: cases for name, cases in kept.items() if cases}
    return found


def _case_of(line: Line, cases: dict[str, _Case]) -> _Case:
    """The case that a line is of; one that names no test is of the only one, or of the last that was begun."""
    node = line.node
    if not node and cases:
        node = next(reversed(cases))
    elif node and "" in cases:
        cases[node] = cases.pop("")
    return cases.setdefault(node, _Case())


def _source(folder: Path, part: Part) -> _Source | None:
    head = part.body("head")
    if not head:
        return None
    ended = part.body("ended")
    return _Source(
        part=part,
        folder=folder,
        head=_mapping(head, "head", part),
        generation=int(head.get("generation") or 1),
        role=str(head.get("role")),
        end=_mapping(ended, "end", part) if ended else None,
    )


def _mapping(content: Mapping[str, Any], name: str, part: Part) -> Mapping[str, Any]:
    value = content.get(name)
    if not isinstance(value, Mapping):
        raise BrokenFileError(
            f"{part.path} is unreadable",
            why=f"its {name} is no object",
            fix="restore the file, or delete it and run its cases again",
        )
    return value


def _take(case: _Case, line: Line, source: _Source) -> None:
    if source.generation > case.generation:
        # What an earlier session knew of the case counts no more, but for how it is described.
        case.generation, case.finished = source.generation, None
    if line.event == "started":
        case.started = line
        case.part = case.part if case.finished else source
    elif line.event == "dropped":
        case.started = None
    else:
        case.finished, case.part = line, source


def _outcome(
    name: str, case: _Case | None, main: _Source, interrupted: str | None
) -> tuple[Record, dict[str, Any] | None, list[str]]:
    """Record of a case, its row where it was timed, and the row's values that were no plain ones."""
    if case is None or case.finished is None:
        return _lost(name, case, interrupted if case is None or case.generation == main.generation else None), None, []
    content = case.finished.content()
    record = from_json(content.get("record"), source=case.finished.place)
    elsewhere = case.part.head.get("machine_info") if case.part else None
    if elsewhere and elsewhere != main.head.get("machine_info"):
        record = replace(record, environment={**record.environment, "machine": _machine(elsewhere)})
    row = content.get("benchmark")
    return record, row if isinstance(row, dict) else None, [str(place) for place in content.get("replaced") or ()]


def _lost(name: str, case: _Case | None, interrupted: str | None) -> Record:
    described = case.started.content().get("case") if case and case.started else None
    known = dict(described) if isinstance(described, Mapping) else {"id": name, "kind": name.partition("[")[0]}
    if interrupted and interrupted != CUT_OFF:
        return Record(case=known, status=Status.INTERRUPTED, reasons=(f"interrupted: {interrupted}",))
    return Record(case=known, status=Status.LOST, reasons=(NO_WORD if case else "no record of it came back",))


def _machine(info: Mapping[str, Any]) -> dict[str, Any]:
    """What of another machine tells its hardware class."""
    cpu = info.get("cpu")
    picked = {name: cpu[name] for name in ("brand_raw", "count") if name in cpu} if isinstance(cpu, Mapping) else {}
    return {**{name: info[name] for name in ("machine", "processor") if name in info}, "cpu": picked}


def _interrupted(main: _Source, latest: Sequence[_Source]) -> str | None:
    """What interrupted the last session; None where it ended by itself."""
    if main.end is None:
        return CUT_OFF if main.role == "main" else None
    for source in (main, *latest):
        if source.end and source.end.get("interrupted"):
            return str(source.end["interrupted"])
    return None


def _manifest(sources: Sequence[_Source], cases: Collection[str]) -> list[str]:
    """Ids of all cases that were to run, those of the last session first."""
    names: dict[str, None] = {}
    for source in reversed(sources):
        names |= dict.fromkeys(str(name) for name in source.head.get("manifest") or ())
    return list(names | dict.fromkeys(cases))


def _skipped(sources: Sequence[_Source], cases: Collection[str]) -> list[dict[str, Any]]:
    """Cases that were skipped by reason; one that was run after all is not among them."""
    reasons: dict[str, str] = {}
    for source in sources:
        for group in (source.end or {}).get("skipped") or ():
            reasons |= dict.fromkeys(group["cases"], group["reason"])
    found: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        if name not in cases:
            found.setdefault(reason, []).append(name)
    return [{"reason": reason, "count": len(names), "cases": names} for reason, names in found.items()]


def _facts(
    storage: Path,
    folder: Path,
    main: _Source,
    sources: Sequence[_Source],
    manifest: Sequence[str],
    interrupted: str | None,
) -> dict[str, Any]:
    """What the session was; of several, what the last one was, and what all of them left out."""
    runs = [dict(source.head.get("run") or {}) for source in sources]
    found = dict(main.head.get("run") or {})
    found["folder"] = str(PurePosixPath(folder.resolve().relative_to(storage.resolve())))
    wanted = set(manifest)
    mine = [source for source in sources if source.generation == main.generation]
    # A process that only hands cases out collected none itself.
    for source in mine:
        for name, value in (source.head.get("run") or {}).items():
            found.setdefault(name, value)
    left_out = [name for name in found.get("deselected") or () if name not in wanted]
    widest = next((run.get("selection", "whole") for run in runs if run.get("selection", "whole") == "whole"), None)
    for name in ("deselected", "selection"):
        found.pop(name, None)
    found |= {"deselected": left_out} if left_out else {}
    found |= {} if widest else {"selection": (main.head.get("run") or {}).get("selection")}
    if main.generation > 1:
        found["sessions"] = main.generation
    return found | ({"interrupted": interrupted} if interrupted else {})
