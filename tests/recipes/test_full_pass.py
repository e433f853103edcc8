"""Evaluation cases: what they read, train, write and record, on real rows and a real model at the smallest sizes."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emobench.cases.case import Case
from emobench.catalogue.datasets import find_dataset
from emobench.catalogue.model_rows import find_model
from emobench.catalogue.profiles import find_profile
from emobench.errors import SpecError
from emobench.models.load import load_classifier, load_tokenizer
from emobench.models.save import save_model
from emobench.outcomes import Status
from emobench.progress import Progress
from emobench.recipes.full_pass import can_answer, open_rows
from emobench.records.predictions import read_predictions
from emobench.session.case_record import record_of
from emobench.specs import CaseSpec, DatasetSpec, ModelSpec

# Under pytest-xdist pytest-benchmark is off and warns of fixtures that timed nothing; a case measures without it then.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Benchmark fixture was not used:pytest_benchmark.logger.PytestBenchmarkWarning"
)

MINILM = find_model("all-minilm-l6-v2")
SMOKE = find_profile("smoke")
ROOT = Path(__file__).parents[2]


def recipe() -> Any:
    """The benchmark's own test function."""
    found = importlib.util.spec_from_file_location("benchmark_of_evaluation", ROOT / "benchmarks/test_evaluation.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module.test_evaluation


def own_rows(folder: Path, rows: int = 60) -> DatasetSpec:
    """A CSV of two classes; every fifth row repeats an earlier text, every tenth has none."""
    lines = ["text,label"]
    for number in range(rows):
        label = ("negative", "positive")[number % 2]
        text = "" if number % 10 == 9 else f"film {number - number % 5} was {('awful', 'lovely')[number % 2]}"
        lines.append(f"{text},{label}")
    (folder / "own.csv").write_text("\n".join(lines) + "\n")
    return find_dataset("imdb").model_copy(
        update={
            "id": "own",
            "source": "file",
            "location": str(folder / "own.csv"),
            "files": {},
            "label_map": {},
            "rows": rows,
        }
    )


def run(folder: Path, benchmark: Any, spec: CaseSpec) -> Case:
    progress = Progress(2)
    case = Case(spec, benchmark, folder=folder, progress=progress)
    try:
        recipe()(case, spec.model, spec.dataset, spec.precision, spec.device)
    finally:
        progress.close()
    return case


def spec_of(model: ModelSpec, dataset: DatasetSpec, **changes: Any) -> CaseSpec:
    profile = SMOKE.model_copy(update={"train": 16, "validation": 4, "test": 4, **changes.pop("profile", {})})
    return CaseSpec(
        kind="evaluation", model=model, dataset=dataset, precision="fp32", device="cpu", profile=profile, **changes
    )


@pytest.mark.slow
def test_a_model_without_a_head_is_trained_and_its_training_rows_are_left_out(tmp_path: Path, benchmark: Any) -> None:
    """Of all rows, those with a training or validation text are not evaluated, repetitions of them neither."""
    case = run(
        tmp_path, benchmark, spec_of(MINILM, own_rows(tmp_path, 400), profile={"id": "small", "latency_seconds": 0.1})
    )
    record = record_of(case, Status.OK)
    facts = record.details["data"]
    assert facts["rows_read"] == 400
    assert facts["empty"] == 40
    assert facts["left_out"] > 20, "repetitions of the 20 texts are left out too"
    assert facts["rows_read"] == facts["rows"] + facts["left_out"] + facts["empty"] + facts["dropped_by_label"]
    assert sum(map(sum, record.details["confusion"])) == facts["rows"]
    frame = read_predictions(tmp_path / record.artifacts["predictions_seed0"])
    assert len(frame) == facts["rows"]
    accuracy = record.metric("accuracy")
    assert accuracy is not None
    assert accuracy.n == facts["rows"]
    assert accuracy.value == pytest.approx((frame["label"] == frame["prediction"]).mean())
    lines = (tmp_path / "own.csv").read_text().splitlines()[1:]
    assert [lines[row].split(",")[1] for row in frame["row"]] == [case_name(label) for label in frame["label"]]
    for name in ("evaluate_seconds", "evaluate_samples_per_second", "evaluate_tokens_per_second", "train_seconds"):
        assert record.metric(name) is not None
    pilot = record.details["pilot"]
    assert str(pilot["token_budget"]) in pilot["seconds"]
    assert record.case["kind"] == "evaluation"
    assert len(record.case["data_fingerprint"]) == 32


def case_name(label: int) -> str:
    return ("negative", "positive")[label]


@pytest.mark.slow
def test_a_ready_classifier_is_evaluated_on_every_row_in_the_data_sets_classes(tmp_path: Path, benchmark: Any) -> None:
    """Nothing is trained, no row is left out, and classes in another order are matched by name."""
    saved = tmp_path / "model"
    loaded = load_classifier(MINILM, num_labels=2, class_names=("Positive", "Negative"), seed=3)
    save_model(loaded, load_tokenizer(MINILM), saved)
    ready = MINILM.model_copy(
        update={"id": "ready", "path": str(saved), "packaged": None, "labels": ("Positive", "Negative")}
    )
    rows = own_rows(tmp_path)
    case = run(tmp_path, benchmark, spec_of(ready, rows, profile={"id": "small", "latency_seconds": 0.1}))
    record = record_of(case, Status.OK)
    assert record.details["data"]["left_out"] == 0
    assert record.details["data"]["rows"] == 54
    assert record.details["evaluation"]["by_split"]["train"]["rows"] == 54
    assert "training" not in record.details
    frame = read_predictions(tmp_path / record.artifacts["predictions_seed0"])
    assert frame.attrs["class_names"] == ("negative", "positive")
    text = (tmp_path / "own.csv").read_text().splitlines()[1].split(",")[0]
    encoded = load_tokenizer(MINILM)([text], return_tensors="pt")
    logits = loaded.model(input_ids=encoded["input_ids"], attention_mask=encoded["attention_mask"]).logits
    own = logits.softmax(-1)[0].tolist()
    assert frame.loc[0, ["p_positive", "p_negative"]].tolist() == pytest.approx(own, abs=1e-5)
    assert "a ready classifier may have been trained" in record.details["notes"][0]


def test_random_weights_stream_random_tokens_and_claim_no_quality(tmp_path: Path, benchmark: Any) -> None:
    """Speed without answers: no accuracy, no predictions."""
    case = run(tmp_path, benchmark, spec_of(MINILM, find_dataset("random-tokens"), weights="random"))
    record = record_of(case, Status.OK)
    assert record.metric("accuracy") is None
    assert record.metric("evaluate_tokens_per_second") is not None
    assert record.artifacts == {}
    assert record.details["evaluation"]["tokens"] == 4 * SMOKE.max_length


@pytest.mark.slow
def test_smoke_ends_after_its_test_rows(tmp_path: Path, benchmark: Any) -> None:
    """A smoke run proves the path on as many rows as its profile tests."""
    case = run(tmp_path, benchmark, spec_of(MINILM, own_rows(tmp_path, 200)))
    assert record_of(case, Status.OK).details["evaluation"]["rows"] == 4


@pytest.mark.parametrize(
    ("labels", "fits"),
    [
        (None, True),
        (("NEGATIVE", "POSITIVE"), True),
        (("positive", "negative"), True),
        (("negative", "neutral", "positive"), False),
        (("bad", "good"), False),
    ],
)
def test_which_classifiers_can_answer(labels: tuple[str, ...] | None, fits: bool) -> None:
    """A ready classifier needs just the data set's classes, in any order and case."""
    assert can_answer(MINILM.model_copy(update={"labels": labels}), find_dataset("imdb")) is fits


def test_other_classes_are_refused_before_anything_is_loaded(tmp_path: Path, benchmark: Any) -> None:
    """A class that the data set lacks would be a wrong answer each time."""
    model = MINILM.model_copy(update={"labels": ("negative", "neutral", "positive")})
    with pytest.raises(SpecError, match=r"has classes that data set 'own' lacks; its classes are negative, neutral"):
        run(tmp_path, benchmark, spec_of(model, own_rows(tmp_path)))
    assert benchmark.stats is None
    benchmark(lambda: np.zeros(1))


def found_by(case: Case) -> dict[str, str]:
    """Check to the problem that the case's record keeps."""
    return {item["check"]: item["problem"] for item in case.details["preflight"]}


def opened(folder: Path, benchmark: Any, spec: CaseSpec) -> Case:
    progress = Progress(2)
    case = Case(spec, benchmark, folder=folder, progress=progress)
    try:
        open_rows(case)
    finally:
        progress.close()
    return case


def test_data_is_checked_before_a_model_without_a_head_is_loaded(tmp_path: Path, benchmark: Any) -> None:
    """Texts beyond the input and rows that training has seen but for their case are told of evaluations too."""
    lines = [f"film {n} was {('awful', 'lovely')[n % 2]} {'and long ' * 20},{n % 2}" for n in range(60)]
    lines += [line.upper() for line in lines]
    named = [line[:-1] + ("negative", "positive")[int(line[-1])] for line in lines]
    rows = own_rows(tmp_path)
    (tmp_path / "own.csv").write_text("text,label\n" + "\n".join(named) + "\n")
    spec = spec_of(MINILM, rows, profile={"max_length": 32, "train": 60, "validation": 10, "test": 40})
    found = found_by(opened(tmp_path, benchmark, spec))
    assert found["truncation"].startswith("100 % of the texts of own are longer than 32 tokens")
    assert "differ from a training row in case" in found["leaks"]


def test_texts_of_a_ready_classifier_are_sampled_and_checked(tmp_path: Path, benchmark: Any) -> None:
    """Rows that are streamed are not read before; the first of them tell how long the texts are."""
    lines = [f"film {n} {'was long and ' * 30},{('negative', 'positive')[n % 2]}" for n in range(40)]
    rows = own_rows(tmp_path)
    (tmp_path / "own.csv").write_text("text,label\n" + "\n".join(lines) + "\n")
    ready = MINILM.model_copy(update={"id": "ready", "labels": ("negative", "positive")})
    case = opened(tmp_path, benchmark, spec_of(ready, rows, profile={"max_length": 64}))
    assert found_by(case)["truncation"].startswith("100 % of the texts of own are longer than 64 tokens")
    (told,) = (item for item in case.details["preflight"] if item["check"] == "truncation")
    assert "of 40 sampled texts" in told["why"]


def test_silenced_checks_of_data_stay_silent(tmp_path: Path, benchmark: Any) -> None:
    """The switch that silences a check holds for evaluations."""
    lines = [f"film {n} {'was long and ' * 30},{('negative', 'positive')[n % 2]}" for n in range(40)]
    rows = own_rows(tmp_path)
    (tmp_path / "own.csv").write_text("text,label\n" + "\n".join(lines) + "\n")
    progress = Progress(2)
    spec = spec_of(MINILM, rows, profile={"max_length": 64})
    case = Case(spec, benchmark, folder=tmp_path, progress=progress, silenced=frozenset({"truncation"}))
    try:
        open_rows(case)
    finally:
        progress.close()
    assert "truncation" not in found_by(case)
