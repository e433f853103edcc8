"""Original against variant in one run: speed by turns, weights, and quality paired over the same rows.

Both evaluate the same held-out rows in turn, so that a slow minute of the machine hits both. Makes no variant itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from emobench.cases.case import Case
from emobench.catalogue.datasets import DATASETS
from emobench.errors import ChangedAnswersError
from emobench.outcomes import Metric, metric
from emobench.recipes import finetune

if TYPE_CHECKING:
    from emobench.data.material import Material
    from emobench.evaluation.labels import Predictions
    from emobench.models.load import LoadedModel

ROUNDS = 5
"""Timed evaluations of each model, after one of each that is thrown away."""

TRACED_ROWS = 64
"""Rows that a trace of the variant takes."""

PROBABILITY_TOLERANCE = 0.02
"""Largest mean change of a row's probabilities that int8 may cause; beyond it the case is invalid."""


def compare(case: Case, original: LoadedModel, variant: LoadedModel, material: Material) -> None:
    """Evaluate both on the test split in turn, and add speed, memory and paired quality of the variant.

    pytest-benchmark's rounds are the variant's evaluations.

    Raises:
        ChangedAnswersError: a quantized variant answers differently beyond :data:`PROBABILITY_TOLERANCE`.
    """
    from emobench.data.encode import first_rows
    from emobench.evaluation.labels import predict

    options = {name: value for name, value in finetune.scoring(case).items() if name != "class_names"}
    calls = [partial(predict, model, material.test, **options) for model in (original.model, variant.model)]
    before, after = (call() for call in calls)
    case.add([metric("memory_ratio", variant.model_bytes / original.model_bytes)])
    times = _time_in_turn(case, *calls)
    case.add(speed_metrics(*times, samples=len(material.test)))
    case.details["rounds_seconds"] = {"original": times[0], "variant": times[1]}
    case.trace(partial(predict, variant.model, first_rows(material.test, TRACED_ROWS), **options), label="variant")
    if case.spec.weights == "random":
        return
    case.add(quality_metrics(before, after, material.class_names))
    _check_original(case, material, before)
    _write_predictions(case, material, {"original": before, "variant": after})
    _check_answers(case, before, after, quantized=variant.quantization is not None)


def speed_metrics(original: Sequence[float], variant: Sequence[float], *, samples: int) -> list[Metric]:
    """Speed of the variant, and the geometric mean of the rounds' ratios with its 95 % interval (Student's t of logs).

    Both hold the seconds of the same rounds, in order.
    """
    from emobench.analysis.quantiles import two_sided_t

    logs = np.log(np.asarray(original, dtype=np.float64) / np.asarray(variant, dtype=np.float64))
    mean, n = float(logs.mean()), len(logs)
    interval = None
    if n > 1:
        half = float(two_sided_t(0.95, n - 1)) * float(logs.std(ddof=1)) / math.sqrt(n)
        interval = (math.exp(mean - half), math.exp(mean + half))
    seconds = float(np.median(variant))
    return [
        metric("speedup", math.exp(mean), ci=interval, n=n),
        metric("evaluate_seconds", seconds, n=samples),
        metric("evaluate_samples_per_second", samples / seconds, n=samples),
    ]


def quality_metrics(original: Predictions, variant: Predictions, class_names: Sequence[str]) -> list[Metric]:
    """Quality of the variant, and its accuracy against the original's, paired over the same rows."""
    from emobench.analysis.significance import paired_counts
    from emobench.evaluation.metrics import score

    before, after = (found.probabilities.argmax(axis=1) == found.labels for found in (original, variant))
    lost, won = [int((before & ~after).sum())], [int((after & ~before).sum())]
    paired = paired_counts(lost, won, len(before))
    interval = float(paired.lower[0]), float(paired.upper[0])
    base = next(
        item for item in score(original.labels, original.probabilities, class_names).metrics if item.name == "accuracy"
    )
    return [
        *score(variant.labels, variant.probabilities, class_names).metrics,
        metric("accuracy_difference", float(paired.point[0]), ci=interval, n=len(before)),
        metric("original_accuracy", base.value, ci=base.ci, n=base.n),
    ]


def _time_in_turn(
    case: Case, original: Callable[[], Predictions], variant: Callable[[], Predictions]
) -> tuple[list[float], list[float]]:
    """Seconds of :data:`ROUNDS` evaluations of each; which goes first changes every round."""
    from emobench.measurement.machine import disturbances, facts, read_counters

    first: list[float] = []
    second: list[float] = []

    def setup() -> None:
        if len(second) % 2 == 0:
            first.append(original().seconds)

    def timed() -> None:
        second.append(variant().seconds)

    def teardown() -> None:
        if len(first) < len(second):
            first.append(original().seconds)

    device = case.spec.device
    before = read_counters(device)
    if case.benchmark.disabled:
        setup()
        timed()
    else:
        case.benchmark.pedantic(timed, setup=setup, teardown=teardown, rounds=ROUNDS)
        case.settled = True
    after = read_counters(device)
    case.details["timing"] = {"rounds": len(second), "in_turn": True, "machine": facts(before, after)}
    if case.spec.profile.spread_limit is not None and case.settled:
        case.disturbances = list(disturbances(before, after, device=device))
    return first, second


def _write_predictions(case: Case, material: Material, found: Mapping[str, Predictions]) -> None:
    """Write both models' predictions beside the journal, of the same rows in the same order."""
    from emobench.records.predictions import write_predictions

    seed = case.spec.seeds[0]
    for name, predictions in found.items():
        path = case.folder / "predictions" / f"{case.file_name}-{name}-seed{seed}.parquet"
        write_predictions(
            path,
            texts_digest=material.fingerprint,
            labels=predictions.labels,
            probabilities=predictions.probabilities,
            seed=seed,
            class_names=material.class_names,
        )
        label = "predictions" if name == "variant" else f"predictions_{name}"
        case.artifacts[f"{label}_seed{seed}"] = str(path.relative_to(case.folder))


def _check_original(case: Case, material: Material, before: Predictions) -> None:
    """What did not learn cannot lose: from a thousand training rows of the catalogue on it beats the largest class."""
    learnable = case.spec.dataset is not None and case.spec.dataset.id in DATASETS
    majority = float(np.bincount(before.labels).max() / len(before.labels))
    if learnable and len(material.train) >= 1000:
        assert before.accuracy > majority, f"the original's accuracy is {before.accuracy:.3f}, majority {majority:.3f}"


def _check_answers(case: Case, before: Predictions, after: Predictions, *, quantized: bool) -> None:
    """Keep how far the answers moved; a quantized model's must not move beyond the tolerance."""
    moved = float(np.abs(before.probabilities - after.probabilities).max(axis=1).mean())
    changed = float((before.probabilities.argmax(axis=1) != after.probabilities.argmax(axis=1)).mean())
    case.details["answers"] = {
        "mean_probability_change": moved,
        "share_changed": changed,
        "tolerance": PROBABILITY_TOLERANCE if quantized else None,
    }
    if quantized and not moved <= PROBABILITY_TOLERANCE:
        raise ChangedAnswersError(
            f"quantization moved the probabilities by {moved:.3f} on average and changed {changed:.1%} of the answers",
            why=f"int8 is taken as the same model up to {PROBABILITY_TOLERANCE}",
            fix="take another method, or keep the model in fp32",
        )
