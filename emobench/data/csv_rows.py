"""Rows of a CSV or TSV file, by Python's csv module; a row with too many or too few fields is reported, not read.

Its records serve :mod:`emobench.data.tables` too, which decides otherwise what is a fault.
"""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, TextIO

from emobench.data.row_words import Fault, decoded, missing_column
from emobench.errors import DataError

LONGEST_ROW = 4 << 20
"""Characters; a row that has as many is not read."""
UNLIMITED = (1 << 31) - 1
"""The most that csv takes for a limit on every machine."""
_HEADER_BYTES = 1 << 17
"""A header longer than this is none."""


class Lines:
    """Lines of a table for csv's reader, which asks for as many as a row has; a row of ``longest`` is a DataError.

    ``text`` is opened with ``newline=""``: line breaks inside quotation marks stay as they are, and a lone carriage
    return ends a row. ``size`` is set to 0 between rows.
    """

    def __init__(self, path: Path, text: TextIO, longest: int = UNLIMITED) -> None:
        self.path = path
        self.text = text
        self.longest = longest
        self.size = 0
        self.ended = False
        """Whether there are no more lines; true when a row is given means that its quotation mark is not closed."""

    def __iter__(self) -> Iterator[str]:
        while line := self.text.readline(self.longest):
            self.size += len(line)
            if self.size >= self.longest:
                raise DataError(
                    f"{self.path.name} cannot be read to its end",
                    why=f"the next row is longer than {self.longest >> 20} MiB",
                    fix="close its quotation mark, or cut the row",
                )
            yield line
        self.ended = True


def records(lines: Lines, separator: str) -> Iterator[list[str]]:
    """Yield the fields of each row, the header first; none for a blank line."""
    # The limit is the whole process's, and lower than a long review; fields are bounded by the rows they are in.
    csv.field_size_limit(UNLIMITED)
    for fields in csv.reader(lines, delimiter=separator):
        lines.size = 0
        yield fields


def rows_of(
    path: Path, stream: BinaryIO, columns: Sequence[str], *, encoding: str, separator: str, fault: Fault
) -> Iterator[tuple[int, list[object]]]:
    """Yield each data row's number, from 1, blank lines not counted, and its cells of ``columns``.

    Raises:
        DataError: no header, a missing column, no rows, or a row of LONGEST_ROW, as an open quotation mark makes.
    """
    names = header(path, stream, encoding=encoding, separator=separator)
    for column in columns:
        if column not in names:
            raise missing_column(path, column, names, separator=separator)
    # Columns go by position: names may repeat.
    places = [names.index(column) for column in columns]
    number = -1
    # Every byte is a character of Latin-1, so that one cell in another encoding is one fault and not the end.
    with io.TextIOWrapper(stream, "latin-1", newline="") as text:
        for number, fields in enumerate(filter(None, records(Lines(path, text, LONGEST_ROW), separator))):
            if not number:
                continue
            if len(fields) != len(names):
                fault(number, f"{len(fields)} fields where the header has {len(names)}")
                continue
            try:
                cells = [_decoded(fields[place], encoding) for place in places]
            except UnicodeError as error:
                fault(number, str(error))
            else:
                yield number, cells
    if number < 1:
        raise DataError(f"{path.name} is empty", why="it has no data rows", fix="fill it, or name another file")


def _decoded(cell: str, encoding: str) -> object:
    return cell if cell.isascii() else decoded(cell.encode("latin-1"), encoding)


def header(path: Path, stream: BinaryIO, *, encoding: str, separator: str) -> list[str]:
    """Column names of the first line that is not blank; the stream is put back, behind a byte order mark."""
    stream.seek(0)
    beginning = stream.read(_HEADER_BYTES)
    stream.seek(len(codecs.BOM_UTF8) if beginning.startswith(codecs.BOM_UTF8) else 0)
    # A character that the end cuts, or that is no text, is replaced.
    text = beginning.removeprefix(codecs.BOM_UTF8).decode(encoding, errors="replace")
    names = next(filter(None, csv.reader(io.StringIO(text, newline=""), delimiter=separator)), [])
    if not names:
        raise DataError(f"{path.name} is empty", why="it has no header", fix="fill it, or name another file")
    return names
