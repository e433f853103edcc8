"""Bless: copies runs into a baseline, so that a crash leaves the old baseline or the new one, never half.

The new generation is written and on the disk before the list of files that names it is replaced, in one step.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import secrets
import shutil
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from emobench import __version__
from emobench.errors import BaselineError, SpecError, unknown_name
from emobench.files import sha256_of, sync_folder, write_bytes
from emobench.records.baselines import FOLDER, GENERATION, LIST, SCHEMA, check_name, lacking, list_bytes
from emobench.records.committed import clean, kept_content
from emobench.records.index import RunIndex, read_index
from emobench.records.packed import write_packed
from emobench.records.store import read_raw, run_bytes, run_of

_ABANDONED_SECONDS = 3600
"""A generation that no list names and that is older than this was left by a crash."""


@dataclass(frozen=True, kw_only=True)
class _Candidate:
    """A run that is to be blessed."""

    path: Path
    index: RunIndex
    incomplete: tuple[str, ...]
    content: bytes = field(repr=False)
    redacted: int = 0


def bless(
    run_files: Sequence[Path],
    name: str,
    storage: Path,
    *,
    metrics: Sequence[str] = (),
    cases: Sequence[str] = (),
    allow_incomplete: bool = False,
) -> Path:
    """Make the runs the baseline of that name, in place of an older one, and return its folder.

    What is kept is a copy without secrets (``kept``) and, for ``cases`` (all if none are named), the predictions.
    Several runs hold the variation between runs. An index beside a run is not part of the baseline.

    Raises:
        SpecError: the name, a metric or a case is unknown or impossible, or a run is given twice.
        BrokenFileError: a run cannot be read.
        BaselineError: a run has no ok case, or is incomplete and ``allow_incomplete`` is not set.
        OSError: the disk is full or the folder not writable; an older baseline is as it was.
    """
    check_name(name)
    if not run_files:
        raise SpecError("no run to bless", why="a baseline holds one run or several", fix="name one: emobench runs")
    candidates = [_candidate(path, cases, allow_incomplete) for path in run_files]
    _check_twice(candidates)
    _check_gated(candidates, metrics, cases)
    folder = storage / FOLDER / name
    replaced = _generation_of(folder)
    generation = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(4)}"
    try:
        runs = _write_runs(folder / generation, candidates, set(cases))
        listed = {
            "schema": SCHEMA,
            "name": name,
            "blessed": datetime.now(UTC).isoformat(timespec="seconds"),
            "version": __version__,
            "generation": generation,
            "gated": {"metrics": sorted(metrics), "cases": sorted(cases)},
            "runs": runs,
            "files": _listed(folder / generation),
        }
        for place in (folder / generation, folder, folder.parent):
            sync_folder(place)
        write_bytes(folder / LIST, list_bytes(listed))
    except BaseException:
        if _generation_of(folder) != generation:  # the list may be in place already, and only its last sync have failed
            shutil.rmtree(folder / generation, ignore_errors=True)
        with contextlib.suppress(OSError):
            folder.rmdir()  # empty only where there was no baseline before
        raise
    _remove_old(folder, keep=generation, replaced=replaced)
    return folder


def _candidate(path: Path, cases: Sequence[str], allow_incomplete: bool) -> _Candidate:
    index = read_index(path)
    raw = read_raw(path)
    if not index.ok.any():
        raise BaselineError(
            f"{path.name} cannot become a baseline",
            why=f"none of its {len(index)} cases is ok",
            fix="bless a run that worked",
        )
    missing = tuple(lacking(index))
    if missing and not allow_incomplete:
        shown = "; ".join(missing[:3]) + (f"; and {len(missing) - 3} more" if len(missing) > 3 else "")
        raise BaselineError(
            f"{path.name} is incomplete",
            why=shown,
            fix="run it again, or take it as it is with --allow-incomplete",
        )
    try:
        kept = kept_content(raw, run_of(path, raw))
    except ValueError as error:
        raise BaselineError(
            f"{path.name} cannot become a baseline",
            why=str(error),
            fix="rename what the id is made of, and run it again",
        ) from error
    return _Candidate(path=path, index=index, incomplete=missing, content=run_bytes(kept.content), redacted=kept.texts)


def _check_twice(candidates: Sequence[_Candidate]) -> None:
    # The same run twice would pass for two that agree perfectly, and every later one for a change.
    known: dict[bytes, Path] = {}
    for candidate in candidates:
        digest = hashlib.sha256(candidate.content).digest()
        if digest in known:
            raise SpecError(
                f"{candidate.path} and {known[digest]} are the same run",
                why="several runs of a baseline show how much runs differ, and a copy differs in nothing",
                fix="name each run once",
            )
        known[digest] = candidate.path


def _check_gated(candidates: Sequence[_Candidate], metrics: Sequence[str], cases: Sequence[str]) -> None:
    for kind, asked, known in (
        ("metric", metrics, {name for item in candidates for name in item.index.metrics}),
        ("case", cases, {name for item in candidates for name in item.index.id}),
    ):
        for name in asked:
            if name not in known:
                raise unknown_name(f"{kind} of these runs", name, known)


def _write_runs(folder: Path, candidates: Sequence[_Candidate], cases: set[str]) -> list[dict[str, Any]]:
    folder.mkdir(parents=True)
    stems = _stems([candidate.path.stem for candidate in candidates])
    return [_write_run(folder, stem, item, cases) for stem, item in zip(stems, candidates, strict=True)]


def _stems(names: Sequence[str]) -> list[str]:
    """A file name for each run: its own, counted where two runs (of two machines) have the same."""
    safe = [re.sub(r"[^A-Za-z0-9_.+-]", "-", name)[:150].lstrip(".") or "run" for name in names]
    times = Counter(name.casefold() for name in safe)
    return [f"{at:02}-{name}" if times[name.casefold()] > 1 else name for at, name in enumerate(safe, start=1)]


def _write_run(folder: Path, stem: str, candidate: _Candidate, cases: set[str]) -> dict[str, Any]:
    index = candidate.index
    found = {name: index.packed(row) for row, name in enumerate(index.id) if not cases or name in cases}
    packed = {name: predictions for name, predictions in found.items() if predictions is not None}
    content = candidate.content
    if packed:
        place = f"{stem}.predictions.parquet"
        write_packed(folder / place, packed)
        raw = json.loads(content)
        raw["emobench"]["run"]["predictions"] = place
        content = run_bytes(raw)
    write_bytes(folder / f"{stem}.json", content)
    return {
        "file": f"{stem}.json",
        "source": clean(stem),
        "commit": clean(index.facts.commit),
        "dirty": index.facts.dirty,
        "datetime": index.facts.datetime,
        "cases": len(index),
        "ok": int(index.ok.sum()),
        "predictions": len(packed),
        "incomplete": clean(list(candidate.incomplete)),
        "redacted": candidate.redacted,
    }


def _listed(folder: Path) -> list[dict[str, Any]]:
    return [
        {"path": path.name, "sha256": sha256_of(path), "bytes": path.stat().st_size}
        for path in sorted(folder.iterdir())
    ]


def _generation_of(folder: Path) -> str | None:
    """The generation that a folder's list names; None where there is no readable list. Checks nothing else."""
    try:
        found = json.loads((folder / LIST).read_bytes())["generation"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if isinstance(found, str) and GENERATION.fullmatch(found) else None


def _remove_old(folder: Path, *, keep: str, replaced: str | None) -> None:
    # Another bless may be writing its generation just now. In nobody's way are the replaced one and what lies long.
    for path in folder.iterdir():
        if not GENERATION.fullmatch(path.name) or path.name == keep:
            continue
        with contextlib.suppress(OSError):  # the other bless removed it first
            if path.name == replaced or time.time() - path.stat().st_mtime > _ABANDONED_SECONDS:
                shutil.rmtree(path)
