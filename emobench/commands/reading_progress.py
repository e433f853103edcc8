"""Progress of an analysis on stderr: a bar of bytes on a terminal, a plain line every few seconds elsewhere.

It knows nothing of what is read; the bar is gone when the reading ends.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

SECONDS_BETWEEN_LINES = 5.0


class ReadingProgress:
    """Called with bytes read, bytes in all and documents; draws where there is a terminal, says lines where none is."""

    def __init__(self, say: Callable[[str], None], *, live: bool | None = None) -> None:
        self._say = say
        self._live = sys.stderr.isatty() if live is None else live
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._started = self._said = time.monotonic()

    def __enter__(self) -> Self:
        self._started = self._said = time.monotonic()
        if self._live:
            self._bar = _bar()
            self._bar.start()
            self._task = self._bar.add_task("loading the tokenizer", total=None, documents="0")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, done: int, total: int, documents: int) -> None:
        """Take how far the reading is."""
        if self._bar is not None and self._task is not None:
            what = "comparing" if done >= total else "reading" if done else "starting"
            self._bar.update(self._task, description=what, completed=done, total=total, documents=f"{documents:,}")
            return
        now = time.monotonic()
        if not done or now - self._said < SECONDS_BETWEEN_LINES:
            return
        self._said = now
        rate = documents / (now - self._started)
        share = f" ({done / total:.0%})" if total else ""
        self._say(f"{done / 1e6:,.0f} of {total / 1e6:,.0f} MB{share}, {documents:,} documents, {rate:,.0f} a second")


def _bar() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TextColumn("{task.fields[documents]} documents"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
