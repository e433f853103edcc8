"""``emobench check``: the cases of a run, findings with counts, exit code and JSON."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from emobench.cli import app
from emobench.commands import check as checking
from emobench.commands.check import (
    Checked,
    CheckOptions,
    check_text,
    collect,
    write_json,
)
from emobench.commands.run import RunOptions
from emobench.errors import SpecError
from emobench.preflight.planned import Finding, Fix
from emobench.reports.tables import Skip

ROOT = Path(__file__).parents[2]
SCRIPT = [sys.executable, "-c", "from emobench.cli import main; main()"]
SETTINGS = """\
silence = ["few-rows"]      # I know

[datasets.tickets]
path = "tickets.csv"
text = "body"
label = "team"
labels = ["billing", "bug", "sales"]

[datasets.broken]
path = "broken.csv"
labels = ["a", "b"]

[models.odd]
like = "all-minilm-l6-v2"
hub_id = "none/odd"
config = { num_attention_heads = 7 }
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the suite beside a user's own file, with uneven tickets and a data set that cannot be read."""
    folder = tmp_path_factory.mktemp("project")
    for name in ("benchmarks", "fixtures"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("conftest.py", "pyproject.toml"):
        shutil.copy(ROOT / name, folder / name)
    (folder / "emobench.toml").write_text(SETTINGS)
    teams = ["billing"] * 300 + ["bug"] * 60 + ["sales"] * 10
    lines = [f'"ticket {n} is about the {team} of things, number {n * 7}",{team}' for n, team in enumerate(teams)]
    (folder / "tickets.csv").write_text("body,team\n" + "\n".join(lines) + "\n")
    (folder / "broken.csv").write_text("text,label\nhello there,c\n")
    return folder


def run_check(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return subprocess.run([*SCRIPT, "check", *arguments], cwd=folder, env=own, capture_output=True, text=True)


@pytest.mark.slow
def test_a_matrix_is_checked_from_end_to_end(project: Path) -> None:
    """Findings of a data set and of a row stand once with their count; a stop makes the exit code 1."""
    file = project / "found.json"
    select = "finetune and (minilm or odd) and (tickets or broken) and fp32 and cpu"
    result = run_check(project, "-k", select, "--json", str(file))
    assert result.returncode == 1, result.stderr
    assert "12 cases checked: " in result.stdout
    assert "stop: data (3 cases)" in result.stdout
    assert "broken.csv, row 1: label 'c'" in result.stdout
    assert "stop: width (6 cases)" in result.stdout
    assert "warn: imbalance (3 cases)" in result.stdout
    assert "class 'billing' of tickets has" in result.stdout
    assert "few-rows" not in result.stdout
    assert "silence with --silence imbalance" in result.stdout
    content = json.loads(file.read_text())
    assert (len(content["cases"]) + len(content["skipped"]), content["worst"]) == (12, "stop")
    assert set(content["cases"]).isdisjoint(content["skipped"])
    assert len([name for name in content["skipped"] if "odd" in name]) == 6
    assert all(found["reason"] for found in content["skipped"].values())
    assert {item["check"] for item in content["findings"]} >= {"data", "width", "imbalance"}
    assert {item["case"] for item in content["findings"]} <= {*content["cases"], *content["skipped"]}


@pytest.mark.slow
def test_nothing_to_stop_is_exit_code_0(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Warnings alone do not fail a check, and a silenced check is not among them."""
    arguments = ["-k", "finetune and minilm and tickets and lora and fp32 and cpu", "--set", "batch_size=8"]
    monkeypatch.chdir(project)
    monkeypatch.setattr(checking, "SAY_SECONDS", -1)
    result = CliRunner().invoke(app, ["check", *arguments, "--silence", "imbalance"])
    assert result.exit_code == 0, result.output
    assert "checking 1 case\nchecked 1 of 1\n" in result.stderr
    assert "1 case checked: " in result.stdout
    assert "imbalance" not in result.stdout


def test_a_check_to_silence_that_there_is_not_is_an_error(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong name is answered with the nearest before anything is collected."""
    monkeypatch.chdir(project)
    result = CliRunner().invoke(app, ["check", "--silence", "imbalanced"])
    assert result.exit_code == 2
    assert "did you mean 'imbalance'?" in result.stderr


@pytest.mark.slow
def test_the_cases_are_those_that_pytest_collects(project: Path) -> None:
    """Selection and settings reach the collection: ids, order and sizes are a run's."""
    options = CheckOptions(
        run=RunOptions(profile="smoke", seeds=2, settings=("train=48",)), select="minilm and tickets", mark="finetune"
    )
    found = collect(project, options)
    command = ["-m", "pytest", "benchmarks", "--collect-only", "-q", "-k", "minilm and tickets", "-m", "finetune"]
    command += ["-p", "no:cacheprovider"]
    own = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    listed = subprocess.run([sys.executable, *command], cwd=project, env=own, capture_output=True, text=True)
    ids = [line.partition("::test_")[2] for line in listed.stdout.splitlines() if "::test_finetune[" in line]
    assert [spec.id for spec in found.specs] == ids
    assert ids
    assert {(spec.profile.id, spec.profile.train, spec.seeds) for spec in found.specs} == {("smoke", 48, (0, 1))}
    assert found.storage == project / "results"


@pytest.mark.slow
def test_a_selection_that_cannot_be_read_is_an_error(project: Path) -> None:
    """What pytest refuses is one error that says what it said."""
    with pytest.raises(SpecError, match=r"pytest could not collect the cases of .*benchmarks; .*and and"):
        collect(project, CheckOptions(select="and and"))


SAFE = Fix(
    text="split", trade_off="slower", setting="--emo-set token_budget=512", safe=True, changes={"token_budget": 512}
)
BIG = Finding(check="does-not-fit", level="stop", problem="too big", why="memory", fixes=(SAFE,), case_id="finetune[a]")


def test_the_text_tells_what_was_not_checked() -> None:
    """Cases of another device, and checked ones that a run would leave out, are counted."""
    skip = Skip(case_id="finetune[a]", reason="slow on the cpu: over 180 s", fix="add --emo-slow or -m slow")
    text = check_text(Checked(cases=("finetune[a]",), elsewhere={"cuda": 7}, skips=(skip,), findings=()))
    assert text.splitlines()[:2] == [
        "1 case checked: nothing found",
        "not checked: 7 on cuda, which is not on this machine",
    ]
    assert "a run with these options leaves out" in text
    assert "1 skipped: slow on the cpu: over 180 s; add --emo-slow or -m slow" in text


def test_no_case_is_not_nothing_found() -> None:
    """A selection that fits nothing says so: nothing was checked."""
    text = check_text(Checked(cases=(), elsewhere={}, skips=(), findings=()))
    assert text.startswith("0 cases checked: no case fits these options")


def test_a_file_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    """The findings stand in the terminal already; the file is refused in three parts."""
    (tmp_path / "taken").write_text("")
    with pytest.raises(SpecError, match=r"--json: .*x\.json cannot be written; .*; name another place"):
        write_json(tmp_path / "taken" / "x.json", Checked(cases=(), elsewhere={}, skips=(), findings=()))


def test_a_case_that_is_left_out_stands_under_its_own_key(tmp_path: Path) -> None:
    """In the JSON a case is either one that a run takes or one that it leaves out, with the reason."""
    skip = Skip(case_id="finetune[b]", reason="slow on the cpu: over 180 s", fix="add --emo-slow")
    checked = Checked(cases=("finetune[a]", "finetune[b]"), elsewhere={}, skips=(skip,), findings=())
    write_json(tmp_path / "x.json", checked)
    content = json.loads((tmp_path / "x.json").read_text())
    assert content["cases"] == ["finetune[a]"]
    assert content["skipped"] == {"finetune[b]": {"reason": skip.reason, "fix": skip.fix}}


def test_fixes_are_tried_once_more(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With --fix the check is made again with the changed file, and its answer is the exit code's."""
    monkeypatch.chdir(project)
    answers: list[Any] = [
        Checked(cases=("finetune[a]",), elsewhere={}, skips=(), findings=(BIG,)),
        Checked(cases=("finetune[a]",), elsewhere={}, skips=(), findings=()),
    ]
    monkeypatch.setattr(checking, "check_matrix", lambda options, say: answers.pop(0))
    before = (project / "emobench.toml").read_text()
    result = CliRunner().invoke(app, ["check", "--fix"])
    (project / "emobench.toml").write_text(before)
    assert result.exit_code == 0, result.output
    assert not answers
    assert "+token_budget = 512" in result.stdout
    assert "1 case checked: nothing found" in result.stdout
