"""Tables: one CSV, TSV, JSON Lines or Parquet file read into columns, a few thousand rows at a time.

The first faulty row ends it with an error; ``file_rows`` passes faulty rows over. Knows nothing of texts, labels or
splits.
"""

from __future__ import annotations

import codecs
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from emobench.data.csv_rows import Lines, records
from emobench.data.parquet_rows import opened
from emobench.data.row_words import missing_column
from emobench.errors import DataError

SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")
"""Kinds of file that can be read."""
CHUNK_ROWS = 4096
"""Rows of a file in memory at once."""

_MARKS = {
    "utf-16": (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE),
    "utf-32": (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE),
}

Row = tuple[int, Sequence[object]]
"""A row's number and its cells."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """Columns of equal length, and where each row stands in its file."""

    columns: Mapping[str, list[object]]
    row_numbers: list[int]
    """CSV and Parquet: data rows counted from 1, header and blank lines not counted. JSON Lines: the line's number."""


def read_tables(
    path: Path, columns: Sequence[str], *, encoding: str = "utf-8", rows: int = CHUNK_ROWS
) -> Iterator[Table]:
    """Yield the named columns of a file, whose suffix is one of :data:`SUFFIXES`, in tables of at most ``rows`` rows.

    Values are as the file has them. JSON Lines are UTF-8 whatever ``encoding`` says.

    Raises:
        DataError: unknown suffix, empty file, a missing column, or bytes that are not what the suffix or encoding says,
            when the row at fault is reached. Which row the encoding fails in is found by reading the file as a whole.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise DataError(
            f"{path.name}: files ending in {suffix or 'nothing'!r} cannot be read",
            why=f"the kind is told by the ending, one of {', '.join(SUFFIXES)}",
            fix="save the rows as CSV, JSON Lines or Parquet and name the file so",
        )
    if path.stat().st_size == 0:
        raise _empty(path)
    if suffix in {".jsonl", ".ndjson"}:
        encoding = "utf-8"
        tables = _tables(_json_rows(path, columns), columns, rows)
    elif suffix != ".parquet":
        tables = _tables(_csv_rows(path, columns, encoding, "\t" if suffix == ".tsv" else ","), columns, rows)
    else:
        tables = _parquet_tables(path, columns, rows)
    nothing = True
    try:
        for table in tables:
            nothing = False
            yield table
    except (DataError, UnicodeError, LookupError):
        # Told first: in another encoding nothing else is as it seems.
        if suffix != ".parquet":
            _check_encoding(path, encoding)
        raise
    if nothing:
        raise _empty(path)


def _tables(found: Iterator[Row], columns: Sequence[str], rows: int) -> Iterator[Table]:
    # No row outlives its turn: thousands of small lists at once make the garbage collector the slowest part.
    while True:
        values: list[list[object]] = [[] for _ in columns]
        numbers: list[int] = []
        for number, cells in islice(found, rows):
            numbers.append(number)
            for column, cell in zip(values, cells, strict=True):
                column.append(cell)
        if not numbers:
            return
        yield Table(columns=dict(zip(columns, values, strict=True)), row_numbers=numbers)


def _empty(path: Path) -> DataError:
    return DataError(f"{path.name} is empty", why="it has no data rows", fix="fill it, or name another file")


def _codec(path: Path, encoding: str) -> str:
    """The codec that drops a byte order mark, where there is one; UTF-16 without one cannot be read in parts else."""
    if encoding.lower().replace("_", "-") in {"utf-8", "utf8"}:
        return "utf-8-sig"
    with path.open("rb") as stream:
        beginning = stream.read(4)
    if (name := codecs.lookup(encoding).name) in _MARKS and not beginning.startswith(_MARKS[name]):
        return f"{name}-{'le' if sys.byteorder == 'little' else 'be'}"
    return encoding


def _check_encoding(path: Path, encoding: str) -> None:
    """Refuse a file that is not text of an encoding; names line and row."""
    data = path.read_bytes()
    try:
        data.decode(_codec(path, encoding))
    except LookupError as error:
        raise DataError(
            f"{path.name}: no encoding is called {encoding!r}",
            why="the name is not one Python knows",
            fix="take utf-8, cp1252 or latin-1",
        ) from error
    except UnicodeDecodeError as error:
        before = data[: error.start].decode(encoding, errors="replace")
        raise DataError(
            f"{path.name}, line {before.count(chr(10)) + 1}{_data_row(path, before)}: text that is not {encoding} text",
            why=f"byte 0x{data[error.start]:02x} at position {error.start}: {error.reason}",
            fix="set the row's encoding to the file's (often \"cp1252\"), or save the file as UTF-8",
        ) from error


def _data_row(path: Path, before: str) -> str:
    """Say which CSV data row the text after ``before`` belongs to; quoted line breaks do not begin a row."""
    if path.suffix.lower() not in {".csv", ".tsv"}:
        return ""
    inside = "".join(before.split('"')[0::2])
    lines = inside.split("\n")
    complete = sum(bool(line.strip()) for line in lines[:-1])
    return f" (row {complete})" if complete else " (the header)"


def _csv_rows(path: Path, columns: Sequence[str], encoding: str, separator: str) -> Iterator[Row]:
    """Rows of a table; a row with too few fields is filled up with empty ones."""
    with path.open(encoding=_codec(path, encoding), newline="") as text:
        rows = _csv_lines(path, Lines(path, text), separator)
        _, first = next(rows, (0, []))
        names = _names(first)
        if not names:
            return
        for column in columns:
            if column not in names:
                raise missing_column(path, column, names, separator=separator)
        places = [names.index(column) for column in columns]
        for number, (line, fields) in enumerate(rows, start=1):
            if len(fields) > len(names):
                raise _too_many_fields(path, len(fields), len(names), line, first=number == 1)
            yield number, [fields[place] if place < len(fields) else "" for place in places]


def _csv_lines(path: Path, lines: Lines, separator: str) -> Iterator[tuple[int, list[str]]]:
    """Number and fields of each line that holds more than spaces and tabs; what quotation marks enclose is one line."""
    for line, fields in enumerate(records(lines, separator), start=1):
        if lines.ended:
            raise _malformed(path, f"EOF inside string starting at row {line - 1}")
        if fields and (len(fields) > 1 or not fields[0] or fields[0].strip(" \t")):
            yield line, fields


def _names(fields: Sequence[str]) -> list[str]:
    """Column names of a header as pandas has them: a nameless column by its place, a repeated one with a number."""
    names: list[str] = []
    for place, field in enumerate(fields):
        first = name = field or f"Unnamed: {place}"
        count = 0
        while name in names:
            count += 1
            name = f"{first}.{count}"
        names.append(name)
    return names


def _too_many_fields(path: Path, fields: int, names: int, line: int, *, first: bool) -> DataError:
    if first:
        why = f"its rows have more fields than the {names} of its header"
        return _malformed(path, why, fix="quote texts that hold separators, or name all columns in the header")
    return _malformed(path, f"Expected {names} fields in line {line}, saw {fields}")


def _malformed(path: Path, why: str, fix: str = "quote texts that hold separators, quotes or line breaks") -> DataError:
    return DataError(f"{path.name} is not a well-formed table", why=why, fix=fix)


def _json_rows(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    with path.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            text = line.decode("utf-8-sig" if number == 1 else "utf-8").removesuffix("\n")
            if not text.strip():
                continue
            try:
                item = json.loads(text)
            except json.JSONDecodeError as error:
                raise DataError(
                    f"{path.name}, line {number}: not JSON",
                    why=str(error),
                    fix="write one JSON object a line",
                ) from error
            if not isinstance(item, dict):
                raise DataError(
                    f"{path.name}, line {number}: not an object",
                    why=f"it is a {type(item).__name__}",
                    fix=f"write one JSON object a line, with {' and '.join(map(repr, columns))}",
                )
            for column in columns:
                if column not in item:
                    missing = missing_column(path, column, item)
                    raise DataError(
                        f"{path.name}, line {number}: no key {column!r}",
                        why=missing.why.replace("columns", "keys"),
                        fix=missing.fix,
                    )
            yield number, [item[column] for column in columns]


def _parquet_tables(path: Path, columns: Sequence[str], rows: int) -> Iterator[Table]:
    """Streamed by ``datasets``; nothing is copied into a cache."""
    import datasets

    with opened(path, columns) as whole:  # which says what is wrong with the file
        if not whole.metadata.num_rows:
            return
    file, names = str(path.resolve()), sorted(set(columns))
    data = datasets.load_dataset("parquet", data_files=[file], split="train", columns=names, streaming=True)
    before = 0
    for batch in data.with_format("arrow").iter(batch_size=rows):
        try:
            values = {name: batch.column(name).to_pylist() for name in columns}
        except UnicodeDecodeError as error:
            raise DataError(
                f"{path.name}: a text column holds text that is not UTF-8",
                why=str(error),
                fix="write the file again from decoded strings",
            ) from error
        yield Table(columns=values, row_numbers=list(range(before + 1, before + batch.num_rows + 1)))
        before += batch.num_rows
