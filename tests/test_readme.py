"""The README: its first screen works, and what it names exists."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from emobench.catalogue.project import load_project
from emobench.cli import app

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_both_commands_stand_in_the_first_25_lines() -> None:
    """A newcomer sees the command, what it prints and the test command without scrolling; CI runs the latter."""
    head = "\n".join(README.splitlines()[:40])
    first = "\n".join(README.splitlines()[:25])
    assert 'pip install -c .ci/constraints.txt -e ".[offline]" && pytest benchmarks' in first
    assert 'pip install -c .ci/constraints.txt -e ".[dev]" && pytest tests -n auto' in first
    assert "accuracy" in head
    assert "pytest tests -n auto" in (ROOT / ".ci" / "run").read_text()
    assert "@@" not in README


def test_every_verb_is_shown_and_exists() -> None:
    """Each ``emobench VERB`` of the README is a verb, and each verb but none is left out."""
    result = CliRunner().invoke(app, ["--help"])
    verbs = set(re.findall(r"^ {2}([a-z][a-z-]*) {2,}", result.output, flags=re.MULTILINE))
    named = set(re.findall(r"emobench ([a-z-]+)", README))
    assert verbs <= named
    assert set(re.findall(r"\$ (?:HF_TOKEN=\S+ )?emobench ([a-z-]+)", README)) <= verbs


def test_every_option_is_known(pytestconfig: pytest.Config) -> None:
    """Each ``--emo-`` option of the README is one pytest knows, and none is left out."""
    named = {name.replace("-", "_") for name in re.findall(r"--(emo-[a-z-]+)", README)}
    known = {name for name in vars(pytestconfig.option) if name.startswith("emo_")}
    assert named == known


def test_the_settings_file_is_read(tmp_path: Path) -> None:
    """The README's ``emobench.toml`` is one EmoBench takes."""
    (block,) = re.findall(r"```toml\n(.*?)```", README, flags=re.DOTALL)
    tomllib.loads(block)
    (tmp_path / "emobench.toml").write_text(block)
    row = load_project(tmp_path).datasets["tickets"]
    assert row.labels == ("billing", "bug", "sales")
    assert row.label_map["spam"] is None


def test_its_architecture_names_what_is_there() -> None:
    """Every folder of the picture exists, and every folder of the package is in it."""
    picture = re.findall(r"```text\n(.*?)```", README, flags=re.DOTALL)[-1]
    named = set(re.findall(r"([a-z]+)/", picture)) - {"test"}
    there = {path.name for path in (ROOT / "emobench").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert named - {"benchmarks"} == there
