"""Shrink cases: sizes, the ratio's interval, paired quality, turns, and one case from original to figures."""

from __future__ import annotations

import math
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from emobench.cases.case import Case
from emobench.cases.names import ORIGINALS, forget_originals
from emobench.catalogue.datasets import DATASETS, find_dataset
from emobench.catalogue.methods import SHRINK_METHODS, find_method
from emobench.catalogue.profiles import PROFILES, find_profile
from emobench.data.material import random_material
from emobench.errors import ChangedAnswersError
from emobench.estimate.flops import case_flops
from emobench.evaluation.labels import Predictions
from emobench.recipes import pair as comparison
from emobench.recipes import shrink as shrinking
from emobench.records.predictions import read_predictions
from emobench.specs import CaseSpec
from tests.models.models_under_test import MINILM, two_layers

REVIEWS = find_dataset("rotten_tomatoes-train")


def spec(method: str = "quantize-int8", *, profile: str = "quick", **sizes: Any) -> CaseSpec:
    return CaseSpec(
        kind="shrink",
        model=MINILM,
        dataset=REVIEWS,
        method=find_method(method),
        precision="fp32",
        device="cpu",
        profile=find_profile(profile).model_copy(update=sizes),
    )


def predictions(right: list[int], *, shift: float = 0.0) -> Predictions:
    probability = np.where(np.array(right, dtype=bool), 0.9 - shift, 0.1)
    return Predictions(
        probabilities=np.stack([1 - probability, probability], axis=1).astype(np.float32),
        labels=np.ones(len(right), dtype=np.int64),
        loss=0.0,
        seconds=1.0,
        tokens=1,
    )


def test_ids_are_those_a_person_types() -> None:
    """The id names model, data, method, precision and device."""
    assert spec("distill").id == "shrink[all-minilm-l6-v2-rotten_tomatoes-train-distill-fp32-cpu]"


@pytest.mark.slow
def test_every_row_that_is_left_is_held_out() -> None:
    """Train, validation and test are all rows there are; where training takes everything the profile's size stays."""
    rows = shrinking.held_out_rows(spec(train=100, validation=50)) + 150
    assert 8_000 < rows <= 8_530
    assert shrinking.held_out_rows(spec()) == rows - 2_500
    assert shrinking.held_out_rows(spec(train=9_000, test=77)) == 77
    assert shrinking.held_out_rows(spec(profile="full")) is None


@pytest.mark.slow
def test_a_test_size_given_by_hand_stays() -> None:
    """``--emo-set test=50`` is 50 rows; the profile's own size becomes all rows that are left."""

    def test_rows(case_spec: CaseSpec) -> int | None:
        case: Any = types.SimpleNamespace(spec=case_spec)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("emobench.recipes.finetune.material", lambda case: None)
            shrinking.material(case)
        return case.spec.profile.test

    assert test_rows(spec(test=50)) == 50
    assert test_rows(spec()) == shrinking.held_out_rows(spec())


def test_speed_is_the_ratio_of_the_rounds() -> None:
    """A variant twice as fast in every round has speedup 2; the interval is Student's t of the logarithms."""
    original, variant = [2.0, 2.4, 2.2], [1.0, 1.2, 1.1]
    found = {item.name: item for item in comparison.speed_metrics(original, variant, samples=22)}
    assert found["speedup"].value == pytest.approx(2)
    assert found["speedup"].ci == pytest.approx((2, 2))
    assert found["evaluate_samples_per_second"].value == pytest.approx(20)
    ratios = np.log([2.0, 3.0, 2.5, 1.0])
    spread = comparison.speed_metrics([2.0, 3.0, 2.5, 1.0], [1.0] * 4, samples=1)[0]
    low, high = stats.t.interval(0.95, 3, loc=ratios.mean(), scale=stats.sem(ratios))
    assert spread.ci == pytest.approx((math.exp(low), math.exp(high)))
    assert spread.n == 4
    assert comparison.speed_metrics([2.0], [1.0], samples=1)[0].ci is None


def test_quality_is_paired() -> None:
    """Two of ten answers lost and one gained: a difference of -0.1 over the same ten rows, and both accuracies."""
    before, after = [1, 1, 1, 1, 1, 1, 0, 0, 0, 0], [0, 0, 1, 1, 1, 1, 1, 0, 0, 0]
    found = {
        item.name: item for item in comparison.quality_metrics(predictions(before), predictions(after), ("a", "b"))
    }
    assert found["accuracy_difference"].value == pytest.approx(-0.1)
    assert found["accuracy_difference"].n == 10
    low, high = found["accuracy_difference"].ci
    assert low < -0.1 < high
    assert found["original_accuracy"].value == pytest.approx(0.6)
    assert found["accuracy"].value == pytest.approx(0.5)


class FakeBenchmark:
    """The public part of pytest-benchmark's fixture that a case uses."""

    disabled = False
    stats = None
    has_error = False

    def __init__(self) -> None:
        self.extra_info: dict[str, Any] = {}

    def pedantic(self, target: Any, *, setup: Any, teardown: Any, rounds: int) -> None:
        for _ in range(rounds):
            setup()
            target()
            teardown()


def a_case(folder: Path, case_spec: CaseSpec) -> Case:
    progress = types.SimpleNamespace(step=lambda *_: None, note=lambda *_: None)
    return Case(case_spec, FakeBenchmark(), folder=folder, progress=progress)  # type: ignore[arg-type]  # doubles


