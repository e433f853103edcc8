"""``emobench check --calibrate``: which records count, what is kept, and what is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import emobench.calibration.time
from emobench.catalogue.datasets import find_dataset
from emobench.catalogue.methods import find_method
from emobench.catalogue.model_rows import find_model
from emobench.catalogue.profiles import find_profile
from emobench.cli import app
from emobench.commands.calibrate import as_json, calibrate, calibrated_text, spec_of
from emobench.commands.project_place import Place, find_place
from emobench.devices import find_device
from emobench.errors import SpecError
from emobench.estimate.corrections import load_calibration
from emobench.estimate.time import Rates, case_seconds
from emobench.outcomes import Status, metric
from emobench.records.record import Record
from emobench.records.store import save_run
from emobench.specs import CaseSpec

RATES = Rates(flops_per_second=1e11, bytes_per_second=1e10, seconds_per_operator=1e-6)
MEAN = 27.0


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setenv("EMOBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(emobench.calibration.time, "machine_rates", lambda kind, precision, say: RATES)
    return find_place(tmp_path)


def case(method: str) -> CaseSpec:
    return CaseSpec(
        kind="finetune",
        model=find_model("all-minilm-l6-v2"),
        dataset=find_dataset("rotten_tomatoes-train"),
        method=find_method(method),
        precision="fp32",
        device="cpu",
        profile=find_profile("quick"),
    )


def record(method: str, slower: float, *, memory: float, status: Status = Status.OK, device: str = "") -> Record:
    spec = case(method)
    expected = case_seconds(spec, RATES, mean_length=MEAN).parts
    here = find_device("cpu")
    assert here is not None
    return Record(
        case=spec.summary(),
        metrics=(
            metric("train_seconds", slower * expected["train"]),
            metric("evaluate_seconds", slower * expected["evaluate"]),
        ),
        status=status,
        reasons=(),
        artifacts={},
        environment={"device_name": device or here.name},
        details={
            "spec": spec.model_dump(mode="json", include={"profile", "train", "method"}),
            "data": {"mean_tokens": MEAN},
            "estimate": {"ratio": memory, "plan": {"work": "train"}},
        },
    )


def save(place: Place, *records: Record) -> None:
    content: dict[str, Any] = {
        "machine_info": {},
        "commit_info": {"id": "abc"},
        "datetime": "2026-11-01T12:00:00+00:00",
        "benchmarks": [],
        "emobench": {"schema": 1, "unmeasured": [found.to_json() for found in records]},
    }
    save_run(place.root / "results", "machine", content, commit=None)


def test_corrections_are_what_was_measured_over_what_was_predicted(place: Place) -> None:
    """Three cases 1.2, 1.3 and 1.4 times slower than predicted give 1.3, from sizes in the records; memory likewise."""
    save(place, *(record(name, slower, memory=0.9) for name, slower in (("head", 1.2), ("full", 1.3), ("lora", 1.4))))
    made = calibrate(place)
    here = find_device("cpu")
    assert here is not None
    kept = load_calibration(here.name)
    assert kept.factor("time", "train") == pytest.approx(1.3, rel=1e-3)
    assert kept.factor("time", "evaluate") == pytest.approx(1.3, rel=1e-3)
    assert kept.factor("memory", "train") == pytest.approx(0.9)
    text = calibrated_text(made)
    assert text.startswith("1 run read\n")
    assert "time of train, 3 records: measured is 1.30 of predicted, half of them within 30 % of it" in text
    assert "corrected by the other records: measured is 1.00 of predicted, half of them within" in text
    assert "memory of train, 3 records: measured is 0.90 of predicted" in text
    assert f"kept in {made.files[0]}" in text


def test_only_ok_records_of_this_device_teach_its_times(place: Place) -> None:
    """A failed case teaches nothing; one of another device its memory alone."""
    broken = record("full", 9.0, memory=5.0, status=Status.FAILED)
    other = record("full", 9.0, memory=1.1, device="NVIDIA H200")
    save(place, broken, other)
    made = calibrate(place)
    assert [item.device for item in made.found] == ["NVIDIA H200"]
    assert set(made.found[0].corrections) == {"memory.train"}
    text = calibrated_text(made)
    assert "NVIDIA H200\n  memory of train, 1 record: measured is 1.10 of predicted" in text
    assert "not corrected: 3 records are the fewest that a factor is taken from" in text


def test_the_case_of_a_record_is_the_one_that_ran() -> None:
    """Sizes and settings come from the record, rows from the catalogue."""
    spec = case("lora").model_copy(update={"profile": find_profile("quick").model_copy(update={"train": 123})})
    sizes = spec.model_dump(mode="json", include={"profile", "train", "method"})
    kept = record("lora", 1.0, memory=1.0)
    details = {**kept.details, "spec": sizes}
    again = spec_of(Record(**{**vars_of(kept), "details": details}), find_place(Path("/")))
    assert again == spec


def test_another_backend_teaches_no_times(place: Place) -> None:
    """The estimate is of eager operators in one process: a case compiled or of several processes is not its error."""
    kept = record("full", 1.0, memory=1.0)
    assert spec_of(kept, place) is not None
    for changes in ({"backend": "compile"}, {"launch": "ddp-2"}):
        other = Record(**{**vars_of(kept), "case": {**kept.case, **changes}})
        assert spec_of(other, place) is None


def vars_of(kept: Record) -> dict[str, Any]:
    names = ("case", "metrics", "status", "reasons", "artifacts", "environment", "details")
    return {name: getattr(kept, name) for name in names}


def test_nothing_to_learn_from_is_an_error(place: Place) -> None:
    """A storage without predictions says how to make one; a run that cannot be read is left out by name."""
    with pytest.raises(SpecError, match=r"nothing to calibrate with; .*; make one: pytest benchmarks"):
        calibrate(place)
    save(place, record("full", 1.0, memory=1.0))
    (file,) = (place.root / "results").glob("*/0001_*.json")
    file.with_name(file.name.replace("0001", "0002")).write_text("{")
    assert "left out: 0002_" in calibrated_text(calibrate(place))


def test_runs_and_folders_can_be_named(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers, paths and folders of runs are read as other verbs read them, each run once."""
    save(place, record("full", 1.0, memory=1.1))
    save(place, record("full", 1.0, memory=1.3))
    (first, second) = sorted((place.root / "results").glob("*/*.json"))
    assert calibrate(place, ["0001"]).ratios != calibrate(place, ["0002"]).ratios
    assert calibrate(place, ["0001", str(first), str(first.parent)]).runs == 2
    elsewhere = tmp_path / "theirs"
    elsewhere.mkdir()
    second.rename(elsewhere / second.name)
    assert calibrate(place, [str(elsewhere)]).ratios.popitem()[1]["memory.train"] == [1.3]
    monkeypatch.chdir(place.root)
    result = CliRunner().invoke(app, ["check", "--calibrate", str(elsewhere)])
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("1 run read\n")


