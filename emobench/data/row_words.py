"""Words the readers of rows share: the longest row, how a fault is reported, the place in a file, bytes as text, and
the error of a missing column."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO

from emobench.errors import DataError, nearest

MAX_ROW_BYTES = 16 << 20
"""A longer row is a fault; what is in memory at once is bounded by it."""

Fault = Callable[[int, str], None]
"""Takes a row's number and why it could not be read."""


class Position:
    """How far a file is read; asked while another thread reads it."""

    def __init__(self) -> None:
        self.stream: BinaryIO | None = None
        """The file's own bytes as they are on disk, while it is open."""
        self.passed = 0
        """Bytes that were read, where the file is not read through ``stream``."""

    def bytes_read(self) -> int:
        """Bytes of the file on disk that were read; 0 before it is opened."""
        stream = self.stream
        try:
            return max(self.passed, 0 if stream is None else stream.tell())
        except ValueError:  # closed meanwhile: whoever counts the files counts its size
            return self.passed


def too_long(limit: int, *, what: str = "the row") -> str:
    """Why a row that is longer than ``limit`` bytes was passed over."""
    return f"{what} is longer than {limit >> 20} MiB, which is the most that is held in memory"


def missing_column(path: Path, column: str, known: Iterable[str], *, separator: str = "") -> DataError:
    """Build the error for a column that a file does not have; names the nearest one it has."""
    names = list(known)
    guess = nearest(column, names)
    why = f"its columns are {', '.join(map(repr, names))}"
    if separator and len(names) == 1 and any(mark in names[0] for mark in ";\t|"):
        why = f"its header {names[0]!r} is not separated by {separator!r}"
    return DataError(
        f"{path.name} has no column {column!r}",
        why=why,
        fix=f"name it in the data set's row: did you mean {guess!r}?" if guess else "name one of these in the row",
    )


def decoded(data: bytes, encoding: str, *, first: bool = False) -> str:
    """The text of bytes; ``first`` drops a UTF-8 byte order mark.

    Raises:
        UnicodeError: the bytes are not text of this encoding; the message names byte and position.
    """
    if first and data.startswith(codecs.BOM_UTF8):
        data = data[3:]
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        byte = data[error.start] if error.start < len(data) else 0
        raise UnicodeError(f"byte 0x{byte:02x} at position {error.start} {wrong_encoding(encoding)}") from error


def wrong_encoding(encoding: str) -> str:
    """How the reason ends where bytes are not text of this encoding."""
    return f"is not {encoding} text"


def is_ascii_compatible(encoding: str) -> None:
    """Refuse an encoding that Python does not know, or in which commas and line breaks are not single ASCII bytes.

    Raises:
        DataError: names encodings that can be taken.
    """
    try:
        codecs.lookup(encoding)
        fits = ',"\n{'.encode(encoding) == b',"\n{'
    except (LookupError, UnicodeError):
        fits = False
    if not fits:
        raise DataError(
            f"encoding {encoding!r} cannot be read",
            why="it is unknown to Python, or its commas and line breaks are not single bytes",
            fix="take utf-8, cp1252 or latin-1, or save the file as UTF-8",
        )
