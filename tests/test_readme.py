"""The README: its first screen works, it is short, and its picture of the house is true.

Its commands, settings and links are ``test_docs``' work, with those of the other pages.
"""

from __future__ import annotations

import re
from pathlib import Path

from typer.testing import CliRunner

from emobench.cli import app

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
LONGEST = 150
"""Lines: what a newcomer reads before the first run."""


def test_both_commands_stand_in_the_first_25_lines() -> None:
    """A newcomer sees the command, what it prints and the test command without scrolling; CI runs the latter."""
    head = "\n".join(README.splitlines()[:40])
    first = "\n".join(README.splitlines()[:25])
    assert 'pip install -c .ci/constraints.txt -e ".[offline]" && pytest benchmarks' in first
    assert 'pip install -c .ci/constraints.txt -e ".[dev]" && pytest tests -n auto' in first
    assert "accuracy" in head
    assert "pytest tests -n auto" in (ROOT / ".ci" / "run").read_text()
    assert "@@" not in README


def test_it_is_short() -> None:
    """The rest stands in docs/."""
    assert len(README.splitlines()) <= LONGEST


def test_every_verb_it_shows_exists() -> None:
    """Each ``emobench VERB`` is a verb."""
    result = CliRunner().invoke(app, ["--help"])
    verbs = set(re.findall(r"^ {2}([a-z][a-z-]*) {2,}", result.output, flags=re.MULTILINE))
    named = set(re.findall(r"(?:\$ |`)emobench ([a-z-]+)", README))
    assert named
    assert named <= verbs


def test_its_architecture_names_what_is_there() -> None:
    """Every folder and module of the picture exists, and every one of the package is in it."""
    picture = re.findall(r"```text\n(.*?)```", README, flags=re.DOTALL)[-1]
    there = {path.name for path in (ROOT / "emobench").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert set(re.findall(r"([a-z]+)/", picture)) == there
    loose = {path.stem for path in (ROOT / "emobench").glob("*.py") if path.stem != "__init__"}
    words = picture[picture.index(" words ") :]
    shown = set(re.findall(r"[a-z_]+", words)) | {"plugin"}
    assert loose <= shown
    assert "plugin " in picture
