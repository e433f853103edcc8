"""A group of cases shares a loaded model: it is loaded once, answers the same, and is let go when it does not fit."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

# Imported here so that pytester leaves them: numpy and torch cannot be imported twice.
import scipy.stats  # noqa: F401
import torch  # noqa: F401

import emobench.models.load
import emobench.records.fold
import emobench.reports.tables
from emobench.cases.shared_model import KeptModel, can_share
from emobench.catalogue.model_rows import find_model
from emobench.catalogue.profiles import find_profile
from emobench.records.record import Record
from emobench.records.store import load_run
from emobench.specs import CaseSpec
from tests.strict import LOADED, WORKERS, strict_ini

SUITE = """
import pytest

rows = [("all-minilm-l6-v2", "fp32", "cpu", size) for size in (1, 2, 3)]

@pytest.mark.inference
@pytest.mark.parametrize("model,precision,device,batch_size", rows)
def test_case(case, model, precision, device, batch_size):
    import torch
    from emobench.models.load import load_classifier
    from emobench.measurement.forward import forward_pass, logits_of
    names = ("negative", "positive")
    row = case.spec.model
    loaded = case.load(load_classifier, row, num_labels=2, class_names=names, precision=precision, device=device)
    prompts = torch.arange(16).reshape(1, 16) + 1000
    call = forward_pass(logits_of(loaded.model), prompts)
    with case.watching():
        case.details["logits"] = [round(float(value), 6) for value in call().flatten()]
    case.benchmark.pedantic(call, rounds=2)
    case.settled = True
    assert {breaks} != batch_size
"""


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every load of a classifier in this process."""
    found: list[str] = []
    usual = emobench.models.load.load_classifier

    def load_classifier(spec: Any, **keywords: Any) -> Any:
        found.append(spec.id)
        return usual(spec, **keywords)

    monkeypatch.setattr(emobench.models.load, "load_classifier", load_classifier)
    return found


def run(pytester: pytest.Pytester, *arguments: str, breaks: int = 0) -> list[Record]:
    pytester.makeini(strict_ini(WORKERS, LOADED))
    pytester.makepyfile(test_suite=SUITE.format(breaks=breaks))
    storage = pytester.path / "results"
    usual = ("--emo-profile=smoke", "--emo-weights=random", "--emo-reruns=0", f"--benchmark-storage=file://{storage}")
    pytester.runpytest_inprocess(*usual, "-p", "no:xdist", *arguments)
    return list(load_run(sorted(Path(storage).glob("*/[0-9]*.json"))[-1]).records)


@pytest.mark.slow
def test_a_group_loads_its_model_once(pytester: pytest.Pytester, loads: list[str]) -> None:
    """With ``--emo-group-by model`` the later cases load nothing, say whose model it is, and answer the same."""
    alone = run(pytester)
    assert len(loads) == 3
    loads.clear()
    shared = run(pytester, "--emo-group-by=model")
    assert len(loads) == 1
    first, *others = shared
    assert [item.details["logits"] for item in shared] == [item.details["logits"] for item in alone]
    assert first.metric("load_seconds") is not None
    assert "model_loaded_by" not in first.details
    for item in others:
        assert item.metric("load_seconds") is None
        assert item.metric("load_cold_seconds") is None
        assert item.details["model_loaded_by"] == first.id
        assert f"model loaded by {first.id}" in " ".join(item.details["notes"])
        # The model counts as taken by each of them, as where it loads its own.
        size, taken = item.metric("model_bytes"), item.metric("memory_taken_bytes")
        assert size is not None
        assert taken is not None
        assert taken.value > 0.8 * size.value
        assert item.case["key"] == next(other for other in alone if other.id == item.id).case["key"]


@pytest.mark.slow
def test_what_broke_is_not_shared(pytester: pytest.Pytester, loads: list[str]) -> None:
    """A case that failed may have left its model in any state: the next one loads its own."""
    found = run(pytester, "--emo-group-by=model", breaks=2)
    assert [item.status.value for item in found] == ["ok", "failed", "ok"]
    assert len(loads) == 2


def spec(kind: str = "inference", **changes: Any) -> CaseSpec:
    usual = {"model": find_model("all-minilm-l6-v2"), "precision": "fp32", "device": "cpu", "batch_size": 1}
    profile = find_profile("smoke")
    return CaseSpec(kind=kind, profile=profile, **{**usual, **changes})  # type: ignore[arg-type]


def load() -> Any:
    """Never called: a name to tell loaders apart."""


def test_it_is_let_go_where_the_next_case_has_another_model() -> None:
    """Another precision or model, weights drawn, a trained or compiled one: nothing of the last one stays."""
    loaded: Any = SimpleNamespace(model_bytes=100)
    others = [
        spec(precision="bf16"),
        spec(model=find_model("distilbert-base")),
        spec(weights="random"),
        spec(backend="compile"),
        spec("finetune"),
    ]
    for other in others:
        kept = KeptModel()
        kept.keep(loaded, spec(), load, labels=2)
        assert kept.held_bytes == 100
        assert kept.get(spec(batch_size=8), load, labels=2) is loaded
        kept.let_go_unless_of(other)
        assert (kept.loaded, kept.held_bytes) == (None, 0)


def test_other_classes_are_another_model() -> None:
    """The same weights with another head are loaded anew, and what trains or compiles leaves nothing."""
    loaded: Any = SimpleNamespace(model_bytes=100)
    kept = KeptModel()
    kept.keep(loaded, spec(), load, labels=2)
    assert kept.get(spec(), load, labels=3) is None
    assert kept.loaded is None
    kept.keep(loaded, spec(backend="compile"), load, labels=2)
    assert kept.loaded is None
    assert not can_share(spec("evaluation"))  # trains a head first
