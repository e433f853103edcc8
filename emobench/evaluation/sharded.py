"""Predicting labels in several processes: each rank takes its share of the batches, and every row counts once.

A sharded model needs every rank for every forward pass, so all ranks make the same number of them.

Shapes: N examples, n of them in one rank's share, K classes.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import nn

from emobench.data.encode import Encoded
from emobench.devices import synchronize
from emobench.errors import ChangedAnswersError, DataError
from emobench.evaluation.labels import (
    TOKEN_BUDGETS,
    Predictions,
    autocasting,
    batches_by_tokens,
    evaluation_of,
    logits_of,
)
from emobench.models import kernels
from emobench.outcomes import Evaluation
from emobench.specs import DeviceKind


@dataclass(frozen=True, kw_only=True)
class Share:
    """What one rank predicted."""

    rows: NDArray[np.int64] = field(repr=False)
    """Row numbers in the split, shape (n,)."""
    log_probabilities: NDArray[np.float32] = field(repr=False)
    """Shape (n, K)."""
    seconds: float
    """Wall time of the pass, device synchronized."""
    kernel: str = ""
    """Attention implementation that was chosen."""


def own_batches(
    lengths: NDArray[np.int64], token_budget: int, *, rank: int, world_size: int
) -> list[tuple[NDArray[np.int64], bool]]:
    """This rank's batches, and whether each counts: as many on every rank, the last may be one row for company."""
    batches = batches_by_tokens(lengths, token_budget)
    rounds = -(-len(batches) // world_size)
    numbers = range(rank, rounds * world_size, world_size)
    return [(batches[i], True) if i < len(batches) else (batches[-1][:1], False) for i in numbers]


def predict_share(
    model: nn.Module,
    encoded: Encoded,
    *,
    device: DeviceKind,
    pad_id: int,
    padding_side: Literal["left", "right"],
    rank: int,
    world_size: int,
    autocast_dtype: torch.dtype | None = None,
    token_budget: int | None = None,
) -> Share:
    """Predict this rank's share of a split; every rank calls it. Arguments as in ``labels.predict``.

    Raises:
        DataError: the split is empty.
    """
    if not len(encoded):
        raise DataError("there is no example to evaluate", why="the split is empty", fix="take a split with rows")
    budget = token_budget or TOKEN_BUDGETS[device]
    batches = own_batches(encoded.lengths, budget, rank=rank, world_size=world_size)
    length = int(np.median(encoded.lengths))
    found: list[torch.Tensor] = []
    was_training = model.training
    model.eval()
    try:
        with kernels.scoring(model, device, rows=min(len(encoded), max(1, budget // length)), length=length) as kernel:
            synchronize(device)
            started = time.perf_counter()
            # Not inference mode: parameters that are gathered inside it could not be trained with afterwards.
            with torch.no_grad(), autocasting(device, autocast_dtype):
                for rows, counts in batches:
                    logits = logits_of(model, encoded, rows, device, pad_id, padding_side)
                    if counts:
                        found.append(logits)
            synchronize(device)
            seconds = time.perf_counter() - started
    finally:
        model.train(was_training)
    classes = logits.shape[1]
    logits = torch.cat(found).cpu() if found else torch.zeros(0, classes)
    counted = [rows for rows, counts in batches if counts]
    return Share(
        rows=np.concatenate(counted) if counted else np.zeros(0, dtype=np.int64),
        log_probabilities=logits.log_softmax(dim=-1).numpy(),
        seconds=seconds,
        kernel=kernel,
    )


def accuracy_over_ranks(share: Share, labels: NDArray[np.int64], device: DeviceKind) -> float:
    """Accuracy over all ranks' shares; NaN where a probability is. Every rank calls it and gets the same."""
    right = int((share.log_probabilities.argmax(axis=1) == labels[share.rows]).sum())
    broken = int(np.isnan(share.log_probabilities).any())
    counts = torch.tensor([right, len(share.rows), broken], dtype=torch.int64, device=device)
    dist.all_reduce(counts)
    right, rows, broken = counts.tolist()
    return float("nan") if broken else right / rows


def joined(shares: Sequence[Share], encoded: Encoded, class_names: Sequence[str]) -> Evaluation:
    """Score what all ranks predicted together; the time is the slowest rank's.

    Raises:
        ChangedAnswersError: a row of the split was predicted twice or not at all.
    """
    rows = np.concatenate([share.rows for share in shares])
    times = np.bincount(rows, minlength=len(encoded))
    if len(times) != len(encoded) or (times != 1).any():
        raise ChangedAnswersError(
            f"{int((times != 1).sum())} of {len(encoded)} rows were not predicted exactly once",
            why=f"the shares of {len(shares)} ranks have {len(rows)} rows together",
            fix="run the case again, and report it with the versions in the record if it happens again",
        )
    in_order = np.empty((len(encoded), shares[0].log_probabilities.shape[1]), dtype=np.float32)
    in_order[rows] = np.concatenate([share.log_probabilities for share in shares])
    own = in_order[np.arange(len(encoded)), encoded.labels]
    predictions = Predictions(
        probabilities=np.exp(in_order),
        labels=encoded.labels,
        loss=-float(own.mean(dtype=np.float64)),
        seconds=max(share.seconds for share in shares),
        tokens=int(encoded.lengths.sum()),
        kernel=shares[0].kernel,
    )
    return evaluation_of(predictions, class_names)
