"""Exports: what goes out, in forms that the other tools' own readers take back."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emobench import extras
from emobench.errors import MissingExtraError, SpecError, UnsupportedError
from emobench.outcomes import Status, metric
from emobench.records.record import Record
from emobench.records.store import Run
from emobench.reports import own_process as apart
from emobench.reports.export_mlflow import key_name
from emobench.reports.export_tensorboard import folder_name
from emobench.reports.exported import safe_name
from emobench.reports.exports import BIGGER, FORMATS, SMALLER, export_run, exported

NASTY = "finetune[<script>alert('x')</script>|`a`\n../..\x07=1+1-é]"
TOKEN = "hf_" + "a1B2" * 8


def a_run(*records: Record, **fields: Any) -> Run:
    return Run(
        path=Path("0001_abc_20261101_120000.json"),
        name=fields.pop("name", "0001_abc_20261101_120000"),
        machine_info={"node": "hush-host", "user": "hush-user"},
        commit_info={"id": "abc123", "remote": f"https://hush-user:{TOKEN}@example.org/x.git"},
        datetime="2026-11-01T12:00:00+00:00",
        records=records,
        timings={},
        settings={"arguments": ["--hush-option"], "folder": "/home/hush-user/runs"},
        **fields,
    )


def trained(case_id: str = "finetune[tiny-reviews-full-fp32-cpu]", **fields: Any) -> Record:
    losses = [0.7, None, 0.5]
    return Record(
        case={"id": case_id, "key": "k" * 32, "kind": "finetune", "model": "tiny", "batch_size": None, "seeds": [0]},
        metrics=(
            metric("accuracy", 0.8, ci=(0.75, 0.83), n=200),
            metric("train_seconds", 12.5),
            metric("parameters", 1000),
        ),
        environment={"device_name": "Xeon", "platform": "hush-platform"},
        details={"training": [{"seed": 0, "losses": losses, "validation": [{"step": 3, "accuracy": 0.6}]}]},
        artifacts={"predictions_seed0": "predictions/a.parquet", "elsewhere": "/home/hush-user/x", "up": "../../y"},
        **fields,
    )


FAILED = Record(case={"id": "inference[tiny]", "kind": "inference"}, status=Status.FAILED, reasons=(f"token={TOKEN}",))


def test_github_action_benchmark_gets_a_file_for_each_direction(tmp_path: Path) -> None:
    """Lower is better apart from higher is better; what has no direction is in neither; fields are the tool's."""
    lines = export_run(a_run(trained(), FAILED), "github-action-benchmark", tmp_path / "out")
    smaller = json.loads((tmp_path / "out" / SMALLER).read_text())
    bigger = json.loads((tmp_path / "out" / BIGGER).read_text())
    name = "finetune[tiny-reviews-full-fp32-cpu]"
    assert smaller == [{"name": f"{name}: train_seconds", "unit": "s", "value": 12.5, "extra": "Xeon"}]
    assert bigger == [
        {"name": f"{name}: accuracy", "unit": "share", "value": 0.8, "range": "± 0.05", "extra": "n=200; Xeon"}
    ]
    assert lines[-1] == "left out: 1 of 2 cases, which are not ok"


def test_the_names_are_what_the_tool_reads() -> None:
    """The files' names are values of the action's setting ``tool``."""
    assert (SMALLER, BIGGER) == ("customSmallerIsBetter.json", "customBiggerIsBetter.json")


def test_bencher_gets_its_metric_format(tmp_path: Path) -> None:
    """Benchmark to measure to value and interval, as the published JSON schema asks."""
    export_run(a_run(trained(), FAILED), "bencher", tmp_path / "b.json")
    found = json.loads((tmp_path / "b.json").read_text())
    assert found == {
        "finetune[tiny-reviews-full-fp32-cpu]": {
            "accuracy": {"value": 0.8, "lower_value": 0.75, "upper_value": 0.83},
            "train_seconds": {"value": 12.5},
            "parameters": {"value": 1000},
        }
    }


def test_tensorboard_reads_metrics_and_curves_back(tmp_path: Path) -> None:
    """Its own reader finds every scalar with its step, and the axes as text."""
    export_run(a_run(trained(NASTY)), "tensorboard", tmp_path)
    (file,) = tmp_path.rglob("*tfevents*")
    assert unquote(file.parent.name) == NASTY
    assert file.parent.parent == tmp_path / "0001_abc_20261101_120000"
    assert file.name == "events.out.tfevents.1793534400.emobench"
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    reader = EventAccumulator(str(file.parent))
    reader.Reload()
    scalars = {tag: [(item.step, item.value) for item in reader.Scalars(tag)] for tag in reader.Tags()["scalars"]}
    assert scalars["accuracy"] == [(0, pytest.approx(0.8))]
    assert scalars["accuracy_high"] == [(0, pytest.approx(0.83))]
    assert scalars["loss_by_step"] == [(1, pytest.approx(0.7)), (3, 0.5)]
    assert scalars["validation_accuracy_by_step"] == [(3, pytest.approx(0.6))]
    (text,) = reader.Tensors("case/text_summary" if "case/text_summary" in reader.Tags()["tensors"] else "case")
    assert "| model | tiny |" in text.tensor_proto.string_val[0].decode()


