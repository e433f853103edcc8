"""Signals that come while a run is saved: held back, also where the process has other threads, and not lost."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from emobench.session.interrupts import signals_wait


@pytest.fixture
def sigint_interrupts() -> Iterator[None]:
    """SIGINT raises KeyboardInterrupt, also where a shell began these tests in the background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("sigint_interrupts")
@pytest.mark.skipif(os.name != "posix", reason="sends a signal to a process")
def test_signals_wait_until_the_block_ends() -> None:
    """The block runs to its end although another thread takes the signal; then it is delivered."""
    ended = threading.Event()
    other = threading.Thread(target=ended.wait)
    other.start()
    steps: list[int] = []

    def saves() -> None:
        with signals_wait():
            os.kill(os.getpid(), signal.SIGINT)
            for step in range(5):
                time.sleep(0.01)
                steps.append(step)

    try:
        with pytest.raises(KeyboardInterrupt):
            saves()
    finally:
        ended.set()
        other.join()
    assert len(steps) == 5
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_another_thread_just_runs() -> None:
    """Only the main thread may set handlers; elsewhere the block runs as it is."""
    ran = []

    def work() -> None:
        with signals_wait():
            ran.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert ran
