"""Merged runs: one run of several that ran parts of one matrix, or nothing, where they do not belong together.

It checks what may be merged; ``records.fold`` makes the run.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from emobench.errors import BrokenFileError, SpecError
from emobench.executors.manifest import Manifest, read_manifest
from emobench.outcomes import Status
from emobench.records.fold import Folded, fold, gather, save
from emobench.records.journal import Line, create, journal_files, read_part
from emobench.records.store import read_raw

NO_RESULT = frozenset({Status.LOST.value, Status.INTERRUPTED.value})
"""Statuses that say that there is no result: any other record of the same case stands in their place."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """One run that is to be merged."""

    name: str
    """As it was given."""
    folder: Path | None
    """Its folder with journals; None where only the saved run is here."""
    raw: Mapping[str, Any] | None
    """The saved run's content, where there is no folder."""
    head: Mapping[str, Any]
    """What its last session was: machine, commit, version, ``run``, ``manifest``."""
    manifest: Manifest | None = None
    """Of the whole matrix, where it was part of one."""
    interrupted: str = ""
    skipped: tuple[Mapping[str, Any], ...] = ()

    @property
    def is_shard(self) -> bool:
        """Whether it is a part of a matrix, of which the other parts may be missing."""
        return isinstance(_run(self).get("shard"), str)


