"""The report verb: which runs are meant, what is printed, and what goes wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from emobench.cli import app
from emobench.commands.report import sources
from emobench.outcomes import metric
from emobench.records import index_columns as columns
from emobench.records import store
from emobench.records.index import read_index
from emobench.records.record import Record
from emobench.records.store import find_run, read_raw, save_run
from emobench.reports import full_report as full


def a_run(milliseconds: float, *, kind: str = "inference") -> dict[str, Any]:
    benchmarks = []
    for batch in (1, 8):
        seconds = milliseconds * batch**0.5 / 1e3
        case = {"id": f"{kind}[tiny-fp32-cpu-b{batch}]", "kind": kind, "model": "tiny", "precision": "fp32"}
        record = Record(
            case={**case, "device": "cpu", "batch_size": batch},
            metrics=(metric("latency_p50_seconds", seconds, ci=(seconds * 0.99, seconds * 1.01), n=20),),
        )
        benchmarks.append({"extra_info": {"emobench": record.to_json()}, "stats": {"data": [seconds] * 20}})
    return {
        "machine_info": {},
        "commit_info": {"id": "abc123", "dirty": False},
        "benchmarks": benchmarks,
        "datetime": f"2026-11-01T12:00:{milliseconds:02.0f}+00:00",
        "emobench": {"schema": 1, "run": {}, "unmeasured": [], "skipped": [], "manifest": []},
    }


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with two runs of one machine."""
    monkeypatch.chdir(tmp_path)
    for milliseconds in (10, 20):
        save_run(tmp_path / "results", "box", a_run(milliseconds), commit=None)
    return tmp_path / "results"


@pytest.fixture
def without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes seconds and is tested elsewhere."""
    monkeypatch.setattr(full, "pictures", lambda content: {})
    monkeypatch.setattr(full, "sweep_files", lambda sweeps, answers: {})
    monkeypatch.setattr(full, "report_pdf", lambda content: b"")


@pytest.mark.slow
def test_a_report_prints_its_summary_and_its_files(results: Path) -> None:
    """A run by number: the words on stdout, then every file that was written."""
    result = CliRunner().invoke(app, ["report", "1", "--to", "out", "--latency-target", "15"])
    assert result.exit_code == 0, result.output
    assert "best batch size     1: 100 (99.0 to 101) samples/s, 10.0 ms a batch within the target" in result.stdout
    written = result.stdout.partition("written:\n")[2].split()
    assert sorted(map(Path, written)) == sorted(Path("out").iterdir())
    assert {Path(name).suffix for name in written} == {".html", ".pdf", ".md", ".csv", ".json", ".txt", ".png"}
    assert Path("out/report.html").stat().st_size > 1e6
    assert "run 0002" not in Path("out/report.md").read_text()
    history = json.loads(Path("out/report.json").read_bytes())["history"]
    assert history[0]["runs"] == ["0001", "0002"]


@pytest.mark.usefixtures("without_pictures")
def test_a_history_can_be_left_out(results: Path) -> None:
    """With --history 0 the other runs of the folder are not even read."""
    (results / "box" / "0003_abc_20261103_120000.json").write_text("{")
    assert CliRunner().invoke(app, ["report", "1", "--to", "out", "--history", "0"]).exit_code == 0
    assert json.loads(Path("out/report.json").read_bytes())["history"] == []


@pytest.mark.usefixtures("without_pictures")
def test_earlier_runs_are_read_from_their_columns(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the named run is parsed: once the others have an index, their files are not opened."""
    read_index(find_run(results, "1"))
    opened: list[str] = []
    monkeypatch.setattr(store, "read_raw", lambda path: opened.append(path.stem[:4]) or read_raw(path))
    monkeypatch.setattr(columns, "read_raw", store.read_raw)
    assert CliRunner().invoke(app, ["report", "2", "--to", "out"]).exit_code == 0
    assert opened == ["0002"]
    assert json.loads(Path("out/report.json").read_bytes())["history"][0]["runs"] == ["0001", "0002"]


@pytest.mark.usefixtures("without_pictures")
def test_a_broken_neighbour_is_left_out_of_the_history_and_named(results: Path) -> None:
    """One unreadable run beside the named one is a note; the report is made."""
    (results / "box" / "0003_abc_20261103_120000.json").write_text("{")
    result = CliRunner().invoke(app, ["report", "1", "--to", "out"])
    assert result.exit_code == 0, result.output
    assert "note: run 0003 is not in the history: it is not complete JSON" in result.stdout


@pytest.mark.usefixtures("without_pictures")
def test_several_runs_stand_in_one_report(results: Path) -> None:
    """Their cases have a column with the run; the newest judges."""
    result = CliRunner().invoke(app, ["report", "1", "2", "--to", "out"])
    assert result.exit_code == 0, result.output
    assert "cases: 4 in 2 runs: 4 ok" in result.stdout
    assert "fastest: tiny, fp32, cpu, batch 1: 20.0 (19.8 to 20.2) ms" in result.stdout


def test_runs_are_named_apart(results: Path) -> None:
    """Several runs are told apart by number, where that is the same by name, and each is taken once."""
    (first, second) = sorted((results / "box").iterdir())
    assert [source.name for source in sources(["1", "latest", "0001", str(first)], results)] == ["0001", "0002"]
    elsewhere = save_run(results.parent / "other", "box", a_run(30), commit="def")
    assert [source.name for source in sources(["1", str(elsewhere)], results)] == [first.stem, elsewhere.stem]
    copy = save_run(results.parent / "copy", "box", a_run(10), commit=None)
    assert [source.name for source in sources(["1", str(copy)], results)] == [str(first), str(copy)]
    assert sources(["2"], results)[0].timings["inference[tiny-fp32-cpu-b1]"] == (0.02,) * 20
    assert second.exists()


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["0009", "--to", "out"], 2, "no run is called '0009'"),
        (["1"], 2, "Missing option '--to'"),
        (["1", "--to", "out", "--latency-target", "0"], 2, "--latency-target 0; a latency is a number"),
        (["1", "--to", "file"], 2, "--to file; there is a file of that name"),
        (["broken.json", "--to", "out"], 1, "broken.json is no readable run"),
        (["3", "--to", "out"], 2, "no case in 0003; a report is made of cases"),
        (["1", "--to", "out", "--history", "-1"], 2, "--history -1; it is a number of runs"),
    ],
)
def test_what_goes_wrong_is_one_line(results: Path, arguments: list[str], code: int, text: str) -> None:
    """A run that is not there, broken, or without cases, and options that mean nothing, write nothing."""
    Path("file").write_text("")
    Path("broken.json").write_text('{"benchmarks": [')
    save_run(results, "box", {**a_run(10), "benchmarks": []}, commit=None)
    result = CliRunner().invoke(app, ["report", *arguments])
    assert result.exit_code == code
    assert text in result.stderr
    assert not Path("out").exists()


def test_a_missing_run_names_those_there_are(results: Path) -> None:
    """The error lists the runs of the storage."""
    result = CliRunner().invoke(app, ["report", "9", "--to", "out"])
    assert "0001_abc123_20261101_120010.json" in result.stderr
    assert "0002_abc123_20261101_120020.json" in result.stderr
