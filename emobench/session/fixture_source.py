"""Whose fixture a test gets under a name: a module's, or one that took its place. It registers and changes none.

pytest offers no public way to learn that before a test runs; all that is private to pytest of it stands here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest


def visible(name: str, node: pytest.Collector) -> Sequence[Any]:
    """Definitions that a test below the node would get, the one that counts last."""
    return node.session._fixturemanager.getfixturedefs(name, node) or ()


def takes(item: pytest.Item, name: str, *, from_module: str) -> bool:
    """Whether the test's fixture of this name is the one that the module defines, or goes back to it."""
    info = getattr(item, "_fixtureinfo", None)
    return goes_back_to(from_module, name, info.name2fixturedefs.get(name, ()) if info else ())


def goes_back_to(module: str, name: str, definitions: Sequence[Any]) -> bool:
    """Whether the last definition is the module's, or takes the one before it, and so on."""
    for found in reversed(definitions):
        if getattr(found.func, "__module__", None) == module:
            return True
        if name not in found.argnames:
            break
    return False
