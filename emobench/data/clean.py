"""Cleaning: raw rows become (text, class index), and what was dropped is counted. Knows nothing of splits."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, replace

from emobench.data.sources import RawRows
from emobench.errors import DataError, SpecError, nearest, unknown_name
from emobench.specs import DatasetSpec

LINE_BREAK = re.compile(r"<br\s*/?>", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class CleaningReport:
    """What cleaning did, in rows; ``rows_read`` is the sum of the others and ``rows_kept``."""

    rows_read: int
    dropped_by_label: int
    """Rows whose label the map sends to None."""
    empty: int
    """Rows without text."""
    duplicates: int
    """Repetitions of a text with the same label; the first one stays."""
    conflicting: int
    """Rows whose text also occurs with another label; all of them go."""
    rows_kept: int


@dataclass(frozen=True, kw_only=True)
class Cleaned:
    """Rows ready to be split: no text is empty and none occurs twice."""

    texts: tuple[str, ...]
    labels: tuple[int, ...]
    """Index into the spec's ``labels``."""
    report: CleaningReport


def clean_text(text: str) -> str:
    """Turn HTML line breaks into spaces, collapse white space, strip, and normalize to NFC."""
    if "<" in text:
        text = LINE_BREAK.sub(" ", text)
    text = " ".join(text.split())
    return text if text.isascii() else unicodedata.normalize("NFC", text)


@dataclass(frozen=True, kw_only=True)
class Usable:
    """Rows with a class and a text; repetitions are still among them."""

    texts: list[str]
    labels: list[int]
    """Index into the spec's ``labels``."""
    row_numbers: list[int]
    dropped: int
    """Rows whose label the map sends to None."""
    empty_rows: list[int]
    """Numbers of the rows without text."""


def clean(raw: RawRows, spec: DatasetSpec) -> Cleaned:
    """Map labels, clean texts, and drop empty, repeated and contradicting rows.

    Raises:
        SpecError: the label map names a class the data set does not have.
        DataError: an unknown label value, more than half of the texts empty, fewer than two classes.
    """
    usable = usable_rows(raw, spec)
    texts, labels = usable.texts, usable.labels
    if len(usable.empty_rows) > len(texts):
        raise too_many_empty(raw.origin, usable.empty_rows[0], len(usable.empty_rows), len(texts), spec)
    kept, conflicting = _without_repetitions(texts, labels)
    _check_classes(raw, set(kept.values()), spec)
    report = CleaningReport(
        rows_read=len(raw.texts),
        dropped_by_label=usable.dropped,
        empty=len(usable.empty_rows),
        duplicates=len(texts) - conflicting - len(kept),
        conflicting=conflicting,
        rows_kept=len(kept),
    )
    return Cleaned(texts=tuple(kept), labels=tuple(kept.values()), report=report)


def usable_rows(raw: RawRows, spec: DatasetSpec) -> Usable:
    """Map labels and clean texts of rows, which may be a part of the data set.

    Raises:
        SpecError: the label map names a class the data set does not have.
        DataError: an unknown label value.
    """
    index_of = _label_indices(spec)
    found = Usable(texts=[], labels=[], row_numbers=[], dropped=0, empty_rows=[])
    dropped = 0
    for text, value, number in zip(raw.texts, raw.labels, raw.row_numbers, strict=True):
        if value not in index_of:
            raise _unknown_label(value, number, raw.origin, spec)
        label = index_of[value]
        if label is None:
            dropped += 1
            continue
        cleaned = clean_text(text or "")
        if not cleaned:
            found.empty_rows.append(number)
            continue
        found.texts.append(cleaned)
        found.labels.append(label)
        found.row_numbers.append(number)
    return replace(found, dropped=dropped)


def _label_indices(spec: DatasetSpec) -> Mapping[str, int | None]:
    """Raw value to class index, or None for a value whose rows are dropped."""
    indices: dict[str, int | None] = {name: index for index, name in enumerate(spec.labels)}
    by_name = dict(indices)
    for value, name in spec.label_map.items():
        if name is not None and name not in by_name:
            raise unknown_name(f"class in the label map of data set {spec.id!r}:", name, spec.labels)
        indices[value] = None if name is None else by_name[name]
    return indices


def _unknown_label(value: str, number: int, origin: str, spec: DatasetSpec) -> DataError:
    known = [*spec.label_map, *(name for name in spec.labels if name not in spec.label_map)]
    guess = nearest(value, known) if value else None
    shown = f"label {value!r}" if value else "an empty label"
    return DataError(
        f"{origin}, row {number}: {shown} in column {spec.label!r} is not known",
        why=f"known are {', '.join(map(repr, known))}",
        fix=(f"did you mean {guess!r}? " if guess else "")
        + "Add the value to label_map of the data set's row (null drops its rows), or correct the row",
    )


def too_many_empty(origin: str, first: int, empty: int, filled: int, spec: DatasetSpec) -> DataError:
    """Build the error for a text column that is mostly empty; ``first`` is the number of its first empty row."""
    return DataError(
        f"{origin}, row {first}: {empty} of {filled + empty} texts are empty",
        why=f"column {spec.text!r} has no text there and more than half of the rows are like it",
        fix="name the column with the texts in the data set's row, or fill the rows",
    )


def _check_classes(raw: RawRows, present: set[int], spec: DatasetSpec) -> None:
    missing = [name for index, name in enumerate(spec.labels) if index not in present]
    if len(spec.labels) < 2:
        raise SpecError(
            f"data set {spec.id!r} names {len(spec.labels)} class",
            why="a classifier needs two or more",
            fix="list all class names in `labels`",
        )
    if missing:
        names = ", ".join(map(repr, missing))
        raise DataError(
            f"{raw.origin} has no row of class {names} (rows 1 to {raw.row_numbers[-1]})",
            why=f"after cleaning it holds {len(present)} of {len(spec.labels)} classes",
            fix="add rows of that class, or correct labels and label_map of the data set's row",
        )


def _without_repetitions(texts: list[str], labels: list[int]) -> tuple[dict[str, int], int]:
    """Text to label without repetitions, and the number of rows that contradicted each other."""
    label_of: dict[str, int] = {}
    contradicting: set[str] = set()
    for text, label in zip(texts, labels, strict=True):
        if label_of.setdefault(text, label) != label:
            contradicting.add(text)
    conflicting = sum(text in contradicting for text in texts) if contradicting else 0
    return {text: label for text, label in label_of.items() if text not in contradicting}, conflicting
