"""Own process: runs one of our modules in a process of its own, for tools that read settings from the environment.

Such tools read them once, when they are imported; set here they would hold for the whole of the caller's process.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

from emobench.errors import UnsupportedError

_MARK = "emobench-answer:"


def run_apart(module: str, payload: Mapping[str, Any], *, environment: Mapping[str, str]) -> dict[str, Any]:
    """Give ``payload`` to ``python -m module`` and return its answer; see :func:`answer`.

    Raises:
        UnsupportedError: the process failed; gives the last line it wrote.
    """
    done = subprocess.run(
        [sys.executable, "-m", module],
        input=json.dumps(payload).encode(),
        capture_output=True,
        env={**os.environ, **environment},
        check=False,
    )
    lines = done.stdout.decode(errors="replace").splitlines()
    marked = [line for line in lines if line.startswith(_MARK)]
    if done.returncode or not marked:
        said = done.stderr.decode(errors="replace").strip().splitlines() or ["it said nothing"]
        # The line of the exception, where there is one: some go on for lines after it.
        said = [line for line in said if re.match(r"[\w.]+(Error|Exception|Warning)\b", line)] or said
        raise UnsupportedError(
            f"{module.rpartition('_')[2]} could not be written",
            why=f"its package ended with {done.returncode}: {said[-1]}",
            fix="look whether the output is writable and was made by this version of the package",
        )
    found: dict[str, Any] = json.loads(marked[-1].removeprefix(_MARK))
    return found


def answer(work: Callable[[dict[str, Any]], Mapping[str, Any]]) -> None:
    """In the process: read the payload, do ``work`` on it, and give back what it returned."""
    found = work(json.load(sys.stdin))
    print(f"{_MARK}{json.dumps(found)}")
