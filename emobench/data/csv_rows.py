"""Rows of a CSV or TSV file, read by pyarrow in blocks; a row with too many or too few fields is reported, not read."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from emobench.data.row_words import Fault, decoded
from emobench.data.tables import missing_column
from emobench.errors import DataError

READ_BYTES = 1 << 20
BLOCK_BYTES = 4 << 20
"""The longest row that can be read is about as long."""
_HEADER_BYTES = 1 << 17
"""A header longer than this is none; csv takes no longer field either."""
_LINE_BREAK = re.compile(rb"[\r\n]")


def rows_of(
    path: Path, stream: BinaryIO, columns: Sequence[str], *, encoding: str, separator: str, fault: Fault
) -> Iterator[tuple[int, list[object]]]:
    """Yield each data row's number, from 1, blank lines not counted, and its cells of ``columns``.

    Raises:
        DataError: no header, a missing column, no rows, or a row longer than a block, as an open quotation mark makes.
    """
    names = header(path, stream, encoding=encoding, separator=separator)
    for column in columns:
        if column not in names:
            why = ""
            if len(names) == 1 and any(mark in names[0] for mark in ";\t|"):
                why = f"its header {names[0]!r} is not separated by {separator!r}"
            raise missing_column(path, column, names, why=why)
    yield from _cells(path, stream, names, columns, encoding=encoding, separator=separator, fault=fault)


def header(path: Path, stream: BinaryIO, *, encoding: str, separator: str) -> list[str]:
    """Column names of the first line that is not blank; the stream is put back to its beginning."""
    text = decoded_head(stream.read(_HEADER_BYTES), encoding)
    stream.seek(0)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    try:
        names = next((row for row in reader if row), [])
    except csv.Error as error:
        raise DataError(
            f"{path.name} is not a table",
            why=f"its header cannot be read: {error}",
            fix="begin the file with a line of column names",
        ) from error
    if not names:
        raise DataError(f"{path.name} is empty", why="it has no header", fix="fill it, or name another file")
    return names


def decoded_head(data: bytes, encoding: str) -> str:
    """The beginning of a file as text; a character that its end cuts, or that is no text, is replaced."""
    return data.removeprefix(b"\xef\xbb\xbf").decode(encoding, errors="replace")


def _cells(
    path: Path,
    stream: BinaryIO,
    names: Sequence[str],
    columns: Sequence[str],
    *,
    encoding: str,
    separator: str,
    fault: Fault,
) -> Iterator[tuple[int, list[object]]]:
    # Columns go by position: names may repeat, and may not be what pyarrow would decode.
    places = [names.index(column) for column in columns]
    before, header_rows = 0, 1
    for block in _blocks(path, stream, separator):
        if not block.strip(b"\r\n"):
            continue
        if header_rows and not _LINE_BREAK.search(block.strip(b"\r\n")):
            # A header alone: pyarrow wants a line break behind it, and complains of its own blocks without one.
            header_rows = 0
            continue
        refused: list[int] = []
        table = _parsed(
            path, block, len(names), places, separator, _refusing(refused, before - header_rows, fault), header_rows
        )
        passed = 0
        cells = [table.column(str(place)).to_pylist() for place in places]
        for given, values in enumerate(zip(*cells, strict=True), start=1):
            # Rows that pyarrow passed over are not among those it gives.
            while passed < len(refused) and refused[passed] <= before + given + passed:
                passed += 1
            number = before + given + passed
            try:
                row = [value if value.isascii() else decoded(value.encode("latin-1"), encoding) for value in values]
            except UnicodeError as error:
                fault(number, str(error))
            else:
                yield number, row
        before, header_rows = before + table.num_rows + len(refused), 0
    if not before:
        raise DataError(f"{path.name} is empty", why="it has no data rows", fix="fill it, or name another file")


def _blocks(path: Path, stream: BinaryIO, separator: str) -> Iterator[bytes]:
    """Cut the stream into blocks of whole rows. The header is in the first of them.

    pyarrow's own streaming reader is not used: it reads ahead in a thread that needs Python, and waits for it for ever
    where it is dropped meanwhile.
    """
    quoted = re.compile(rb'(?<![^%b\n\r])"(?:[^"]++|"")*+"?' % separator.encode())
    rest = b""
    if (mark := stream.read(3)) != b"\xef\xbb\xbf":
        rest = mark
    while data := stream.read(READ_BYTES):
        block = rest + data
        end = _row_end(block, quoted)
        if not end and len(block) > BLOCK_BYTES:
            raise DataError(
                f"{path.name} cannot be read to its end",
                why=f"the next row is longer than {BLOCK_BYTES >> 20} MiB",
                fix="close its quotation mark, or cut the row",
            )
        if end:
            yield block[:end]
        rest = block[end:]
    if rest:
        yield rest


def _row_end(block: bytes, quoted: re.Pattern[bytes]) -> int:
    """Where the last whole row of a block ends: behind a line break that no quotation marks enclose; 0 for nowhere."""
    end = block.rfind(b"\n") + 1
    for start, stop in reversed([match.span() for match in quoted.finditer(block)]):
        # A quotation mark at the block's end may be the first of two, which close nothing.
        if stop < end:
            break
        if start < end:
            end = block.rfind(b"\n", 0, start) + 1
    return end


def _parsed(
    path: Path,
    block: bytes,
    width: int,
    places: Sequence[int],
    separator: str,
    refuse: Callable[[Any], str],
    header_rows: int,
) -> Any:
    """The rows of a block as a table of texts in which each byte is one character."""
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    names = [str(place) for place in range(width)]
    wanted = [str(place) for place in sorted(set(places))]
    # Every byte is a character of Latin-1, so that one cell in another encoding is one fault and not the end.
    data = block if block.isascii() else block.decode("latin-1").encode()
    try:
        return arrow_csv.read_csv(
            pa.BufferReader(data),
            read_options=arrow_csv.ReadOptions(
                use_threads=False,
                block_size=len(data) + 1,
                column_names=names,
                skip_rows_after_names=header_rows,
            ),
            parse_options=arrow_csv.ParseOptions(
                delimiter=separator, newlines_in_values=True, invalid_row_handler=refuse
            ),
            convert_options=arrow_csv.ConvertOptions(
                column_types={name: pa.string() for name in names}, include_columns=wanted
            ),
        )
    except pa.ArrowException as error:
        raise DataError(
            f"{path.name} is not a well-formed table",
            why=" ".join(str(error).split())[:200],
            fix="quote texts that hold separators",
        ) from error


def _refusing(refused: list[int], before: int, fault: Fault) -> Callable[[Any], str]:
    """What pyarrow asks about a row with too many or too few fields; its number is that in the block and ``before``."""

    def refuse(row: Any) -> str:
        number = before + int(row.number)
        refused.append(number)
        fault(number, f"{row.actual_columns} fields where the header has {row.expected_columns}")
        return "skip"

    return refuse
