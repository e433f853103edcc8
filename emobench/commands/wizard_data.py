"""The wizard's second step: which data, its columns and classes where it is a file, and what an analysis says of it."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emobench.catalogue.datasets import DATASETS, RANDOM_TOKENS
from emobench.commands.lists import why_absent
from emobench.commands.project_place import Place
from emobench.commands.wizard_answers import Choice, Walk
from emobench.data.tables import SUFFIXES
from emobench.errors import DataError, NotOnMachineError, SpecError, nearest, unknown_name
from emobench.specs import DatasetSpec

OWN_FILE = "a file of mine"
"""The choice that asks for a path."""
MOST_CLASSES = 200
"""A column with more different values is not taken for one of labels."""

_TEXT_NAMES = ("text", "sentence", "review", "content", "body", "comment", "message", "document")
_LABEL_NAMES = ("label", "labels", "class", "category", "target", "sentiment", "rating", "team")


@dataclass(frozen=True, kw_only=True)
class Data:
    """The data that was chosen, with what is known of it."""

    spec: DatasetSpec
    """With the rows that were counted."""
    table: Mapping[str, Any] | None
    """The table ``[datasets.ID]`` that ``emobench.toml`` needs; None for a data set that is known without."""
    longest: int | None = None
    """Tokens of the longest text, where all of them were counted."""


def ask_data(walk: Walk, place: Place, root: Path) -> Data:
    """Ask for the data set, or for a file with its columns; ``root`` is the folder ``emobench.toml`` will lie in.

    Raises:
        SpecError: the data set or a column is unknown, or the labels are no classes.
        DataError: the file cannot be read.
        NotOnMachineError: there is no such file.
    """
    named = {name: row for name, row in place.datasets.items() if name != RANDOM_TOKENS}
    given = walk.given.get("data")
    if given is not None and given not in named:
        return _own_file(walk, place, root, given, named)
    here = [row for row in named.values() if why_absent(row) is None]
    choices = [Choice(value=row.id, text=row.title) for row in here]
    if given is not None:
        choices += [Choice(value=given)] if given not in [row.id for row in here] else []
        return Data(spec=named[given], table=None)
    choices.append(Choice(value=OWN_FILE, text=f"{', '.join(SUFFIXES)}; texts and labels in columns"))
    default = next((row.id for row in reversed(here)), OWN_FILE)
    chosen = walk.choose("data", "Data to train and evaluate on", choices, default=default)
    if chosen != OWN_FILE:
        return Data(spec=named[chosen], table=None)
    if walk.asker is None:
        raise SpecError("no data set is on this machine", why="--yes takes one that is", fix="give --data FILE")
    path = walk.asker.enter("Path of the file (--data)", "", lambda text: _why_no_file(Path(text).expanduser()))
    return _own_file(walk, place, root, path, named)


def _why_no_file(path: Path) -> str | None:
    if not path.is_file():
        return f"there is no file {str(path)!r}"
    if path.suffix.lower() not in SUFFIXES:
        return f"its ending is not one of {', '.join(SUFFIXES)}"
    return None


def _own_file(walk: Walk, place: Place, root: Path, given: str, named: Mapping[str, DatasetSpec]) -> Data:
    path = Path(given).expanduser()
    if not path.exists() and not path.suffix and os.sep not in given:
        raise unknown_name("data set", given, named)
    reason = _why_no_file(path)
    if reason and not path.is_file():
        guess = nearest(given, named)
        hint = f", or take the data set {guess!r}" if guess else ""
        raise NotOnMachineError(f"--data {given}", why=reason, fix=f"give the path of a file{hint}")
    if reason:
        raise SpecError(f"--data {given}", why=reason, fix="save the rows as CSV, JSON Lines or Parquet")
    columns = _columns(path)
    text = _ask_column(walk, "text", "Column with the texts", columns, _likely_text(columns))
    others = {name: values for name, values in columns.items() if name != text}
    if not others:
        raise DataError(
            f"{path.name} has no column of labels", why=f"its only column is {text!r}", fix="add a column of labels"
        )
    label = _ask_column(walk, "label", "Column with the labels", others, _likely_label(others))
    return _described(walk, path, root, text, label, place)


def _columns(path: Path) -> dict[str, list[object]]:
    from emobench.data.file_rows import peek

    return {name: values for name, values in peek(path, encoding="utf-8").items() if name}


def _ask_column(walk: Walk, flag: str, question: str, columns: Mapping[str, list[object]], likely: str) -> str:
    choices = [Choice(value=name, text=_example(values)) for name, values in columns.items()]
    return walk.choose(flag, question, choices, default=likely)


def _example(values: Sequence[object]) -> str:
    first = next((str(value) for value in values if value not in (None, "")), "")
    text = " ".join(first.split())
    return f"{text[:47]}..." if len(text) > 50 else text


def _likely_text(columns: Mapping[str, list[object]]) -> str:
    """The column that is called so, else the one with the longest values."""
    known = {name.casefold(): name for name in columns}
    named = next((known[name] for name in _TEXT_NAMES if name in known), None)
    return named or max(columns, key=lambda name: sum(len(str(value or "")) for value in columns[name]))


def _likely_label(columns: Mapping[str, list[object]]) -> str:
    """The column that is called so, else the one with the fewest different values, two at least."""
    known = {name.casefold(): name for name in columns}
    named = next((known[name] for name in _LABEL_NAMES if name in known), None)
    kinds = {name: len({str(value) for value in values}) for name, values in columns.items()}
    return named or min(columns, key=lambda name: (kinds[name] < 2, kinds[name]))


def _described(walk: Walk, path: Path, root: Path, text: str, label: str, place: Place) -> Data:
    from emobench.data.sources import read_rows

    name = _free_id(path, place)
    spec = DatasetSpec(
        id=name, title=name, license="unknown", source="file", location=str(path.resolve()),
        files={"train": str(path.resolve())}, text=text, label=label,
    )  # fmt: skip
    rows = read_rows(spec)["train"]
    counts = Counter(rows.labels)
    labels = tuple(sorted(value for value in counts if value))
    if not 2 <= len(labels) <= MOST_CLASSES:
        raise SpecError(
            f"column {label!r} of {path.name} holds {len(labels):,} different labels in {len(rows.labels):,} rows",
            why=f"a classifier needs 2 to {MOST_CLASSES} classes",
            fix="name another column with --label",
        )
    without = counts.get("", 0)
    if without:
        walk.say(f"{without:,} rows of {path.name} have no label and are left out")
    table: dict[str, Any] = {"path": _shown(path, root), "text": text, "label": label, "labels": list(labels)}
    table |= {"drop": [""]} if without else {}
    update = {"labels": labels, "rows": len(rows.labels) - without, "label_map": {"": None} if without else {}}
    return Data(spec=spec.model_copy(update=update), table=table)


def _free_id(path: Path, place: Place) -> str:
    """An id that can be typed after ``-k``, from the file's name."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem).strip("-._") or "data"
    return f"{name}-own" if name in DATASETS else name


def _shown(path: Path, root: Path) -> str:
    """The path relative to the settings' folder where it lies below, with slashes on every system."""
    full = path.resolve()
    return (full.relative_to(root) if full.is_relative_to(root) else full).as_posix()
