"""Interrupts: a termination ends a session as Ctrl-C does, and neither falls into the saving of a run."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

import pytest

TERMINATED = "SIGTERM"


def ends_on_terminate(config: pytest.Config) -> None:
    """From now on until the session ends the first SIGTERM raises KeyboardInterrupt; the second one kills, as before.

    A handler that somebody else has set stays.
    """
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        return

    def take(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        raise KeyboardInterrupt(TERMINATED)

    def give_back() -> None:
        if signal.getsignal(signal.SIGTERM) is take:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    signal.signal(signal.SIGTERM, take)
    config.add_cleanup(give_back)


class Watch:
    """Tells what interrupted a session; the hook that is told names no session."""

    def __init__(self, note: Callable[[str | None], None]) -> None:
        self.note = note

    @pytest.hookimpl
    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        self.note(what_interrupted(excinfo.value))


def what_interrupted(error: BaseException) -> str | None:
    """The signal, or the reason given to ``pytest.exit``; None for an end that pytest or a plugin of its decided on."""
    if type(error) is KeyboardInterrupt:
        return str(error) or "SIGINT"
    return str(error) if isinstance(error, pytest.exit.Exception) else None


@contextlib.contextmanager
def signals_wait() -> Iterator[None]:
    """SIGINT and SIGTERM are delivered when the block ends, where it runs in the main thread.

    A mask of this thread would not do: the kernel gives the signal to another thread, such as one of torch's.
    """
    numbers = (signal.SIGINT, signal.SIGTERM)
    if threading.current_thread() is not threading.main_thread() or None in map(signal.getsignal, numbers):
        yield  # no other thread may set handlers, and one that is not Python's cannot be set again
        return
    came: list[int] = []
    before = [(number, signal.signal(number, lambda taken, frame: came.append(taken))) for number in numbers]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)
        for taken in came:
            signal.raise_signal(taken)
