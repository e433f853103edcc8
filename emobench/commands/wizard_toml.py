"""TOML text of plain tables: what the wizard writes, readable by a person and by ``tomllib``. Reads nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def to_toml(tables: Mapping[str, Any]) -> str:
    """Text of a document: its own keys first, then a table for each mapping, with a blank line before.

    Values are texts, whole numbers, finite numbers, truth values, lists of these, and mappings. None is left out.

    Raises:
        TypeError: a value of any other type (a programmer's mistake).
    """
    import tomlkit

    return tomlkit.dumps(_without_none(tables))


def _without_none(tables: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _plain(value) for key, value in tables.items() if value is not None}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return _without_none(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise TypeError(f"{value!r} has no form that the settings take")
    return value
