"""Chunks: one CSV, TSV, JSON Lines or Parquet file read a few thousand rows at a time, in memory that does not grow.

Rows, numbers and errors are those of ``tables``. Knows nothing of texts, labels or splits.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from emobench.data.tables import SUFFIXES, Table, read_table
from emobench.errors import DataError

CHUNK_ROWS = 4096
"""Rows of a file in memory at once."""

PARQUET_BUFFER_BYTES = 1 << 20
"""Read at once from a column of a Parquet file; without it pyarrow reads a whole row group, often the whole file."""


def read_chunks(
    path: Path, columns: Sequence[str], *, encoding: str = "utf-8", rows: int = CHUNK_ROWS
) -> Iterator[Table]:
    """Yield the named columns of a file as tables of at most ``rows`` rows; together they are ``read_table``'s.

    Raises:
        DataError: as :func:`emobench.data.tables.read_table`, when the row at fault is reached. To name the row, the
            file is then read as a whole.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES or path.stat().st_size == 0:
        raise _explained(path, columns, encoding)
    if suffix == ".parquet":
        chunks = _parquet_chunks(path, columns, rows)
    elif suffix in {".jsonl", ".ndjson"}:
        chunks = _json_chunks(path, columns, rows)
    else:
        chunks = _csv_chunks(path, columns, rows, encoding, separator="\t" if suffix == ".tsv" else ",")
    nothing = True
    try:
        for chunk in chunks:
            nothing = False
            yield chunk
    except _UnreadableError as error:
        raise _explained(path, columns, encoding) from error.__cause__
    if nothing:
        raise _explained(path, columns, encoding)


class _UnreadableError(Exception):
    """A chunk that cannot be read; the whole file's reader says why."""


def _explained(path: Path, columns: Sequence[str], encoding: str) -> DataError:
    try:
        read_table(path, columns, encoding=encoding)
    except DataError as error:
        return error
    return DataError(
        f"{path.name} could not be read in parts",
        why="read as a whole it is sound, so it may have changed meanwhile",
        fix="leave the file alone while it is read, and run again",
    )


def _csv_chunks(path: Path, columns: Sequence[str], rows: int, encoding: str, *, separator: str) -> Iterator[Table]:
    import pandas as pd

    name = "utf-8-sig" if encoding.lower().replace("_", "-") in {"utf-8", "utf8"} else encoding
    before = 0
    try:
        with pd.read_csv(path, sep=separator, dtype=str, na_filter=False, encoding=name, chunksize=rows) as frames:
            for frame in frames:
                names = {str(column) for column in frame.columns}
                if not names.issuperset(columns) or not isinstance(frame.index, pd.RangeIndex):
                    raise _UnreadableError
                if frame.empty:
                    continue
                numbers = list(range(before + 1, before + len(frame) + 1))
                before += len(frame)
                yield Table(columns={column: frame[column].tolist() for column in columns}, row_numbers=numbers)
    except (pd.errors.EmptyDataError, pd.errors.ParserError, UnicodeError, LookupError) as error:
        raise _UnreadableError from error


def _json_chunks(path: Path, columns: Sequence[str], rows: int) -> Iterator[Table]:
    values: dict[str, list[object]] = {column: [] for column in columns}
    numbers: list[int] = []
    with path.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            item = _json_object(line, first=number == 1)
            if item is None:
                continue
            if any(column not in item for column in columns):
                raise _UnreadableError
            for column in columns:
                values[column].append(item[column])
            numbers.append(number)
            if len(numbers) == rows:
                yield Table(columns=values, row_numbers=numbers)
                values, numbers = {column: [] for column in columns}, []
    if numbers:
        yield Table(columns=values, row_numbers=numbers)


def _json_object(line: bytes, *, first: bool) -> dict[str, object] | None:
    """The object of a line, None for a blank one."""
    try:
        text = line.decode("utf-8-sig" if first else "utf-8")
        item = json.loads(text) if text.strip() else None
    except ValueError as error:
        raise _UnreadableError from error
    if not text.strip():
        return None
    if not isinstance(item, dict):
        raise _UnreadableError
    return item


def _parquet_chunks(path: Path, columns: Sequence[str], rows: int) -> Iterator[Table]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    before = 0
    wanted = sorted(set(columns))
    try:
        with pq.ParquetFile(path, buffer_size=PARQUET_BUFFER_BYTES, pre_buffer=False) as file:
            if not set(file.schema_arrow.names).issuperset(wanted):
                raise _UnreadableError
            for batch in file.iter_batches(batch_size=rows, columns=wanted, use_threads=False):
                numbers = list(range(before + 1, before + batch.num_rows + 1))
                before += batch.num_rows
                yield Table(columns={name: batch.column(name).to_pylist() for name in columns}, row_numbers=numbers)
    except (pa.ArrowException, OSError, UnicodeError) as error:
        raise _UnreadableError from error
