"""Tables: one CSV, TSV, JSON Lines or Parquet file read into columns. Knows nothing of texts, labels or splits."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from emobench.errors import DataError, nearest
from emobench.files import cache_folder

SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")
"""Kinds of file that can be read."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """Columns of equal length, and where each row stands in its file."""

    columns: Mapping[str, list[object]]
    row_numbers: list[int]
    """CSV and Parquet: data rows counted from 1, header and blank lines not counted. JSON Lines: the line's number."""


def read_table(path: Path, columns: Sequence[str], *, encoding: str = "utf-8") -> Table:
    """Read the named columns of a file whose suffix is one of :data:`SUFFIXES`; values are as the file has them.

    Raises:
        DataError: unknown suffix, empty file, a missing column, or bytes that are not what the suffix or encoding says.
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
    if suffix == ".parquet":
        return _read_parquet(path, columns)
    text = _decode(path, "utf-8" if suffix in {".jsonl", ".ndjson"} else encoding)
    if suffix in {".jsonl", ".ndjson"}:
        return _read_json_lines(path, text, columns)
    return _read_csv(path, text, columns, separator="\t" if suffix == ".tsv" else ",")


def missing_column(path: Path, column: str, known: Iterable[str], *, why: str = "") -> DataError:
    """Build the error for a column that a file does not have; names the nearest one it has."""
    names = list(known)
    guess = nearest(column, names)
    return DataError(
        f"{path.name} has no column {column!r}",
        why=why or f"its columns are {', '.join(map(repr, names))}",
        fix=f"name it in the data set's row: did you mean {guess!r}?" if guess else "name one of these in the row",
    )


def _empty(path: Path) -> DataError:
    return DataError(f"{path.name} is empty", why="it has no data rows", fix="fill it, or name another file")


def _decode(path: Path, encoding: str) -> str:
    """Decode a whole file; a byte order mark is dropped."""
    data = path.read_bytes()
    try:
        text = data.decode("utf-8-sig" if encoding.lower().replace("_", "-") in {"utf-8", "utf8"} else encoding)
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
    return text


def _data_row(path: Path, before: str) -> str:
    """Say which CSV data row the text after ``before`` belongs to; quoted line breaks do not begin a row."""
    if path.suffix.lower() not in {".csv", ".tsv"}:
        return ""
    inside = "".join(before.split('"')[0::2])
    lines = inside.split("\n")
    complete = sum(bool(line.strip()) for line in lines[:-1])
    return f" (row {complete})" if complete else " (the header)"


def _read_csv(path: Path, text: str, columns: Sequence[str], *, separator: str) -> Table:
    import io

    import pandas as pd

    try:
        # Without na_filter=False the reviews "NA", "null" and "None" would become missing values.
        frame = pd.read_csv(io.StringIO(text), sep=separator, dtype=str, na_filter=False)
    except pd.errors.EmptyDataError as error:
        raise _empty(path) from error
    except pd.errors.ParserError as error:
        raise DataError(
            f"{path.name} is not a well-formed table",
            why=str(error).strip().removeprefix("Error tokenizing data. C error: "),
            fix="quote texts that hold separators, quotes or line breaks",
        ) from error
    names = [str(name) for name in frame.columns]
    for column in columns:
        if column not in names:
            hint = ""
            if len(names) == 1 and any(mark in names[0] for mark in ";\t|"):
                hint = f"its header {names[0]!r} is not separated by {separator!r}"
            raise missing_column(path, column, names, why=hint)
    if frame.empty:
        raise _empty(path)
    if not isinstance(frame.index, pd.RangeIndex):
        # pandas takes surplus leading fields for an index and would shift every column by one.
        raise DataError(
            f"{path.name} is not a well-formed table",
            why=f"its rows have more fields than the {len(names)} of its header",
            fix="quote texts that hold separators, or name all columns in the header",
        )
    return Table(
        columns={column: frame[column].tolist() for column in columns},
        row_numbers=list(range(1, len(frame) + 1)),
    )


def _read_json_lines(path: Path, text: str, columns: Sequence[str]) -> Table:
    values: dict[str, list[object]] = {column: [] for column in columns}
    row_numbers: list[int] = []
    # Not splitlines(): it also breaks at U+2028 and others, which JSON allows inside a string.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            item = json.loads(line)
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
            values[column].append(item[column])
        row_numbers.append(number)
    if not row_numbers:
        raise _empty(path)
    return Table(columns=values, row_numbers=row_numbers)


def _read_parquet(path: Path, columns: Sequence[str]) -> Table:
    """Read through ``datasets``, whose Arrow copy in the cache folder is memory-mapped the next time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            names, rows = list(file.schema_arrow.names), file.metadata.num_rows
    except (pa.ArrowInvalid, OSError) as error:
        raise _broken_parquet(path, str(error)) from error
    for column in columns:
        if column not in names:
            raise missing_column(path, column, names)
    if rows == 0:
        raise _empty(path)
    return Table(columns=_parquet_columns(path, columns), row_numbers=list(range(1, rows + 1)))


def _parquet_columns(path: Path, columns: Sequence[str]) -> dict[str, list[object]]:
    import datasets
    import pyarrow as pa
    from datasets.exceptions import DatasetGenerationError

    shown = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        data = datasets.load_dataset(
            "parquet",
            data_files=[str(path.resolve())],
            split="train",
            columns=sorted(set(columns)),
            cache_dir=str(cache_folder("arrow")),
        )
        table: pa.Table = data.with_format("arrow")[:]
        return {column: table.column(column).to_pylist() for column in columns}
    except (DatasetGenerationError, pa.ArrowInvalid) as error:
        raise _broken_parquet(path, str(error.__cause__ or error)) from error
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path.name}: a text column holds text that is not UTF-8",
            why=str(error),
            fix="write the file again from decoded strings",
        ) from error
    finally:
        if shown:
            datasets.enable_progress_bars()


def _broken_parquet(path: Path, why: str) -> DataError:
    return DataError(f"{path.name} is not a whole Parquet file", why=why, fix="write or fetch the file again")
