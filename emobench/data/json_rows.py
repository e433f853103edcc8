"""Rows of JSON Lines, and of one JSON value: an array of objects or strings, an object of arrays, rows under one key.

One JSON value is read with ijson, item by item, so that memory does not grow with it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from emobench.data.row_words import MAX_ROW_BYTES, Fault, decoded, too_long
from emobench.errors import DataError

STRINGS = "text"
"""Column that bare strings count as."""
MOST_DEPTH = 100
"""An element of a JSON array that is nested more deeply is passed over."""
DEEP = "not read: nested too deeply"
_BLOCK_BYTES = 1 << 16
_TOO_DEEP = object()


def bounded_lines(stream: BinaryIO, fault: Fault) -> Iterator[tuple[int, bytes]]:
    """Yield each line with its number, from 1; a line longer than MAX_ROW_BYTES is passed over and reported."""
    number, limit = 0, MAX_ROW_BYTES
    while line := stream.readline(limit + 1):
        number += 1
        if len(line) <= limit or line.endswith(b"\n"):
            yield number, line
            continue
        while line and not line.endswith(b"\n"):
            line = stream.readline(1 << 20)
        fault(number, too_long(limit, what="the line"))


def is_lines(stream: BinaryIO) -> bool:
    """Whether a ``.json`` file is JSON Lines in truth: its first line is a whole object and more follows."""
    line = stream.readline(MAX_ROW_BYTES)
    following = stream.readline(_BLOCK_BYTES)
    while following and not following.strip():
        following = stream.readline(_BLOCK_BYTES)
    stream.seek(0)
    try:
        return bool(following) and isinstance(json.loads(line.decode("utf-8-sig")), dict)
    except (ValueError, RecursionError):
        return False


def line_items(stream: BinaryIO, encoding: str, fault: Fault) -> Iterator[tuple[int, object]]:
    """Yield the value of each line that is not blank, with the line's number."""
    for number, line in bounded_lines(stream, fault):
        try:
            text = decoded(line, encoding, first=number == 1)
            if not text or text.isspace():
                continue
            item = _value(text)
        except RecursionError:
            fault(number, DEEP)
        except ValueError as error:
            fault(number, f"not JSON: {error}" if isinstance(error, json.JSONDecodeError) else str(error))
        else:
            yield number, item


_BLANKS = " \t\r\n"
_DECODER = json.JSONDecoder()


def _value(text: str) -> object:
    """As ``json.loads``, which takes half as long again for a short line."""
    try:
        item, end = _DECODER.raw_decode(text)
    except json.JSONDecodeError:
        end = 0
    # What raw_decode does not take, white space before the value above all, is left to the usual way and its errors.
    return item if end and not text[end:].strip(_BLANKS) else json.loads(text)


def as_row(item: object) -> Mapping[str, object]:
    """An item as columns; a bare string is the column :data:`STRINGS`, and anything but an object has none."""
    if isinstance(item, dict):
        return item
    return {STRINGS: item} if isinstance(item, str) else {}


def cells_of(
    path: Path, items: Iterator[tuple[int, object]], columns: Sequence[str], fault: Fault
) -> Iterator[tuple[int, list[object]]]:
    """Pick the columns out of items; one that is no object, or has none of the columns, is a fault."""
    for number, item in items:
        if not isinstance(item, dict):
            if not isinstance(item, str):
                fault(number, f"not an object but a {type(item).__name__}")
                continue
            item = as_row(item)
        cells = [item.get(column) for column in columns]
        if cells.count(None) == len(cells) and not any(column in item for column in columns):
            fault(number, f"no key {' or '.join(map(repr, columns))}; its keys are {_some(item)}")
            continue
        yield number, cells


def array_items(
    path: Path, stream: BinaryIO, again: Callable[[], BinaryIO], fault: Fault
) -> Iterator[tuple[int, object]]:
    """Yield the rows of one JSON value with their numbers, from 1; ``again`` opens the file anew.

    Raises:
        DataError: the value holds no rows, or is not JSON beyond the row it has come to.
    """
    import ijson

    number = 0
    try:
        layout = _layout(path, _Metered(stream))
        if layout.columns:
            items = _column_rows(layout.columns, again)
        else:
            stream.seek(0)
            items = _array_rows(_Metered(stream), layout.key)
        for number, item in enumerate(items, start=1):  # the number is for the message
            if item is _TOO_DEEP:
                fault(number, DEEP)
            else:
                yield number, item
    except _TooLongError as error:
        raise _stopped(path, number, too_long(MAX_ROW_BYTES, what="the next item")) from error
    except (ijson.JSONError, ValueError, RecursionError, ArithmeticError) as error:
        if isinstance(error, DataError):
            raise
        raise _stopped(path, number, f"not JSON: {' '.join(str(error).split())[:200]}") from error


@dataclass(frozen=True, kw_only=True)
class _Layout:
    """Where the rows of a JSON value are: in itself, under ``key``, or as one array a column."""

    key: str = ""
    columns: tuple[str, ...] = ()


class _TooLongError(Exception):
    """More bytes than a row may have went by without a row."""


