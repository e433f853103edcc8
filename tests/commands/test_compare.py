"""``emobench compare`` and ``emobench gate`` on saved runs: forms, exit codes, and what is refused."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from emobench.cli import app
from tests.records.made_runs import MACHINE, case_id, make_run

LIMITS = ("--limit", "accuracy:1pt", "--limit", "latency_p50_seconds:5%")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a blessed run, a run with one worse and one slower case, and a repeat."""
    monkeypatch.chdir(tmp_path)
    results = tmp_path / "results"
    make_run(results, seed=0, predictions_rows=1500)
    make_run(results, seed=1, predictions_rows=1500, worse={0: 0.05}, slower={1: 1.2})
    make_run(results, seed=2, predictions_rows=1500)
    assert call("bless", "0001", "--as", "main").exit_code == 0
    return tmp_path


def call(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def test_several_runs_are_compared_at_once(project: Path) -> None:
    """A table a run against the same base, at most 120 columns wide."""
    found = call("compare", "main", "0002", "0003")
    assert found.exit_code == 0, found.output
    assert found.output.count(" against main") == 2
    assert "in all: 4 worse" in found.output
    assert max(map(len, found.output.splitlines())) <= 120


def test_rows_can_be_chosen(project: Path) -> None:
    """By metric and verdict; the named metrics alone are compared."""
    found = call("compare", "main", "0002", "--metric", "accuracy", "--only", "worse,better", "--format", "csv")
    (row,) = csv.DictReader(io.StringIO(found.output))
    assert (row["case"], row["metric"], row["verdict"]) == (case_id(0, scored=True), "accuracy", "worse")
    assert float(row["change_high"]) < 0


def test_groups_follow_an_axis(project: Path) -> None:
    """``--by`` sorts into groups with a heading each."""
    found = call("compare", "main", "0002", "--by", "method")
    assert "method: full" in found.output
    assert "method: (none)" in found.output


def test_markdown_is_grouped_too(project: Path) -> None:
    """A heading and a table a group, and every row of the ungrouped table in one of them."""
    grouped = call("compare", "main", "0002", "--by", "method", "--format", "markdown").output
    assert grouped.count("### method: ") == 2
    plain = call("compare", "main", "0002", "--format", "markdown").output
    rows = [line for line in grouped.splitlines() if line.startswith("| ") and "| --- |" not in line]
    heads = [line for line in rows if line.startswith("| case |")]
    assert len(heads) == 2
    assert set(rows) == {line for line in plain.splitlines() if line.startswith("| ") and "| --- |" not in line}
    assert len(rows) == plain.count("\n| ")


@pytest.mark.slow
@pytest.mark.parametrize("form", ["text", "markdown", "csv", "json"])
@pytest.mark.parametrize("verb", ["compare", "gate"])
def test_every_form_can_be_written(project: Path, form: str, verb: str) -> None:
    """Into a file, and nothing else is printed than that it was written (and a gate's counts)."""
    found = call(verb, "main", "0003", "--format", form, "--output", "page", *(LIMITS if verb == "gate" else ()))
    assert found.exit_code == 0, found.output
    assert found.output.splitlines()[0] == "written: page"
    text = (project / "page").read_text()
    assert text.endswith("\n")
    if form == "json":
        json.loads(text)


@pytest.mark.parametrize(("run", "code"), [("0002", 10), ("0003", 0)])
def test_a_gate_ends_with_its_code(project: Path, run: str, code: int) -> None:
    """10 for a regression, 0 for a repeat; all six pairs are gated."""
    found = call("gate", "main", run, *LIMITS)
    assert found.exit_code == code, found.output
    assert "Gated 6 of 6 against main" in found.output


def test_a_run_without_some_cases_is_incomplete(project: Path) -> None:
    """Cases that vanished are exit code 11 and named, unless they were deselected."""
    make_run(project / "results", seed=3, cases=4, predictions_rows=1500)
    found = call("gate", "main", "0004", *LIMITS)
    assert found.exit_code == 11
    assert f"{case_id(4, scored=True)}: accuracy is incomplete: the case has no record" in " ".join(
        found.output.split()
    )
    assert "Gated 4 of 6" in found.output
    path = next((project / "results" / MACHINE).glob("0004_*"))
    content = json.loads(path.read_text())
    content["emobench"]["run"]["deselected"] = [case_id(4, scored=True), case_id(5, scored=False)]
    path.write_text(json.dumps(content))
    assert call("gate", "main", "0004", *LIMITS).exit_code == 0


def test_limits_of_the_project_count(project: Path) -> None:
    """``[gates]`` of emobench.toml is used without an option."""
    (project / "emobench.toml").write_text('[gates]\naccuracy = "1pt"\n')
    assert "Gated 3 of 3" in call("gate", "main", "0002").output


def test_a_limit_that_gates_nothing_is_said(project: Path) -> None:
    """A metric that no case of the baseline has."""
    found = call("gate", "main", "0003", *LIMITS, "--limit", "energy_joules_per_sample:5%")
    assert "no case is gated by: energy_joules_per_sample (5%)" in found.output


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("gate", "main", "0003"), 2, "no limit is given"),
        (("gate", "mian", "0003", *LIMITS), 12, "did you mean 'main'?"),
        (("gate", "latest", "0003", *LIMITS), 12, "latest is no baseline"),
        (("gate", "main", "0009", *LIMITS), 2, "no run is called '0009'"),
        (("gate", "main", "0003", *LIMITS, "--inconclusive", "maybe"), 2, "unknown choice for --inconclusive"),
        (("gate", "main", "0003", *LIMITS, "--format", "pdf"), 2, "unknown form in --format"),
        (("gate", "main", "0003", *LIMITS, "--output", "results"), 2, "it is a folder"),
        (("compare", "main", "0003", "--metric", "acuracy"), 2, "did you mean 'accuracy'?"),
        (("compare", "main", "0003", "--only", "wrose"), 2, "did you mean 'worse'?"),
        (("compare", "main", "0003", "--by", "modell"), 2, "did you mean 'model'?"),
    ],
)
def test_what_means_nothing_is_refused(project: Path, arguments: tuple[str, ...], code: int, message: str) -> None:
    """In one line, with the code for bad usage or for an unusable baseline."""
    found = call(*arguments)
    assert found.exit_code == code
    assert message in found.output
    assert len(found.output.splitlines()) == 1


