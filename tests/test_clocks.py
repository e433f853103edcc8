"""A clock that jumps matters to no duration and no limit: the wall clock dates things and does nothing else."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "emobench"
DATES = {
    "hub.py": "when something was fetched",
    "session/folder.py": "a run's name",
    "executors/delivery.py": "pytest's reports have a start and an end",
    "records/journal.py": "when a line was written",
    "records/fold.py": "when a run was saved",
    "records/bless.py": "when a baseline was blessed, and what a killed one left an hour ago",
}


def wall_clocks(tree: ast.AST) -> list[str]:
    """Calls that read the time of day."""
    calls = [ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [name for name in calls if name in ("time.time", "time.time_ns", "datetime.now", "datetime.utcnow")]


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_the_wall_clock_measures_nothing(path: Path) -> None:
    """A module that is not named above reads ``perf_counter`` or ``monotonic``; one that is named needs to be."""
    found = wall_clocks(ast.parse(path.read_text()))
    assert bool(found) == (path.relative_to(PACKAGE).as_posix() in DATES), found
