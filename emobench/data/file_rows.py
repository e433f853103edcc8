"""Rows of one file in its order, in memory that does not grow: CSV, TSV, JSON Lines, JSON, Parquet and plain text.

Unlike ``tables`` and ``chunks``, which refuse a file for its first faulty row, a row that cannot be read is reported
and passed over, so that the rest can be looked at. Cells are as the file has them; what a text or label is, is decided
elsewhere. A name may end in ``.gz``.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import BinaryIO, TypeVar, cast

from emobench.data import csv_rows, json_rows, parquet_rows
from emobench.data.row_words import Fault, Position, decoded, is_ascii_compatible, too_long, wrong_encoding
from emobench.errors import DataError

TABLE_SUFFIXES = {".csv": "CSV", ".tsv": "TSV", ".parquet": "Parquet"}
JSON_SUFFIXES = {".json": "JSON", ".jsonl": "JSON Lines", ".ndjson": "JSON Lines"}
TEXT_SUFFIXES = frozenset(
    {".txt", ".text", ".md", ".rst", ".log", ".tex", ".html", ".htm", ".xml", ".css", ".sql", ".sh"}
    | {".py", ".js", ".ts", ".java", ".c", ".h", ".cc", ".cpp", ".hpp", ".cs", ".go", ".rs", ".rb", ".php", ".r"}
    | {".jl", ".scala", ".kt", ".swift"}
)
"""Files that are one text or a text a line, decoded and otherwise left alone."""

Row = TypeVar("Row")

PEEK_ROWS = 200
"""Rows looked at to tell which columns hold texts and labels."""
_BINARY_SAMPLE_BYTES = 8192
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


def kind_of(path: Path) -> str | None:
    """``CSV``, ``TSV``, ``Parquet``, ``JSON``, ``JSON Lines`` or ``text`` by the name's ending; None for any other."""
    suffix = suffix_of(path)
    if suffix in TEXT_SUFFIXES:
        return "text"
    return TABLE_SUFFIXES.get(suffix) or JSON_SUFFIXES.get(suffix)


def suffix_of(path: Path) -> str:
    """The ending that tells the kind, lower case; that before ``.gz`` where there is one."""
    suffix = path.suffix.lower()
    return Path(path.stem).suffix.lower() if suffix == ".gz" else suffix


def peek(path: Path, *, encoding: str) -> dict[str, list[object]]:
    """Columns of a file in their order, each with its first values; a row without the column counts as None.

    Raises:
        DataError: the file is empty, binary or not what its ending says.
    """
    faults: list[str] = []

    def fault(row: int, why: str) -> None:
        faults.append(f"row {row}: {why}")

    with _opened(path, encoding) as stream:
        kind = kind_of(path)
        if kind == "Parquet":
            return parquet_rows.peek(path, PEEK_ROWS)
        if kind in ("CSV", "TSV"):
            separator = _separator(kind)
            names = csv_rows.header(path, stream, encoding=encoding, separator=separator)
            cells = csv_rows.rows_of(path, stream, names, encoding=encoding, separator=separator, fault=fault)
            columns = _columns_of((dict(zip(names, row, strict=True)) for _, row in _first(cells)), names)
        else:
            items = _json_items(path, stream, encoding, fault)
            columns = _columns_of((item for _, item in _first(items)), ())
    if faults and not any(columns.values()):
        raise _not_one_row(path, faults, encoding)
    return columns


def _not_one_row(path: Path, faults: Sequence[str], encoding: str) -> DataError:
    if all(fault.endswith(wrong_encoding(encoding)) for fault in faults):
        return DataError(
            f"{path.name} is not {encoding} text",
            why=faults[0],
            fix="name its encoding with --encoding, such as cp1252 or latin-1, or save it as UTF-8",
        )
    table = kind_of(path) in TABLE_SUFFIXES.values()
    return DataError(
        f"{path.name}: not one row could be read",
        why=faults[0],
        fix="write as many fields as the header has" if table else "write one JSON object a line, or an array of them",
    )


def rows_of(
    path: Path, columns: Sequence[str], *, encoding: str, fault: Fault, position: Position | None = None
) -> Iterator[tuple[int, Sequence[object]]]:
    """Yield each row's number and its cells of ``columns``; rows that cannot be read go to ``fault``.

    ``position`` is kept up to date meanwhile.

    Rows are counted from 1, a header not counted; of JSON Lines the number is the line's. A key that a JSON row does
    not have is None; a row that has none of them is a fault.

    Raises:
        DataError: the file is empty, binary, lacks a column, or cannot be read beyond the row it has come to.
    """
    kind = kind_of(path)
    position = position or Position()
    with _opened(path, encoding) as stream:
        try:
            if kind == "Parquet":
                yield from parquet_rows.rows_of(path, columns, fault=fault, position=position)
                return
            position.stream = _on_disk(stream)
            if kind in ("CSV", "TSV"):
                yield from csv_rows.rows_of(
                    path, stream, columns, encoding=encoding, separator=_separator(kind), fault=fault
                )
            else:
                items = _json_items(path, stream, encoding, fault)
                yield from json_rows.cells_of(path, items, columns, fault)
        except (EOFError, gzip.BadGzipFile, zlib.error, OSError) as error:
            raise _broken(path, error) from error


