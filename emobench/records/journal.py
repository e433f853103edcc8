"""Journal: what a session was, and one line per started and per finished case.

A finished case is on the disk before the next one begins.

It is what a killed session leaves behind, and all that a saved run is made of (see ``fold``). A run's folder holds
one journal for each process that worked on the run: ``journal.jsonl`` and ``journal-<part>.jsonl``.
"""

from __future__ import annotations

import json
import os
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from emobench.errors import BrokenFileError
from emobench.files import append_line, sync_folder
from emobench.records.record import Record, from_json

FILE_NAME = "journal.jsonl"
EVENTS = ("head", "started", "finished", "dropped", "ended")
_CRC = b', "crc": '
_START = b'{"event": "started"'


@dataclass(frozen=True, kw_only=True)
class Line:
    """One readable line; its content is parsed when it is asked for."""

    event: str
    """One of :data:`EVENTS`."""
    id: str
    """The case; empty for the session's own lines."""
    key: str
    """The case's plan key; empty where it has none."""
    node: str
    """The test that ran the case: two tests may measure the same one. Empty where the line does not say."""
    status: str
    """How a finished case ended."""
    raw: bytes
    place: str
    """File and line number, for messages."""

    def content(self) -> dict[str, Any]:
        """All of the line."""
        found: dict[str, Any] = json.loads(self.raw)
        return found


@dataclass(frozen=True, kw_only=True)
class Part:
    """One journal of a run's folder, read back."""

    path: Path
    lines: Sequence[Line] = ()
    torn: str | None = None
    """What is left of a last line whose writing was cut off; it was never acknowledged."""

    def body(self, event: str) -> dict[str, Any]:
        """Content of the last line of this event; empty where there is none."""
        found = next((line for line in reversed(self.lines) if line.event == event), None)
        return found.content() if found else {}


@dataclass(kw_only=True)
class Entries:
    """What the journals of a folder hold."""

    records: dict[str, Record] = field(default_factory=dict)
    """Case id to its last finished record, in the order they finished."""
    unfinished: tuple[str, ...] = ()
    """Ids of cases that started and did not finish: lost, where no process still works on them."""
    torn: str | None = None
    """What is left of a last line whose writing was cut off; it was never acknowledged."""


class Journal:
    """Writer of one journal. Two writers in one would tear each other's lines: :func:`create` gives each its own."""

    def __init__(self, folder: Path, part: str = "") -> None:
        self.path = folder / (f"journal-{part}.jsonl" if part else FILE_NAME)
        self._whole = False
        self._owed: list[bytes] = []

    def head(self, content: Mapping[str, Any], *, generation: int = 1, role: str = "main") -> None:
        """Note what the session is, before its first case.

        ``content`` has ``machine_info``, ``commit_info`` and ``version`` as pytest-benchmark gives them, and
        ``machine_id``, ``run`` (what the session was asked for) and ``manifest`` (ids of all its cases).
        ``generation`` counts the sessions that worked on this run, this one included. ``role`` is ``main`` for the
        process that ends the run and ``worker`` for one that works for it.
        """
        self._write({"event": "head", "generation": generation, "role": role}, {"head": content})

    def started(self, case_id: str, *, key: str = "", node: str = "", case: Mapping[str, Any] | None = None) -> None:
        """Note that a case begins; ``case`` is ``CaseSpec.summary()``, for the record of a case that gets lost."""
        self._write({"event": "started", "id": case_id, "key": key, "node": node}, {"case": case})

    def append(
        self,
        record_json: Mapping[str, Any],
        *,
        benchmark: Mapping[str, Any] | None = None,
        replaced: Sequence[str] = (),
        node: str = "",
    ) -> None:
        """Note a finished case; returns when the disk has it.

        ``record_json`` is what ``Record.to_json()`` gives. ``benchmark`` is pytest-benchmark's row with its raw rounds
        in plain values, without the record, or None where the case was not timed; ``replaced`` names its values that
        were no plain ones.

        Raises:
            OSError: the disk did not take it. The line is owed then, and written before the next one.
        """
        case = record_json["case"]
        head = {
            "event": "finished",
            "id": case["id"],
            "key": case.get("plan_key") or "",
            "node": node,
            "status": record_json["status"],
        }
        more = {"replaced": list(replaced)} if replaced else {}
        self._write(head, {"record": record_json, "benchmark": benchmark, **more})

    def dropped(self, case_id: str, *, node: str = "") -> None:
        """Note that a case which started ends without a record: it skipped itself, or is to be measured once more."""
        self._write({"event": "dropped", "id": case_id, "node": node}, {})

    def ended(self, content: Mapping[str, Any]) -> None:
        """Note that the session ends: ``interrupted`` (how) and ``skipped`` (as the saved run has them)."""
        self._write({"event": "ended"}, {"end": content})

    def settle(self) -> None:
        """Write what is still owed.

        Raises:
            OSError: the disk does not take it.
        """
        while self._owed:
            if not self._whole:
                _cut_torn_line(self.path)
                self._whole = True
            try:
                line = self._owed[0]
                # A start need not outlive a power cut: it tells what a process was at, and none is left.
                append_line(self.path, line, sync=not line.startswith(_START))
            except OSError:
                # Part of the line may be there; what is written next must not join it.
                self._whole = False
                raise
            del self._owed[0]

    def _write(self, head: Mapping[str, Any], body: Mapping[str, Any]) -> None:
        self._owed.append(_line(head, body))
        self.settle()


