"""Garbage: what is imported is kept out of collections while cases run. It collects nothing that a case leaves."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_AT_START = gc.get_freeze_count()
"""Python 3.12 begins with a few hundred."""


def leave_imports_alone() -> bool:
    """Have no collection look at what is there now, until :func:`look_again`; True where nobody had done so before.

    Modules and classes stay as long as the process, and with torch among them a collection takes a tenth of a second,
    of which a case asks for several.
    """
    if gc.get_freeze_count() > _AT_START:
        return False
    gc.collect()
    gc.freeze()
    return True


def look_again() -> None:
    """Have collections look at everything: what was there may have become garbage."""
    gc.unfreeze()


@contextmanager
def uncollected() -> Iterator[None]:
    """In the block nothing is collected: for work that leaves no cycles, such as parsing or importing."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
