"""Made-up runs: valid run files of any size with seeded noise and planted changes, in well under a second."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from emobench.outcomes import Metric, metric
from emobench.records.packed import pack, write_packed
from emobench.records.predictions import Classes, write_predictions
from emobench.records.record import Record
from emobench.records.store import run_files

MACHINE = "Linux-CPython-3.11-64bit"
CLASSES = ("negative", "positive")


def case_id(number: int, *, scored: bool) -> str:
    """Id of the case of that number; scored ones are fine-tuned, the others only timed."""
    name = f"model-{number:05}"
    return f"finetune[{name}-reviews-full-fp32-cpu]" if scored else f"inference[{name}-fp32-cpu-b8]"


def make_run(
    folder: Path,
    *,
    cases: int = 6,
    seed: int = 0,
    accuracy: float = 0.85,
    latency: float = 0.1,
    rounds: int = 30,
    predictions_rows: int = 0,
    training_seeds: int = 1,
    spread: float = 0.02,
    churn: float = 0.02,
    worse: Mapping[int, float] | None = None,
    slower: Mapping[int, float] | None = None,
    losses: int = 0,
    packed: bool = False,
    **ours: Any,
) -> Path:
    """Write a run into the storage ``folder`` under its next number and return its file.

    Every second case (0, 2, ...) is scored on ``predictions_rows`` examples, where that is not 0; the others have
    ``rounds`` rounds of lognormal noise ``spread``. Two runs of the same sizes share examples and most answers: a
    share ``churn`` of them is drawn anew by ``seed``. ``worse`` plants a loss of accuracy (a share) and ``slower`` a
    factor of latency, by number of the case. ``packed`` writes all predictions into one file, as a baseline has them.
    ``ours`` goes into the run's key ``emobench``, over what would stand there.
    """
    rng = np.random.default_rng([seed, 1])
    number = 1 + len(run_files(folder))
    place = f"runs/made-{number:04}"
    names, rows, found = [], [], {}
    for case in range(cases):
        scored = predictions_rows > 0 and case % 2 == 0
        names.append(case_id(case, scored=scored))
        if scored:
            right = accuracy - (worse or {}).get(case, 0.0)
            classes = _classes(case, rng, predictions_rows, right, accuracy, churn, training_seeds)
            found[names[-1]] = classes
            rows.append(_scored(names[-1], case, classes, rng, place, losses))
        else:
            seconds = latency * (slower or {}).get(case, 1.0) * rng.lognormal(0.0, spread, rounds)
            rows.append(_timed(names[-1], case, seconds))
    settings: dict[str, Any] = {
        "version": "0.1.0",
        "folder": place,
        "profile": "quick",
        "seeds": list(range(training_seeds)),
        "weights": "pretrained",
        "arguments": ["benchmarks"],
    }
    stem = f"{number:04}_{seed:040x}_20261101_{120000 + number}"
    path = folder / MACHINE / f"{stem}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    if packed and found:
        settings["predictions"] = f"{stem}.predictions.parquet"
        write_packed(path.parent / settings["predictions"], {name: pack(seeds) for name, seeds in found.items()})
    elif found:
        _write_predictions(folder / place, found)
    content = {
        "machine_info": {"node": "box", "machine": "x86_64", "cpu": {"brand_raw": "Xeon", "count": 2}},
        "commit_info": {"id": f"{seed:040x}", "dirty": False, "project": "main", "branch": "main"},
        "benchmarks": rows,
        "datetime": (datetime(2026, 11, 1, 12, tzinfo=UTC) + timedelta(minutes=number)).isoformat(),
        "version": "5.3.1",
        "emobench": {"schema": 1, "run": settings, "unmeasured": [], "skipped": [], "manifest": names, **ours},
    }
    path.write_text(json.dumps(content))
    return path


def _classes(
    case: int, rng: np.random.Generator, n: int, right: float, usual: float, churn: float, seeds: int
) -> dict[int, Classes]:
    shared = np.random.default_rng([case, n, 2])
    labels = np.random.default_rng([n, 3]).integers(0, 2, n).astype(np.int32)
    usually = shared.random((seeds, n)) < usual
    found = {}
    for seed in range(seeds):
        correct = usually[seed].copy()
        anew = rng.random(n) < churn
        correct[anew] = rng.random(int(anew.sum())) < usual
        lost = correct & (rng.random(n) < (usual - right) / usual)
        predicted = np.where(correct & ~lost, labels, 1 - labels).astype(np.int32)
        found[seed] = Classes(
            texts_digest=f"reviews-{n}",
            class_names=CLASSES,
            rows=np.arange(n, dtype=np.int64),
            labels=labels,
            predicted=predicted,
        )
    return found


def _write_predictions(folder: Path, found: Mapping[str, Mapping[int, Classes]]) -> None:
    for name, by_seed in found.items():
        for seed, classes in by_seed.items():
            sure = np.where(classes.predicted[:, None] == np.arange(2), 0.75, 0.25)
            write_predictions(
                folder / _file(name, seed),
                texts_digest=classes.texts_digest,
                labels=classes.labels,
                probabilities=sure,
                seed=seed,
                class_names=CLASSES,
            )


def _file(name: str, seed: int) -> str:
    return f"predictions/{name.replace('[', '__').rstrip(']')}-seed{seed}.parquet"


def _scored(
    name: str, case: int, by_seed: Mapping[int, Classes], rng: np.random.Generator, place: str, losses: int
) -> dict[str, Any]:
    per_seed = [
        {
            "accuracy": float((classes.predicted == classes.labels).mean()),
            "f1_macro": _f1_macro(classes),
            "train_seconds": float(20 * rng.lognormal(0, 0.02)),
        }
        for classes in by_seed.values()
    ]
    means = {key: float(np.mean([entry[key] for entry in per_seed])) for key in per_seed[0]}
    n = len(by_seed[0].labels) * len(by_seed)
    half = 1.96 * (means["accuracy"] * (1 - means["accuracy"]) / n) ** 0.5
    details: dict[str, Any] = {"training": [{"losses": rng.random(losses).round(5).tolist()}]}
    if len(per_seed) > 1:
        details["per_seed"] = per_seed
    record = Record(
        case={
            **_case(name, case, kind="finetune"),
            "dataset": "reviews",
            "method": "full",
            "seeds": list(by_seed),
            "data_fingerprint": by_seed[0].texts_digest,
        },
        metrics=(
            metric("accuracy", means["accuracy"], ci=(means["accuracy"] - half, means["accuracy"] + half), n=n),
            metric("f1_macro", means["f1_macro"], n=n),
            metric("train_seconds", means["train_seconds"]),
        ),
        artifacts={f"predictions_seed{seed}": _file(name, seed) for seed in by_seed},
        environment=_environment(),
        details=details,
    )
    return _bench(record, np.array([entry["train_seconds"] for entry in per_seed]))


def _f1_macro(classes: Classes) -> float:
    labels, predicted = classes.labels, classes.predicted
    hits = np.bincount(labels[labels == predicted], minlength=2)
    return float(np.mean(2 * hits / (np.bincount(labels, minlength=2) + np.bincount(predicted, minlength=2))))


def _timed(name: str, case: int, seconds: np.ndarray) -> dict[str, Any]:
    median = float(np.median(seconds))
    metrics: tuple[Metric, ...] = (
        metric("latency_p50_seconds", median, ci=(median * 0.99, median * 1.01), n=len(seconds)),
        metric("samples_per_second", 8 / median, n=len(seconds)),
        metric("host_memory_peak_bytes", 10**9 + case),
    )
    case_summary = {**_case(name, case, kind="inference"), "batch_size": 8, "length": 128}
    return _bench(Record(case=case_summary, metrics=metrics, environment=_environment()), seconds)


def _case(name: str, case: int, *, kind: str) -> dict[str, Any]:
    return {
        "id": name,
        "key": f"{case:032x}",
        "kind": kind,
        "model": f"model-{case:05}",
        "dataset": None,
        "method": None,
        "precision": "fp32",
        "device": "cpu",
        "batch_size": None,
        "length": None,
        "backend": "eager",
        "profile": "quick",
        "weights": "pretrained",
        "seeds": [0],
        "data_fingerprint": None,
        "model_revision": "sha256:0",
    }


def _environment() -> dict[str, Any]:
    return {
        "device_name": "Xeon",
        "device_memory_bytes": 24 * 2**30,
        "fast_bf16": False,
        "threads": 2,
        "python": "3.11.7",
        "platform": "Linux",
        "versions": {"torch": "2.13.0"},
    }


def _bench(record: Record, seconds: np.ndarray) -> dict[str, Any]:
    quartiles = np.quantile(seconds, (0.25, 0.5, 0.75)).tolist()
    stats = {
        "min": float(seconds.min()),
        "max": float(seconds.max()),
        "mean": float(seconds.mean()),
        "stddev": float(seconds.std(ddof=1)) if len(seconds) > 1 else 0,
        "rounds": len(seconds),
        "median": quartiles[1],
        "iqr": quartiles[2] - quartiles[0],
        "q1": quartiles[0],
        "q3": quartiles[2],
        "iqr_outliers": 0,
        "stddev_outliers": 0,
        "outliers": "0;0",
        "ld15iqr": float(seconds.min()),
        "hd15iqr": float(seconds.max()),
        "ops": 1 / float(seconds.mean()),
        "total": float(seconds.sum()),
        "data": seconds.tolist(),
        "iterations": 1,
    }
    kind = record.case["kind"]
    mirrors = {item.name: item.value for item in record.metrics}
    return {
        "group": None,
        "name": f"test_{record.id}",
        "fullname": f"benchmarks/test_{kind}.py::test_{record.id}",
        "params": {"model": record.case["model"]},
        "param": record.case["model"],
        "extra_info": {**mirrors, "emobench": record.to_json()},
        "options": {"disable_gc": False, "timer": "perf_counter"},
        "stats": stats,
    }