def create(folder: Path, part: str = "") -> Journal:
    """A journal that no other process has; the folder is there.

    Raises:
        FileExistsError: another process has a journal of this name.
        OSError: the folder cannot be written to.
    """
    journal = Journal(folder, part)
    os.close(os.open(journal.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
    try:
        # A synced line is of no use in a file that nobody finds: its name, and the run's, must outlive a power cut too.
        sync_folder(folder)
        sync_folder(folder.parent)
    except OSError:
        journal.path.unlink()
        raise
    return journal


def _line(head: Mapping[str, Any], body: Mapping[str, Any]) -> bytes:
    # The short part comes first, so that a reader that only decides what is left to do need not parse the rest.
    begin = json.dumps({**head, "time": time.time()}, allow_nan=False)[:-1].encode()
    rest = json.dumps(body, allow_nan=False)[1:].encode()
    return begin + _CRC + str(zlib.crc32(begin + rest)).encode() + (b", " + rest if body else b"}")


def _cut_torn_line(path: Path) -> None:
    # A line appended behind a torn one would join it, and a broken line in the middle makes the journal unreadable.
    if not path.exists():
        return
    with path.open("r+b") as stream:
        content = stream.read()
        lines = content.splitlines(keepends=True)
        if lines and _parsed(lines[-1], "") is None:
            stream.truncate(len(content) - len(lines[-1]))


def _parsed(line: bytes, place: str) -> Line | None:
    """The line, or None where it is not whole."""
    if not line.endswith(b"\n"):
        return None
    begin, mark, rest = line.partition(_CRC)
    number, _, body = rest.partition(b", ") if b", " in rest else (rest[:-2], b"", b"}\n")
    head: Any = None
    try:
        if not mark:
            # Of an EmoBench that wrote no checksums.
            head = json.loads(line)
        elif number.isdigit() and int(number) == zlib.crc32(begin + body[:-1]):
            head = json.loads(begin + b"}")
    except (UnicodeDecodeError, json.JSONDecodeError):
        return None
    if not isinstance(head, dict):
        return None
    case = head.get("id")
    if not mark and isinstance(head.get("record"), dict):
        record = head["record"]
        case = record["case"].get("id") if isinstance(record.get("case"), dict) else None
        head["status"] = record.get("status")
    texts = {name: str(head.get(name) or "") for name in ("event", "key", "node", "status")}
    return Line(id=case if isinstance(case, str) else "", raw=line, place=place, **texts)


def journal_files(folder: Path) -> list[Path]:
    """The journals of a run's folder by name, that of the session which ends the run first."""
    found = sorted(path for path in folder.glob("journal-*.jsonl") if path.is_file())
    main = folder / FILE_NAME
    return [main, *found] if main.is_file() else found


def read_part(path: Path) -> Part:
    """Read one journal.

    Only the last line may be torn: a line is written after the one before it is on the disk, so another broken line
    means that the file was changed or damaged.

    Raises:
        BrokenFileError: a line before the last is unreadable, or a readable one is no entry; names file and line.
    """
    whole = path.read_bytes().splitlines(keepends=True)
    lines: list[Line] = []
    for number, raw in enumerate(whole, start=1):
        line = _parsed(raw, f"{path} line {number}")
        if line is None:
            if number < len(whole):
                raise _broken(path, number, "it is no complete JSON object")
            return Part(path=path, lines=lines, torn=raw.decode(errors="replace"))
        if line.event not in EVENTS or (line.event in ("started", "finished", "dropped") and not line.id):
            if line.event == "finished":
                from_json(line.content().get("record"), source=line.place)
            raise _broken(path, number, f"its event is {line.event!r}")
        lines.append(line)
    return Part(path=path, lines=lines)


def read(folder: Path) -> Entries:
    """Read all journals of a folder; a folder without one gives no entries.

    Raises:
        BrokenFileError: as :func:`read_part`; also a record that cannot be read.
    """
    entries = Entries()
    open_cases: dict[str, None] = {}
    for part in map(read_part, journal_files(folder)):
        entries.torn = part.torn or entries.torn
        for line in part.lines:
            if line.event == "started":
                open_cases[line.id] = None
            elif line.event == "dropped":
                open_cases.pop(line.id, None)
            elif line.event == "finished":
                record = record_of(line)
                entries.records.pop(record.id, None)
                entries.records[record.id] = record
                open_cases.pop(record.id, None)
    entries.unfinished = tuple(open_cases)
    return entries


def record_of(line: Line) -> Record:
    """The record of a finished line.

    Raises:
        BrokenFileError: the line holds no readable record; names file and line.
    """
    return from_json(line.content().get("record"), source=line.place)


def _broken(path: Path, number: int, why: str) -> BrokenFileError:
    return BrokenFileError(
        f"{path} line {number} is unreadable",
        why=f"{why}, and only the last line may be cut off",
        fix="restore the file, or delete it and run its cases again",
    )
