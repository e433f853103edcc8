"""Processes of tests whose cases compute nothing, without the seconds that torch takes to import."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path


def lightly(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment for processes that find the torch of ``tests/light``, a few lines, in place of the real one."""
    folders = (str(Path(__file__).parent / "light"), environment.get("PYTHONPATH", ""))
    return {**environment, "PYTHONPATH": os.pathsep.join(filter(None, folders))}
