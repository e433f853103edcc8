"""Names of what cases leave in their run's folder, and the removal of what a case that ended leaves behind."""

from __future__ import annotations

import contextlib
import hashlib
import re
import shutil
from pathlib import Path

ORIGINALS = "originals"
"""Folder of a run with the trained originals that its shrink cases share, by key."""
CHECKPOINTS = "checkpoints"
"""Folder of a run with the checkpoints of trainings that have not ended, by plan key and test."""
LOCK = ".held"
_SHIPPED = re.compile(r"benchmarks/test_(\w+)\.py::test_\1\[.*", re.DOTALL)


def file_name(case_id: str, node: str = "") -> str:
    """A case id as a file name: brackets become a double underscore.

    Two tests may measure one case: the name of what another test than the shipped one of its kind leaves has six digits
    more, of the test's node id.
    """
    return case_id.replace("[", "__").rstrip("]") + mark_of(node)


def mark_of(node: str) -> str:
    """What tells the files of a test from those of the shipped test of the same case; nothing for that one itself."""
    if not node or _SHIPPED.fullmatch(node):
        return ""
    return f"-{hashlib.sha256(node.encode()).hexdigest()[:6]}"


def forget_originals(folder: Path) -> None:
    """Remove the shared originals of a run that has ended and is saved. What cannot be removed only takes space."""
    shutil.rmtree(folder / ORIGINALS, ignore_errors=True)


def forget_checkpoints(folder: Path, name: str) -> None:
    """Remove the folder with the checkpoints of a case that has ended. What cannot be removed only takes space."""
    shutil.rmtree(folder / CHECKPOINTS / name, ignore_errors=True)
    with contextlib.suppress(OSError):  # of another case, or there are none
        (folder / CHECKPOINTS).rmdir()
