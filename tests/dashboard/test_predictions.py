"""The errors of a case: the right rows in the right order, and no file outside of the run's folder."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from emobench.dashboard.predictions import MOST, errors_of, seeds_of
from emobench.errors import BrokenFileError
from emobench.records.predictions import write_predictions
from emobench.records.store import Run, load_run
from tests.records.made_runs import case_id, make_run

CASE = case_id(0, scored=True)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run with two seeds, the first one's probabilities drawn at random."""
    found = load_run(make_run(tmp_path, cases=1, predictions_rows=400, training_seeds=2))
    table = np.random.default_rng(0).dirichlet((1, 1), 400)
    labels = np.random.default_rng(1).integers(0, 2, 400)
    write_predictions(
        predictions(found), texts_digest="x", labels=labels, probabilities=table, seed=0, class_names=("bad", "good")
    )
    return found


def predictions(run: Run) -> Path:
    return run.path.parent.parent / run.settings["folder"] / run.records[0].artifacts["predictions_seed0"]


def test_the_surest_errors_are_those_pandas_finds(run: Run) -> None:
    """Wrong rows by the probability of the class they were given, against a sort by pandas."""
    found = errors_of(run, CASE, 0)
    frame = pd.read_parquet(predictions(run))
    wrong = frame[frame["label"] != frame["prediction"]].copy()
    wrong["sure"] = wrong[["p_bad", "p_good"]].max(axis=1)
    expected = wrong.sort_values(["sure", "row"], ascending=[False, True]).head(MOST)
    assert (found.rows, found.wrong, found.classes) == (400, len(wrong), ("bad", "good"))
    assert [error.row for error in found.listed] == expected["row"].tolist()
    assert [error.sure for error in found.listed] == pytest.approx(expected["sure"].tolist())
    assert all(error.label != error.predicted for error in found.listed)


def test_seeds_are_those_with_predictions() -> None:
    """Other artifacts, such as those of a variant's original, are no seeds."""
    names = ("predictions_seed10", "predictions_seed2", "predictions_original_seed0", "trace", "predictions_seedx")
    assert seeds_of(dict.fromkeys(names, "")) == [2, 10]


@pytest.mark.parametrize("name", ["../../secret.parquet", "/secret.parquet", "predictions/link.parquet"])
def test_a_path_cannot_lead_out_of_the_run(run: Run, name: str) -> None:
    """A record that names a file elsewhere, also through a link, gets nothing."""
    outside = run.path.parent.parent / "secret.parquet"
    outside.write_bytes(predictions(run).read_bytes())
    predictions(run).with_name("link.parquet").symlink_to(outside)
    if name.startswith("/"):
        name = str(outside)
    with pytest.raises(BrokenFileError, match="its path leads out of the run's folder"):
        errors_of(pointing_to(run, name), CASE, 0)


def test_a_folder_cannot_lead_out_of_the_storage(run: Run) -> None:
    """The run's own folder is checked in the same way."""
    raw = json.loads(run.path.read_text())
    raw["emobench"]["run"]["folder"] = "../elsewhere"
    elsewhere = run.path.parent.parent.parent / "elsewhere"
    predictions(run).parent.parent.rename(elsewhere)
    run.path.write_text(json.dumps(raw))
    with pytest.raises(BrokenFileError, match=r"(leads out of|is not there)"):
        errors_of(load_run(run.path), CASE, 0)


def test_what_cannot_be_read_is_an_error(run: Run) -> None:
    """A truncated file, a seed without one, a case that is not in the run."""
    with pytest.raises(BrokenFileError, match="the record names no file of it"):
        errors_of(run, CASE, 7)
    with pytest.raises(BrokenFileError, match="the record names no file of it"):
        errors_of(run, "nothing", 0)
    predictions(run).write_bytes(predictions(run).read_bytes()[:200])
    with pytest.raises(BrokenFileError, match="it is no complete Parquet file"):
        errors_of(run, CASE, 0)


def pointing_to(run: Run, name: str) -> Run:
    raw = json.loads(run.path.read_text())
    raw["benchmarks"][0]["extra_info"]["emobench"]["artifacts"]["predictions_seed0"] = name
    run.path.write_text(json.dumps(raw))
    return load_run(run.path)
