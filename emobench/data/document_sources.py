"""What is to be analyzed: the files of a path or a data set's name, and which of their columns are text and label."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from emobench.data.file_rows import JSON_SUFFIXES, TABLE_SUFFIXES, TEXT_SUFFIXES, kind_of, peek, suffix_of
from emobench.data.hub_files import fetched_files, is_hub_name
from emobench.data.row_words import missing_column
from emobench.data.sources import find_files
from emobench.data.text_columns import guess_label, guess_text
from emobench.errors import DataError, NotOnMachineError, SpecError, nearest
from emobench.specs import DatasetSpec

Unit = Literal["auto", "file", "line"]
SPLIT_NAMES = frozenset({"train", "training", "test", "testing", "validation", "valid", "val", "dev", "unsup"})
"""Folders of these names divide the data and are no labels."""
_FEW_LABELS = 1000


@dataclass(frozen=True, kw_only=True)
class Source:
    """Files in the order they are read, and how their rows become documents."""

    name: str
    """As the user gave it."""
    files: tuple[Path, ...]
    root: Path | None = None
    """Folder that was given; None for a single file or a data set."""
    dataset: str | None = None
    """Id of the data set that was named."""
    text: tuple[str, ...] = ()
    """Columns of the text, joined by line breaks where there are several; empty where all files are plain text."""
    label: str | None = None
    where: Mapping[str, str] = field(default_factory=dict)
    label_map: Mapping[str, str | None] = field(default_factory=dict)
    encoding: str = "utf-8"
    unit: Unit = "auto"
    guessed: tuple[str, ...] = ()
    """Which of ``text`` and ``label`` were guessed."""
    label_from_folder: bool = False
    passed_over: Mapping[str, int] = field(default_factory=dict)
    """Files of other kinds in the folder, by their ending."""
    known_columns: tuple[str, ...] = ()
    """All columns of the first table."""

    @property
    def is_folder(self) -> bool:
        """Whether a folder was given."""
        return self.root is not None

    def name_of(self, path: Path) -> str:
        """What messages call a file: its place in the folder, else its name."""
        return str(path.relative_to(self.root)) if self.root is not None else path.name

    def columns_in(self, path: Path) -> list[str]:
        """Columns that are read of each table: texts, label, and those rows are chosen by."""
        return [*self.text, *([self.label] if self.label is not None else []), *self.where]

    def folder_label(self, path: Path) -> str | None:
        """The name of a text file's folder, where folders are labels."""
        return path.parent.name if self.label_from_folder else None

    def facts(self) -> dict[str, Any]:
        """Plain values for the report."""
        return {
            "name": self.name,
            "dataset": self.dataset,
            "files": len(self.files),
            "bytes": sum(path.stat().st_size for path in self.files if path.is_file()),
            "passed_over": dict(self.passed_over),
            "columns": list(self.known_columns),
            "text": list(self.text),
            "label": "the name of the folder" if self.label_from_folder else self.label,
            "guessed": list(self.guessed),
            "encoding": self.encoding,
        }

    def options(self) -> dict[str, Any]:
        """What besides the files' content decides the documents."""
        return {
            "text": self.text,
            "label": self.label,
            "where": dict(self.where),
            "label_map": dict(self.label_map),
            "encoding": self.encoding,
            "unit": self.unit,
            "label_from_folder": self.label_from_folder,
            "is_folder": self.is_folder,
        }


def find_source(
    given: str,
    datasets: Mapping[str, DatasetSpec],
    *,
    text: Sequence[str] = (),
    label: str | None = None,
    encoding: str | None = None,
    unit: Unit = "auto",
) -> Source:
    """Find what ``given`` names: a file or folder if there is one of that name, else a data set of the table.

    ``text`` and ``label`` name columns; without them they are guessed, and the source says so.

    Raises:
        SpecError: neither a path nor a data set.
        NotOnMachineError: the data set is not here; names the command that fetches it.
        DataError: no file that can be read, or no column of texts.
    """
    path = Path(given).expanduser()
    if not path.exists():
        # A hub data set may be called by its id on the hub as well.
        by_hub = {row.location: row for row in datasets.values() if row.source == "hub"}
        row = datasets.get(given) or by_hub.get(given)
        if row is None:
            return _hub_source(given, datasets, text=text, label=label, encoding=encoding or "utf-8", unit=unit)
        return _dataset_source(row, text=text, label=label, encoding=encoding)
    chosen = encoding or "utf-8"
    if path.is_dir():
        files, passed_over = _files_below(path)
        source = Source(name=given, files=files, root=path, passed_over=passed_over, encoding=chosen, unit=unit)
        return _with_columns(_with_folder_labels(source), text, label)
    if kind_of(path) is None:
        raise DataError(
            f"{path.name}: files ending in {path.suffix or 'nothing'!r} cannot be read",
            why=f"the kind is told by the ending, one of {_endings()}",
            fix="rename the file after what it holds, or convert it",
        )
    return _with_columns(Source(name=given, files=(path,), encoding=chosen, unit=unit), text, label)


