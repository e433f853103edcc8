"""A model's weight files on disk: their size, and dropping them from the page cache. Reads no weights."""

from __future__ import annotations

import os
from pathlib import Path

from emobench.models.locate import locate
from emobench.models.locate import weight_files as files_of
from emobench.specs import ModelSpec


def weight_files(spec: ModelSpec) -> tuple[Path, ...]:
    """The row's safetensors files on this machine: those its index names, where it has one.

    Raises:
        NotOnMachineError: the row is not on this machine.
    """
    return tuple(sorted(files_of(locate(spec).path)))


def disk_bytes(files: tuple[Path, ...]) -> int:
    """Bytes of the files."""
    return sum(path.stat().st_size for path in files)


def drop_from_page_cache(files: tuple[Path, ...]) -> bool:
    """Ask the kernel to forget the files' pages, so that the next read comes from disk; False where it cannot be asked.

    Pages another process has mapped stay. A virtual machine's host may still hold the disk's blocks in its own memory.
    """
    if not hasattr(os, "posix_fadvise"):
        return False
    for path in files:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)
    return True
