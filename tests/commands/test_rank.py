"""The verbs rank and export: which run is meant, what is printed, what goes wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from emobench.cli import app
from tests.records.made_runs import make_run


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with one run of three scored and three timed cases."""
    monkeypatch.chdir(tmp_path)
    make_run(tmp_path / "results", cases=6, predictions_rows=200, worse={2: 0.3})
    return tmp_path / "results"


def test_a_saved_run_is_ranked_by_its_predictions(results: Path) -> None:
    """The stability of accuracies comes from the kept answers; the case that was made worse is last and stays there."""
    result = CliRunner().invoke(app, ["rank", "1", "--weight", "accuracy=1", "--format", "json"])
    assert result.exit_code == 0, result.output
    (found,) = json.loads(result.stdout)["rankings"]
    assert found["resampled"] == len(found["ranked"]) == 3
    last = found["ranked"][-1]
    assert last["case"] == "finetune[model-00002-reviews-full-fp32-cpu]"
    assert (last["rank"], last["keeps_rank"], last["is_first"]) == (3, 1.0, 0.0)
    assert sum(entry["is_first"] for entry in found["ranked"]) == pytest.approx(1)


def test_the_preset_is_balanced_and_names_what_is_missing(results: Path) -> None:
    """These models were not timed, so none can be ranked, and each says why."""
    result = CliRunner().invoke(app, ["rank", "latest"])
    assert result.exit_code == 0, result.output
    assert "balanced: accuracy 33%, latency 33%, memory 33%" in result.stdout
    assert "no case could be ranked" in result.stdout
    text = " ".join(result.stdout.split())
    assert "it has no latency_p50_seconds, memory_bytes; the run has no inference case of the same model" in text


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["rank", "9"], "no run is called '9'"),
        (["rank", "1", "--preset", "qualty"], "did you mean 'quality'?"),
        (["rank", "1", "--preset", "speed", "--weight", "accuracy=1"], "a preset is a set of weights"),
        (["rank", "1", "--weight", "accuracy"], "a weight is METRIC=W"),
        (["rank", "1", "--weight", "acuracy=1"], "did you mean 'accuracy'?"),
        (["rank", "1", "--by", "modell"], "did you mean 'model'?"),
        (["rank", "1", "--format", "jsn"], "did you mean 'json'?"),
        (["rank", "1", "--weight", "ttft_p50_seconds=1"], "no case could be ranked"),
        (["export", "9", "--to", "bencher", "--output", "b.json"], "no run is called '9'"),
        (["export", "1", "--to", "bencherr", "--output", "b.json"], "did you mean 'bencher'?"),
        (["export", "1", "--to", "bencher"], "Missing option '--output'"),
    ],
)
def test_what_goes_wrong_is_one_line(results: Path, arguments: list[str], text: str) -> None:
    """A mistake exits with 2 and writes nothing; a run without such figures is an answer."""
    result = CliRunner().invoke(app, arguments)
    assert text in result.output
    assert result.exit_code == (0 if text == "no case could be ranked" else 2)
    assert not Path("b.json").exists()


def test_a_saved_run_is_exported(results: Path) -> None:
    """What was written is printed."""
    result = CliRunner().invoke(app, ["export", "latest", "--to", "bencher", "--output", "b.json"])
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("b.json: 6 benchmarks")
    assert len(json.loads(Path("b.json").read_text())) == 6
