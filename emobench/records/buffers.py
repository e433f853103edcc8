"""Buffers: Arrow columns as numpy arrays, straight from their memory.

Arrow's own conversions import pandas, which takes longer than reading twenty indexes.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

_KINDS = {"int32": "<i4", "int64": "<i8", "double": "<f8"}


def whole(column: Any) -> Any:
    """A chunked column as one array."""
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def numbers(array: Any) -> npt.NDArray[Any]:
    """Whole numbers or doubles without nulls, not copied; shape (n,)."""
    return _part(array.buffers()[-1], _KINDS[str(array.type)], array.offset, len(array))


def texts(array: Any) -> npt.NDArray[np.object_]:
    """Texts, or texts behind a dictionary; a null is empty. One object a distinct text of a dictionary."""
    import pyarrow as pa

    if pa.types.is_dictionary(array.type):
        return np.asarray(texts(array.dictionary)[numbers(array.indices)], object)
    _, offsets, data = array.buffers()
    starts = _part(offsets, "<i4", array.offset, len(array) + 1).tolist()
    held = data.to_pybytes() if data else b""
    found = np.empty(len(array), object)
    if held.isascii():
        # A place in the bytes is one in the text: decoding once takes half as long.
        text = held.decode("ascii")
        found[:] = [text[begin:end] for begin, end in pairwise(starts)]
    else:
        found[:] = [held[begin:end].decode() for begin, end in pairwise(starts)]
    return found


def blobs(array: Any) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """All bytes of a large binary column and the n + 1 offsets of its entries in them, not copied."""
    _, offsets, data = array.buffers()
    held = np.frombuffer(data, np.uint8) if data else np.zeros(0, np.uint8)
    return held, _part(offsets, "<i8", array.offset, len(array) + 1)


def lists(array: Any) -> tuple[Any, npt.NDArray[np.int64]]:
    """The values of a list column as an array and the n + 1 offsets of its lists in them."""
    width = "<i8" if str(array.type).startswith("large_list") else "<i4"
    return array.values, _part(array.buffers()[1], width, array.offset, len(array) + 1).astype(np.int64, copy=False)


def present(array: Any) -> npt.NDArray[np.bool_]:
    """Which entries are no nulls; shape (n,)."""
    validity = array.buffers()[0]
    if validity is None:
        return np.ones(len(array), bool)
    bits = np.unpackbits(np.frombuffer(validity, np.uint8), bitorder="little")
    return bits[array.offset : array.offset + len(array)].astype(bool)


def _part(buffer: Any, kind: str, offset: int, count: int) -> npt.NDArray[Any]:
    if buffer is None or not buffer.size:
        return np.zeros(count, kind)
    return np.frombuffer(buffer, kind, count, offset * np.dtype(kind).itemsize)
