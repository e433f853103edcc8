"""The command line: help, exit codes, and errors as one line without a traceback."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from emobench import cli
from emobench.cli import app
from emobench.cli.options import Cases, spread
from emobench.commands import lists as listing
from emobench.errors import FetchError, SpecError

VERBS = (
    "doctor",
    "models",
    "datasets",
    "fetch",
    "run",
    "benchmark",
    "train-all",
    "train",
    "evaluate",
    "runs",
    "bless",
    "compare",
    "gate",
    "report",
    "rank",
    "export",
    "dashboard",
    "init",
    "check",
    "analyze",
    "merge",
)


def test_help_names_every_verb_with_a_whole_sentence() -> None:
    """``--help`` lists all verbs, and no description is cut off."""
    result = CliRunner().invoke(app, ["--help"])
    assert result.exit_code == 0
    listed = [line.split()[0] for line in result.stdout.partition("Commands:")[2].splitlines() if line.strip()]
    assert listed == list(VERBS)
    assert "..." not in result.stdout.partition("Commands:")[2]


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb: str) -> None:
    """Each verb explains itself and exits with 0."""
    result = CliRunner().invoke(app, [verb, "--help"])
    assert result.exit_code == 0
    assert f"{verb} [OPTIONS]" in result.stdout


def test_help_imports_nothing_of_ours_but_errors() -> None:
    """``--help`` reads no catalogue and no settings, so that it answers in a tenth of a second."""
    script = (
        "import sys\nfrom emobench.cli import app\n"
        "try:\n    app(['--help'])\nexcept SystemExit as end:\n    assert end.code == 0\n"
        "print(*sorted(name for name in sys.modules if name.startswith(('emobench', 'pydantic', 'rich', 'numpy'))))"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    parts = [f"emobench.cli.{name}" for name in ("case_verbs", "data_verbs", "options", "plan_verbs", "saved_verbs")]
    assert result.stdout.splitlines()[-1].split() == ["emobench", "emobench.cli", *parts, "emobench.errors"]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["models", "--foo"], "No such option"),
        (["train", "all-minilm-l6-v2", "--method", "lora"], "Missing option '--data'"),
        (["nothing"], "No such command 'nothing'"),
    ],
)
def test_wrong_usage_exits_with_2(arguments: list[str], text: str) -> None:
    """An option or verb that does not exist, or one that is missing, is told on stderr."""
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert text in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SpecError("a is wrong", why="b", fix="do c"), 2),
        (FetchError("a is wrong", why="b", fix="do c"), 1),
    ],
)
def test_an_error_is_one_line_on_stderr(monkeypatch: pytest.MonkeyPatch, error: Exception, code: int) -> None:
    """A user's mistake exits with 2, another foreseen error with 1; both print their text and nothing else."""

    def fail(*arguments: object, **options: object) -> str:
        raise error

    monkeypatch.setattr(listing, "models_text", fail)
    result = CliRunner().invoke(app, ["models"])
    assert result.exit_code == code
    assert result.stderr == "a is wrong; b; do c\n"
    assert result.stdout == ""


def test_a_fault_of_ours_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception that no user can cause is passed on, with its traceback."""

    def fail(*arguments: object, **options: object) -> str:
        raise KeyError("a bug")

    monkeypatch.setattr(listing, "models_text", fail)
    assert isinstance(CliRunner().invoke(app, ["models"]).exception, KeyError)


def test_ctrl_c_exits_with_130(monkeypatch: pytest.MonkeyPatch) -> None:
    """An interrupt ends with the exit code shells expect."""

    def interrupt(*arguments: object, **options: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(listing, "models_text", interrupt)
    result = CliRunner().invoke(app, ["models"])
    assert result.exit_code == cli.INTERRUPTED == 130
    assert "Traceback" not in result.output


def test_the_console_script_prints_one_line(tmp_path: Path) -> None:
    """As installed: wrong settings are one line on stderr, and the exit code is 2."""
    (tmp_path / "emobench.toml").write_text("profil = 'quick'\n")
    script = "from emobench.cli import main; main()"
    result = subprocess.run([sys.executable, "-c", script, "models"], capture_output=True, text=True, cwd=tmp_path)
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert "'profil'" in result.stderr
    assert "did you mean 'profile'?" in result.stderr


def test_spread_gives_a_verb_the_options_of_its_bundles() -> None:
    """A bundle's fields become options; those left out are not offered and have their default."""
    given: list[Cases] = []

    def verb(cases: Cases, word: Annotated[str, typer.Option()] = "a") -> None:
        """Do it."""
        given.append(cases)

    app = typer.Typer()
    app.command()(spread(verb, without={"seeds"}))
    assert CliRunner().invoke(app, ["-k", "lora", "--set", "a=1", "--set", "b=2", "--word", "c"]).exit_code == 0
    assert given == [Cases(select="lora", settings=["a=1", "b=2"])]
    assert CliRunner().invoke(app, ["--seeds", "3"]).exit_code == 2
