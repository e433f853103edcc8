"""Rows of a Parquet file, a few hundred at a time. A single cell is held whole, however large it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from emobench.data.row_words import MAX_ROW_BYTES, Fault, Position, missing_column, too_long
from emobench.errors import DataError

BATCH_ROWS = 512
_BATCH_BYTES = 4 << 20
_BUFFER_BYTES = 1 << 20
"""Read at once from a column; without it pyarrow reads a whole row group, often the whole file."""


def peek(path: Path, rows: int) -> dict[str, list[object]]:
    """Names and first values of all columns; errors as :func:`rows_of`."""
    found: dict[str, list[object]] = {}
    with opened(path, ()) as file:
        names = list(dict.fromkeys(file.schema_arrow.names))
        found = {name: [] for name in names}
        for batch in file.iter_batches(batch_size=rows, columns=names, use_threads=False):
            found = {name: batch.column(name).to_pylist() for name in names}
            break
    return found


def rows_of(
    path: Path, columns: Sequence[str], *, fault: Fault, position: Position
) -> Iterator[tuple[int, list[object]]]:
    """Yield each row's number, from 1, and its cells of ``columns``; ``position`` follows the rows.

    Raises:
        DataError: not a whole Parquet file, a missing column, or no rows.
    """
    before = 0
    with opened(path, columns) as file:
        wanted = sorted(set(columns))
        row_bytes = path.stat().st_size / max(1, file.metadata.num_rows)
        for group in range(file.num_row_groups):
            rows, size = _group_size(file, group, wanted)
            if rows and size // rows > MAX_ROW_BYTES:
                fault(before + 1, f"{rows} rows from here on were not read: {too_long(MAX_ROW_BYTES)}")
                before += rows
                continue
            at_once = max(1, min(BATCH_ROWS, _BATCH_BYTES * rows // max(1, size)))
            for batch in file.iter_batches(batch_size=at_once, row_groups=[group], columns=wanted, use_threads=False):
                cells = [_cells(batch.column(column)) for column in columns]
                for values in zip(*cells, strict=True):
                    before += 1
                    if any(isinstance(value, UnicodeDecodeError) for value in values):
                        fault(before, "the cell holds bytes that are not UTF-8 text")
                        continue
                    yield before, list(values)
                position.passed = int(row_bytes * before)
    if not before:
        raise DataError(f"{path.name} is empty", why="it has no rows", fix="fill it, or name another file")


@contextmanager
def opened(path: Path, columns: Sequence[str]) -> Iterator[Any]:
    """A Parquet file to be read in batches; what pyarrow raises meanwhile becomes an error of the file.

    Raises:
        DataError: not a whole Parquet file, or a missing column.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, buffer_size=_BUFFER_BYTES, pre_buffer=False) as file:
            known = file.schema_arrow.names
            for column in columns:
                if column not in known:
                    raise missing_column(path, column, known)
            yield file
    except (pa.ArrowException, OSError, UnicodeError, OverflowError) as error:
        raise DataError(
            f"{path.name} is not a whole Parquet file",
            why=" ".join(str(error).split())[:200],
            fix="write or fetch the file again",
        ) from error


def _group_size(file: Any, group: int, columns: Sequence[str]) -> tuple[int, int]:
    """Rows of a row group, and bytes of its columns when unpacked."""
    metadata = file.metadata.row_group(group)
    parts = (metadata.column(index) for index in range(metadata.num_columns))
    wanted = set(columns)
    return metadata.num_rows, sum(
        part.total_uncompressed_size for part in parts if part.path_in_schema.split(".")[0] in wanted
    )


def _cells(column: Any) -> list[object]:
    """Python values of an Arrow column; a cell that is not UTF-8 becomes its error."""
    try:
        return list(column.to_pylist())
    except UnicodeDecodeError:
        return [_cell(value) for value in column]


def _cell(value: Any) -> object:
    try:
        return value.as_py()
    except UnicodeDecodeError as error:
        return error
