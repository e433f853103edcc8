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
from emobench.records.journal import FILE_NAME, Journal, read
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
    """Each line is fsynced: a power cut after a case loses nothing of it."""
    synced: list[bytes] = []
    real = files.os.fsync

    def watch(descriptor: int) -> None:
        real(descriptor)
        synced.append((tmp_path / FILE_NAME).read_bytes())

    monkeypatch.setattr(files.os, "fsync", watch)
    journal = Journal(tmp_path)
    journal.started("a")
    journal.append(a_record("a").to_json())
    assert [len(content.splitlines()) for content in synced] == [1, 2]
    assert json.loads(synced[-1].splitlines()[1])["record"] == a_record("a").to_json()
