"""The verb bless: what it prints, what it replaces, how it refuses."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from emobench.cli import app
from emobench.records.baselines import FOLDER, LIST, load_baseline
from tests.records.made_runs import case_id, make_run


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with two runs."""
    monkeypatch.chdir(tmp_path)
    for seed in (1, 2):
        make_run(tmp_path / "results", cases=4, seed=seed, predictions_rows=30)
    return tmp_path / "results"


def run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["bless", *arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


def test_blessing_tells_what_was_blessed(results: Path) -> None:
    """Runs, ok cases, predictions, commit, size and checksum, and that nothing was replaced."""
    code, out, _ = run("1", "2", "--as", "main")
    made = load_baseline("main", results)
    assert code == 0
    lines = out.splitlines()
    assert lines[0] == f"blessed as main: 2 runs, {made.size_bytes / 1024:.1f} KiB"
    assert lines[1].endswith(": 4 of 4 cases ok, 2 with predictions, commit 0000000000")
    assert lines[1].startswith("  0001_")
    assert lines[2].startswith("  0002_")
    assert lines[-2:] == [f"checksum {made.checksum}", "there was no baseline main before"]


def test_what_is_written_is_what_a_gate_needs(results: Path) -> None:
    """In results/baselines/main the run and the predictions of every case that has some, each under its checksum."""
    run("1", "--as", "main")
    listed = json.loads((results / FOLDER / "main" / LIST).read_bytes())
    folder = results / FOLDER / "main" / listed["generation"]
    assert {path.name for path in folder.iterdir() if not path.name.startswith(".")} == {
        entry["path"] for entry in listed["files"]
    }
    for entry in listed["files"]:
        assert hashlib.sha256((folder / entry["path"]).read_bytes()).hexdigest() == entry["sha256"]
    (index,) = load_baseline("main", results).indexes
    kept = {str(name) for row, name in enumerate(index.id) if index.packed(row) is not None}
    assert kept == {case_id(0, scored=True), case_id(2, scored=True)}


def test_predictions_are_kept_of_the_named_cases(results: Path) -> None:
    """With --case of these alone; records and rounds of the others stay. An unknown case is refused by name."""
    wanted = case_id(2, scored=True)
    code, out, _ = run("1", "--as", "main", "--case", wanted)
    assert code == 0
    assert ": 4 of 4 cases ok, 1 with predictions" in out
    (index,) = load_baseline("main", results).indexes
    assert [str(name) for row, name in enumerate(index.id) if index.packed(row) is not None] == [wanted]
    assert len(index) == 4
    code, _, error = run("1", "--as", "other", "--case", wanted.replace("finetune", "fintune"))
    assert code == 2
    assert f"did you mean {wanted!r}" in error


def test_replacing_is_told(results: Path) -> None:
    """The runs and the checksum of what was there before; or why that could not be used."""
    run("1", "--as", "main")
    old = load_baseline("main", results)
    code, out, _ = run("latest", "--as", "main")
    assert code == 0
    assert out.splitlines()[-1] == (f"replaced that of {old.blessed}: {old.runs[0].source} (checksum {old.checksum})")
    (results / FOLDER / "main" / LIST).write_text("{")
    code, out, _ = run("1", "--as", "main")
    assert code == 0
    assert out.splitlines()[-1] == "replaced one that could not be used: its baseline.json is not complete JSON"


def test_an_incomplete_run(results: Path) -> None:
    """Exit code 12 and its cases; with --allow-incomplete it is taken and said so, control characters made visible."""
    path = next(results.glob("*/0001_*"))
    raw = json.loads(path.read_text())
    name = "inference[a\x1b[2Jb]"
    raw["benchmarks"][1]["extra_info"]["emobench"]["case"]["id"] = name
    raw["benchmarks"][1]["extra_info"]["emobench"].update(status="failed", reasons=["no"])
    raw["emobench"]["manifest"][1] = name
    raw["commit_info"]["dirty"] = True
    path.write_text(json.dumps(raw))
    code, out, err = run("1", "--as", "main")
    assert (code, out) == (12, "")
    assert err.count("\n") == 1
    assert "inference[a\\x1b[2Jb] is failed" in err
    assert "--allow-incomplete" in err
    code, out, _ = run("1", "--as", "main", "--allow-incomplete")
    assert code == 0
    assert "3 of 4 cases ok" in out
    assert "with uncommitted changes" in out
    assert "    incomplete: inference[a\\x1b[2Jb] is failed" in out
    assert "\x1b" not in out


def test_runs_that_are_no_repeats_are_told(results: Path) -> None:
    """Two profiles in one baseline are allowed and pointed out."""
    path = next(results.glob("*/0001_*"))
    path.write_text(path.read_text().replace('"profile": "quick"', '"profile": "smoke"'))
    _, out, _ = run("1", "2", "--as", "main")
    assert "  the runs differ in profile: quick; smoke; such cases are not paired" in out


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("3", "--as", "main"), "no run is called '3'"),
        (("1", "--as", "../main"), "a baseline cannot be called '../main'"),
        (("1", "1", "--as", "main"), "are the same run"),
        (("1",), "Missing option '--as'"),
    ],
)
def test_wrong_usage(results: Path, arguments: tuple[str, ...], text: str) -> None:
    """A run that is not there, an impossible name, a run twice, no name: exit code 2 and nothing made."""
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert text in err
    assert not (results / FOLDER).exists()


def test_a_broken_run_is_one_line(results: Path) -> None:
    """Exit code 1, the file's name, and no traceback."""
    path = next(results.glob("*/0001_*"))
    path.write_bytes(path.read_bytes()[:100])
    code, _, err = run("1", "--as", "main")
    assert code == 1
    assert path.name in err
    assert err.count("\n") == 1
