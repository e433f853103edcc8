"""Runs made of records: everything a report can show, at any size, without having measured anything."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from emobench.outcomes import Metric, Status, metric
from emobench.records.index import RunIndex, index_of
from emobench.records.record import Record
from emobench.records.store import Run

MODELS = ("all-minilm-l6-v2", "distilbert-base-uncased", "gemma-3-270m")
METHODS = ("head", "full", "lora")
DATA = ("imdb-train", "rotten_tomatoes-train")
BATCHES = (1, 4, 8, 16, 32, 64)
MACHINE = {
    "node": "secret-host-name",
    "system": "Linux",
    "python_version": "3.11.7",
    "cpu": {"brand_raw": "A processor", "count": 2},
}
COMMIT = {"id": "0123456789abcdef0123456789abcdef01234567", "dirty": True, "branch": "main"}
ENVIRONMENT = {
    "device_name": "A processor",
    "threads": 2,
    "platform": "Linux-6.1-x86_64",
    "versions": {"torch": "2.13.0", "transformers": "5.23.0"},
}
TRACE = {
    "verdict": "memory-bound",
    "achieved_share": 0.62,
    "advice": "use a larger batch or fewer bytes a weight.",
    "largest": [{"name": "aten::addmm", "share": 0.52, "kind": "memory-bound"}, {"name": "aten::gelu", "share": 0.11}],
}


def share(name: str, value: float, rows: int = 1000) -> Metric:
    half = 1.96 * (value * (1 - value) / rows) ** 0.5
    return metric(name, value, ci=(max(0.0, value - half), min(1.0, value + half)), n=rows)


def trained(model: str, data: str, method: str, *, index: int = 0, luck: float = 0.0, **fields: Any) -> Record:
    """A fine-tuning case; ``luck`` shifts its accuracy and its time."""
    precision = fields.pop("precision", "fp32")
    size = 1 + index % len(MODELS)
    rank = METHODS.index(method) if method in METHODS else 0
    accuracy = min(0.99, 0.66 + 0.05 * size + 0.04 * rank + luck * 0.01)
    steps = 63 * size
    draw = random.Random(ascii(f"{model}{data}{method}"))
    losses = [0.3 + 0.5 * 0.985**step + draw.gauss(0, 0.04) for step in range(steps)]
    right = round(500 * accuracy)
    case = {
        "id": f"finetune[{model}-{data}-{method}-{precision}-cpu]",
        "kind": "finetune",
        "model": model,
        "dataset": data,
        "method": method,
        "precision": precision,
        "device": "cpu",
        "profile": "quick",
        "weights": "pretrained",
    }
    return Record(
        case=case,
        metrics=(
            share("accuracy", accuracy),
            share("f1_macro", accuracy - 0.002),
            metric("train_seconds", 15.0 * size**2 * (1 + rank) * (1 + luck * 0.02)),
            metric("train_samples_per_second", 130 / size**2 / (1 + rank)),
            metric("evaluate_seconds", 5.0 * size),
            metric("model_bytes", 90_864_136 * size),
            metric("host_memory_growth_bytes", 3e8 * size * (1 + rank)),
            metric("cost_per_run", 0.0012 * size),
        ),
        environment=ENVIRONMENT,
        details={
            "training": [
                {
                    "seed": 0,
                    "losses": losses,
                    "validation": [
                        {"step": steps / 2, "accuracy": accuracy - 0.05},
                        {"step": steps, "accuracy": accuracy},
                    ],
                }
            ],
            "confusion": [[right, 500 - right], [480 - right, right + 20]],
            "per_class": [{"name": "negative"}, {"name": "positive"}],
            "targets": {"accuracy": {"target": 0.8, "value": accuracy, "met": accuracy >= 0.8}},
        },
        **fields,
    )


def timed(model: str, batch: int, *, index: int = 0, precision: str = "fp32", **fields: Any) -> Record:
    """An inference case."""
    seconds = 0.012 * (1 + index) ** 1.3 * batch**0.8 * (0.7 if precision == "bf16" else 1)
    ok = fields.get("status", Status.OK) is Status.OK
    found = (
        metric("latency_p50_seconds", seconds, ci=(seconds * 0.97, seconds * 1.05), n=60),
        metric("latency_p90_seconds", seconds * 1.2, n=60),
        metric("samples_per_second", batch / seconds),
        metric("tokens_per_second", 128 * batch / seconds),
        metric("host_memory_growth_bytes", 3e7 * (1 + index) + 8e6 * batch),
        metric("model_bytes", 90_864_136 * (1 + index)),
        metric("cost_per_thousand_samples", 2e-5 * seconds / batch * 1e3),
    )
    case = {
        "id": f"inference[{model}-{precision}-cpu-b{batch}]",
        "kind": "inference",
        "model": model,
        "precision": precision,
        "device": "cpu",
        "batch_size": batch,
        "profile": "quick",
        "weights": "pretrained",
    }
    return Record(case=case, metrics=found if ok else (), environment=ENVIRONMENT, **fields)


def written(model: str, *, index: int = 0) -> Record:
    """A generation case."""
    case = {"id": f"generation[{model}-fp32-cpu-b1]", "kind": "generation", "model": model, "precision": "fp32"}
    return Record(
        case={**case, "device": "cpu", "batch_size": 1, "profile": "quick", "weights": "pretrained"},
        metrics=(
            metric("ttft_p50_seconds", 0.08 * (1 + index), ci=(0.079 * (1 + index), 0.084 * (1 + index)), n=20),
            metric("tpot_p50_seconds", 0.02 * (1 + index)),
            metric("tokens_per_second", 50.0 / (1 + index)),
            metric("host_memory_growth_bytes", 2e8),
        ),
        environment=ENVIRONMENT,
    )


def some_records(*, models: Sequence[str] = MODELS, data: Sequence[str] = DATA, luck: float = 0.0) -> Iterator[Record]:
    """Training, inference and generation of every model; one case each does not fit, is invalid and has failed."""
    for index, model in enumerate(models):
        for name in data:
            for method in METHODS:
                yield trained(model, name, method, index=index, luck=luck + DATA.index(name) if name in DATA else luck)
        for precision in ("fp32", "bf16"):
            for batch in BATCHES:
                if (index, precision, batch) == (2, "fp32", 64):
                    yield timed(model, batch, status=Status.DOES_NOT_FIT, reasons=("out of memory", "needs 9 GiB"))
                elif (index, precision, batch) == (1, "bf16", 32):
                    yield timed(
                        model, batch, precision=precision, status=Status.INVALID, reasons=("the spread was 80 %",)
                    )
                else:
                    details = {"trace": TRACE} if batch == 8 else {}
                    yield timed(model, batch, index=index, precision=precision, details=details)
    yield Record(
        case={
            "id": "generation[broken]",
            "kind": "generation",
            "model": models[0],
            "precision": "fp32",
            "device": "cpu",
        },
        status=Status.FAILED,
        reasons=("RuntimeError: a kernel is missing",),
    )
    yield written(models[0])
    yield written(models[-1], index=2)


def a_run(records: Sequence[Record], *, day: int = 1, **fields: Any) -> Run:
    """A saved run that holds the records."""
    skipped = (
        {"reason": "no CUDA device: no NVIDIA driver is loaded", "count": 1398, "cases": ["finetune[a-cuda]"] * 1398},
        {"reason": "data set imdb is not on this machine; run: emobench fetch imdb", "count": 6, "cases": ["x"] * 6},
    )
    settings = {
        "profile": "quick",
        "seeds": [0],
        "weights": "pretrained",
        "arguments": ["benchmarks"],
        "version": "0.1",
    }
    given: dict[str, Any] = {
        "path": Path(f"{day:04}_run.json"),
        "name": f"{day:04}_run",
        "machine_info": MACHINE,
        "commit_info": COMMIT,
        "datetime": f"2026-11-{day:02}T12:00:00+00:00",
        "records": tuple(records),
        "timings": {record.id: tuple(0.01 + 0.0001 * step for step in range(20)) for record in records},
        "skipped": skipped,
        "settings": settings,
    }
    return Run(**{**given, **fields})


def indexed(run: Run) -> RunIndex:
    """The columns of a run, as its index would hold them."""
    return index_of(
        run.path,
        {
            "machine_info": run.machine_info,
            "commit_info": run.commit_info,
            "datetime": run.datetime,
            "benchmarks": [
                {
                    "extra_info": {"emobench": record.to_json()},
                    "stats": {"data": list(run.timings.get(record.id, (0.01,)))},
                }
                for record in run.records
            ],
            "emobench": {"schema": 1, "run": run.settings, "unmeasured": [], "skipped": [], "manifest": []},
        },
    )
