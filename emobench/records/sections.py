"""Sections: one file with a header and Arrow tables that are read, and checked, only when they are asked for.

The bytes on disk of an index; what the tables mean is the index's business.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emobench.files import writing

if TYPE_CHECKING:
    import pyarrow as pa

_MAGIC = b"EMOINDEX"
_FRONT = struct.Struct("<8sIQ")
"""Magic, CRC-32 of the header, length of the header."""
_ALIGNED = 64


def write_sections(path: Path, header: Mapping[str, Any], tables: Mapping[str, pa.Table]) -> None:
    """Write the file whole or not at all.

    Raises:
        OSError: the disk is full or the folder not writable.
    """
    import pyarrow as pa

    blobs: dict[str, Any] = {}
    for name, table in tables.items():
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as stream:
            stream.write_table(table.combine_chunks())
        blobs[name] = sink.getvalue()
    places, at = {}, 0
    for name, blob in blobs.items():
        places[name] = {"at": at, "bytes": blob.size, "crc": zlib.crc32(blob)}
        at += _padded(blob.size)
    text = json.dumps({"header": header, "sections": places}).encode()
    text += b" " * (_padded(_FRONT.size + len(text)) - _FRONT.size - len(text))
    with writing(path) as out:
        out.write(_FRONT.pack(_MAGIC, zlib.crc32(text), len(text)))
        out.write(text)
        for blob in blobs.values():
            out.write(blob)
            out.write(bytes(_padded(blob.size) - blob.size))


def _padded(size: int) -> int:
    return -(-size // _ALIGNED) * _ALIGNED


class Sections:
    """A file of sections, mapped into memory. Tables keep the mapping alive.

    Raises:
        ValueError: it is no such file, is incomplete, or its header was changed.
        OSError: it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        with path.open("rb") as stream:
            size = stream.seek(0, 2)
            if size < _FRONT.size:
                raise ValueError(f"{size} bytes are too few")
            self._map = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        magic, crc, length = _FRONT.unpack_from(self._map)
        text = self._map[_FRONT.size : _FRONT.size + length]
        if magic != _MAGIC or len(text) != length or zlib.crc32(text) != crc:
            raise ValueError("its header is incomplete or changed")
        content = json.loads(text)
        self.header: dict[str, Any] = content["header"]
        self._places: dict[str, dict[str, int]] = content["sections"]
        self._start = _FRONT.size + length
        end = max((place["at"] + _padded(place["bytes"]) for place in self._places.values()), default=0)
        if size != self._start + end:
            raise ValueError(f"it holds {size} bytes and should hold {self._start + end}")

    def close(self) -> None:
        """Give the mapping back, unless a table was taken from it."""
        with contextlib.suppress(BufferError):
            self._map.close()

    def table(self, name: str) -> pa.Table:
        """The table of a section, without a copy.

        Raises:
            ValueError: the section was changed.
        """
        import pyarrow as pa

        place = self._places[name]
        begin = self._start + place["at"]
        part = memoryview(self._map)[begin : begin + place["bytes"]]
        if zlib.crc32(part) != place["crc"]:
            raise ValueError(f"its section {name} was changed")
        return pa.ipc.open_stream(pa.py_buffer(part)).read_all()
