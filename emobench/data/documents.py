"""Documents: the texts of a file, a folder or a data set in batches of bounded size, and what could not be read.

Knows rows and columns from ``file_rows``; nothing here cleans, splits or tokenizes, and nothing is downloaded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from emobench.data.file_rows import kind_of, lines_of, rows_of
from emobench.data.row_words import MAX_ROW_BYTES, Fault, Position, wrong_encoding
from emobench.errors import DataError

if TYPE_CHECKING:
    from emobench.data.document_sources import Source

BATCH_DOCUMENTS = 1024
"""Most documents in a batch."""
BATCH_CHARACTERS = 1 << 20
"""A batch ends with the document that reaches this many characters."""
MAX_DOCUMENT_CHARACTERS = 4_000_000
"""A longer text is a fault: tokenizing it would take some 400 MB."""
MAX_FILE_DOCUMENT_BYTES = 1 << 20
"""A file of a text folder up to this size is one document; of a larger one every line is."""


class Document(NamedTuple):
    """One text as its file has it; made by the million, and a tuple is made in half the time of a dataclass."""

    text: str
    label: str | None
    """The label's value as text; None where there is no label column or the row has none."""
    place: str
    """``file:row``, for messages."""


@dataclass(kw_only=True)
class Faults:
    """What could not be read: the first places with their reasons, and how many there were."""

    shown: list[tuple[str, str]] = field(default_factory=list)
    """(place, why), at most ``cap`` of them."""
    count: int = 0
    cap: int = 100

    def add(self, place: str, why: str) -> None:
        """Count one, and keep it while there is room."""
        self.count += 1
        if len(self.shown) < self.cap:
            self.shown.append((place, why))


class Documents:
    """The documents of a source: iterating reads them in batches, and what was read is counted.

    ``keep`` says of each document in turn whether it is given; without it all are.
    """

    def __init__(self, source: Source, *, keep: Iterator[bool] | None = None) -> None:
        self.source = source
        self.keep = keep
        self.faults = Faults()
        self.read = 0
        """Documents read, also those that ``keep`` passed over."""
        self.given = 0
        self.dropped_by_label = 0
        self.kinds: Counter[str] = Counter()
        """Files by kind."""
        self.units: Counter[str] = Counter()
        """Documents by what one is: ``row``, ``line`` or ``file``."""
        self.broken_files = 0
        self.size_bytes = sum(path.stat().st_size for path in source.files if path.is_file())
        """Bytes of all files on disk."""
        self._passed = 0
        self._position = Position()
        self._told = 0

    def bytes_read(self) -> int:
        """How many of them were read so far, never fewer than told before; one thread may ask while another reads."""
        # A file that was just closed tells nothing until it counts as passed.
        now = min(self.size_bytes, self._passed + self._position.bytes_read())
        self._told = max(self._told, now)
        return self._told

    def __iter__(self) -> Iterator[list[Document]]:
        """Read all files from the beginning; may be called once.

        Raises:
            DataError: nothing could be read; the first file's own error where there is one file.
        """
        batch: list[Document] = []
        characters = 0
        first_error: DataError | None = None
        for path in self.source.files:
            self._position = Position()
            found = self._documents(path)
            while True:
                try:
                    document = next(found, None)
                except DataError as error:
                    first_error = first_error or error
                    self.broken_files += 1
                    self.faults.add(self.source.name_of(path), _without_fix(error, path))
                    break
                if document is None:
                    break
                self.read += 1
                if self.keep is not None and not next(self.keep):
                    continue
                batch.append(document)
                characters += len(document.text)
                if len(batch) >= BATCH_DOCUMENTS or characters >= BATCH_CHARACTERS:
                    self.given += len(batch)
                    yield batch
                    batch, characters = [], 0
            self._position = Position()
            self._passed += path.stat().st_size if path.is_file() else 0
        if batch:
            self.given += len(batch)
            yield batch
        if not self.read:
            raise self._nothing(first_error)

    def facts(self) -> Mapping[str, Any]:
        """Files, bytes, documents and columns as plain values; complete after iterating."""
        source = self.source
        return {
            **source.facts(),
            "kinds": dict(self.kinds),
            "units": dict(self.units),
            "documents": self.read,
            "dropped_by_label": self.dropped_by_label,
            "broken_files": self.broken_files,
        }

    def _nothing(self, first_error: DataError | None) -> DataError:
        if first_error is not None and len(self.source.files) == 1:
            return first_error
        name = self.source.name
        if self.faults.count:
            place, why = self.faults.shown[0]
            encoding = self.source.encoding
            if all(reason.endswith(wrong_encoding(encoding)) for _, reason in self.faults.shown):
                return DataError(
                    f"{Path(name).name} is not {encoding} text",
                    why=f"{self.faults.count} places are faulty, the first is {place}: {why}",
                    fix="name its encoding with --encoding, such as cp1252 or latin-1, or save it as UTF-8",
                )
            return DataError(
                f"{name}: not one document could be read",
                why=f"{self.faults.count} places are faulty, the first is {place}: {why}",
                fix="correct the files, or name the column of texts (--text) or the encoding (--encoding)",
            )
        return DataError(
            f"{name} holds no document",
            why=f"all of {len(self.source.files)} files are without rows or lines",
            fix="name a file or folder with texts",
        )

    def _documents(self, path: Path) -> Iterator[Document]:
        """The documents of one file; a DataError ends it."""
        form = kind_of(path) or "unknown"
        self.kinds[form] += 1
        if form == "text":
            yield from self._texts(path)
        else:
            yield from self._rows(path)

    def _rows(self, path: Path) -> Iterator[Document]:
        source = self.source
        name = source.name_of(path)
        columns = source.columns_in(path)
        width = len(source.text)
        single = width == 1
        has_label = source.label is not None
        wheres = list(source.where.values())
        label_map = source.label_map
        add = self.faults.add
        fault: Fault = lambda row, why: add(f"{name}:{row}", why)  # noqa: E731 # for each row that cannot be read
        rows = rows_of(path, columns, encoding=source.encoding, fault=fault, position=self._position)
        for number, cells in rows:
            if wheres and [plain(cell) for cell in cells[width + has_label :]] != wheres:
                continue
            place = f"{name}:{number}"
            try:
                text = text_of(cells[0]) if single else joined(cells[:width])
            except ValueError as error:
                add(place, str(error))
                continue
            label = plain(cells[width]) or None if has_label else None
            if label_map and label is not None:
                mapped = label_map.get(label, label)
                if mapped is None:
                    self.dropped_by_label += 1
                    continue
                label = mapped
            self.units["row"] += 1
            yield Document(text, label, place)

    def _texts(self, path: Path) -> Iterator[Document]:
        source = self.source
        name = source.name_of(path)
        label = source.folder_label(path)
        unit: Literal["file", "line"]
        if source.unit == "auto":
            small = path.is_file() and path.stat().st_size <= MAX_FILE_DOCUMENT_BYTES
            unit = "file" if source.is_folder and small else "line"
        else:
            unit = source.unit
        limit = MAX_ROW_BYTES if unit == "file" else None
        add = self.faults.add
        fault: Fault = lambda row, why: add(f"{name}:{row}", why)  # noqa: E731 # for each line that cannot be read
        lines = lines_of(path, encoding=source.encoding, whole=limit, fault=fault, position=self._position)
        for number, text in lines:
            place = name if unit == "file" else f"{name}:{number}"
            try:
                check_text(text)
            except ValueError as error:
                add(place, str(error))
                continue
            if unit == "line" and not text.strip():
                continue
            self.units[unit] += 1
            yield Document(text, label, place)


