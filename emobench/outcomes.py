"""Outcomes: what work returns. One table names every metric, its unit, which way is better, and what it means."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

Better = Literal["higher", "lower", "none"]


@dataclass(frozen=True, kw_only=True)
class MetricKind:
    """A row of the metric table."""

    unit: str
    better: Better
    meaning: str


def _kind(unit: str, better: Better, meaning: str) -> MetricKind:
    return MetricKind(unit=unit, better=better, meaning=meaning)


METRICS: Mapping[str, MetricKind] = {
    "accuracy": _kind("share", "higher", "Share of test examples whose most probable class is the label."),
    "f1_macro": _kind("share", "higher", "Unweighted mean of the classes' F1."),
    "f1_weighted": _kind("share", "higher", "Mean of the classes' F1, weighted by their number of examples."),
    "f1_binary": _kind("share", "higher", "F1 of the second of two classes (the positive one)."),
    "precision_macro": _kind("share", "higher", "Unweighted mean of the classes' precision."),
    "recall_macro": _kind("share", "higher", "Unweighted mean of the classes' recall."),
    "calibration_error": _kind("share", "lower", "Expected calibration error, 15 equal-width bins of confidence."),
    "validation_accuracy": _kind("share", "higher", "Accuracy on the validation split of the weights that were kept."),
    "train_loss": _kind("nats", "none", "Mean training loss over the last tenth of the steps."),
    "train_seconds": _kind("s", "lower", "Wall time of training one seed, validation during it included."),
    "train_samples_per_second": _kind("samples/s", "higher", "Training examples seen over train_seconds."),
    "train_tokens_per_second": _kind("tokens/s", "higher", "Real tokens trained on (no padding) over train_seconds."),
    "train_steps": _kind("steps", "none", "Optimizer steps taken."),
    "evaluate_seconds": _kind("s", "lower", "Wall time of predicting the test split once."),
    "evaluate_samples_per_second": _kind("samples/s", "higher", "Test examples over evaluate_seconds."),
    "evaluate_tokens_per_second": _kind("tokens/s", "higher", "Real tokens (no padding) over evaluate_seconds."),
    "load_seconds": _kind("s", "lower", "Wall time of loading the model onto the device."),
    "load_cold_seconds": _kind("s", "lower", "The same with the weights' files dropped from the page cache."),
    "parameters": _kind("parameters", "none", "Parameters of the model with its head, adapters included."),
    "trainable_parameters": _kind("parameters", "none", "Parameters that training changes."),
    "model_bytes": _kind("bytes", "lower", "Bytes of parameters and buffers as loaded."),
    "latency_p50_seconds": _kind("s", "lower", "Median wall time of one batch, device synchronised."),
    "latency_p90_seconds": _kind("s", "lower", "90th percentile of the same; given from 44 rounds on."),
    "latency_p99_seconds": _kind("s", "lower", "99th percentile of the same; given from 459 rounds on."),
    "samples_per_second": _kind("samples/s", "higher", "Examples of a batch over its median latency."),
    "tokens_per_second": _kind("tokens/s", "higher", "Real tokens of a batch (generated ones) over its median time."),
    "ttft_p50_seconds": _kind("s", "lower", "Median time to the first token: one prefill of the prompt."),
    "decode_tokens_per_second": _kind("tokens/s", "higher", "New tokens of a batch over the median decode-only pass."),
    "tpot_p50_seconds": _kind("s", "lower", "Median time per output token of a decode-only pass."),
    "device_memory_peak_bytes": _kind("bytes", "lower", "Largest memory held by tensors on the device."),
    "device_memory_reserved_bytes": _kind("bytes", "lower", "Largest memory the allocator took from the device."),
    "host_memory_peak_bytes": _kind("bytes", "lower", "Largest resident memory of the process during the work."),
    "host_memory_growth_bytes": _kind("bytes", "lower", "That peak less the resident memory when the work began."),
    "memory_taken_bytes": _kind("bytes", "none", "Peak of the device (CPU: host) less what was held before loading."),
    "memory_estimate_bytes": _kind("bytes", "none", "The same as predicted from the case alone; see details."),
    "device_memory_allocated_bytes": _kind("bytes", "lower", "Memory held by tensors on the device after the work."),
    "disk_bytes": _kind("bytes", "lower", "Size of the model's weight files on disk."),
    "kv_cache_bytes": _kind("bytes", "lower", "Bytes of the keys and values kept at the end of a generation."),
    "largest_batch_fitted": _kind("examples", "higher", "Largest batch that fitted, of a case whose own did not."),
    "device_seconds": _kind("s", "lower", "Median time of one batch between CUDA events; in a pass of its own."),
    "latency_per_sample_seconds": _kind("s", "lower", "Median latency of a batch over its examples."),
    "latency_total_seconds": _kind("s", "none", "Sum of all measured rounds."),
    "batches_per_second": _kind("batches/s", "higher", "One over the median latency of a batch."),
    "gpu_utilization": _kind("share", "none", "Share of time in which a kernel ran on the GPU, in a pass of its own."),
    "cpu_utilization": _kind("share", "none", "CPU time of this process over wall time and its cores."),
    "energy_joules_per_sample": _kind("J", "lower", "Energy counter's growth over the examples, in a pass of its own."),
    "energy_joules": _kind("J", "none", "Energy counter's growth over the sampled pass, whose length is fixed."),
    "speedup": _kind("x", "higher", "Time of evaluating the original over that of the variant, measured in turn."),
    "memory_ratio": _kind("share", "lower", "The variant's bytes of parameters and buffers over the original's."),
    "accuracy_difference": _kind("share", "higher", "The variant's accuracy less the original's on the same examples."),
    "original_accuracy": _kind("share", "higher", "Accuracy of the original that a variant was made from."),
    "cost_per_run": _kind("price", "lower", "Price of the wall time of training and evaluating one seed."),
    "cost_per_thousand_samples": _kind("price", "lower", "Price of a thousand examples at the median latency."),
    "cost_per_million_tokens": _kind("price", "lower", "Price of a million real tokens at the measured rate."),
}


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One number with its unit and direction, and its 95 % interval and sample count where they can be had."""

    name: str
    value: float
    unit: str
    better: Better
    ci: tuple[float, float] | None = None
    n: int | None = None