MLFLOW_READER = """
import json, sys
from mlflow.tracking import MlflowClient
client = MlflowClient(tracking_uri="sqlite:///" + sys.argv[1])
experiment = client.get_experiment_by_name("emobench")
runs = client.search_runs([experiment.experiment_id])
history = {run.info.run_name: [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, "loss_by_step")]
           for run in runs}
print(json.dumps([[run.info.run_name, run.info.status, run.info.user_id, run.info.run_id, run.data.metrics,
                   run.data.params, run.data.tags, history[run.info.run_name]] for run in runs]))
"""


@pytest.mark.slow
def test_mlflow_reads_runs_back(tmp_path: Path) -> None:
    """Its own client finds a parent and its cases with parameters, metrics, steps, status and artifacts."""
    database = tmp_path / "sub" / "m.db"
    lines = export_run(a_run(trained(NASTY), FAILED), "mlflow", database)
    assert lines[0].startswith(f"{database}: 2 cases")
    read = subprocess.run(
        [sys.executable, "-c", MLFLOW_READER, str(database)],
        capture_output=True,
        check=True,
        text=True,
        cwd=tmp_path,
        env={"MLFLOW_DISABLE_TELEMETRY": "true", "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
    )
    runs = {unquote(entry[0]): entry[1:] for entry in json.loads(read.stdout.splitlines()[-1])}
    assert set(runs) == {"0001_abc_20261101_120000", NASTY, "inference[tiny]"}
    status, user, _, metrics, params, tags, losses = runs[NASTY]
    assert status == "FINISHED"
    assert user in ("", "unknown")
    assert metrics["accuracy"] == 0.8
    assert metrics["accuracy_low"] == 0.75
    assert losses == [[1, 0.7], [3, 0.5]]
    assert params == {"kind": "finetune", "model": "tiny", "seeds": "[0]", "key": "k" * 32, "device_name": "Xeon"}
    assert tags["mlflow.parentRunId"] == runs["0001_abc_20261101_120000"][2]
    assert tags["emobench.artifact.predictions_seed0"] == "predictions/a.parquet"
    assert runs["inference[tiny]"][0] == "FAILED"
    with pytest.raises(SpecError, match=r"is in .* already"):
        export_run(a_run(trained(NASTY)), "mlflow", database)
    assert {path.name for path in tmp_path.iterdir()} == {"sub"}
    assert_no_secret(tmp_path)


TRACKIO_READER = """
import json
import trackio
from trackio.sqlite_storage import SQLiteStorage
print(json.dumps([[run.name, run.config, SQLiteStorage.get_logs("emobench", run.name)]
                  for run in trackio.Api().runs("emobench")]))
"""


@pytest.mark.slow
def test_trackio_reads_runs_back(tmp_path: Path) -> None:
    """Its own API finds a run for each case, with its configuration and every step."""
    folder = tmp_path / "trackio"
    export_run(a_run(trained(NASTY), FAILED), "trackio", folder)
    read = subprocess.run(
        [sys.executable, "-c", TRACKIO_READER],
        capture_output=True,
        check=True,
        text=True,
        env={"TRACKIO_DIR": str(folder), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
    )
    ((name, config, logs),) = json.loads(read.stdout.splitlines()[-1])
    assert unquote(name) == f"0001_abc_20261101_120000 {NASTY}"
    assert config["model"] == "tiny"
    assert config["commit"] == "abc123"
    assert "_Username" not in config
    by_step = {entry["step"]: entry for entry in logs}
    assert by_step[0]["accuracy"] == 0.8
    assert by_step[3]["loss_by_step"] == 0.5
    assert by_step[3]["validation_accuracy_by_step"] == 0.6
    with pytest.raises(SpecError, match=r"is in .* already"):
        export_run(a_run(trained(NASTY)), "trackio", folder)
    assert_no_secret(folder)


def assert_no_secret(folder: Path) -> None:
    for path in folder.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        # Not the content itself: pytest would draw the difference of a whole database.
        assert [word for word in (b"hush", TOKEN.encode()) if word in content] == [], path
        assert "hush" not in path.name


@pytest.mark.parametrize("to", ["github-action-benchmark", "bencher", "tensorboard"])
def test_nothing_secret_goes_out(to: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Host, user, remote, arguments, paths, tokens of known forms, and values of secret variables stay here."""
    monkeypatch.setenv("MY_API_TOKEN", "correct-horse-battery")
    record = trained(f"finetune[{TOKEN}-correct-horse-battery-/home/hush-user/model]")
    export_run(a_run(record), to, tmp_path / "out")
    written = [tmp_path / "out"] if (tmp_path / "out").is_file() else list((tmp_path / "out").rglob("*"))
    text = "\n".join(f"{path} {path.read_text(errors='replace')}" for path in written if path.is_file())
    assert "accuracy" in text
    for word in ("hush", TOKEN, "correct-horse"):
        assert word not in text.replace(str(tmp_path), "")


def test_what_goes_out_is_listed() -> None:
    """Environment and details of the record do not go out as they are."""
    (case,) = exported(a_run(trained())).cases
    assert set(case.params) == {"kind", "model", "seeds", "key", "device_name"}
    assert case.artifacts == {"predictions_seed0": "predictions/a.parquet"}


def test_curves_of_several_seeds_have_names_of_their_own() -> None:
    """Seeds are told apart; a curve that is none is left out."""
    details = {"training": [{"seed": 3, "losses": [1.0]}, {"seed": 5, "losses": [2.0]}, {"losses": "x"}, 7]}
    (case,) = exported(a_run(Record(case={"id": "a"}, details=details))).cases
    assert case.curves == {"loss_by_step_seed3": ((1, 1.0),), "loss_by_step_seed5": ((1, 2.0),)}


@given(st.text(max_size=60))
def test_safe_names_hold_nothing_that_is_markup_and_can_be_undone(text: str) -> None:
    """No markup, quote or control character is left, and unquoting gives the text back."""
    found = safe_name(text)
    assert not re.search(r"[|`<>&\"\\\x00-\x1f\x7f]", found)
    assert unquote(found, errors="surrogatepass") == text


@given(st.text(alphabet="ab%|", min_size=40, max_size=60), st.text(alphabet="ab%|", min_size=40, max_size=60))
def test_names_that_are_cut_stay_distinct(first: str, second: str) -> None:
    """Two long names are equal only where the texts are."""
    cut = safe_name(first, longest=32), safe_name(second, longest=32)
    assert max(map(len, cut)) <= 32
    assert (cut[0] == cut[1]) == (first == second)


@given(st.text(min_size=1, max_size=60))
def test_folder_names_are_one_part_of_a_path(text: str) -> None:
    """No separator, no leading dot, no drive, and unquoting gives the text back."""
    found = folder_name(text)
    assert re.fullmatch(r"[A-Za-z0-9_.~\[\]=+,@ %-]+", found) or len(found) > 180
    assert not found.startswith((".", " "))
    assert not found.endswith((".", " "))
    if len(found) < 180:
        assert unquote(found, errors="surrogatepass") == text


@given(st.text(max_size=300))
def test_mlflow_keys_are_of_its_characters(text: str) -> None:
    """Letters, digits, underscore, hyphen and point, 250 at most, never empty."""
    assert re.fullmatch(r"[A-Za-z0-9_.-]{1,250}", key_name(text))


@pytest.mark.parametrize(
    ("to", "package", "extra"),
    [("mlflow", "mlflow", "mlflow"), ("tensorboard", "tensorboard", "tensorboard"), ("trackio", "trackio", "trackio")],
)
def test_a_missing_package_names_its_extra(
    to: str, package: str, extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error says which feature, package and command; nothing is written."""
    import importlib.util

    real = importlib.import_module

    def importing(name: str) -> Any:
        if name == package:
            raise ImportError(f"No module named {name!r}")
        return real(name)

    finding = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == package else finding(name))
    monkeypatch.setattr(extras.importlib, "import_module", importing)
    with pytest.raises(MissingExtraError, match=rf'needs the package .{package}.*pip install "emobench\[{extra}\]"'):
        export_run(a_run(trained()), to, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("to", FORMATS)
def test_an_output_of_the_wrong_kind_is_refused(to: str, tmp_path: Path) -> None:
    """A file where a folder is written, a folder where a file is."""
    (tmp_path / "file").write_text("mine")
    wrong = tmp_path if to in ("bencher", "mlflow") else tmp_path / "file"
    with pytest.raises(SpecError, match="--output"):
        export_run(a_run(trained()), to, wrong)
    assert (tmp_path / "file").read_text() == "mine"


def test_an_unknown_format_names_the_nearest(tmp_path: Path) -> None:
    """As every name."""
    with pytest.raises(SpecError, match="did you mean 'bencher'"):
        export_run(a_run(trained()), "benchr", tmp_path / "x")


def test_a_run_without_an_ok_case_is_not_exported(tmp_path: Path) -> None:
    """An empty export would look like a run without figures."""
    with pytest.raises(SpecError, match="it holds no ok case with a metric"):
        export_run(a_run(FAILED), "bencher", tmp_path / "x")


@pytest.mark.slow
def test_a_tool_that_fails_is_quoted() -> None:
    """The error names the tool and the exception that ended it."""
    with pytest.raises(UnsupportedError, match=r"trackio could not be written; its package ended with 1: KeyError"):
        apart.run_apart("emobench.reports.export_trackio", {}, environment={})


def test_a_process_that_says_nothing_is_an_error() -> None:
    """No answer is no success."""
    with pytest.raises(UnsupportedError, match="it said nothing"):
        apart.run_apart("emobench.reports.own_process", {}, environment={})
