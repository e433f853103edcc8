"""The order of training examples, and the cutting of large steps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emobench.training.batches import LengthSampler, micro_batches

LENGTHS = st.lists(st.integers(1, 512), min_size=1, max_size=300).map(lambda values: np.array(values, dtype=np.int64))


@given(LENGTHS, st.integers(1, 40), st.integers(0, 3))
def test_every_example_once_an_epoch(lengths: np.ndarray, batch_size: int, seed: int) -> None:
    """An epoch is a permutation: nothing is dropped and nothing comes twice."""
    sampler = LengthSampler(lengths, batch_size=batch_size, seed=seed, window=3)
    assert sorted(sampler) == list(range(len(lengths)))


@given(LENGTHS, st.integers(1, 40))
def test_same_seed_and_epoch_give_the_same_order(lengths: np.ndarray, batch_size: int) -> None:
    """The order depends on seed and epoch alone, whatever was drawn before."""
    first = LengthSampler(lengths, batch_size=batch_size, seed=7)
    second = LengthSampler(lengths, batch_size=batch_size, seed=7)
    list(first)
    first.epoch = second.epoch = 2
    assert list(first) == list(second)


def test_epochs_and_seeds_differ() -> None:
    """Another epoch or another seed is another order."""
    lengths = np.arange(1, 400, dtype=np.int64)
    orders = []
    for seed, epoch in ((0, 0), (0, 1), (1, 0)):
        sampler = LengthSampler(lengths, batch_size=8, seed=seed)
        sampler.epoch = epoch
        orders.append(tuple(sampler))
    assert len(set(orders)) == 3


def test_batches_waste_less_than_a_tenth_on_padding() -> None:
    """Batches of similar length: padding is under 10 % where random batches of the same rows pad over 60 %."""
    rng = np.random.default_rng(0)
    lengths = rng.lognormal(3.2, 0.6, size=4000).astype(np.int64) + 2

    def padded(order: np.ndarray) -> int:
        return int(lengths[order].reshape(-1, 32).max(axis=1).sum() * 32)

    assert padded(LengthSampler(lengths, batch_size=32, seed=0).order()) < 1.1 * lengths.sum()
    assert padded(rng.permutation(4000)) > 1.6 * lengths.sum()


def test_batch_order_is_not_sorted() -> None:
    """Batches are shuffled: the mean length of the first half of them is near that of the second half."""
    lengths = np.arange(1, 3201, dtype=np.int64)
    order = LengthSampler(lengths, batch_size=32, seed=0).order()
    means = lengths[order].reshape(-1, 32).mean(axis=1)
    assert abs(means[:50].mean() - means[50:].mean()) < 0.2 * lengths.mean()


@pytest.mark.parametrize(
    ("rows", "length", "budget", "sizes"),
    [(32, 28, 8192, [32]), (32, 512, 8192, [16, 16]), (5, 100, 250, [2, 2, 1]), (3, 900, 512, [1, 1, 1])],
)
def test_steps_over_the_budget_are_cut(rows: int, length: int, budget: int, sizes: list[int]) -> None:
    """Parts cover every row, in order, and keep to the budget wherever one row does."""
    parts = micro_batches(rows, length, budget)
    assert [part.stop - part.start for part in parts] == sizes
    assert parts[0].start == 0
    assert parts[-1].stop == rows
