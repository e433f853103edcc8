"""All that a session asks of torch where its cases compute nothing; the real one takes seconds to import.

Processes find it through the fixture ``light``, for tests of how cases end, are kept, spread and gated.
"""

from __future__ import annotations

import os

_threads = int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)


class OutOfMemoryError(RuntimeError):
    """Never raised here."""


def get_num_threads() -> int:
    return _threads


def set_num_threads(number: int) -> None:
    global _threads
    _threads = number


class cuda:  # noqa: N801  # torch's name
    """A machine without a GPU."""

    @staticmethod
    def is_available() -> bool:
        return False

    @staticmethod
    def is_initialized() -> bool:
        return False