class _Metered:
    """A stream that refuses to give more than a row's bytes between two calls of :meth:`reset`."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream = stream
        self.since = 0
        self.beginning = True

    def reset(self) -> None:
        self.since = 0

    def read(self, size: int = _BLOCK_BYTES) -> bytes:
        block = self.stream.read(size)
        if self.beginning and size > 3:
            # ijson takes a byte order mark for a broken value.
            block, self.beginning = block.removeprefix(b"\xef\xbb\xbf"), False
        self.since += len(block)
        if self.since > MAX_ROW_BYTES:
            raise _TooLongError
        return block


def _layout(path: Path, stream: _Metered) -> _Layout:
    """Look at the structure of a value. An array is known by its first sign, an object is read to its end once."""
    import ijson

    events = ijson.basic_parse(stream, use_float=True, buf_size=_BLOCK_BYTES)
    event, _ = next(events)
    if event == "start_array":
        return _Layout()
    if event != "start_map":
        raise DataError(
            f"{path.name} holds no rows",
            why="it is a single JSON value",
            fix="write an array of objects, or one object a line as .jsonl",
        )
    arrays: dict[str, list[Any]] = {}
    depth, key = 1, ""
    for event, value in events:
        stream.reset()
        if depth == 1 and event == "map_key":
            key = str(value)
        elif depth == 1 and event == "start_array":
            arrays[key] = ["", 0]
        elif depth == 2 and key in arrays and not event.startswith("end_"):
            arrays[key][0] = arrays[key][0] or event
            arrays[key][1] += 1
        depth += event.startswith("start_") - event.startswith("end_")
    return _chosen(path, {name: (str(kind), int(count)) for name, (kind, count) in arrays.items() if count})


def _chosen(path: Path, arrays: Mapping[str, tuple[str, int]]) -> _Layout:
    rows = [name for name, (kind, _) in arrays.items() if kind == "start_map"]
    columns = {name: count for name, (kind, count) in arrays.items() if kind != "start_map"}
    if rows:
        return _Layout(key=max(rows, key=lambda name: arrays[name][1]))
    if not columns:
        raise DataError(
            f"{path.name} holds no rows",
            why="it is one JSON object without an array of rows or arrays of cells",
            fix="write an array of objects, or one object a line as .jsonl",
        )
    if len(set(columns.values())) > 1:
        lengths = ", ".join(f"{name!r} has {count}" for name, count in list(columns.items())[:5])
        raise DataError(
            f"{path.name} holds columns of unequal length",
            why=lengths,
            fix="write as many cells for every column",
        )
    return _Layout(columns=tuple(columns))


def _array_rows(stream: _Metered, key: str) -> Iterator[object]:
    """Elements of the outermost array, or of the array under ``key``; one nested too deeply is :data:`_TOO_DEEP`.

    Built from single events: ijson's own ``items`` keeps the path of each value, whose memory is quadratic in depth.
    """
    import ijson

    base = 2 if key else 1
    depth, name = 0, ""
    row = ijson.ObjectBuilder()
    too_deep = False
    for event, value in ijson.basic_parse(stream, use_float=True, buf_size=_BLOCK_BYTES):
        if depth == 1 and event == "map_key":
            name = str(value)
        inside = depth >= base and (not key or name == key)
        if event.startswith("end_"):
            depth -= 1
        if depth < base or not inside:
            stream.reset()
        elif depth == base and event.startswith("start_"):
            row, too_deep = ijson.ObjectBuilder(), False
            row.event(event, value)
        elif depth == base:
            stream.reset()
            if event.startswith("end_"):
                row.event(event, value)
                yield _TOO_DEEP if too_deep else row.value
            else:
                yield value
        elif depth > MOST_DEPTH:
            too_deep = True
        elif not too_deep:
            row.event(event, value)
        if event.startswith("start_"):
            depth += 1


def _column_rows(columns: Sequence[str], again: Callable[[], BinaryIO]) -> Iterator[object]:
    """Rows of an object of arrays: the file is read once a column, all in step, so that no column is held."""
    streams = [again() for _ in columns]
    try:
        cells = [_column_cells(stream, column) for stream, column in zip(streams, columns, strict=True)]
        for values in zip(*cells, strict=False):
            yield dict(zip(columns, values, strict=True))
    finally:
        for stream in streams:
            stream.close()


def _column_cells(stream: BinaryIO, column: str) -> Iterator[object]:
    """Elements of the array under a key of the outermost object; one that is no scalar is None."""
    import ijson

    metered = _Metered(stream)
    depth, key = 0, ""
    for event, value in ijson.basic_parse(metered, use_float=True, buf_size=_BLOCK_BYTES):
        metered.reset()
        if depth == 1 and event == "map_key":
            key = str(value)
        elif depth == 2 and key == column:
            if event == "end_array":
                return
            if event in ("string", "number", "boolean", "null"):
                yield value
            elif event.startswith("start_"):
                yield None
        depth += event.startswith("start_") - event.startswith("end_")


def _stopped(path: Path, number: int, why: str) -> DataError:
    fix = "write it again with a JSON library, or one object a line as .jsonl, where a faulty line is passed over"
    return DataError(
        f"{path.name} cannot be read beyond row {number}" if number else f"{path.name} cannot be read",
        why=why,
        fix="save it as UTF-8, in which JSON is written (iconv -f CP1252 -t UTF-8)" if "UTF8" in why else fix,
    )


def _some(row: Mapping[str, object]) -> str:
    names = [repr(name) for name in row]
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "") if names else "none"
