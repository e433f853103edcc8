"""Spill: what a detector keeps for every document, on disk as soon as it is more than a little. It judges nothing.

``Partitions`` holds fixed-size records under 64-bit keys and gives them back in the order of the keys, one part of the
key range at a time; ``Shelf`` holds byte strings by number and ``Column`` numbers. All live in temporary files that go
when they are closed or collected; what they hold can be made again, so nothing is synced.
"""

from __future__ import annotations

import os
import shutil
import struct
import tempfile
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from emobench.data.analyze.scan import I64, U64, Flags

HELD_BYTES = 1 << 24
"""What one spill holds in memory before it writes."""
PARTS = 256

Records = npt.NDArray[Any]


class Partitions:
    """Records of one numpy structure whose field ``key`` is a 64-bit number spread evenly."""

    def __init__(self, kind: np.dtype[Any], *, parts: int = PARTS, held_bytes: int = HELD_BYTES) -> None:
        if parts < 1 or parts & (parts - 1):
            raise ValueError(f"{parts} parts; a power of two is needed")
        self._kind, self._shift, self._parts, self._most = kind, 64 - (parts.bit_length() - 1), parts, held_bytes
        self._held: list[Records] = []
        self._size = 0
        self._folder: Path | None = None
        self._forget: Callable[[], object] | None = None

    def add(self, records: Records) -> None:
        """Take records, in any order."""
        self._held.append(records)
        self._size += records.nbytes
        if self._size > self._most:
            self._write()

    def __iter__(self) -> Iterator[Records]:
        """Records of each part that has any, sorted by key; equal keys in the order they came. Ascending over all."""
        return (records[np.argsort(_keys(records), kind="stable")] for records in self._read())

    def repeated(self) -> Iterator[Records]:
        """As iterating, without the records whose key is that of no other: most of the sorting is left out."""
        for records in self._read():
            keys = np.sort(_keys(records))
            again = np.unique(keys[1:][keys[1:] == keys[:-1]])
            if len(again):
                place = np.minimum(np.searchsorted(again, _keys(records)), len(again) - 1)
                kept = records[again[place] == _keys(records)]
                yield kept[np.argsort(_keys(kept), kind="stable")]

    def _read(self) -> Iterator[Records]:
        if self._folder is None:
            if self._held:
                yield np.concatenate(self._held)
            return
        self._write()
        for part in range(self._parts):
            path = self._path(part)
            if path.exists():
                yield np.fromfile(path, self._kind)

    def close(self) -> None:
        """Forget everything."""
        self._held, self._size = [], 0
        if self._forget is not None:
            self._forget()
            self._folder = self._forget = None

    def _path(self, part: int) -> Path:
        assert self._folder is not None
        return Path(self._folder, f"{part:03}")

    def _write(self) -> None:
        if not self._held:
            return
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="emobench-analyze-"))
            # Also where an error ends the analysis, and at exit.
            self._forget = weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        records = np.concatenate(self._held)
        self._held, self._size = [], 0
        part_of = self._part_of(records["key"])
        order = np.argsort(part_of, kind="stable")
        records = records[order]
        ends = np.searchsorted(part_of[order], np.arange(self._parts + 1))
        for part in np.flatnonzero(np.diff(ends)):
            with self._path(int(part)).open("ab") as stream:
                records[ends[part] : ends[part + 1]].tofile(stream)

    def _part_of(self, keys: U64) -> npt.NDArray[np.uint16]:
        if self._parts == 1:  # a shift by all 64 bits is none
            return np.zeros(len(keys), np.uint16)
        return (keys >> np.uint64(self._shift)).astype(np.uint16)


def _keys(records: Records) -> U64:
    return np.ascontiguousarray(records["key"])


class _Appended:
    """A temporary file that is written first, and then read at any place."""

    def __init__(self, held_bytes: int) -> None:
        self._stream = tempfile.SpooledTemporaryFile(max_size=held_bytes, prefix="emobench-analyze-")  # noqa: SIM115  # see close
        weakref.finalize(self, self._stream.close)
        self._descriptor: int | None = None

    def write(self, data: bytes) -> None:
        if self._descriptor is not None:
            raise ValueError("a shelf that is read takes nothing more")
        self._stream.write(data)

    def read_at(self, offset: int, size: int) -> bytes:
        """A seek would read a whole buffer anew each time."""
        if self._stream.closed:
            raise ValueError("a shelf that is closed holds nothing")
        if self._descriptor is None:
            self._descriptor = self._stream.fileno()  # which puts it on the disk
            self._stream.flush()
        if hasattr(os, "pread"):
            return os.pread(self._descriptor, size, offset)
        self._stream.seek(offset)
        return self._stream.read(size)

    def close(self) -> None:
        self._stream.close()


class Shelf:
    """Byte strings by the order in which they came; read back one by one."""

    def __init__(self, *, held_bytes: int = HELD_BYTES) -> None:
        self._data, self._ends = _Appended(held_bytes), _Appended(held_bytes)
        self._end = 0
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, joined: bytes, sizes: npt.NDArray[np.int64]) -> None:
        """Put ``len(sizes)`` strings that follow each other in ``joined``."""
        ends = self._end + np.cumsum(sizes)
        self._data.write(joined)
        self._ends.write(ends.astype("<u8").tobytes())
        self._end = int(ends[-1]) if len(ends) else self._end
        self._count += len(sizes)

    def __getitem__(self, index: int) -> bytes:
        if index == 0:
            start, end = 0, int.from_bytes(self._ends.read_at(0, 8), "little")
        else:
            start, end = _TWO.unpack(self._ends.read_at(index * 8 - 8, 16))
        return self._data.read_at(start, end - start)

    def close(self) -> None:
        """Forget everything."""
        self._data.close()
        self._ends.close()


_TWO = struct.Struct("<QQ")


class Column:
    """Numbers below 2**32 by the order in which they came; read back one by one."""

    def __init__(self, *, held_bytes: int = HELD_BYTES) -> None:
        self._data = _Appended(held_bytes)

    def add(self, numbers: npt.NDArray[np.uint32]) -> None:
        """Put these after the others."""
        self._data.write(numbers.astype("<u4").tobytes())

    def __getitem__(self, index: int) -> int:
        return int.from_bytes(self._data.read_at(index * 4, 4), "little")

    def close(self) -> None:
        """Forget everything."""
        self._data.close()


_ONES = np.array([value.bit_count() for value in range(256)])
"""Bits set in each byte."""


class Marks:
    """A bit a document."""

    def __init__(self, count: int) -> None:
        self._bits = np.zeros(count // 8 + 1, np.uint8)

    def set(self, documents: I64) -> None:
        """Set these."""
        np.bitwise_or.at(self._bits, documents >> 3, (1 << (documents & 7)).astype(np.uint8))

    def has(self, document: int) -> bool:
        """Whether this one is set."""
        return bool(self._bits[document >> 3] >> (document & 7) & 1)

    def among(self, documents: Records) -> Flags:
        """Which of these are set."""
        found: Flags = (self._bits[documents >> 3] >> (documents & 7).astype(np.uint8) & 1).astype(np.bool_)
        return found

    def count(self) -> int:
        """How many are set."""
        return int(np.bincount(self._bits, minlength=256) @ _ONES)
