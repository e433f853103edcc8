"""Files: the one function that writes bytes, and where caches live. Knows nothing of what the bytes mean."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import inspect
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    from filelock import BaseFileLock


def write_bytes(path: Path, data: bytes) -> None:
    """Write ``data`` so that ``path`` holds either the old content or all of the new, also after a crash.

    Raises:
        OSError: the disk is full or the folder not writable; nothing of the new content is left behind.
    """
    with writing(path) as stream:
        stream.write(data)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[BinaryIO]:
    """Yield a stream for content too large to hold; ``path`` gets it, as in :func:`write_bytes`, when the block ends.

    A block that raises leaves the old content, and nothing of the new.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make a rename inside ``folder`` survive a power cut, where the platform can."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def try_lock(path: Path) -> BaseFileLock | None:
    """Hold a lock on a file of an existing folder until it is released or the process ends; None where another has it.

    Raises:
        OSError: the folder cannot be written to, or its file system has no locks.
    """
    from filelock import FileLock, Timeout

    # A marker file instead, which newer releases fall back to, would outlive a process of another machine.
    known = inspect.signature(FileLock.__init__).parameters
    options: dict[str, Any] = {"fallback_to_soft": False} if "fallback_to_soft" in known else {}
    lock = FileLock(path, **options)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return None
    except NotImplementedError as error:
        raise OSError(errno.ENOSYS, str(error), str(path)) from error
    return lock


def append_line(path: Path, line: bytes, *, sync: bool = True) -> None:
    """Append one line to a journal and wait until the disk has it; without ``sync`` only a power cut can lose it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as stream:
        stream.write(line.rstrip(b"\n") + b"\n")
        stream.flush()
        if sync:
            os.fsync(stream.fileno())


def cache_folder(*parts: str) -> Path:
    """Folder for what can be made again: ``$EMOBENCH_CACHE``, else ``$XDG_CACHE_HOME/emobench``, else ``~/.cache``."""
    base = os.environ.get("EMOBENCH_CACHE")
    if base:
        return Path(base).joinpath(*parts)
    home = os.environ.get("XDG_CACHE_HOME")
    return Path(home or Path.home() / ".cache", "emobench", *parts)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file as 64 hex digits, read in blocks."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
