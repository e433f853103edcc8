"""The order in which a training run sees its examples: batches of similar length, shuffled. Moves no tensors."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler


class LengthSampler(Sampler[int]):
    """Yields example indices so that every ``batch_size`` of them in a row have nearly equal length.

    The examples are shuffled, sorted by length within windows of ``window`` batches, cut into batches, and the batches
    shuffled. The order depends on ``seed`` and ``epoch`` alone, so that a resumed run sees the same next batch. A
    short last batch, where there is one, comes last.
    """

    def __init__(self, lengths: NDArray[np.int64], *, batch_size: int, seed: int, window: int = 200) -> None:
        self.lengths = np.asarray(lengths)
        self.batch_size = batch_size
        self.seed = seed
        self.window = window
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        return iter(self.order().tolist())

    def order(self) -> NDArray[np.int64]:
        """Indices of this epoch, shape (examples,)."""
        rng = np.random.default_rng([self.seed, self.epoch])
        indices = rng.permutation(len(self.lengths))
        span = self.batch_size * self.window
        windows = [indices[start : start + span] for start in range(0, len(indices), span)]
        ordered = np.concatenate([part[np.argsort(self.lengths[part], kind="stable")] for part in windows])
        full = len(ordered) // self.batch_size * self.batch_size
        # What does not fill a batch is drawn evenly from all lengths, or the longest texts would always come last.
        rest = rng.choice(len(ordered), size=len(ordered) - full, replace=False)
        body = np.delete(ordered, rest).reshape(-1, self.batch_size)
        rng.shuffle(body, axis=0)
        return np.concatenate([body.reshape(-1), ordered[rest]])


def micro_batches(rows: int, length: int, token_budget: int) -> list[slice]:
    """Cut a batch of ``rows`` x ``length`` padded tokens into equal parts that each keep to the budget.

    A single row longer than the budget still makes a part of its own.
    """
    per_part = max(1, token_budget // max(length, 1))
    parts = -(-rows // per_part)
    size = -(-rows // parts)
    return [slice(start, min(start + size, rows)) for start in range(0, rows, size)]
