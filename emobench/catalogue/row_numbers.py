"""Are the architecture numbers of a user's model possible at all? Whether they go together is a preflight check's."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

LARGEST = 10**9
"""Of any size, count or number of steps: above it nothing here could be held or finished."""


def impossible(given: Mapping[str, Any], like: Mapping[str, Any]) -> Iterator[tuple[str, Any, str]]:
    """Key, value and what it takes, for each value of ``given`` that is not of its kind in ``like``.

    Keys that ``like`` lacks are only asked for values a configuration can hold.
    """
    for key, value in given.items():
        wanted = _wanted(key, value, like.get(key))
        if wanted:
            yield key, value, f"it takes {wanted}"


def _wanted(key: str, value: Any, usual: Any) -> str | None:
    """What the key takes in words, where ``value`` is not that; else None."""
    if isinstance(usual, bool):
        return None if isinstance(value, bool) else "true or false"
    if isinstance(usual, int):
        least = 0 if key.endswith("_id") else 1
        # A model may end its text with any of several tokens.
        values = value if isinstance(value, list) and value and key.endswith("_id") else [value]
        fits = all(isinstance(part, int) and not isinstance(part, bool) and least <= part <= LARGEST for part in values)
        return None if fits else f"a whole number from {least} to {LARGEST}"
    if isinstance(usual, float):
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return None if number and math.isfinite(value) and value >= 0 else "a number of at least 0"
    if isinstance(usual, str):
        return None if isinstance(value, str) else "a text"
    if isinstance(usual, list | tuple):
        return None if isinstance(value, list) else "a list"
    if isinstance(usual, Mapping):
        return None if isinstance(value, Mapping) else "a table"
    return None if _is_plain(value) else "a text, a finite number, true or false, a list or a table"


def _is_plain(value: Any) -> bool:
    """Whether a configuration can hold the value: no number that is not finite."""
    if isinstance(value, Mapping):
        return all(_is_plain(part) for part in value.values())
    if isinstance(value, list):
        return all(_is_plain(part) for part in value)
    return isinstance(value, str | bool | int) or (isinstance(value, float) and math.isfinite(value))
