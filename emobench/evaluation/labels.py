"""Predicting labels: one pass of a classifier over a split, in batches of similar length.

How good the predictions are is worked out in ``metrics``.

Shapes: N examples, K classes.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from emobench.data.encode import Encoded, collate
from emobench.devices import synchronize
from emobench.errors import DataError
from emobench.evaluation.metrics import score
from emobench.models import kernels
from emobench.outcomes import Evaluation, metric
from emobench.specs import DeviceKind

TOKEN_BUDGETS: Mapping[DeviceKind, int] = MappingProxyType({"cpu": 1024, "mps": 8192, "cuda": 16384})
"""Padded tokens in one forward pass. On a CPU a pass that leaves the last-level cache is slower: MiniLM on two cores
gave 235 samples/s at 1,024 tokens, 205 at 4,096 and 175 at 8,192."""


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """What one pass over a split gave, in the order of the split."""

    probabilities: NDArray[np.float32] = field(repr=False)
    """Shape (N, K)."""
    labels: NDArray[np.int64] = field(repr=False)
    """Shape (N,)."""
    loss: float
    """Mean cross-entropy in nats."""
    seconds: float
    """Wall time of the pass, batching and copies included, device synchronised."""
    tokens: int
    """Real tokens, padding not counted."""
    kernel: str = ""
    """Attention implementation that was chosen."""

    @property
    def accuracy(self) -> float:
        """Share of examples whose most probable class is the label; NaN where a probability is."""
        if not np.isfinite(self.probabilities).all():
            return float("nan")
        return float((self.probabilities.argmax(axis=1) == self.labels).mean())


def batches_by_tokens(lengths: NDArray[np.int64], token_budget: int) -> list[NDArray[np.int64]]:
    """Cut all rows into batches of similar length with at most ``token_budget`` padded tokens each.

    The longest rows come first, so that a batch that does not fit in memory shows at once. A row longer than the
    budget makes a batch of its own.
    """
    order = np.argsort(-np.asarray(lengths), kind="stable")
    batches = []
    start = 0
    while start < len(order):
        rows = max(1, token_budget // max(1, int(lengths[order[start]])))
        batches.append(order[start : start + rows])
        start += rows
    return batches


def predict(
    model: nn.Module,
    encoded: Encoded,
    *,
    device: DeviceKind,
    pad_id: int,
    padding_side: Literal["left", "right"],
    autocast_dtype: torch.dtype | None = None,
    token_budget: int | None = None,
) -> Predictions:
    """Class probabilities of every row; softmax in float32 whatever the model computes in.

    ``model`` is a sequence classifier on ``device``; it runs in evaluation mode and is left in the mode it came in.
    ``token_budget`` is the most padded tokens in one forward pass, None takes the device's of :data:`TOKEN_BUDGETS`. No
    gradients are kept, and ``autocast_dtype`` None computes in the weights' own dtype.

    Raises:
        DataError: the split is empty.
    """
    if not len(encoded):
        raise DataError("there is no example to evaluate", why="the split is empty", fix="take a split with rows")
    budget = token_budget or TOKEN_BUDGETS[device]
    batches = batches_by_tokens(encoded.lengths, budget)
    length = int(np.median(encoded.lengths))
    rows_a_pass = min(len(encoded), max(1, budget // length))
    was_training = model.training
    model.eval()
    try:
        with kernels.scoring(model, device, rows=rows_a_pass, length=length) as kernel:
            synchronize(device)
            started = time.perf_counter()
            # One context around all batches: autocast casts a weight once and keeps it until the context ends.
            with torch.inference_mode(), autocasting(device, autocast_dtype):
                logits = torch.cat([logits_of(model, encoded, rows, device, pad_id, padding_side) for rows in batches])
            log_probabilities = logits.cpu().log_softmax(dim=-1).numpy()
            synchronize(device)
            seconds = time.perf_counter() - started
    finally:
        model.train(was_training)
    order = np.concatenate(batches)
    in_order = np.empty_like(log_probabilities)
    in_order[order] = log_probabilities
    own = in_order[np.arange(len(encoded)), encoded.labels]
    return Predictions(
        probabilities=np.exp(in_order),
        labels=encoded.labels,
        loss=-float(own.mean(dtype=np.float64)),
        seconds=seconds,
        tokens=int(encoded.lengths.sum()),
        kernel=kernel,
    )


def autocasting(device: DeviceKind, dtype: torch.dtype | None) -> contextlib.AbstractContextManager[object]:
    """Autocast to ``dtype``; None computes in the weights' own."""
    return contextlib.nullcontext() if dtype is None else torch.autocast(device_type=device, dtype=dtype)


def logits_of(
    model: nn.Module,
    encoded: Encoded,
    rows: NDArray[np.int64],
    device: DeviceKind,
    pad_id: int,
    padding_side: Literal["left", "right"],
) -> torch.Tensor:
    """Logits of a batch in float32, on the device."""
    batch = collate(encoded, rows.tolist(), pad_id=pad_id, side=padding_side)
    outputs = model(input_ids=batch["input_ids"].to(device), attention_mask=batch["attention_mask"].to(device))
    logits: torch.Tensor = outputs.logits
    return logits.float()


def evaluate(
    model: nn.Module,
    encoded: Encoded,
    class_names: Sequence[str],
    *,
    device: DeviceKind,
    pad_id: int,
    padding_side: Literal["left", "right"],
    autocast_dtype: torch.dtype | None = None,
    token_budget: int | None = None,
) -> Evaluation:
    """Predict a split and score it; see :func:`predict` and :func:`emobench.evaluation.metrics.score`.

    Beside the quality metrics there are ``evaluate_seconds`` and ``evaluate_samples_per_second`` of the pass.

    Raises:
        DataError: the split is empty, or the model has another number of classes than names.
    """
    predictions = predict(
        model,
        encoded,
        device=device,
        pad_id=pad_id,
        padding_side=padding_side,
        autocast_dtype=autocast_dtype,
        token_budget=token_budget,
    )
    return evaluation_of(predictions, class_names)


def evaluation_of(predictions: Predictions, class_names: Sequence[str]) -> Evaluation:
    """Score predictions that are there.

    Raises:
        DataError: another number of classes than names.
    """
    scores = score(predictions.labels, predictions.probabilities, class_names)
    n = len(predictions.labels)
    return Evaluation(
        metrics=(
            *scores.metrics,
            metric("evaluate_seconds", predictions.seconds, n=n),
            metric("evaluate_samples_per_second", n / predictions.seconds, n=n),
        ),
        per_class=scores.per_class,
        confusion=scores.confusion,
        seconds=predictions.seconds,
        labels=predictions.labels.tolist(),
        probabilities=predictions.probabilities.tolist(),
        kernel=predictions.kernel,
    )
