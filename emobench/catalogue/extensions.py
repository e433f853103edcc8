"""Rows of a project's own code: the modules that ``[extend]`` of its file names, and the tuples of rows they hold.

In ``emobench.toml``::

    [extend]
    modules = ["my_rows"]    # importable with the file's folder first on the path

A module holds any of the tuples ``KINDS`` (:class:`emobench.kinds.Kind`), ``MODELS``
(:class:`emobench.specs.ModelSpec`) and ``DATASETS`` (:class:`emobench.specs.DatasetSpec`), and ``TASKS`` where EmoBench
knows tasks. Importing it registers nothing: the rows are read from it here, and are known where the project is.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from emobench.catalogue.datasets import DATASETS
from emobench.catalogue.model_rows import MODELS
from emobench.catalogue.own_rows import ID
from emobench.catalogue.toml_file import shown
from emobench.errors import SpecError
from emobench.kinds import KINDS, Kind
from emobench.specs import DatasetSpec, ModelSpec

_WORDS = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
TASKS = "emobench.tasks"
"""Module that has the rows ``TASKS`` and their type ``Task``, where this EmoBench knows tasks."""


@dataclass(frozen=True, kw_only=True)
class RowTable:
    """One of the tuples a module may hold."""

    attribute: str
    row: type
    known: Mapping[str, Any]
    """EmoBench's own rows by name."""
    key: str = "id"
    """The row's field that is its name."""
    form: re.Pattern[str] = ID


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Rows by name, of every module together."""

    kinds: Mapping[str, Kind] = field(default_factory=dict)
    models: Mapping[str, ModelSpec] = field(default_factory=dict)
    datasets: Mapping[str, DatasetSpec] = field(default_factory=dict)
    tasks: Mapping[str, Any] = field(default_factory=dict)


def find_rows(modules: Sequence[str], file: Path, taken: Mapping[str, Mapping[str, Any]]) -> Rows:
    """Import the modules that ``file`` names, and give their rows.

    ``taken`` has by attribute the rows that the file's own tables made.

    Raises:
        SpecError: a module that does not import or holds no rows, what is no tuple of rows, or a name that is taken.
    """
    if not modules:
        return Rows()
    tables = _tables()
    found: dict[str, dict[str, Any]] = {table.attribute: {} for table in tables}
    owners = {(attribute, name): f"a table of {file}" for attribute, rows in taken.items() for name in rows}
    owners |= {(table.attribute, name): "EmoBench" for table in tables for name in table.known}
    for name in modules:
        module = _imported(name, file)
        _check_attributes(module, tables, file)
        for table in tables:
            for row in _rows(module, table, file):
                _take(row, module, table, owners, file)
                found[table.attribute][getattr(row, table.key)] = row
    return Rows(**{attribute.lower(): rows for attribute, rows in found.items()})


def _tables() -> tuple[RowTable, ...]:
    own = (
        RowTable(attribute="KINDS", row=Kind, known=KINDS, key="name", form=_WORDS),
        RowTable(attribute="MODELS", row=ModelSpec, known=MODELS),
        RowTable(attribute="DATASETS", row=DatasetSpec, known=DATASETS),
    )
    if importlib.util.find_spec(TASKS) is None:
        return own
    tasks = importlib.import_module(TASKS)
    return (*own, RowTable(attribute="TASKS", row=tasks.Task, known=tasks.TASKS, key="name", form=_WORDS))


def _imported(name: str, file: Path) -> ModuleType:
    folder = file.parent.resolve()
    try:
        with _first_on_path(folder):
            module = importlib.import_module(name)
    # A module is the user's program: whatever it ends with is what is wrong with it.
    except (Exception, SystemExit) as error:
        first = next(iter(str(error).splitlines()), "")
        raise SpecError(
            f"module {shown(name)} in [extend] of {file} cannot be imported",
            why=f"{type(error).__name__}: {first}",
            fix=_remedy(name, error, folder),
        ) from error
    _check_place(name, file, folder)
    return module


def _remedy(name: str, error: BaseException, folder: Path) -> str:
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    if missing is None or not f"{name}.".startswith(f"{missing}."):
        return "correct the module"
    if name.endswith(".py"):
        return f"name the module without its ending: {name.removesuffix('.py')!r}"
    return f"put {name.replace('.', '/')}.py into {folder}, or install it"


def _check_place(name: str, file: Path, folder: Path) -> None:
    """Raise SpecError where the folder has a module of that name and another one was imported before."""
    top = name.partition(".")[0]
    beside, loaded = PathFinder.find_spec(top, [str(folder)]), getattr(sys.modules[top], "__file__", None)
    if beside is None or beside.origin is None or loaded is None:
        return
    if Path(beside.origin).resolve() != Path(loaded).resolve():
        raise SpecError(
            f"module {name!r} in [extend] of {file} is not {beside.origin}",
            why=f"{loaded} has that name too and was imported before",
            fix="rename the module",
        )


@contextmanager
def _first_on_path(folder: Path) -> Iterator[None]:
    before = list(sys.path)
    sys.path.insert(0, str(folder))
    # Files that were written a moment ago are found too.
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path[:] = before


def _check_attributes(module: ModuleType, tables: Sequence[RowTable], file: Path) -> None:
    known = [table.attribute for table in tables]
    if hasattr(module, "TASKS") and "TASKS" not in known:
        raise SpecError(
            f"module {module.__name__!r} in [extend] of {file} has TASKS",
            why="this EmoBench knows no tasks",
            fix=f"remove TASKS, or upgrade EmoBench; known are {', '.join(known)}",
        )
    if not any(hasattr(module, name) for name in known):
        raise SpecError(
            f"module {module.__name__!r} in [extend] of {file} adds nothing",
            why=f"it has none of {', '.join(known)}",
            fix="add a tuple of rows, or take it out of modules",
        )


def _rows(module: ModuleType, table: RowTable, file: Path) -> tuple[Any, ...]:
    """The module's tuple; empty where it has none."""
    rows = getattr(module, table.attribute, ())
    name = f"{table.attribute} of module {module.__name__!r} in [extend] of {file}"
    wanted = f"{table.row.__module__}.{table.row.__name__}"
    if not isinstance(rows, tuple):
        raise SpecError(
            f"{name} is no tuple but of type {type(rows).__name__}",
            why=f"it takes a tuple of {wanted}",
            fix=f"write {table.attribute} = (ROW,)",
        )
    for index, row in enumerate(rows):
        if not isinstance(row, table.row):
            raise SpecError(
                f"row {index} of {name} is of type {type(row).__name__}",
                why=f"it takes a tuple of {wanted}",
                fix=f"make it a {table.row.__name__}, or take it out",
            )
    return rows


def _take(row: Any, module: ModuleType, table: RowTable, owners: dict[tuple[str, str], str], file: Path) -> None:
    """Note whose the row's name is; it must be free, and one that can be selected."""
    name = getattr(row, table.key)
    place = f"{shown(name)} in {table.attribute} of module {module.__name__!r} in [extend] of {file}"
    if not table.form.fullmatch(name):
        letters = "lower-case letters, digits and '-'" if table.form is _WORDS else "letters, digits, '.', '_' and '-'"
        raise SpecError(
            f"{place} cannot be selected", why=f"names are typed after -k: {letters} only", fix="rename the row"
        )
    if (table.attribute, name) in owners:
        raise SpecError(
            f"{place} is a name that is taken",
            why=f"{owners[table.attribute, name]} has a row of that name, and results under one name mean one thing",
            fix=f"rename the row, for example {name}-own",
        )
    owners[table.attribute, name] = f"module {module.__name__!r}"
