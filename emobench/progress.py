"""Progress of long work, shown while pytest captures output: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import time
from typing import TextIO

import pytest

STDERR = pytest.StashKey[int]()
"""A duplicate of file descriptor 2, made while pytest captures nothing."""

_ROOM_BELOW_AND_SAVE = "\x1bD\x1b[A\x1b7"
_RESTORE = "\x1b8"
_CLEAR_LINE = "\r\x1b[2K"


class Progress:
    """Draws on a duplicate of a file descriptor made before pytest captures it.

    On a terminal the bar takes the line below pytest's and is gone when the work ends. Elsewhere a plain line is
    written every ``seconds_between_lines``; work that ends sooner writes none.
    """

    def __init__(self, descriptor: int = 2, *, seconds_between_lines: float = 15.0) -> None:
        self.stream: TextIO = os.fdopen(os.dup(descriptor), "w", encoding="utf-8", errors="replace")
        self.live = self.stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        self.seconds_between_lines = 0.1 if self.live else seconds_between_lines
        self.label = ""
        self._drawn = False
        self._last = time.monotonic()
        self._first: tuple[float, int] | None = None

    def start(self, label: str) -> None:
        """Begin a piece of work; draws nothing yet."""
        self.label = label
        self._last = time.monotonic()
        self._first = None

    def step(self, done: int, total: int, loss: float) -> None:
        """Show that step ``done`` of ``total`` ended with this training loss."""
        self.show(done, total, f"loss {loss:.3f}")

    def note(self, text: str) -> None:
        """Say what is being done where no count can be given; at once on a terminal, else as a line."""
        self._write(f"{self.label}: {text}")
        self._last = time.monotonic()

    def show(self, done: int, total: int, text: str) -> None:
        """Draw the bar or the line, if enough time has passed since the last."""
        now = time.monotonic()
        if self._first is None or done < self._first[1]:
            # Loading is not part of the steps: their pace counts from the first one.
            self._first = (now, done)
        if now - self._last < self.seconds_between_lines:
            return
        self._last = now
        counts = f"{done}/{total}  {text}{self._left(now, done, total)}"
        if not self.live:
            self._write(f"{self.label}: step {counts}")
            return
        filled = round(24 * done / max(total, 1))
        self._write(f"{self.label} [{'#' * filled}{'.' * (24 - filled)}] {counts}")

    def stop(self) -> None:
        """Take the bar off the screen."""
        if self._drawn:
            self.stream.write(_CLEAR_LINE + _RESTORE)
            self.stream.flush()
            self._drawn = False

    def close(self) -> None:
        """Give the descriptor back."""
        self.stop()
        self.stream.close()

    def _left(self, now: float, done: int, total: int) -> str:
        start, first = self._first or (now, done)
        if done == first:
            return ""
        return f"  {(now - start) / (done - first) * (total - done):.0f} s left"

    def _write(self, line: str) -> None:
        if not self.live:
            self.stream.write(f"{line}\n")
        else:
            width = os.get_terminal_size(self.stream.fileno()).columns - 1
            if not self._drawn:
                self.stream.write(_ROOM_BELOW_AND_SAVE + "\n")
                self._drawn = True
            self.stream.write(_CLEAR_LINE + line[:width])
        self.stream.flush()
