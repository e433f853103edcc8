"""Baselines: blessed runs, kept with the predictions that paired tests need, under a checksum over everything.

They are made by ``bless``, and only when someone asks for it. Which runs differ is not decided here.

``baselines/NAME/baseline.json`` lists the files of one generation, a folder beside it. A new generation is written and
on the disk before that list is replaced, in one step: a crash leaves the old baseline or the new one.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from emobench.errors import BaselineError, BrokenFileError, SpecError, nearest
from emobench.files import sha256_of
from emobench.outcomes import Status
from emobench.records.index import RunIndex, read_index
from emobench.records.index_columns import UNUSABLE
from emobench.records.schemas import schema_fix

SCHEMA = 1
"""Version of a baseline's list of files; a reader refuses one it does not know."""

FOLDER = "baselines"
LIST = "baseline.json"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,99}")
GENERATION = re.compile(r"\d{8}T\d{6}-[0-9a-f]{8}")
_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")
_KEPT_RESULTS = (Status.OK, Status.DOES_NOT_FIT)
"""How a case of a complete run ends; not fitting is a result."""


@dataclass(frozen=True, kw_only=True)
class BlessedRun:
    """One run of a baseline, as its list describes it."""

    path: Path
    source: str
    """Name of the run it was blessed from."""
    commit: str
    dirty: bool
    datetime: str
    cases: int
    ok: int
    predictions: int
    """Cases with predictions for paired tests."""
    incomplete: tuple[str, ...] = ()
    """What was lacking when it was blessed nevertheless."""
    redacted: int = 0
    """Texts out of which a credential or a home folder was taken."""


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """A baseline that was checked: every file is there and is what was blessed."""

    name: str
    """Empty for a run file used as it is."""
    runs: tuple[BlessedRun, ...]
    indexes: tuple[RunIndex, ...] = field(repr=False, compare=False)
    """Of the runs, in their order."""
    blessed: str = ""
    """When: ISO 8601, UTC."""
    checksum: str = ""
    """SHA-256 over the list of files and their checksums; empty for a run file used as it is."""
    size_bytes: int = 0
    metrics: tuple[str, ...] = ()
    """Metrics it was blessed to gate; empty: those that are asked for."""
    cases: tuple[str, ...] = ()
    """Cases it was blessed to gate; empty: all."""
    notes: tuple[str, ...] = ()


def check_name(name: str) -> None:
    """See that a baseline may be called so: it is a folder's name on every system and is typed on command lines.

    Raises:
        SpecError: it may not.
    """
    if not _NAME.fullmatch(name) or _RESERVED.fullmatch(name) or name.endswith("."):
        raise SpecError(
            f"a baseline cannot be called {name[:100]!r}",
            why="a name begins with a letter or digit and goes on with letters, digits, and . _ + - (100 at most)",
            fix="take one such as main",
        )


def known_baselines(storage: Path) -> list[str]:
    """Names of the baselines in the storage, usable or not."""
    return sorted(path.parent.name for path in (storage / FOLDER).glob(f"*/{LIST}"))


def load_baseline(name_or_path: str | Path, storage: Path) -> Baseline:
    """Check a baseline and open its indexes.

    It is named, or given as its folder, or is one run file, taken as it is. A name comes before a path.

    Raises:
        BaselineError: it is missing, incomplete, changed, of another schema, or has no ok case. No other is taken.
    """
    wanted = str(name_or_path)
    folder = storage / FOLDER / wanted
    if not (_NAME.fullmatch(wanted) and folder.is_dir()):
        folder = Path(name_or_path)
        try:
            there = folder.is_file(), folder.is_dir()
        except (OSError, ValueError):  # too long for a path, or a null byte in it
            there = False, False
        if there[0]:
            return _of_file(folder)
        if not there[1]:
            raise _absent(wanted, storage)
    try:
        return _of_folder(folder)
    except (BrokenFileError, OSError) as error:
        if isinstance(error, BaselineError):
            raise
        raise _unusable(folder.name, str(getattr(error, "why", error))) from error


def _absent(wanted: str, storage: Path) -> BaselineError:
    known = known_baselines(storage)
    guess = nearest(wanted, known)
    return BaselineError(
        f"there is no baseline {wanted[:200]!r}",
        why=f"{storage / FOLDER} holds {', '.join(known) or 'none'}",
        fix=f"did you mean {guess!r}?" if guess else "make one: emobench bless RUN --as main",
    )


def _unusable(name: str, why: str) -> BaselineError:
    return BaselineError(
        f"the baseline {name!r} cannot be used",
        why=why,
        fix=f"restore it from a copy, or bless a run again: emobench bless RUN --as {name}",
    )


