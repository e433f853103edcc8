"""Changes to the user's settings file that leave its comments and order alone. Decides nothing."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from emobench.errors import SpecError
from emobench.files import write_bytes


def change_train(file: Path, changes: Mapping[str, Any]) -> str:
    """Set fields of ``[train]`` in an ``emobench.toml``, or in ``[tool.emobench.train]`` of a ``pyproject.toml``.

    The file is made where there is none. Returns what changed, as a unified diff.

    Raises:
        SpecError: the file is not TOML, or has something else where the table belongs.
    """
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    before = file.read_text(encoding="utf-8") if file.exists() else ""
    path = ("tool", "emobench", "train") if file.name == "pyproject.toml" else ("train",)
    try:
        document = tomlkit.parse(before)
        table: Any = document
        for name in path:
            if name not in table:
                table[name] = tomlkit.table()
            table = table[name]
        for key, value in changes.items():
            table[key] = value
        after = tomlkit.dumps(document)
    except (TOMLKitError, TypeError) as error:
        raise SpecError(
            f"{file} cannot be changed", why=" ".join(str(error).split()), fix=f"write [{'.'.join(path)}] by hand"
        ) from error
    write_bytes(file, after.encode())
    lines = difflib.unified_diff(
        before.splitlines(), after.splitlines(), f"{file.name} before", f"{file.name} after", lineterm=""
    )
    return "\n".join(lines)
