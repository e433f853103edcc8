"""Lookup: the EmoBench side of a pytest session, and which of its tests are cases; nothing is imported before."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pytest

from emobench.errors import EmoBenchError

if TYPE_CHECKING:
    from emobench.session.run import Session

PLUGIN = "emobench.plugin"
"""The module that the fixture ``case`` is defined in."""


def session_of(config: pytest.Config) -> Session:
    """The EmoBench side of a pytest session, made when it is first needed.

    Raises:
        pytest.UsageError: an option names something unknown; the text is the error's one line.
        pytest.exit.Exception: the baseline cannot be used; with its exit code, before any case runs.
    """
    from emobench.session.run import SESSION, Session

    if SESSION not in config.stash:
        from emobench.errors import BaselineError

        try:
            config.stash[SESSION] = Session(config)
        except BaselineError as error:
            from emobench.session.gate import BASELINE_UNUSABLE

            pytest.exit(str(error), returncode=BASELINE_UNUSABLE)
        except EmoBenchError as error:
            raise pytest.UsageError(str(error)) from error
    return config.stash[SESSION]


def running(config: pytest.Config) -> Session | None:
    """The EmoBench side of a pytest session where there is one; nothing is imported to find out."""
    module = sys.modules.get("emobench.session.run")
    return None if module is None else config.stash.get(module.SESSION, None)


def has_case(item: pytest.Item) -> bool:
    """Whether a test is a benchmark case: not by a parameter or a fixture of the user's that is called ``case``."""
    if "case" in getattr(getattr(item, "callspec", None), "params", {}):
        return False
    return "case" in getattr(item, "fixturenames", ()) and takes(item, "case", from_module=PLUGIN)


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