def _dataset_source(spec: DatasetSpec, *, text: Sequence[str], label: str | None, encoding: str | None) -> Source:
    if spec.source == "random":
        raise SpecError(
            f"data set {spec.id!r} has no texts",
            why="its rows are random tokens",
            fix="name a data set of emobench datasets, or a file",
        )
    files = tuple(path for paths in find_files(spec).values() for path in paths)
    mapped = dict(spec.label_map) if label is None else {}
    return Source(
        name=spec.id,
        files=files,
        dataset=spec.id,
        text=tuple(text) or (spec.text,),
        label=label or spec.label,
        where=dict(spec.where),
        label_map=mapped,
        encoding=encoding or spec.encoding,
    )


def _hub_source(
    given: str,
    datasets: Mapping[str, DatasetSpec],
    *,
    text: Sequence[str],
    label: str | None,
    encoding: str,
    unit: Unit,
) -> Source:
    """What was fetched of a hub data set that has no row in the table."""
    fetched = fetched_files(given) if is_hub_name(given) else None
    if fetched is None:
        raise _nothing_there(given, datasets)
    root, files = fetched
    source = Source(name=given, files=files, root=root, dataset=given, encoding=encoding, unit=unit)
    return _with_columns(source, text, label)


def _nothing_there(given: str, datasets: Mapping[str, DatasetSpec]) -> SpecError | NotOnMachineError:
    guess = nearest(given, datasets)
    if is_hub_name(given) and kind_of(Path(given)) is None:
        return NotOnMachineError(
            f"{given!r} is neither a file nor a data set of the table",
            why="if it is one of the hub, no whole download of it is in the cache, and none is made unasked",
            fix=f"run: emobench analyze {given} --download, or take one of emobench datasets",
        )
    return SpecError(
        f"{given!r} is neither a file, nor a folder, nor a data set",
        why=f"relative paths start at {str(Path.cwd())!r}; data sets are {', '.join(sorted(datasets))}",
        fix=f"did you mean {guess!r}?" if guess else "correct the path",
    )


def _files_below(root: Path) -> tuple[tuple[Path, ...], dict[str, int]]:
    """Files that can be read, in the order of their paths, and how many others there are; hidden ones do not count."""
    found: list[Path] = []
    others: Counter[str] = Counter()
    for path in sorted(root.rglob("*")):
        if path.is_dir() or any(part.startswith(".") for part in path.relative_to(root).parts):
            continue
        if kind_of(path) is None:
            others[suffix_of(path) or "no ending"] += 1
        else:
            found.append(path)
    if not found:
        raise DataError(
            f"folder {str(root)!r} holds no file that can be read",
            why=f"{sum(others.values())} files have other endings than {_endings()}",
            fix="name a folder with such files, or one file",
        )
    return tuple(found), dict(others.most_common(20))


def _endings() -> str:
    return ", ".join([*TABLE_SUFFIXES, *JSON_SUFFIXES, ".txt", ".md"]) + f" and {len(TEXT_SUFFIXES) - 2} more of text"


def _with_folder_labels(source: Source) -> Source:
    """Take the folders' names for labels where all files are texts in folders, as in ``pos/1.txt``, ``neg/1.txt``."""
    if any(kind_of(path) != "text" for path in source.files):
        return source
    names = {path.parent.name if path.parent != source.root else "" for path in source.files}
    fits = "" not in names and 2 <= len(names - SPLIT_NAMES) <= _FEW_LABELS and names.isdisjoint(SPLIT_NAMES)
    if not fits:
        return source
    return _changed(source, label_from_folder=True, guessed=("label",))


def _with_columns(source: Source, text: Sequence[str], label: str | None) -> Source:
    """Settle the columns by the first table that can be looked at; a lone file's error is raised."""
    tables = [path for path in source.files if kind_of(path) != "text"]
    first_error: DataError | None = None
    for path in tables:
        try:
            columns = peek(path, encoding=source.encoding)
        except DataError as error:
            first_error = first_error or error
            if len(source.files) == 1:
                raise
            continue
        return _settled(source, path, columns, text, label)
    if tables and len(tables) == len(source.files) and first_error is not None:
        raise DataError(
            f"{source.name}: none of {len(tables)} files could be read",
            why=f"the first says: {first_error.problem}; {first_error.why}",
            fix=first_error.fix,
        )
    return _changed(source, text=tuple(text), label=label)


def _settled(
    source: Source, path: Path, columns: Mapping[str, Sequence[object]], text: Sequence[str], label: str | None
) -> Source:
    for name in [*text, *([label] if label else [])]:
        if name not in columns:
            found = missing_column(path, name, columns)
            guess = nearest(name, columns)
            fix = f"did you mean {guess!r}?" if guess else "name one of these with --text or --label"
            raise DataError(found.problem, why=found.why, fix=fix)
    chosen = tuple(text) or guess_text(columns)
    if not chosen:
        raise DataError(
            f"{path.name} has no column of texts",
            why=f"its columns are {', '.join(map(repr, columns)) or 'none'}, and none of them holds words",
            fix="name the column with --text",
        )
    guessed = [] if text else ["text"]
    if label is None:
        label = guess_label(columns, chosen)
        guessed += [] if label is None else ["label"]
    return _changed(source, text=chosen, label=label, guessed=tuple(guessed), known_columns=tuple(columns))


def _changed(source: Source, **changes: Any) -> Source:
    return replace(source, **changes)