def lines_of(
    path: Path, *, encoding: str, whole: int | None, fault: Fault, position: Position | None = None
) -> Iterator[tuple[int, str]]:
    """Yield each line of a text with its number, or the whole text as one; what cannot be decoded goes to ``fault``.

    ``position`` is as in :func:`rows_of`.
    ``whole`` is the most bytes of a text that is taken whole; None takes lines, each of at most MAX_ROW_BYTES.

    Raises:
        DataError: the file is empty or binary, or cannot be read beyond the line it has come to.
    """
    with _opened(path, encoding) as stream:
        if position is not None:
            position.stream = _on_disk(stream)
        try:
            if whole is not None:
                data = stream.read(whole + 1)
                lines: Iterator[tuple[int, bytes]] = iter([(1, data)])
                if len(data) > whole:
                    fault(1, too_long(whole))
                    return
            else:
                lines = json_rows.bounded_lines(stream, fault)
            for number, line in lines:
                try:
                    yield number, decoded(line, encoding, first=number == 1).rstrip("\r\n" if whole is None else "")
                except UnicodeError as error:
                    fault(number, str(error))
        except (EOFError, gzip.BadGzipFile, zlib.error, OSError) as error:
            raise _broken(path, error) from error


def _on_disk(stream: BinaryIO) -> BinaryIO:
    """The file below an unpacking stream, else the stream."""
    return cast(BinaryIO, stream.fileobj) if isinstance(stream, gzip.GzipFile) else stream


def _separator(kind: str) -> str:
    return "\t" if kind == "TSV" else ","


def _json_items(path: Path, stream: BinaryIO, encoding: str, fault: Fault) -> Iterator[tuple[int, object]]:
    if kind_of(path) == "JSON Lines" or json_rows.is_lines(stream):
        return json_rows.line_items(stream, encoding, fault)
    return json_rows.array_items(path, stream, lambda: _opened(path, encoding), fault)


def _first(rows: Iterator[Row]) -> Iterator[Row]:
    """The first rows; that the file breaks off after one of them is found out again when it is read."""
    number = 0
    try:
        for number, row in enumerate(islice(rows, PEEK_ROWS), start=1):  # noqa: B007 # looked at when a row fails
            yield row
    except DataError:
        if not number:
            raise


def _columns_of(items: Iterator[object], names: Iterable[str]) -> dict[str, list[object]]:
    columns: dict[str, list[object]] = {name: [] for name in names}
    for index, item in enumerate(items):
        row = json_rows.as_row(item)
        for name in row:
            if name not in columns:
                columns[name] = [None] * index
        for name, values in columns.items():
            values.append(row.get(name))
    return columns


def _opened(path: Path, encoding: str) -> BinaryIO:
    """A file's bytes, unpacked; refused where it is empty or plainly not text (Parquet aside)."""
    is_ascii_compatible(encoding)
    if not path.is_file():
        raise DataError(
            f"{path.name} is not a file", why="it is a device, a pipe or a link to nothing", fix="name a regular file"
        )
    packed = path.suffix.lower() == ".gz"
    if packed and kind_of(path) == "Parquet":
        raise DataError(
            f"{path.name}: packed Parquet files cannot be read",
            why="their end must be read before their beginning, and Parquet packs its columns itself",
            fix="unpack the file with gunzip",
        )
    try:
        stream = cast(BinaryIO, gzip.open(path, "rb") if packed else path.open("rb"))  # noqa: SIM115 # the caller's
        try:
            _check_beginning(path, stream)
        except BaseException:
            stream.close()
            raise
    except (EOFError, zlib.error, OSError) as error:
        raise _broken(path, error) from error
    return stream


def _check_beginning(path: Path, stream: BinaryIO) -> None:
    beginning = stream.read(_BINARY_SAMPLE_BYTES)
    stream.seek(0)
    if not beginning.strip(b" \t\r\n\xef\xbb\xbf"):
        if len(beginning) < _BINARY_SAMPLE_BYTES:
            raise DataError(f"{path.name} is empty", why="it has no rows", fix="fill it, or name another file")
        return
    if kind_of(path) == "Parquet":
        return
    if beginning.startswith(_UTF16_MARKS):
        raise DataError(
            f"{path.name} is UTF-16 text",
            why="it begins with a UTF-16 byte order mark",
            fix="save it as UTF-8 (iconv -f UTF-16 -t UTF-8)",
        )
    zeros = beginning.count(0)
    if 500 * zeros > len(beginning):
        raise DataError(
            f"{path.name} is a binary file",
            why=f"{zeros} of its first {len(beginning)} bytes are zero, which text does not have",
            fix="name a file of texts, or unpack it first",
        )


def _broken(path: Path, error: Exception) -> DataError:
    return DataError(
        f"{path.name} cannot be read to its end",
        why=f"{type(error).__name__}: {error}",
        fix="fetch or write the file again",
    )
