"""Plan keys: known before anything is loaded, equal for the same experiment, different for what decides a result."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from emobench.cases import keys
from emobench.cases.keys import PlanKeys, deciding_versions
from emobench.catalogue.datasets import find_dataset
from emobench.catalogue.methods import find_method
from emobench.catalogue.model_rows import find_model
from emobench.catalogue.profiles import find_profile
from emobench.specs import CaseSpec, DatasetSpec, TrainSettings


def case(**changes: Any) -> CaseSpec:
    values = {
        "kind": "finetune",
        "model": find_model("all-minilm-l6-v2"),
        "dataset": find_dataset("rotten_tomatoes-train"),
        "method": find_method("full"),
        "precision": "fp32",
        "device": "cpu",
        "profile": find_profile("quick"),
        **changes,
    }
    return CaseSpec(**values)


def own_rows(path: Path) -> DatasetSpec:
    return DatasetSpec(id="mine", title="mine", license="mit", source="file", location=str(path))


@pytest.fixture(autouse=True)
def _fresh_versions() -> Any:
    keys.installed_version.cache_clear()
    yield
    keys.installed_version.cache_clear()


@pytest.mark.parametrize("package", ["torch", "transformers", "tokenizers", "numpy", "accelerate"])
def test_versions_that_compute_are_in_the_key(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another release of what computes gives another key; EmoBench's own says so by its result version."""
    before = PlanKeys().key(case())
    keys.installed_version.cache_clear()
    monkeypatch.setattr(keys, "version", lambda name: "9.9" if name == package else "1.0")
    other = PlanKeys().key(case())
    monkeypatch.setattr(keys, "version", lambda name: "1.0")
    keys.installed_version.cache_clear()
    assert len({before, other, PlanKeys().key(case())}) == 3


def test_versions_of_what_takes_no_part_are_not() -> None:
    """peft decides LoRA, onnxruntime its backend, bitsandbytes its precisions: nothing else."""
    assert "peft" not in deciding_versions(case())
    assert "peft" in deciding_versions(case(method=find_method("lora")))
    latency = {"kind": "inference", "dataset": None, "method": None}
    assert {"accelerate", "peft", "onnxruntime"}.isdisjoint(deciding_versions(case(**latency)))
    assert "onnxruntime" in deciding_versions(case(**latency, backend="onnxruntime"))
    assert "bitsandbytes" in deciding_versions(case(**latency, precision="nf4"))


def test_rows_of_a_file_are_in_the_key(tmp_path: Path) -> None:
    """A changed row gives another key, the same rows in another place the same one, also with another time."""
    one, two = tmp_path / "a.csv", tmp_path / "sub" / "a.csv"
    two.parent.mkdir()
    for path in (one, two):
        path.write_text("text,label\ngood,positive\n")
    os.utime(two, (1, 1))
    first = PlanKeys().key(case(dataset=own_rows(one)))
    assert PlanKeys().key(case(dataset=own_rows(two))) == first
    one.write_text("text,label\ngood,negative\n")
    assert PlanKeys().key(case(dataset=own_rows(one))) != first


def test_weights_of_a_folder_are_in_the_key(tmp_path: Path) -> None:
    """Other weights in a folder of the user's own give another key; nothing of them is read."""
    model = find_model("all-minilm-l6-v2").model_copy(update={"path": str(tmp_path), "packaged": None})
    absent = PlanKeys().key(case(model=model))
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"one")
    first = PlanKeys().key(case(model=model))
    assert PlanKeys().key(case(model=model)) == first != absent
    weights.write_bytes(b"another")
    assert PlanKeys().key(case(model=model)) != first


def test_random_weights_need_neither(tmp_path: Path) -> None:
    """With random weights tokens are drawn: what lies on the disk decides nothing."""
    rows = tmp_path / "a.csv"
    rows.write_text("text,label\ngood,positive\n")
    first = PlanKeys().key(case(weights="random", dataset=own_rows(rows)))
    rows.write_text("text,label\nbad,negative\n")
    assert PlanKeys().key(case(weights="random", dataset=own_rows(rows))) == first


LATENCY = {"kind": "inference", "dataset": None, "method": None, "batch_size": 4}
QUICK = find_profile("quick")


@pytest.mark.parametrize(
    ("base", "change"),
    [
        (LATENCY, {"train": TrainSettings(batch_size=7)}),
        (LATENCY, {"profile": QUICK.model_copy(update={"train": 7, "epochs": 9, "max_length": 9})}),
        (LATENCY, {"profile": QUICK.model_copy(update={"new_tokens": 7})}),
        (LATENCY, {"profile": QUICK.model_copy(update={"spread_limit": None})}),
        ({}, {"profile": QUICK.model_copy(update={"spread_limit": None})}),
        ({}, {"profile": QUICK.model_copy(update={"latency_seconds": 9.0, "latency_rounds": 99})}),
        ({}, {"profile": QUICK.model_copy(update={"id": "other"})}),
    ],
)
def test_what_decides_nothing_is_not_in_the_key(base: dict[str, Any], change: dict[str, Any]) -> None:
    """Settings of another kind of case, and the limit of what is believed, leave the key as it is."""
    assert case(**{**base, **change}).key() == case(**base).key()


@pytest.mark.parametrize("name", ["latency_seconds", "latency_cap_seconds", "latency_rounds", "prompt_tokens"])
def test_how_latency_is_measured_is_in_the_key(name: str) -> None:
    """Rounds, their time and the prompt decide a latency case."""
    changed = QUICK.model_copy(update={name: getattr(QUICK, name) + 1})
    assert case(**LATENCY, profile=changed).key() != case(**LATENCY).key()