def open_documents(source: Source, *, keep: Iterator[bool] | None = None) -> Documents:
    """The documents of a source that :func:`emobench.data.document_sources.find_source` found."""
    return Documents(source, keep=keep)


def plain(value: object) -> str:
    """Write a cell as text the same way whatever the file's kind: 4, 4.0 and "4" are all "4"; nothing is ""."""
    if isinstance(value, str):
        return value.strip()
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    # A list or a map is no label; its beginning is enough to see that.
    return str(value)[:200]


def text_of(value: object) -> str:
    """The text of a cell: a string as it is, nothing as "", a conversation as its turns joined by line breaks.

    Raises:
        ValueError: the cell is neither, or its text cannot be analyzed; the message says why.
    """
    if isinstance(value, str):
        check_text(value)
        return value
    if value is None:
        return ""
    if isinstance(value, list):
        text = "\n".join(_turn(item) for item in value)
        check_text(text)
        return text
    raise ValueError(f"the text is a {type(value).__name__}: {str(value)[:40]!r}")


def joined(cells: Sequence[object]) -> str:
    """Several columns as one text: those that hold something, joined by line breaks; errors as in text_of."""
    text = "\n".join(part for part in map(text_of, cells) if part)
    check_text(text)
    return text


def _turn(item: object) -> str:
    if isinstance(item, str):
        return item
    if isinstance(item, dict):
        for key in ("content", "value", "text"):
            if isinstance(item.get(key), str):
                return str(item[key])
    raise ValueError(f"the text is a list that holds a {type(item).__name__}, not texts or turns of a conversation")


def check_text(text: str) -> None:
    """Raise ValueError for a text that no tokenizer takes: too long, or not encodable as UTF-8."""
    if len(text) > MAX_DOCUMENT_CHARACTERS:
        raise ValueError(f"the text has {len(text):,} characters; {MAX_DOCUMENT_CHARACTERS:,} is the most")
    if text.isascii():
        return
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError("the text holds half a surrogate pair") from error


def _without_fix(error: DataError, path: Path) -> str:
    problem = error.problem.removeprefix(path.name).lstrip(":, ")
    return f"{problem}; {error.why}"
