"""Changes to the user's settings file that leave its comments and order alone. Decides nothing."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from emobench.errors import SpecError
from emobench.files import write_bytes


def change_settings(file: Path, tables: Mapping[str, Mapping[str, Any]]) -> str:
    """Set keys of tables: ``[train]`` of an ``emobench.toml``, or ``[tool.emobench.train]`` of a ``pyproject.toml``.

    The file is made where there is none. Returns what changed, as a unified diff.

    Raises:
        SpecError: the file is not TOML, or has something else where a table belongs.
    """
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    before = file.read_text(encoding="utf-8") if file.exists() else ""
    inside = ("tool", "emobench") if file.name == "pyproject.toml" else ()
    place = ".".join([*inside, *tables])
    try:
        document = tomlkit.parse(before)
        for name, changes in tables.items():
            place = ".".join([*inside, name])
            _set(document, (*inside, name), changes)
        after = tomlkit.dumps(document)
    except (TOMLKitError, TypeError) as error:
        raise SpecError(
            f"{file} cannot be changed", why=" ".join(str(error).split()), fix=f"write [{place}] by hand"
        ) from error
    write_bytes(file, after.encode())
    lines = difflib.unified_diff(
        before.splitlines(), after.splitlines(), f"{file.name} before", f"{file.name} after", lineterm=""
    )
    return "\n".join(lines)


def _set(document: Any, path: Sequence[str], changes: Mapping[str, Any]) -> None:
    import tomlkit

    table = document
    for name in path:
        if name not in table:
            table[name] = tomlkit.table()
        table = table[name]
    for key, value in changes.items():
        if isinstance(value, list) and key in table:
            _keep(table[key], value)
        else:
            table[key] = value


def _keep(listed: Any, wanted: Sequence[Any]) -> None:
    """Take out of a list what is not wanted; a list written anew would lose the comments between its lines."""
    for index in reversed(range(len(listed))):
        if listed[index] not in wanted:
            del listed[index]
