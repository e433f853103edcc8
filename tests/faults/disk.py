"""A disk that fails at its n-th write, fsync or rename, with an error or for good.

It takes the place of the calls that change files: writes to a stream opened for writing, ``fsync``, ``replace`` and the
creation of a file. A killed process is a disk on which nothing more happens: no clean-up either.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest

Fault = Literal["ENOSPC", "EIO", "kill"]
FAULTS: tuple[Fault, ...] = ("ENOSPC", "EIO", "kill")


class Killed(BaseException):
    """Nothing after it changes a file; like SIGKILL no handler of errors catches it."""


class Disk:
    """Counts the points at which a disk may fail, and fails at one of them (from 0)."""

    def __init__(self, fault: Fault, at: int | None) -> None:
        self.fault, self.at = fault, at
        self.points: list[str] = []
        self.dead = False

    @property
    def failed(self) -> bool:
        """Whether the point was reached."""
        return self.at is not None and len(self.points) > self.at

    def reach(self, name: str, *, before: Callable[[], object] | None = None) -> None:
        """A point: does ``before`` (half of the work) and fails, if it is its turn."""
        if self.dead:
            raise Killed(name)
        self.points.append(name)
        if self.at != len(self.points) - 1:
            return
        if before is not None:
            before()
        if self.fault == "kill":
            self.dead = True
            raise Killed(name)
        number = getattr(errno, self.fault)
        raise OSError(number, os.strerror(number), name)

    def alive(self) -> None:
        """Raise where the process is dead."""
        if self.dead:
            raise Killed("after the end")


def path_of(descriptor: int) -> str:
    """The file that is open under a number."""
    return os.readlink(f"/proc/self/fd/{descriptor}")


class Stream:
    """A stream whose writes may fail after half of their bytes."""

    def __init__(self, stream: Any, disk: Disk) -> None:
        self._stream, self._disk = stream, disk

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")

        def half() -> None:
            self._stream.write(view[: len(view) // 2])
            self._stream.flush()

        self._disk.reach(f"write {path_of(self._stream.fileno())}", before=half)
        written: int = self._stream.write(view)
        return written

    def truncate(self, size: int | None = None) -> int:
        self._disk.reach(f"truncate {path_of(self._stream.fileno())}")
        cut: int = self._stream.truncate(size)
        return cut

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def __iter__(self) -> Any:
        return iter(self._stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def install(monkeypatch: pytest.MonkeyPatch, disk: Disk) -> None:
    """Put the disk between the program and its files until the patches are undone."""
    fdopen, fsync, replace, path_open, os_open = os.fdopen, os.fsync, os.replace, Path.open, os.open
    unlink, remove, rmtree, mkdir = os.unlink, os.remove, shutil.rmtree, os.mkdir

    def open_stream(self: Path, mode: str = "r", *arguments: Any, **keywords: Any) -> Any:
        changing = any(letter in mode for letter in "wax+")
        if changing:
            disk.alive()
        made = path_open(self, mode, *arguments, **keywords)
        return Stream(made, disk) if changing and "b" in mode else made

    def open_descriptor(path: Any, flags: int, *arguments: Any, **keywords: Any) -> int:
        if flags & os.O_CREAT:
            disk.reach(f"create {path}")
        return os_open(path, flags, *arguments, **keywords)

    def from_descriptor(handle: int, mode: str = "r", *arguments: Any, **keywords: Any) -> Any:
        made = fdopen(handle, mode, *arguments, **keywords)
        return Stream(made, disk) if "w" in mode and "b" in mode else made

    def counted(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **keywords: Any) -> Any:
            first = arguments[0]
            disk.reach(f"{name} {path_of(first) if isinstance(first, int) else first}")
            return call(*arguments, **keywords)

        return run

    def guarded(call: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **keywords: Any) -> Any:
            disk.alive()
            return call(*arguments, **keywords)

        return run

    monkeypatch.setattr(Path, "open", open_stream)
    monkeypatch.setattr(os, "open", open_descriptor)
    monkeypatch.setattr(os, "fdopen", from_descriptor)
    monkeypatch.setattr(os, "fsync", counted("fsync", fsync))
    monkeypatch.setattr(os, "replace", counted("rename", replace))
    monkeypatch.setattr(os, "rename", counted("rename", os.rename))
    monkeypatch.setattr(os, "unlink", guarded(unlink))
    monkeypatch.setattr(os, "remove", guarded(remove))
    monkeypatch.setattr(os, "mkdir", guarded(mkdir))
    monkeypatch.setattr(shutil, "rmtree", guarded(rmtree))


def sweep(
    prepare: Callable[[], Callable[[], object]],
    check: Callable[[bool], None],
    *,
    fault: Fault,
    spared: str = "",
    most: int = 2000,
) -> list[str]:
    """Fail the first point, the second, and so on, until one passes without a fault; returns the points there are.

    ``prepare`` makes a fresh state and returns the work; ``check`` looks at the disk after it, undisturbed, and gets
    whether the work was done.

    An error of the disk must come out of the work as the OSError it is: one that vanishes would be a loss. Those at
    files with ``spared`` in their name need not: they can be made again.
    """
    for at in range(most):
        work = prepare()
        disk = Disk(fault, at)
        done = True
        with pytest.MonkeyPatch.context() as patches:
            install(patches, disk)
            try:
                work()
            except (OSError, Killed):
                done = False
        if not disk.failed:
            assert done, "the work failed without a fault"
            check(True)
            return disk.points
        # A file's rename is followed by an fsync of its folder.
        about = disk.points[max(0, at - 1) : at + 1]
        hidden = bool(spared) and any(spared in point for point in about)
        assert hidden or not done, f"fault {fault} at point {at} ({disk.points[at]}) was not told"
        check(done)
    raise AssertionError(f"still at new points after {most}")
