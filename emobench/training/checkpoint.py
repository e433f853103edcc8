"""Checkpoints that count only when complete: a marker with every file's size is written after the last file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from emobench.files import write_bytes

MARKER = "emobench-complete.json"


def mark_complete(folder: Path, extra: Mapping[str, Any]) -> None:
    """Declare the checkpoint in ``folder`` finished; ``extra`` is plain data kept with it."""
    sizes = {str(path.relative_to(folder)): path.stat().st_size for path in sorted(folder.rglob("*")) if path.is_file()}
    sizes.pop(MARKER, None)
    write_bytes(folder / MARKER, json.dumps({"files": sizes, **extra}).encode())


def read_marker(folder: Path) -> dict[str, Any] | None:
    """The marker of a complete checkpoint; None where it is missing, broken, or a file's size differs."""
    try:
        content = json.loads((folder / MARKER).read_bytes())
        sizes = content["files"]
        whole = bool(sizes) and all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return content if whole else None


def newest_complete(folder: Path) -> Path | None:
    """The complete checkpoint with the highest step in ``folder``, or None."""
    found = [path for path in folder.glob("checkpoint-*") if path.name.rpartition("-")[2].isdigit()]
    for path in sorted(found, key=checkpoint_step, reverse=True):
        if read_marker(path) is not None:
            return path
    return None


def checkpoint_step(folder: Path) -> int:
    """The optimizer step a checkpoint's folder name gives."""
    return int(folder.name.rpartition("-")[2])