@pytest.mark.parametrize("damage", ["truncated", "flipped", "foreign"])
def test_a_broken_run_is_one_line(project: Path, damage: str) -> None:
    """A new run that cannot be read, or holds no case of ours."""
    path = next((project / "results" / MACHINE).glob("0003_*"))
    data = path.read_bytes()
    path.write_bytes({"truncated": data[: len(data) // 2], "flipped": b"\xff" + data, "foreign": b'{"a": 1}'}[damage])
    for verb in (("compare",), ("gate", *LIMITS)):
        found = call(verb[0], "main", "0003", *verb[1:])
        assert found.exit_code == 1
        assert "0003_" in found.output
        assert len(found.output.splitlines()) == 1


def test_times_can_be_left_ungated(project: Path) -> None:
    """With --no-times what depends on the machine is not gated, be the limit an option's or the project's."""
    (project / "emobench.toml").write_text('[gates.markers.inference]\nlatency_p50_seconds = "1%"\n')
    found = call("gate", "main", "0002", "--no-times", *LIMITS)
    assert found.exit_code == 10, found.output
    assert "Gated 3 of 3 against main: 1 worse" in found.output
    assert "latency" not in found.output
    alone = call("gate", "main", "0002", "--no-times", "--limit", "latency_p50_seconds:5%")
    assert alone.exit_code == 0
    assert "Gated 0 of 0 against main: nothing to gate" in alone.output


def test_other_machines_are_not_compared(project: Path) -> None:
    """Unless --across is given: times of other hardware are listed with the reason, and a gate says so."""
    path = next((project / "results" / MACHINE).glob("0003_*"))
    path.write_text(path.read_text().replace('"device_name": "Xeon"', '"device_name": "Ryzen"'))
    found = call("compare", "main", "0003")
    assert "not compared, hardware differs: Xeon" in found.output
    assert "in all: nothing to compare" in found.output
    assert "6 worse" not in call("compare", "main", "0003", "--across").output
    gated = call("gate", "main", "0003", *LIMITS)
    assert gated.exit_code == 0
    assert "Gated 3 of 6 against main: 3 same, 3 not gated" in gated.output
    assert "latency_p50_seconds is not gated: hardware differs" in " ".join(gated.output.split())
    assert "Gated 6 of 6" in call("gate", "main", "0003", *LIMITS, "--across").output