def metric(name: str, value: float, *, ci: tuple[float, float] | None = None, n: int | None = None) -> Metric:
    """Make a metric of the table; the value may be NaN, which a record turns into status ``invalid``.

    Raises:
        KeyError: ``name`` is not in :data:`METRICS` (a programmer's mistake).
    """
    kind = METRICS[name]
    number = int(value) if isinstance(value, int) else float(value)
    return Metric(name=name, value=number, unit=kind.unit, better=kind.better, ci=ci, n=n)


def is_finite(item: Metric) -> bool:
    """Whether value and interval are ordinary numbers."""
    return all(math.isfinite(number) for number in (item.value, *(item.ci or ())))


class Status(StrEnum):
    """How a case ended."""

    OK = "ok"
    DOES_NOT_FIT = "does_not_fit"
    INVALID = "invalid"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    LOST = "lost"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, kw_only=True)
class FitOutcome:
    """What training one seed gave."""

    seed: int
    steps: int
    epochs: float
    samples_seen: int
    tokens_seen: int
    """Real tokens, padding not counted."""
    seconds: float
    losses: Sequence[float]
    """Training loss of every optimizer step, in nats."""
    validation: Sequence[Mapping[str, float]] = ()
    """One entry an evaluation: step and accuracy."""
    stopped_early: bool = False
    kernel: str = ""
    """Attention implementation that was chosen."""
    resumed_at: int | None = None
    """Step of the checkpoint it went on from; its time is then only that of what was left to do."""
    distribution: Mapping[str, Any] = field(default_factory=dict)
    """What wrapped the model over several processes, asserted; empty for one process."""

    def metrics(self) -> list[Metric]:
        """Time, throughput, loss and validation accuracy of the training; no times of one that was resumed."""
        tail = list(self.losses)[-max(1, len(self.losses) // 10) :]
        times = [
            metric("train_seconds", self.seconds),
            metric("train_samples_per_second", self.samples_seen / self.seconds),
            metric("train_tokens_per_second", self.tokens_seen / self.seconds),
        ]
        found = [
            *(times if self.resumed_at is None else []),
            metric("train_steps", self.steps),
            metric("train_loss", sum(tail) / len(tail), n=len(tail)),
        ]
        if self.validation:
            found.append(metric("validation_accuracy", max(entry["accuracy"] for entry in self.validation)))
        return found


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What predicting one split gave: metrics and everything they came from."""

    metrics: Sequence[Metric]
    per_class: Sequence[Mapping[str, Any]]
    """One entry a class: name, precision, recall, f1, support."""
    confusion: Sequence[Sequence[int]]
    """Rows are labels, columns predictions."""
    seconds: float
    labels: Sequence[int] = field(repr=False)
    probabilities: Sequence[Sequence[float]] = field(repr=False)
    """Shape (examples, classes), in the order of the split."""
    kernel: str = ""
    """Attention implementation that was chosen."""