@dataclass(frozen=True, kw_only=True)
class Merged:
    """What a merge made."""

    path: Path
    """The saved run."""
    cases: int
    statuses: Mapping[str, int]
    missing: tuple[str, ...] = ()
    """Ids of cases that no source has a result of."""
    shards: tuple[str, ...] = ()
    """Shards that no source is, such as ``3/4``."""
    notes: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether every case of the whole matrix has a record of its own."""
        return not self.missing and not self.shards


def find_source(given: Path) -> Source:
    """Read what a run says of itself; ``given`` is a saved run's file or a run's folder.

    Raises:
        SpecError: it is neither.
        BrokenFileError: it cannot be read.
    """
    if given.is_dir():
        if not journal_files(given):
            raise SpecError(
                f"{given} is no run's folder",
                why="it holds no journal",
                fix="name a folder below results/runs, or a saved run's file",
            )
        return _of_folder(str(given), given)
    if not given.is_file():
        raise SpecError(f"there is no {given}", why="no file or folder has that name", fix="see: emobench runs")
    raw = read_raw(given)
    ours = raw.get("emobench")
    if not isinstance(ours, dict):
        raise SpecError(
            f"{given} is no run of EmoBench",
            why="it holds no records",
            fix="merge runs that pytest benchmarks or emobench run saved",
        )
    run = ours.get("run") or {}
    folder = _folder_of(given, run)
    if folder is not None:
        return _of_folder(str(given), folder)
    head = {
        **{name: raw.get(name) for name in ("machine_info", "commit_info", "version")},
        "machine_id": given.parent.name,
        "run": run,
        "manifest": ours.get("manifest") or [],
    }
    skipped = tuple(ours.get("skipped") or ())
    interrupted = str(run.get("interrupted") or "")
    return Source(name=str(given), folder=None, raw=raw, head=head, skipped=skipped, interrupted=interrupted)


def _folder_of(path: Path, run: Mapping[str, Any]) -> Path | None:
    name = run.get("folder")
    places = [path.parent.parent / str(name), path.parent / str(name)] if name else []
    return next((place for place in places if place.is_dir() and journal_files(place)), None)


def _of_folder(name: str, folder: Path) -> Source:
    parts = [read_part(path) for path in journal_files(folder)]
    heads = [body for part in parts if (body := part.body("head"))]
    if not heads:
        raise BrokenFileError(
            f"{name} holds no run", why="no journal there says what the session was", fix="run its cases again"
        )
    main = max(heads, key=lambda body: (int(body.get("generation") or 1), body.get("role") == "main"))
    ends = [(part.body("ended").get("end") or {}) for part in parts]
    own = (part.body("ended") for part in parts if part.path.name == "journal.jsonl")
    return Source(
        name=name,
        folder=folder,
        raw=None,
        head=main.get("head") or {},
        manifest=read_manifest(folder),
        interrupted=next((str(end["interrupted"]) for end in ends if end.get("interrupted")), "")
        or ("" if any(own) else "its session ended without a word"),
        skipped=tuple(group for end in ends for group in end.get("skipped") or ()),
    )


def merge(sources: Sequence[Source], into: Path, *, storage: Path, mixed_commits: bool = False) -> Merged:
    """Merge runs into the empty folder ``into`` below ``storage`` and save the run; nothing is changed in the sources.

    Every case keeps the hardware class of the machine it ran on. A case without a result anywhere is ``lost``.

    Raises:
        SpecError: the runs are of different commits, profiles or weights, or a case has two different results.
        BrokenFileError: a journal or a record cannot be read.
        OSError: the disk is full or a folder not writable.
    """
    check_alike(sources, mixed_commits=mixed_commits)
    journals = {
        source.name: journal_files(source.folder) if source.folder else [_write_journal(source, into, number)]
        for number, source in enumerate(sources)
    }
    chosen, notes = _chosen(journals)
    gather([source.folder for source in sources if source.folder is not None], into)
    wanted, absent = _wanted(sources)
    skipped = _skipped(sources)
    own = create(into)
    first = sources[0].head
    own.head({**first, "run": _run_facts(sources, wanted), "manifest": wanted}, generation=_last_generation(into) + 1)
    for line in chosen:
        content = line.content()
        replaced = content.get("replaced") or ()
        own.append(content["record"], benchmark=content.get("benchmark"), replaced=replaced, node=line.node)
    interrupted = next((source.interrupted for source in sources if source.interrupted), "")
    own.ended({"skipped": skipped, **({"interrupted": interrupted} if interrupted else {})})
    folded = fold(storage, [into], missing="lost")
    return _merged(save(storage, folded), folded, shards=absent, notes=notes)


def _merged(path: Path, folded: Folded, *, shards: Sequence[str], notes: Sequence[str]) -> Merged:
    statuses: dict[str, int] = {}
    for record in folded.records:
        statuses[record.status.value] = statuses.get(record.status.value, 0) + 1
    missing = tuple(record.id for record in folded.records if record.status.value in NO_RESULT)
    return Merged(
        path=path,
        cases=len(folded.records),
        statuses=statuses,
        missing=missing,
        shards=tuple(shards),
        notes=tuple(notes),
    )


def check_alike(sources: Sequence[Source], *, mixed_commits: bool) -> None:
    """Refuse runs that are not parts of one experiment.

    Raises:
        SpecError: names what differs, and where.
    """
    commits = {source.name: _commit(source.head) for source in sources}
    if not mixed_commits:
        _refuse_different("commits", commits, fix="run them at one commit, or give --allow-mixed-commits")
    _refuse_different(
        "versions of EmoBench",
        {source.name: str(_run(source).get("version") or "unknown") for source in sources},
        fix="run them with one version",
    )
    for name in ("profile", "weights", "seeds"):
        found = {source.name: str(_run(source).get(name)) for source in sources}
        _refuse_different(f"{name}", found, fix=f"merge runs of one {name} only")
    digests = {source.name: source.manifest.digest[:12] for source in sources if source.manifest is not None}
    if not mixed_commits:
        _refuse_different("manifests", digests, fix="give every shard the same options and the same cases")


def _refuse_different(what: str, found: Mapping[str, str], *, fix: str) -> None:
    values: dict[str, list[str]] = {}
    for source, value in found.items():
        values.setdefault(value, []).append(source)
    if len(values) > 1:
        said = "; ".join(f"{value}: {', '.join(names[:3])}" for value, names in values.items())
        raise SpecError(f"these runs have different {what}", why=said.replace("; ", " and "), fix=fix)


def _run(source: Source) -> Mapping[str, Any]:
    run = source.head.get("run")
    return run if isinstance(run, Mapping) else {}


def _commit(head: Mapping[str, Any]) -> str:
    info = head.get("commit_info")
    info = info if isinstance(info, Mapping) else {}
    return f"{info.get('id') or 'unversioned'}{' with uncommitted changes' if info.get('dirty') else ''}"


def _chosen(journals: Mapping[str, Sequence[Path]]) -> tuple[list[Line], list[str]]:
    """Lines that must win over others of their case, and what was decided of cases that stand twice.

    Raises:
        SpecError: a case has two different results.
    """
    chosen, notes = [], []
    for (case, node), lines in _of_each_test(journals).items():
        if len({name for _, name in lines}) < 2:
            continue
        results = {_content(line): (line, name) for line, name in lines if line.status not in NO_RESULT}
        if len(results) > 1:
            raise _twice(case, [name for _, name in results.values()])
        if results:
            line, name = next(iter(results.values()))
            chosen.append(replace(line, node=node))
            notes.append(f"{case} is in {len({name for _, name in lines})} runs; its result is that of {name}")
    return chosen, notes


def _of_each_test(journals: Mapping[str, Sequence[Path]]) -> dict[tuple[str, str], list[tuple[Line, str]]]:
    """Finished lines, with the run they are of, by case id and test: two tests may measure the same case.

    A line that names no test is of its case's last one, as when a run is folded.
    """
    found: dict[str, dict[str, list[tuple[Line, str]]]] = {}
    for name, paths in journals.items():
        for line in _finished(paths):
            found.setdefault(line.id, {}).setdefault(line.node, []).append((line, name))
    for tests in found.values():
        named = [node for node in tests if node]
        if named and "" in tests:
            tests[named[-1]] += tests.pop("")
    return {(case, node): lines for case, tests in found.items() for node, lines in tests.items()}


def _twice(case: str, places: Sequence[str]) -> SpecError:
    return SpecError(
        f"{case} has {len(places)} different results",
        why=f"it was measured in {' and in '.join(dict.fromkeys(places))}",
        fix="leave out one of the runs, or compare them: emobench compare",
    )


def _finished(journals: Sequence[Path]) -> Iterable[Line]:
    """The last finished line of each test of each case of one run."""
    parts = [read_part(path) for path in journals]
    parts.sort(key=lambda part: int(part.body("head").get("generation") or 1))
    finished = (line for part in parts for line in part.lines if line.event == "finished")
    return {(line.id, line.node): line for line in finished}.values()


def _content(line: Line) -> str:
    content = line.content()
    return json.dumps([content.get("record"), content.get("benchmark")], sort_keys=True)


def _write_journal(source: Source, into: Path, number: int) -> Path:
    """What a saved run without its folder says, as a journal; its artifacts are not here, and so not named."""
    assert source.raw is not None
    journal = create(into, f"run{number}")
    journal.head(source.head)
    for bench in source.raw["benchmarks"]:
        extra = dict(bench.get("extra_info") or {})
        record = extra.pop("emobench", None)
        if record is not None:
            node = str(bench.get("fullname") or "")
            journal.append({**record, "artifacts": {}}, benchmark={**bench, "extra_info": extra}, node=node)
    for record in source.raw["emobench"].get("unmeasured") or ():
        journal.append({**record, "artifacts": {}})
    end = {"interrupted": source.interrupted} if source.interrupted else {}
    journal.ended({"skipped": list(source.skipped), **end})
    return journal.path


def _wanted(sources: Sequence[Source]) -> tuple[list[str], list[str]]:
    """Ids of all cases of the whole matrix, and the shards that nobody ran where these cannot be told."""
    names: dict[str, None] = {}
    for source in sources:
        whole = [case.id for case in source.manifest.cases] if source.manifest is not None else []
        names |= dict.fromkeys([*whole, *(str(name) for name in source.head.get("manifest") or ())])
    given = [shard for source in sources if isinstance(shard := _run(source).get("shard"), str)]
    if not given or any(source.manifest is not None for source in sources):
        return list(names), []
    count = int(given[0].partition("/")[2])
    return list(names), [f"{index}/{count}" for index in range(1, count + 1) if f"{index}/{count}" not in given]


def _skipped(sources: Sequence[Source]) -> list[dict[str, Any]]:
    groups: dict[str, dict[str, None]] = {}
    for source in sources:
        for group in source.skipped:
            groups.setdefault(str(group["reason"]), {}).update(dict.fromkeys(group["cases"]))
    return [{"reason": reason, "count": len(names), "cases": list(names)} for reason, names in groups.items()]


def _run_facts(sources: Sequence[Source], wanted: Iterable[str]) -> dict[str, Any]:
    """What the merged run was: as the first, with what all of them left out, and where it is from."""
    facts = {name: value for name, value in _run(sources[0]).items() if name not in ("shard", "interrupted")}
    inside = set(wanted)
    left_out = {str(name) for source in sources for name in _run(source).get("deselected") or ()} - inside
    facts.pop("deselected", None)
    merged = [Path(source.name).name for source in sources]
    return {**facts, "merged": merged, **({"deselected": sorted(left_out)} if left_out else {})}


def _last_generation(folder: Path) -> int:
    heads = [read_part(path).body("head") for path in journal_files(folder)]
    return max((int(head.get("generation") or 1) for head in heads), default=1)
