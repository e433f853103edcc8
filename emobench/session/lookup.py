"""Lookup: the EmoBench side of a pytest session, and which of its tests are cases; nothing is imported before."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from emobench.session.fixture_source import takes

if TYPE_CHECKING:
    from emobench.session.run import Session

PLUGIN = "emobench.plugin"
"""The module that defines the fixture ``case``."""


def session_of(config: pytest.Config) -> Session:
    """The EmoBench side of a pytest session, made when it is first needed.

    Raises:
        pytest.UsageError: an option names something unknown; the text is the error's one line.
        pytest.exit.Exception: the baseline cannot be used; with its exit code, before any case runs.
    """
    from emobench.session.run import SESSION, Session

    if SESSION not in config.stash:
        from emobench.errors import BaselineError, EmoBenchError

        try:
            config.stash[SESSION] = Session(config)
        except BaselineError as error:
            from emobench.session.gate import BASELINE_UNUSABLE

            pytest.exit(str(error), returncode=BASELINE_UNUSABLE)
        except EmoBenchError as error:
            raise pytest.UsageError(str(error)) from error
    return config.stash[SESSION]


def has_case(item: pytest.Item) -> bool:
    """Whether a test is a benchmark case: not by a parameter or a fixture of the user's that is called ``case``."""
    if "case" in getattr(getattr(item, "callspec", None), "params", {}):
        return False
    return "case" in getattr(item, "fixturenames", ()) and takes(item, "case", from_module=PLUGIN)
