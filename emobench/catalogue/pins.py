"""Pins: the commit, tag or branch that the user's settings name for a built-in row. Asks no hub.

A row that is not pinned takes the branch ``main``, whatever that is on the day it is fetched. What was fetched is in
the record and in the key of every case either way; a pin makes the next machine fetch the same.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from emobench import errors
from emobench.catalogue.toml_file import shown
from emobench.specs import DatasetSpec, ModelSpec

Row = TypeVar("Row", ModelSpec, DatasetSpec)

_SOURCES = {"package": "a package", "kaggle": "Kaggle", "file": "a file", "random": "a generator"}
_BARE = re.compile(r"[A-Za-z0-9_-]+")


def is_pin(table: Mapping[str, Any]) -> bool:
    """Whether a table of the settings names a revision and nothing else."""
    return set(table) == {"revision"}


def pinned(row: Row, revision: object, *, table: str, file: Path) -> Row:
    """The row at another revision; weights of a package are of one revision, so the pinned ones come from the hub.

    Raises:
        SpecError: a revision that is no name, or a row that has none.
    """
    if not isinstance(revision, str) or not revision or any(mark.isspace() for mark in revision):
        raise errors.SpecError(
            f"revision = {shown(revision)} in [{table}] of {file} cannot be used",
            why="it takes a commit, a tag or a branch",
            fix="correct the value, as emobench fetch prints it",
        )
    reason = _why_none(row)
    if reason:
        raise errors.SpecError(
            f"[{table}] of {file} pins the revision of {row.id!r}", why=reason, fix="remove the table"
        )
    elsewhere: dict[str, object] = {"packaged": None} if isinstance(row, ModelSpec) else {}
    return row.model_copy(update={"revision": revision, **elsewhere})


def pinning_lines(row: ModelSpec | DatasetSpec, commit: str) -> list[str]:
    """What to put into ``emobench.toml`` for cases to take this commit; empty for a row without revisions."""
    if _why_none(row) is not None:
        return []
    table = "models" if isinstance(row, ModelSpec) else "datasets"
    name = row.id if _BARE.fullmatch(row.id) else json.dumps(row.id)
    return [f"[{table}.{name}]", f'revision = "{commit}"']


def _why_none(row: ModelSpec | DatasetSpec) -> str | None:
    """Why a row has no revision to choose, or None."""
    if isinstance(row, DatasetSpec):
        return None if row.source == "hub" else f"its rows come from {_SOURCES[row.source]}, which has no revisions"
    if row.path is not None:
        return "its weights come from a folder, which has no revisions"
    if row.packaged is not None and row.packaged.format == "gguf":
        return f"its weights come from the package {row.packaged.package!r}, which has no revisions"
    return None
