"""Round changes: intervals of times from raw rounds, in closed form for many cases at once.

Single comparisons are resampled where :func:`resample_rounds` is asked to.

Shapes: C cases, R base runs.
"""

from __future__ import annotations

import math

import numpy as np

from emobench.analysis.columns import Floats, Ints
from emobench.analysis.estimate_columns import Estimates
from emobench.analysis.median_ratios import Medians, is_clear, median_ratios, medians, resampled_ratio
from emobench.analysis.pairs import Pairs
from emobench.order_statistics import FEWEST

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


def _follows_rounds(metric: str, value: Floats, median: Floats) -> Floats:
    """The constant between metric and median round; equal on both sides where the metric follows from the rounds."""
    return value / median if FROM_ROUNDS[metric] > 0 else value * median


def fill_rounds(found: Estimates, pairs: Pairs, metric: str, at: Ints, values: Floats, confidence: float) -> None:
    """Fill in where the metric follows from the median round on both sides; of the others, say what lacks."""
    base = Medians.stacked(
        [medians(run.rounds, rows[at]) for run, rows in zip(pairs.base, pairs.base_rows, strict=True)]
    )
    new = medians(pairs.new.rounds, pairs.new_rows[at])
    with np.errstate(invalid="ignore"):
        constants = _follows_rounds(metric, values, np.exp(base.center))
        now = _follows_rounds(metric, found.new, np.exp(new.center))
        follows = np.abs(constants / now - 1) < 1e-6
    used = follows & np.isfinite(base.variance) & np.isfinite(new.variance)
    change = median_ratios(base, new, used=used, confidence=confidence)
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
    few = found.unfilled() & np.isfinite(new.center) & (follows | np.isnan(base.variance)).all(axis=0)
    found.how[few] = f"fewer than {FEWEST} rounds in a run"


def resample_rounds(found: Estimates, pairs: Pairs, metric: str, case: int, place: int, confidence: float) -> None:
    """Replace one closed-form interval of a time by the bootstrap's, of the base runs that have enough rounds."""
    row = pairs.new_rows[[case]]
    runs = [(run, rows[[case]]) for run, rows in zip(pairs.base, pairs.base_rows, strict=True) if rows[case] >= 0]
    runs = [(run, at) for run, at in runs if run.rounds.n[at[0]] >= FEWEST]
    if not runs or pairs.new.rounds.n[row[0]] < FEWEST:
        return
    base, new = Medians.stacked([medians(run.rounds, at) for run, at in runs]), medians(pairs.new.rounds, row)
    ratio = median_ratios(base, new, confidence=confidence)
    how, lower, upper = "order statistics", float(ratio.lower[0]), float(ratio.upper[0])
    if not is_clear(ratio)[0]:
        rounds = [run.raw_rounds(int(at[0])) for run, at in runs]
        lower, upper = resampled_ratio(rounds, pairs.new.raw_rounds(int(row[0])), base, new, confidence=confidence)
        how = "bootstrap of runs and rounds"
    sign = FROM_ROUNDS[metric]
    ends = sorted([math.expm1(sign * lower), math.expm1(sign * upper)])
    found.put(np.array([place]), how, lower=ends[0], upper=ends[1])