def test_a_folder_without_runs_is_an_error(place: Place, tmp_path: Path) -> None:
    """What was named and holds nothing is told; other runs do not take its place."""
    save(place, record("full", 1.0, memory=1.1))
    (tmp_path / "empty").mkdir()
    with pytest.raises(SpecError, match=r"empty holds no saved run; runs are saved as .*; name a folder such as"):
        calibrate(place, [str(tmp_path / "empty")])
    with pytest.raises(SpecError, match="no run"):
        calibrate(place, ["0007"])


def test_json_has_errors_before_and_after(place: Place, tmp_path: Path) -> None:
    """The file says what the text says; what is not corrected has the same error before and after."""
    save(place, *(record(name, 1.3, memory=ratio) for name, ratio in (("head", 0.8), ("full", 0.8), ("lora", 0.8))))
    (found,) = as_json(calibrate(place)).values()
    assert found["memory.train"]["error_before"] == pytest.approx(0.25)
    assert found["memory.train"]["error_after"] == pytest.approx(0.0, abs=1e-9)
    assert (found["memory.train"]["used"], found["memory.train"]["records"]) == (True, 3)
    save(place, record("full", 1.3, memory=0.8, device="another"))
    one = as_json(calibrate(place, ["0002"]))["another"]["memory.train"]
    assert one["error_before"] == one["error_after"] == pytest.approx(0.25)
