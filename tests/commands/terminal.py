"""A real pseudo-terminal for tests: a command runs in it, its screen is read as text, and keys are sent."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

ENTER, DOWN, CTRL_C = "\r", "\x1b[B", "\x03"
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]|\x1b\][^\x07]*\x07|\r")


class Terminal:
    """One command in a terminal of its own, 200 columns wide."""

    def __init__(self, command: Sequence[str], *, cwd: Path, env: Mapping[str, str]) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 200, 0, 0))
        # Without an answer to its question where the cursor is, the library would wait and complain.
        plain = {**env, "TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1"}
        self.process = subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=cwd, env=plain, start_new_session=True
        )
        os.close(theirs)
        self.screen = ""
        self._seen = 0

    def expect(self, text: str, *, seconds: float = 60.0) -> str:
        """Wait until ``text`` appears after what was expected before; what came up to it."""
        end = time.monotonic() + seconds
        while (at := self.screen.find(text, self._seen)) < 0:
            if not self._read(end):
                raise AssertionError(f"{text!r} did not appear; the screen ends with:\n{self.screen[-3000:]}")
        before = self.screen[self._seen : at + len(text)]
        self._seen = at + len(text)
        return before

    def press(self, *keys: str) -> None:
        """Send keys, each by itself: an escape sequence in one burst with others may be misread."""
        for key in keys:
            os.write(self._ours, key.encode())
            time.sleep(0.05)

    def ended(self, *, seconds: float = 60.0) -> int:
        """Read to the end; the exit code."""
        end = time.monotonic() + seconds
        while self._read(end):
            pass
        try:
            return self.process.wait(timeout=max(0.1, end - time.monotonic()))
        finally:
            self.close()

    def close(self) -> None:
        """End the command if it still runs."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if self._ours >= 0:
            os.close(self._ours)
            self._ours = -1

    def _read(self, end: float) -> bool:
        """Take what is there; False at the end of the output or of the time."""
        ready, _, _ = select.select([self._ours], [], [], max(0.0, end - time.monotonic()))
        if not ready:
            return False
        try:
            data = os.read(self._ours, 65536)
        except OSError:  # Linux says so when the other side has closed.
            return False
        self.screen += _CONTROL.sub("", data.decode(errors="replace"))
        return bool(data)
