"""Journal: one line per started and per finished case, on the disk before the next case begins.

It is what a killed session leaves behind. Saved runs are the store's business.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from emobench.errors import BrokenFileError
from emobench.files import append_line
from emobench.records.record import Record, from_json

FILE_NAME = "journal.jsonl"


@dataclass(kw_only=True)
class Entries:
    """What a journal holds."""

    records: dict[str, Record] = field(default_factory=dict)
    """Case id to its last finished record, in the order they finished."""
    unfinished: tuple[str, ...] = ()
    """Ids of cases that started and did not finish: lost, where no process still works on them."""
    torn: str | None = None
    """What is left of a last line whose writing was cut off; it was never acknowledged."""


class Journal:
    """Writer of one journal. Each process has its own folder; two writers in one would tear each other's lines."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE_NAME
        self._whole = False

    def started(self, case_id: str) -> None:
        """Note that a case begins."""
        self._write({"event": "started", "id": case_id, "time": time.time()})

    def append(self, record_json: Mapping[str, Any]) -> None:
        """Note a finished case, as ``Record.to_json()`` gives it; returns when the disk has it."""
        self._write({"event": "finished", "time": time.time(), "record": record_json})

    def _write(self, entry: Mapping[str, Any]) -> None:
        if not self._whole:
            _cut_torn_line(self.path)
            self._whole = True
        append_line(self.path, json.dumps(entry, allow_nan=False).encode())


def _cut_torn_line(path: Path) -> None:
    # A line appended behind a torn one would join it, and a broken line in the middle makes the journal unreadable.
    if not path.exists():
        return
    with path.open("r+b") as stream:
        content = stream.read()
        lines = content.splitlines(keepends=True)
        if lines and _parsed(lines[-1]) is None:
            stream.truncate(len(content) - len(lines[-1]))


def _parsed(line: bytes) -> dict[str, Any] | None:
    if not line.endswith(b"\n"):
        return None
    try:
        entry = json.loads(line)
    except (UnicodeDecodeError, json.JSONDecodeError):
        return None
    return entry if isinstance(entry, dict) else None


def read(folder: Path) -> Entries:
    """Read a journal; a folder without one gives no entries.

    Only the last line may be torn: a line is written after the one before it is on the disk, so another broken line
    means that the file was changed or damaged.

    Raises:
        BrokenFileError: a line before the last is unreadable, or a readable one is no entry; names file and line.
    """
    path = folder / FILE_NAME
    if not path.exists():
        return Entries()
    lines = path.read_bytes().splitlines(keepends=True)
    entries = Entries()
    open_cases: dict[str, None] = {}
    for number, line in enumerate(lines, start=1):
        entry = _parsed(line)
        if entry is None:
            if number < len(lines):
                raise _broken(path, number, "it is no complete JSON object")
            entries.torn = line.decode(errors="replace")
        elif entry.get("event") == "started" and isinstance(entry.get("id"), str):
            open_cases[entry["id"]] = None
        elif entry.get("event") == "finished":
            record = from_json(entry.get("record"), source=f"{path} line {number}")
            entries.records.pop(record.id, None)
            entries.records[record.id] = record
            open_cases.pop(record.id, None)
        else:
            raise _broken(path, number, f"its event is {entry.get('event')!r}")
    entries.unfinished = tuple(open_cases)
    return entries


def _broken(path: Path, number: int, why: str) -> BrokenFileError:
    return BrokenFileError(
        f"{path} line {number} is unreadable",
        why=f"{why}, and only the last line may be cut off",
        fix="restore the file, or delete it and run its cases again",
    )
