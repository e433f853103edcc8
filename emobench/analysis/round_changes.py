"""Round changes: intervals of times from raw rounds, in closed form for many cases at once.

Single comparisons are resampled where :func:`resample_rounds` is asked to.

Shapes: C cases, R base runs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from emobench.analysis.columns import Floats, Ints, Rounds
from emobench.analysis.estimate_columns import Estimates
from emobench.analysis.latency import RUN_SPREAD, latency_ratio
from emobench.analysis.pairs import Pairs
from emobench.analysis.quantiles import t_test_p, two_sided_t
from emobench.order_statistics import FEWEST, median_quantile

FROM_ROUNDS = {
    "latency_p50_seconds": 1,
    "latency_per_sample_seconds": 1,
    "samples_per_second": -1,
    "tokens_per_second": -1,
    "batches_per_second": -1,
    "cost_per_thousand_samples": 1,
    "cost_per_million_tokens": 1,
}
"""Metrics that are a constant times the median round, or (-1) over it; see :func:`_follows_rounds`."""

ROUNDS_HOW = "rounds, order statistics"


@dataclass(frozen=True, kw_only=True)
class _Timed:
    """Rounds of cases of one run, as logarithms; NaN where a case has too few."""

    center: Floats
    variance: Floats
    """Of the center, from the rounds."""
    effective: Floats


def _timed(rounds: Rounds, rows: Ints) -> _Timed:
    """The standard error of the log median as ``latency.summarize_rounds`` has it, from the figures of an index."""
    there = rows >= 0
    n = np.where(there, rounds.n[rows], 0).astype(np.float64)
    quantile = np.full(len(rows), np.nan)
    for size in np.unique(n[n >= FEWEST]):
        quantile[n == size] = median_quantile(int(size))
    median, low, high, r = (
        np.where(there, column[rows], np.nan) for column in (rounds.median, rounds.low, rounds.high, rounds.lag1)
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        center = np.log(median)
        error = (np.log(high) - np.log(low)) / (2 * quantile)
        r = np.where(error > 0, np.clip(r + (1 + 3 * r) / n, 0.0, 0.95), 0.0)
        effective = np.maximum(1.0, n * (1 - r) / (1 + r))
        # The error is that of n independent rounds.
        variance = error**2 * n / effective
    return _Timed(center=center, variance=variance, effective=effective)


def _follows_rounds(metric: str, value: Floats, median: Floats) -> Floats:
    """The constant between metric and median round; equal on both sides where the metric follows from the rounds."""
    return value / median if FROM_ROUNDS[metric] > 0 else value * median


def fill_rounds(found: Estimates, pairs: Pairs, metric: str, at: Ints, values: Floats, confidence: float) -> None:
    """Fill in where the metric follows from the median round on both sides; of the others, say what lacks."""
    base = [_timed(run.rounds, rows[at]) for run, rows in zip(pairs.base, pairs.base_rows, strict=True)]
    new = _timed(pairs.new.rounds, pairs.new_rows[at])
    center = np.stack([side.center for side in base])
    variance = np.stack([side.variance for side in base])
    effective = np.stack([side.effective for side in base])
    with np.errstate(invalid="ignore"):
        constants = _follows_rounds(metric, values, np.exp(center))
        now = _follows_rounds(metric, found.new, np.exp(new.center))
        follows = np.abs(constants / now - 1) < 1e-6
    used = follows & np.isfinite(variance) & np.isfinite(new.variance)
    change = _several_runs(center, variance, effective, used, new, confidence)
    there = np.flatnonzero(np.isfinite(change.lower))
    sign = FROM_ROUNDS[metric]
    ends = [np.expm1(sign * end[there]) for end in (change.point, change.lower, change.upper)]
    shown = now[there] * np.exp(sign * change.base[there])
    found.put(
        there,
        ROUNDS_HOW,
        base=shown,
        point=ends[0],
        lower=np.minimum(ends[1], ends[2]),
        upper=np.maximum(ends[1], ends[2]),
        p=change.p[there],
    )
    few = found.unfilled() & np.isfinite(new.center) & (follows | np.isnan(variance)).all(axis=0)
    found.how[few] = f"fewer than {FEWEST} rounds in a run"


@dataclass(frozen=True, kw_only=True)
class _Change:
    """Changes of log medians."""

    base: Floats
    point: Floats
    lower: Floats
    upper: Floats
    p: Floats


def _several_runs(
    center: Floats, variance: Floats, effective: Floats, used: npt.NDArray[np.bool_], new: _Timed, confidence: float
) -> _Change:
    """``latency.latency_ratio``'s closed form for one new run and up to R base runs a case, in columns."""
    count = used.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        middle = np.where(used, center, 0.0).sum(axis=0) / count
        mean_variance = np.where(used, variance, 0.0).sum(axis=0) / count
        scatter = np.where(used, (center - middle) ** 2, 0.0).sum(axis=0) / (count - 1)
        excess = np.sqrt(np.maximum(0.0, scatter - mean_variance))
        shown = (count > 1) & (excess > RUN_SPREAD)
        spread = np.where(shown, excess, RUN_SPREAD)
        outer = spread**2 * (1 / count + 1)
        inner = mean_variance / count
        total = outer + inner + new.variance
        share = np.where(shown, (outer / total) ** 2 / (count - 1), 0.0)
        share += (inner / total) ** 2 / np.where(used, np.maximum(effective - 1, 1.0), 0.0).sum(axis=0)
        share += (new.variance / total) ** 2 / np.maximum(new.effective - 1, 1.0)
        df = 1 / np.maximum(share, 1e-9)
        point, error = new.center - middle, np.sqrt(total)
    there = (count > 0) & np.isfinite(total)
    safe = np.where(there, df, 1.0)
    half = np.where(there, two_sided_t(confidence, safe) * error, np.nan)
    p = np.where(there, t_test_p(np.nan_to_num(point), np.nan_to_num(error), safe), np.nan)
    return _Change(base=middle, point=point, lower=point - half, upper=point + half, p=p)


def resample_rounds(found: Estimates, pairs: Pairs, metric: str, case: int, place: int, confidence: float) -> None:
    """Replace one closed-form interval of a time by that of ``latency_ratio``."""
    rows = pairs.base_rows[:, case]
    sides = [run.raw_rounds(int(row)) for run, row in zip(pairs.base, rows, strict=True) if row >= 0]
    base = [side.tolist() for side in sides if len(side) >= FEWEST]
    new = pairs.new.raw_rounds(int(pairs.new_rows[case])).tolist()
    ratio = latency_ratio(base, [new], confidence=confidence)
    if ratio.lower is None or ratio.upper is None:
        return
    ends = [ratio.lower - 1, ratio.upper - 1] if FROM_ROUNDS[metric] > 0 else [1 / ratio.upper - 1, 1 / ratio.lower - 1]
    found.put(np.array([place]), ratio.method, lower=ends[0], upper=ends[1])
