"""CONTRIBUTING.md: what it says of CI and of the night is so."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text()


def test_every_file_with_nightly_tests_is_named() -> None:
    """What CI leaves out is known to whoever works here, and what is named is left out."""
    marked = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "tests").rglob("test_*.py")
        if "mark.nightly" in path.read_text() and path.name != "test_skips.py"
    } - {str(Path(__file__).relative_to(ROOT))}
    assert marked == set(re.findall(r"^\| `(tests/\S+)`", TEXT, flags=re.MULTILINE))


def test_files_it_names_are_there() -> None:
    """Every path in backquotes exists."""
    named = re.findall(r"`((?:tests|\.ci|\.github)/[\w./-]+)[` ]", TEXT)
    assert len(named) > 8
    assert [name for name in named if not (ROOT / name).exists()] == []
