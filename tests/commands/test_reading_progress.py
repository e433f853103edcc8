"""Progress of a reading: lines where no terminal is, a bar that goes away where one is."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest

from emobench.commands import reading_progress
from emobench.commands.reading_progress import ReadingProgress


def test_lines_come_at_intervals_and_tell_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """None before the first interval is over; then bytes of bytes, share, documents and their rate."""
    clock = [100.0]
    monkeypatch.setattr(reading_progress.time, "monotonic", lambda: clock[0])
    said: list[str] = []
    with ReadingProgress(said.append, live=False) as progress:
        progress(0, 4_000_000, 0)
        clock[0] += 4
        progress(1_000_000, 4_000_000, 1_000)
        assert not said
        clock[0] += 6
        progress(3_000_000, 4_000_000, 5_000)
        progress(4_000_000, 4_000_000, 6_000)
    assert said == ["3 of 4 MB (75%), 5,000 documents, 500 a second"]


def test_nothing_is_told_before_something_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading a tokenizer may take longer than an interval: "0 of 0 MB" would say nothing."""
    clock = [100.0]
    monkeypatch.setattr(reading_progress.time, "monotonic", lambda: clock[0])
    said: list[str] = []
    with ReadingProgress(said.append, live=False) as progress:
        clock[0] += 20
        progress(0, 4_000_000, 0)
        assert not said
        progress(1_000_000, 4_000_000, 100)
    assert said == ["1 of 4 MB (25%), 100 documents, 5 a second"]


CHILD = """
from emobench.commands.reading_progress import ReadingProgress
with ReadingProgress(print) as progress:
    progress(0, 2_000_000, 0)
    progress(1_000_000, 2_000_000, 1_234)
    progress._bar.refresh()
    progress(2_000_000, 2_000_000, 2_468)
    progress._bar.refresh()
"""


def test_on_a_terminal_there_is_a_bar() -> None:
    """Bytes of bytes and documents on stderr, nothing on stdout; the last thing written erases the line."""
    parent, child = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    command = [sys.executable, "-c", CHILD]
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=child, env=environment, check=True)
    os.close(child)
    drawn = os.read(parent, 1 << 16).decode()
    os.close(parent)
    assert result.stdout == b""
    assert "1.0/2.0 MB" in drawn
    assert "1,234 documents" in drawn
    assert "comparing" in drawn
    assert drawn.rstrip().endswith("\x1b[2K")
