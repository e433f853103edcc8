"""Made-up rounds, and the medians and ratios of raw ones as an index would give them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from emobench.analysis.median_ratios import Medians, Ratios, median_ratios, medians, resampled_ratio
from emobench.records.rounds import summarize
from tests.analysis.column_runs import Figures

Run = Sequence[float] | np.ndarray


def simulated_rounds(
    runs: int,
    rounds: int,
    *,
    median: float = 0.1,
    variation: float,
    correlation: float = 0.0,
    run_spread: float = 0.0,
    seed: int,
) -> np.ndarray:
    """Made-up latencies in seconds, shape (runs, rounds): log-normal, neighbors correlated, each run moved as a whole.

    ``variation`` and ``run_spread`` are standard deviations of the logarithm, within and between runs (0.03 is about a
    coefficient of variation of 3 %); ``correlation`` is that of neighbors, AR(1).
    """
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(runs, rounds))
    series = np.empty_like(noise)
    series[:, 0] = noise[:, 0]
    for index in range(1, rounds):
        series[:, index] = correlation * series[:, index - 1] + np.sqrt(1 - correlation**2) * noise[:, index]
    moved = run_spread * rng.normal(size=(runs, 1))
    return np.asarray(median * np.exp(variation * series + moved))


def medians_of(block: Sequence[Run] | np.ndarray) -> Medians:
    """Medians of cases, shape (C,), from their rounds of shape (C, n)."""
    values = np.asarray(block, np.float64)
    figures = summarize(values)
    n = np.full(len(values), values.shape[1])
    rounds = Figures(n=n, **{name: figures[name] for name in ("median", "low", "high", "lag1")})
    return medians(rounds, np.arange(len(values)))


def base_of(runs: Sequence[Run] | np.ndarray) -> Medians:
    """Medians of the base runs of one case, shape (R, 1)."""
    return Medians.stacked([medians_of([rounds]) for rounds in runs])


def ratios(base: np.ndarray, new: np.ndarray, **options: Any) -> Ratios:
    """Ratios of cases with one run a side, from rounds of shape (C, n)."""
    return median_ratios(Medians.stacked([medians_of(base)]), medians_of(new), **options)


def ratio(base: Sequence[Run] | np.ndarray, new: Run, **options: Any) -> Ratios:
    """Ratio of one case with several base runs: a column of one."""
    return median_ratios(base_of(base), medians_of([new]), **options)


def drawn_ratio(base: Sequence[Run] | np.ndarray, new: Run, **options: Any) -> tuple[float, float]:
    """The bootstrap's ends of the same, as logarithms."""
    rounds = [np.asarray(run) for run in base], np.asarray(new)
    return resampled_ratio(*rounds, base_of(base), medians_of([new]), **options)
