"""Spills: everything that goes in comes out, in the order of the keys, however much of it was on disk."""

from __future__ import annotations

import gc
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emobench.data.analyze.spill import Column, Marks, Partitions, Shelf

KIND = np.dtype([("key", "<u8"), ("number", "<u4")])


def records(keys: list[int], start: int = 0) -> np.ndarray:
    found = np.empty(len(keys), KIND)
    found["key"], found["number"] = keys, np.arange(start, start + len(keys))
    return found


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.lists(st.one_of(st.integers(0, 2**64 - 1), st.sampled_from((0, 5, 2**63))), max_size=30), max_size=6),
    st.sampled_from((1, 2, 16, 256)),
)
def test_records_come_back_sorted(chunks: list[list[int]], parts: int) -> None:
    """By key, equal keys as they came; the same whether they were in memory or on disk, in few parts or many."""
    spill, held = Partitions(KIND, parts=parts, held_bytes=100), Partitions(KIND)
    start = 0
    for keys in chunks:
        spill.add(records(keys, start))
        held.add(records(keys, start))
        start += len(keys)
    expected = sorted((key, at) for at, key in enumerate(key for keys in chunks for key in keys))
    alone = {key for key, _ in expected if sum(key == other for other, _ in expected) == 1}
    for store in (spill, held):
        again = [(int(row["key"]), int(row["number"])) for part in store.repeated() for row in part]
        assert again == [(key, at) for key, at in expected if key not in alone]
        assert [(int(row["key"]), int(row["number"])) for part in store for row in part] == expected
        store.close()


def test_parts_are_a_power_of_two() -> None:
    """Another number could not be taken from the top bits of a key."""
    with pytest.raises(ValueError, match="3 parts; a power of two is needed"):
        Partitions(KIND, parts=3)


def test_the_disk_is_left_as_it_was(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Files are under the temporary folder and go with closing, and with a spill that nobody closed."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for close in (True, False):
        spill = Partitions(KIND, held_bytes=10)
        spill.add(records([1, 2**63]))
        assert len(list(tmp_path.rglob("*"))) == 3
        if close:
            spill.close()
        del spill
        gc.collect()
        assert not list(tmp_path.iterdir())


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.binary(max_size=40), max_size=5), max_size=6), st.sampled_from((1, 10**6)))
def test_strings_come_back_by_number(chunks: list[list[bytes]], held_bytes: int) -> None:
    """From memory and from disk, in any order."""
    shelf = Shelf(held_bytes=held_bytes)
    for chunk in chunks:
        shelf.add(b"".join(chunk), np.array([len(item) for item in chunk], np.int64))
    flat = [item for chunk in chunks for item in chunk]
    assert len(shelf) == len(flat)
    assert [shelf[index] for index in reversed(range(len(flat)))] == flat[::-1]
    shelf.close()


@pytest.mark.parametrize("pread", [True, False])
def test_a_shelf_is_written_then_read_then_closed(monkeypatch: pytest.MonkeyPatch, pread: bool) -> None:
    """Also where the system has no ``pread``; the other orders are refused and give no other file's bytes."""
    if not pread:
        monkeypatch.delattr(os, "pread", raising=False)
    shelf, column = Shelf(), Column()
    shelf.add(b"abc", np.array([1, 0, 2], np.int64))
    column.add(np.array([7, 2**32 - 1, 0], np.uint32))
    assert [shelf[2], shelf[1], shelf[0], shelf[2]] == [b"bc", b"", b"a", b"bc"]
    assert [column[1], column[0], column[2]] == [2**32 - 1, 7, 0]
    for store, item in ((shelf, (b"d", np.array([1]))), (column, (np.array([1], np.uint32),))):
        with pytest.raises(ValueError, match="that is read takes nothing more"):
            store.add(*item)  # type: ignore[attr-defined]  # either
        store.close()
        with pytest.raises(ValueError, match="that is closed holds nothing"):
            store[0]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.integers(0, 99), max_size=20), max_size=5))
def test_marks_are_a_set(chunks: list[list[int]]) -> None:
    """The same members and size as a set, also where one call names a number twice."""
    marks, expected = Marks(100), set()
    for chunk in chunks:
        marks.set(np.array(chunk, np.int64))
        expected |= set(chunk)
    assert [marks.has(number) for number in range(100)] == [number in expected for number in range(100)]
    assert marks.among(np.arange(100)).tolist() == [number in expected for number in range(100)]
    assert marks.count() == len(expected)
