"""``emobench check --calibrate``: which records count, what is kept, and what is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import emobench.timing_plans
from emobench.catalogue.datasets import find_dataset
from emobench.catalogue.methods import find_method
from emobench.catalogue.models import find_model
from emobench.catalogue.profiles import find_profile
from emobench.commands.calibrating import calibrate, calibrated_text, spec_of
from emobench.commands.place import Place, find_place
from emobench.devices import find_device
from emobench.errors import SpecError
from emobench.estimate.calibration import load_calibration
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
    monkeypatch.setattr(emobench.timing_plans, "machine_rates", lambda kind, precision: RATES)
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
    assert text.startswith("1 runs read\n")
    assert "time of train: measured is 1.30 of predicted, half of 3 records within" in text
    assert "memory of train: measured is 0.90 of predicted" in text


def test_only_ok_records_of_this_device_teach_its_times(place: Place) -> None:
    """A failed case teaches nothing; one of another device its memory alone."""
    broken = record("full", 9.0, memory=5.0, status=Status.FAILED)
    other = record("full", 9.0, memory=1.1, device="NVIDIA H200")
    save(place, broken, other)
    made = calibrate(place)
    assert [item.device for item in made.found] == ["NVIDIA H200"]
    assert set(made.found[0].corrections) == {"memory.train"}
    assert "not used, fewer than 3 records" in calibrated_text(made)


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
