"""The journal: what a killed session leaves behind can be read, and what was damaged is not believed."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emobench import files
from emobench.errors import BrokenFileError
from emobench.outcomes import Status, metric
from emobench.records.journal import FILE_NAME, Journal, create, journal_files, read, read_part
from emobench.records.record import Record


def a_record(case_id: str, value: float = 0.5, status: Status = Status.OK) -> Record:
    return Record(case={"id": case_id}, metrics=(metric("accuracy", value),), status=status)


def write_two(folder: Path) -> None:
    journal = Journal(folder)
    for case_id in ("a", "b"):
        journal.started(case_id)
        journal.append(a_record(case_id).to_json())


def test_started_and_finished(tmp_path: Path) -> None:
    """Finished cases come back as records in order; a case that only started is named."""
    write_two(tmp_path)
    Journal(tmp_path).started("c")
    entries = read(tmp_path)
    assert list(entries.records.values()) == [a_record("a"), a_record("b")]
    assert entries.unfinished == ("c",)
    assert entries.torn is None


def test_no_journal_is_an_empty_one(tmp_path: Path) -> None:
    """A folder without a journal has no entries."""
    entries = read(tmp_path)
    assert (entries.records, entries.unfinished, entries.torn) == ({}, (), None)


def test_a_retry_replaces_its_record(tmp_path: Path) -> None:
    """Of a case that finished twice the last record counts."""
    journal = Journal(tmp_path)
    journal.append(a_record("a", status=Status.FAILED).to_json())
    journal.append(a_record("b").to_json())
    journal.append(a_record("a").to_json())
    assert list(read(tmp_path).records.values()) == [a_record("b"), a_record("a")]


def test_every_cut_keeps_the_whole_lines(tmp_path: Path) -> None:
    """Wherever a write is cut off, the lines before it are kept, the torn one is reported, and appending goes on."""
    write_two(tmp_path)
    path = tmp_path / FILE_NAME
    whole = path.read_bytes()
    last = whole.rindex(b"\n", 0, -1) + 1
    for length in range(last, len(whole)):
        path.write_bytes(whole[:length])
        entries = read(tmp_path)
        assert list(entries.records) == ["a"]
        assert entries.unfinished == ("b",)
        assert entries.torn == (whole[last:length].decode() or None)
        Journal(tmp_path).append(a_record("c").to_json())
        assert list(read(tmp_path).records) == ["a", "c"]


@given(line=st.binary(max_size=20), place=st.integers(0, 2))
def test_a_broken_line_in_the_middle_is_an_error(
    tmp_path_factory: pytest.TempPathFactory, line: bytes, place: int
) -> None:
    """Damage before the last line is never skipped over."""
    folder = tmp_path_factory.mktemp("journal")
    write_two(folder)
    path = folder / FILE_NAME
    lines = path.read_bytes().splitlines(keepends=True)
    lines[place] = line.replace(b"\n", b"") + b"\n"
    path.write_bytes(b"".join(lines))
    with pytest.raises(BrokenFileError, match=re.escape(str(path))):
        read(folder)


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    """The error names file and line, and what to do."""
    write_two(tmp_path)
    path = tmp_path / FILE_NAME
    path.write_bytes(b"{\n" + path.read_bytes())
    with pytest.raises(BrokenFileError) as caught:
        read(tmp_path)
    assert str(caught.value) == (
        f"{path} line 1 is unreadable; it is no complete JSON object, and only the last line may be cut off; "
        "restore the file, or delete it and run its cases again"
    )


def test_a_line_is_on_the_disk_before_append_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A finished line is fsynced, with the start before it: a power cut after a case loses nothing of it."""
    synced: list[bytes] = []
    real = files.os.fsync

    def watch(descriptor: int) -> None:
        real(descriptor)
        synced.append((tmp_path / FILE_NAME).read_bytes())

    monkeypatch.setattr(files.os, "fsync", watch)
    journal = Journal(tmp_path)
    journal.started("a")
    journal.append(a_record("a").to_json())
    assert [len(content.splitlines()) for content in synced] == [2]
    assert json.loads(synced[-1].splitlines()[1])["record"] == a_record("a").to_json()


def test_a_changed_digit_is_noticed(tmp_path: Path) -> None:
    """A line that is still JSON but not what was written is not believed."""
    write_two(tmp_path)
    path = tmp_path / FILE_NAME
    path.write_bytes(path.read_bytes().replace(b'"value": 0.5', b'"value": 0.6', 1))
    with pytest.raises(BrokenFileError, match="line 2 is unreadable"):
        read(tmp_path)


def test_a_line_the_disk_refused_is_owed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk costs nothing once there is room again: the line comes first, and half of it joins no other."""
    journal = Journal(tmp_path)
    journal.started("a")

    def half(path: Path, line: bytes, *, sync: bool) -> None:
        with path.open("ab") as stream:
            stream.write(line[: len(line) // 2])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr("emobench.records.journal.append_line", half)
        with pytest.raises(OSError, match="No space left"):
            journal.append(a_record("a").to_json())
        with pytest.raises(OSError, match="No space left"):
            journal.started("b")
    journal.settle()
    entries = read(tmp_path)
    assert list(entries.records) == ["a"]
    assert entries.unfinished == ("b",)
    assert entries.torn is None


def test_no_two_processes_share_a_journal(tmp_path: Path) -> None:
    """A journal's name is taken by the one that made it."""
    create(tmp_path, "gw0")
    with pytest.raises(FileExistsError):
        create(tmp_path, "gw0")


def test_who_finished_is_told_without_parsing_records(tmp_path: Path) -> None:
    """Key, test and ending stand in the short part of a line, whatever the id holds."""
    journal = Journal(tmp_path)
    strange = 'x[", "crc": 1, \u2028]'
    record = Record(case={"id": strange, "plan_key": "k"}, status=Status.FAILED)
    journal.append(record.to_json(), node="t.py::x")
    (path,) = journal_files(tmp_path)
    (line,) = (line for line in read_part(path).lines if line.event == "finished")
    assert (line.id, line.key, line.node, line.status) == (strange, "k", "t.py::x", "failed")
    assert line.content()["record"] == record.to_json()
