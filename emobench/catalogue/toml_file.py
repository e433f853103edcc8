"""The user's TOML file as plain tables: found, read, and refused where no setting could be meant. Knows no setting."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from datetime import date, time
from pathlib import Path
from typing import Any

from emobench import errors

DEEPEST = 16
"""Tables and lists inside each other; the settings need five."""
LARGEST_INTEGER = 2**63 - 1
"""TOML's own limit."""
LONGEST_SHOWN = 120
"""Characters of a value that a message shows."""


def find_tables(folder: Path) -> tuple[Path, dict[str, Any]] | None:
    """The file with the settings of a folder and its tables: ``emobench.toml``, or ``[tool.emobench]``; or None.

    Raises:
        SpecError: a file that cannot be read or is not TOML, settings in both files, numbers or depths beyond TOML.
    """
    own, shared = folder / "emobench.toml", folder / "pyproject.toml"
    tables = shared_tables(shared)
    if not own.is_file():
        return None if tables is None else (shared, _checked(_table(tables, shared, "tool.emobench"), shared))
    if tables is not None:
        raise errors.SpecError(
            f"settings in two places: {own} and [tool.emobench] of {shared}",
            why="one would silently hide the other",
            fix="keep one of them",
        )
    return own, _checked(_read(own), own)


def shared_tables(file: Path) -> Any:
    """What a ``pyproject.toml`` has as ``[tool.emobench]``, which need not be a table; None without it or the file."""
    tool = _read(file).get("tool", {}) if file.is_file() else {}
    return tool.get("emobench") if isinstance(tool, dict) else None


def shown(value: Any) -> str:
    """A value for a message: on one line, and cut where it is long."""
    text = repr(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise errors.SpecError(
            f"{file} cannot be read", why=error.strerror or str(error), fix="make it readable, or remove it"
        ) from error
    except RecursionError as error:
        raise errors.SpecError(
            f"{file} cannot be read", why="its lists are nested too deeply", fix=f"nest at most {DEEPEST}"
        ) from error
    except ValueError as error:
        # Broken TOML, bytes that are not UTF-8, and integers of thousands of digits, which Python does not convert.
        why = " ".join(str(error).split())[:LONGEST_SHOWN]
        raise errors.SpecError(f"{file} cannot be read", why=f"it is not TOML: {why}", fix="correct it") from error


def _table(value: Any, file: Path, name: str) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    raise errors.SpecError(f"{name} = {shown(value)} in {file}", why="it must be a table", fix=f"write [{name}]")


def _checked(tables: dict[str, Any], file: Path) -> dict[str, Any]:
    """The tables, once nothing in them is deeper or larger than can be handled, or a date."""
    for path, value in _walk(tables):
        name = ".".join(path)[:LONGEST_SHOWN]
        if len(path) > DEEPEST:
            raise errors.SpecError(
                f"{name!r} in {file} is nested {len(path)} levels deep or more",
                why="no setting is",
                fix=f"nest at most {DEEPEST}",
            )
        if isinstance(value, int) and abs(value) > LARGEST_INTEGER:
            raise errors.SpecError(
                f"{name!r} in {file} is a whole number of {value.bit_length()} bits",
                why="TOML's have 64 at most",
                fix="correct the value",
            )
        if isinstance(value, date | time):
            raise errors.SpecError(
                f"{name!r} in {file} is the {'date' if isinstance(value, date) else 'time'} {value.isoformat()}",
                why="no setting takes one",
                fix="put a text in quotes, or correct the value",
            )
    return tables


def _walk(tables: dict[str, Any]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Path and value of everything in the tables, without recursion; what lies too deep is not gone into."""
    waiting: list[tuple[tuple[str, ...], Any]] = [((), tables)]
    while waiting:
        path, value = waiting.pop()
        yield path, value
        if len(path) > DEEPEST:
            continue
        if isinstance(value, dict):
            waiting += [((*path, key), part) for key, part in value.items()]
        elif isinstance(value, list):
            waiting += [((*path, str(index)), part) for index, part in enumerate(value)]