def test_models_take_turns(tmp_path: Path) -> None:
    """Every round has one evaluation of each, and which goes first changes from round to round."""
    case = a_case(tmp_path, spec(spread_limit=None))
    order: list[str] = []

    def call(name: str) -> Any:
        order.append(name)
        return types.SimpleNamespace(seconds=float(len(order)))

    first, second = comparison._time_in_turn(case, lambda: call("original"), lambda: call("variant"))
    assert "".join(name[0] for name in order) == "ov" + "vo" + "ov" + "vo" + "ov"
    assert (len(first), len(second)) == (comparison.ROUNDS, comparison.ROUNDS)
    assert [order[int(second) - 1] for second in first] == ["original"] * comparison.ROUNDS
    assert case.settled


def test_int8_that_changes_the_answers_is_an_error(tmp_path: Path) -> None:
    """Planted fault: probabilities moved by 0.05 are beyond the tolerance, and the message says by how much."""
    case = a_case(tmp_path, spec())
    moved = predictions([1] * 10, shift=0.05)
    comparison._check_answers(case, predictions([1] * 10), moved, quantized=False)
    assert case.details["answers"]["mean_probability_change"] == pytest.approx(0.05, abs=1e-6)
    with pytest.raises(ChangedAnswersError, match=r"moved the probabilities by 0\.050 on average"):
        comparison._check_answers(case, predictions([1] * 10), moved, quantized=True)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["prune-structured", "prune-magnitude", "distill"])
def test_a_whole_case(method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Original trained once, shrunk, measured alone and compared: sizes, answers of both, and notes are in the case."""
    sizes = {"train": 16, "validation": 8, "test": 12, "max_length": 8, "spread_limit": None, "max_steps": 2}
    tiny = two_layers("all-minilm-l6-v2")
    case_spec = spec(method, profile="smoke", **sizes).model_copy(update={"model": tiny})
    case = a_case(tmp_path, case_spec)
    made = random_material(tiny, case_spec.profile)
    case.encoded = made
    loads: list[int] = []
    from emobench.models import load

    real = load.load_classifier
    monkeypatch.setattr(
        load, "load_classifier", lambda *a, **k: (loads.append(1), real(*a, **{**k, "weights": "random"}))[1]
    )
    monkeypatch.setattr(
        shrinking,
        "measure_alone",
        lambda *_, **__: {"load_seconds": 0.1, "host_growth_bytes": 5, "host_settled_bytes": 4},
    )
    kept: dict[str, shrinking.Original] = {}
    original = shrinking.train_original(case, made, kept)
    assert shrinking.train_original(case, made, kept) is original
    assert len(loads) == 1
    before = {name: tensor.clone() for name, tensor in original.loaded.model.state_dict().items()}
    variant = shrinking.shrink(case, original, made)
    comparison.compare(case, original.loaded, variant, made)
    assert all((tensor == before[name]).all() for name, tensor in original.loaded.model.state_dict().items())
    found = {item.name: item for item in case.per_seed[0]}
    ratio = found["memory_ratio"].value
    assert (ratio == 1) == (method == "prune-magnitude")
    assert found["model_bytes"].value / original.loaded.model_bytes == pytest.approx(ratio)
    assert (shrinking.DENSE_NOTE in case.details["notes"]) == (method == "prune-magnitude")
    assert case.details["shrinking"]["recovery_steps"] > 0
    files = [tmp_path / case.artifacts[name] for name in ("predictions_seed0", "predictions_original_seed0")]
    tables = [read_predictions(file) for file in files]
    assert list(tables[0]["label"]) == list(tables[1]["label"]) == made.test.labels.tolist()


def test_an_original_is_trained_once_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After another original needed its place, and in another process of the run, it comes back with its answers.

    Other data, training settings or weights make another original; a half-written one is trained again.
    """
    sizes = {"train": 16, "validation": 8, "test": 12, "max_length": 8, "spread_limit": None, "max_steps": 2}
    tiny = two_layers("all-minilm-l6-v2")
    case_spec = spec("distill", profile="smoke", **sizes).model_copy(update={"model": tiny, "weights": "random"})
    made = random_material(tiny, case_spec.profile)
    monkeypatch.setattr(shrinking, "measure_alone", lambda *_, **__: {"load_seconds": 0.1})
    trained: list[int] = []
    from emobench.training import fit

    real = fit.fit
    monkeypatch.setattr(fit, "fit", lambda *a, **k: (trained.append(a[2].seed), real(*a, **k))[1])

    def original(kept: dict[str, shrinking.Original], seed: int = 0) -> shrinking.Original:
        case = a_case(tmp_path, case_spec.model_copy(update={"seeds": (seed,)}))
        case.encoded = made
        return shrinking.train_original(case, made, kept)

    kept: dict[str, shrinking.Original] = {}
    first = original(kept)
    original(kept, seed=1)
    assert len(kept) == 1
    for known in (kept, {}):
        again = original(known)
        assert again.facts == first.facts
        for name, tensor in first.loaded.model.state_dict().items():
            assert (again.loaded.model.state_dict()[name] == tensor).all(), name
        assert not any(part.requires_grad for part in again.loaded.model.parameters())
    assert trained == [0, 1]
    assert not [path for path in (tmp_path / ORIGINALS).iterdir() if path.name.startswith(".")]
    for file in (tmp_path / ORIGINALS).glob("*/original.json"):
        file.unlink()
    original({})
    assert trained == [0, 1, 0]
    forget_originals(tmp_path)
    assert not (tmp_path / ORIGINALS).exists()


def test_the_estimate_knows_every_shrink_case() -> None:
    """Each method's work is counted, more where it trains again; every profile and data set gives a number."""
    work = {name: case_flops(spec(name)) for name in SHRINK_METHODS}
    assert min(work, key=lambda name: work[name]) == "quantize-int8"
    assert work["distill"] > work["prune-magnitude"]
    for profile in PROFILES:
        for dataset in DATASETS.values():
            case = spec(profile=profile).model_copy(update={"dataset": dataset})
            assert 0 < case_flops(case) < math.inf
