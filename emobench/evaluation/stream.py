"""Evaluating a whole data set in one pass over windows of rows, in memory that does not grow with their number.

Reading, tokenizing and writing are the caller's: windows come in, predictions go out, both while the clock runs.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from emobench.data.encode import Encoded
from emobench.data.stream import Window, ahead
from emobench.devices import synchronize
from emobench.errors import DataError
from emobench.evaluation.labels import predict
from emobench.evaluation.tally import Tally
from emobench.outcomes import Metric, metric
from emobench.specs import DeviceKind

BUDGETS: Mapping[DeviceKind, tuple[int, ...]] = MappingProxyType(
    {
        "cpu": (512, 1024, 2048, 4096, 8192),
        "mps": (2048, 4096, 8192, 16384, 32768),
        "cuda": (8192, 16384, 32768, 65536, 131072),
    }
)
"""Padded tokens in one forward pass that a pilot tries."""

PILOT_ROUNDS = 5
"""Most rounds of a pilot; the first one is thrown away."""

Fold = Callable[[NDArray[np.float32]], NDArray[np.floating[Any]]]
Keep = Callable[[Window, NDArray[np.floating[Any]]], None]


@dataclass(frozen=True, kw_only=True)
class Streamed:
    """What one pass over all rows gave."""

    metrics: tuple[Metric, ...]
    """Quality, ``evaluate_seconds`` and the rates over it."""
    per_class: tuple[Mapping[str, Any], ...]
    confusion: tuple[tuple[int, ...], ...]
    by_split: Mapping[str, Mapping[str, float]]
    """Rows and accuracy of every official split."""
    rows: int
    tokens: int
    """Real tokens, padding not counted."""
    seconds: float
    """Wall time of everything: reading, tokenizing, predicting, counting, writing."""
    model_seconds: float
    """Of that, time in the model; what is missing to ``seconds`` was not hidden behind it."""
    windows: int
    kernels: Mapping[str, int]
    """Attention implementation to the number of windows it was chosen for."""


@dataclass(frozen=True, kw_only=True)
class Pilot:
    """Which token budget was fastest on a sample."""

    token_budget: int
    seconds: Mapping[int, Sequence[float]]
    """Budget to the wall time of each round that counts; empty where the budget did not fit in memory."""
    rows: int
    tokens: int
    """Real tokens of the sample."""

    def facts(self) -> dict[str, Any]:
        """The choice and all figures behind it, as plain values for a record."""
        return {
            "token_budget": self.token_budget,
            "sample_rows": self.rows,
            "sample_tokens": self.tokens,
            "seconds": {str(budget): list(found) for budget, found in self.seconds.items()},
            "samples_per_second": {
                str(budget): self.rows / min(found) for budget, found in self.seconds.items() if found
            },
        }


def evaluate_stream(
    model: nn.Module,
    windows: Iterable[Window],
    class_names: Sequence[str],
    *,
    device: DeviceKind,
    pad_id: int,
    padding_side: Literal["left", "right"],
    autocast_dtype: torch.dtype | None = None,
    token_budget: int | None = None,
    fold: Fold | None = None,
    keep: Keep | None = None,
    progress: Callable[[int, float], None] | None = None,
) -> Streamed:
    """Predict every row of ``windows`` once; the next window is made in the background while the model computes.

    Predictions of a window are those of :func:`emobench.evaluation.labels.predict`. ``fold`` turns probabilities of the
    model's classes, shape (n, M), into those of ``class_names``, shape (n, K). ``keep`` gets each window with its
    probabilities, in the window's order; ``progress`` the rows done and the accuracy so far.

    Raises:
        DataError: no row at all, or another number of classes than names; and what making the windows raises.
    """
    tallies: dict[str, Tally] = {}
    whole = Tally(class_names)
    kernels: Counter[str] = Counter()
    tokens, model_seconds = 0, 0.0
    synchronize(device)
    started = time.perf_counter()
    for window in ahead(windows):
        found = predict(
            model,
            window.encoded,
            device=device,
            pad_id=pad_id,
            padding_side=padding_side,
            autocast_dtype=autocast_dtype,
            token_budget=token_budget,
        )
        probabilities = found.probabilities if fold is None else fold(found.probabilities)
        for tally in (whole, tallies.setdefault(window.split, Tally(class_names))):
            tally.add(found.labels, probabilities)
        if keep is not None:
            keep(window, probabilities)
        kernels[found.kernel] += 1
        tokens += found.tokens
        model_seconds += found.seconds
        if progress is not None:
            progress(len(whole), _accuracy(whole))
    seconds = time.perf_counter() - started
    scores, n = whole.scores(), len(whole)
    return Streamed(
        metrics=(
            *scores.metrics,
            metric("evaluate_seconds", seconds, n=n),
            metric("evaluate_samples_per_second", n / seconds, n=n),
            metric("evaluate_tokens_per_second", tokens / seconds, n=n),
        ),
        per_class=scores.per_class,
        confusion=scores.confusion,
        by_split={split: {"rows": len(tally), "accuracy": _accuracy(tally)} for split, tally in tallies.items()},
        rows=n,
        tokens=tokens,
        seconds=seconds,
        model_seconds=model_seconds,
        windows=sum(kernels.values()),
        kernels=dict(kernels),
    )


def _accuracy(tally: Tally) -> float:
    """Share of rows that are right; one without finite probabilities is not."""
    return float(np.trace(tally.counts) / max(1, len(tally)))


def pilot(
    model: nn.Module,
    sample: Encoded,
    *,
    device: DeviceKind,
    pad_id: int,
    padding_side: Literal["left", "right"],
    autocast_dtype: torch.dtype | None = None,
    budgets: Sequence[int] | None = None,
    sample_tokens: int | None = None,
    seconds: float = 2.0,
) -> Pilot:
    """Time the sample under each token budget in turn, round after round, and take the budget of the fastest pass.

    ``budgets`` None takes the device's of :data:`BUDGETS`. Rows are taken evenly from the sample up to
    ``sample_tokens`` tokens (None: twice the largest budget); budgets that would hold all of them in one pass differ
    in nothing, so only the smallest of those is tried. Rounds end after :data:`PILOT_ROUNDS`, or once ``seconds`` are
    spent and one round counts. A budget that does not fit in the device's memory is left out and recorded as such.

    Raises:
        torch.OutOfMemoryError: not even the smallest budget fits.
        DataError: the sample is empty.
    """
    wanted = sorted(budgets or BUDGETS[device])
    sample = evenly(sample, sample_tokens or 2 * wanted[-1])
    tokens = int(sample.lengths.sum())
    too_large = [budget for budget in wanted if budget >= len(sample) * int(sample.lengths.max())]
    tried = [budget for budget in wanted if budget not in too_large[1:]]
    found: dict[int, list[float]] = {budget: [] for budget in tried}
    started = time.perf_counter()
    for round_number in range(PILOT_ROUNDS):
        # The order turns, so that no budget always follows the same one.
        for budget in [*tried[round_number % len(tried) :], *tried[: round_number % len(tried)]]:
            if budget not in tried:
                continue
            taken = _pass(model, sample, device, pad_id, padding_side, autocast_dtype, budget)
            if taken is None:
                tried = [other for other in tried if other < budget]
                found.update({other: [] for other in found if other >= budget})
            elif round_number:
                found[budget].append(taken)
        if not tried:
            raise torch.OutOfMemoryError(f"no token budget of {wanted} fits in the memory of {device}")
        if round_number and time.perf_counter() - started > seconds:
            break
    best = min((budget for budget in tried if found[budget]), key=lambda budget: min(found[budget]))
    return Pilot(token_budget=best, seconds=found, rows=len(sample), tokens=tokens)


def _pass(
    model: nn.Module,
    sample: Encoded,
    device: DeviceKind,
    pad_id: int,
    padding_side: Literal["left", "right"],
    autocast_dtype: torch.dtype | None,
    budget: int,
) -> float | None:
    """Seconds of one pass over the sample; None where it does not fit."""
    try:
        return predict(
            model,
            sample,
            device=device,
            pad_id=pad_id,
            padding_side=padding_side,
            autocast_dtype=autocast_dtype,
            token_budget=budget,
        ).seconds
    except torch.OutOfMemoryError:
        return None


def evenly(encoded: Encoded, tokens: int) -> Encoded:
    """Rows at even distances, as many as have about ``tokens`` tokens together and at least one.

    Raises:
        DataError: there is no row.
    """
    if not len(encoded):
        raise DataError("there is no example to evaluate", why="the sample is empty", fix="take a data set with rows")
    mean = float(encoded.lengths.mean())
    rows = min(len(encoded), max(1, round(tokens / mean)))
    chosen = np.linspace(0, len(encoded) - 1, rows).round().astype(np.int64)
    lengths = encoded.lengths[chosen]
    return Encoded(
        ids=np.concatenate([encoded.row(int(index)) for index in chosen]),
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        labels=encoded.labels[chosen],
    )