def _of_file(path: Path) -> Baseline:
    try:
        index = read_index(path)
    except BrokenFileError as error:
        raise BaselineError(f"{path} cannot be used as a baseline", why=error.why, fix=error.fix) from error
    if not index.ok.any():
        raise BaselineError(
            f"{path} cannot be used as a baseline",
            why=f"none of its {len(index)} cases is ok",
            fix="name a run that worked, or a blessed baseline",
        )
    run = BlessedRun(
        path=path,
        source=path.stem,
        commit=index.facts.commit,
        dirty=index.facts.dirty,
        datetime=index.facts.datetime,
        cases=len(index),
        ok=int(index.ok.sum()),
        predictions=int((index.predictions.examples != "").sum()),
        incomplete=tuple(lacking(index)),
    )
    notes = (f"{path.name} is a run file and no blessed baseline: no checksum protects it",)
    return Baseline(name="", runs=(run,), indexes=(index,), size_bytes=path.stat().st_size, notes=notes)


def _of_folder(folder: Path) -> Baseline:
    listed = _read_list(folder)
    generation = folder / listed["generation"]
    for file in listed["files"]:
        _check_file(folder.name, generation / file["path"], file)
    runs = tuple(_blessed_run(generation, run) for run in listed["runs"])
    indexes = tuple(read_index(run.path) for run in runs)
    for run, index in zip(runs, indexes, strict=True):
        found = (len(index), int(index.ok.sum()), int((index.predictions.examples != "").sum()))
        if found != (run.cases, run.ok, run.predictions) or not run.ok:
            raise _unusable(
                folder.name,
                f"{run.source} gives {found[0]} cases, {found[1]} ok and {found[2]} with predictions; blessed were "
                f"{run.cases}, {run.ok} and {run.predictions}",
            )
    return Baseline(
        name=folder.name,
        runs=runs,
        indexes=indexes,
        blessed=listed["blessed"],
        checksum=listed["total"],
        size_bytes=sum(file["bytes"] for file in listed["files"]),
        metrics=tuple(listed["gated"]["metrics"]),
        cases=tuple(listed["gated"]["cases"]),
    )


def _blessed_run(generation: Path, listed: Mapping[str, Any]) -> BlessedRun:
    return BlessedRun(
        path=generation / listed["file"],
        source=listed["source"],
        commit=listed["commit"],
        dirty=listed["dirty"],
        datetime=listed["datetime"],
        cases=listed["cases"],
        ok=listed["ok"],
        predictions=listed["predictions"],
        incomplete=tuple(listed["incomplete"]),
        redacted=listed["redacted"],
    )


def _read_list(folder: Path) -> dict[str, Any]:
    try:
        data = (folder / LIST).read_bytes()
    except FileNotFoundError:
        raise _unusable(folder.name, f"it has no {LIST}") from None
    try:
        listed = json.loads(data)
    except (ValueError, RecursionError):
        raise _unusable(folder.name, f"its {LIST} is not complete JSON") from None
    if not isinstance(listed, dict) or listed.get("schema") != SCHEMA:
        found = listed.get("schema") if isinstance(listed, dict) else type(listed).__name__
        error = _unusable(folder.name, f"its schema is {found!r} and this EmoBench reads {SCHEMA}")
        raise BaselineError(error.problem, why=error.why, fix=schema_fix(found, SCHEMA, error.fix))
    # Only a list that bless wrote passes this, so that its content needs no further checks of kind.
    if list_bytes(listed) != data:
        raise _unusable(folder.name, f"its {LIST} was changed: the checksum over it does not fit")
    return listed


def _check_file(name: str, path: Path, listed: Mapping[str, Any]) -> None:
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        raise _unusable(name, f"its file {path.name} is missing") from None
    if size != listed["bytes"]:
        raise _unusable(name, f"its file {path.name} holds {size} bytes and should hold {listed['bytes']}")
    if sha256_of(path) != listed["sha256"]:
        raise _unusable(name, f"its file {path.name} was changed: the checksum does not fit")


def list_bytes(content: Mapping[str, Any]) -> bytes:
    """The list with the checksum over all of it. One content has one spelling, so a changed byte is a changed list."""
    rest = {name: value for name, value in content.items() if name != "total"}
    total = hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()
    return json.dumps({**rest, "total": total}, sort_keys=True, indent=1).encode() + b"\n"


def lacking(index: RunIndex) -> list[str]:
    """Each thing that keeps a run from being complete, as a phrase."""
    statuses = zip(index.id, index.status, strict=True)
    found = [f"{name} is {status}" for name, status in statuses if status not in _KEPT_RESULTS]
    found += [f"{name} has no record" for name in index.missing if name not in index.facts.skipped]
    found += [note for note in index.notes if note.startswith(UNUSABLE)]
    # Ids come from a file: a control character in one would reach the terminal.
    return ["".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in text) for text in found]
