"""Estimates: the change of one metric in many paired cases at once, with the interval that what was kept allows.

Scores come from predictions of the same examples, times from raw rounds, counts are exact, the rest from the values of
seeds and baseline runs, and where there is only one value a side from the intervals saved with it. Closed forms in
columns first; single comparisons are resampled where :func:`resampled` is asked to. No verdict is given here.

Shapes: C cases, R base runs.
"""

from __future__ import annotations

import numpy as np

from emobench.analysis.class_scores import SCORES
from emobench.analysis.columns import Floats, Ints
from emobench.analysis.estimate_columns import Estimates
from emobench.analysis.median_ratios import CLEAR
from emobench.analysis.metric_kinds import EXACT, is_share
from emobench.analysis.pairs import Pairs, values_at
from emobench.analysis.round_changes import FROM_ROUNDS, ROUNDS_HOW, fill_rounds, resample_rounds
from emobench.analysis.score_changes import DELTA, fill_scores, resample_score
from emobench.analysis.value_changes import fill_saved, fill_values

EXACT_HOW = "exact"


def estimate(pairs: Pairs, metric: str, at: Ints, *, confidence: float = 0.95) -> Estimates:
    """Changes of ``metric`` in the paired cases ``at``, all of which have it on both sides."""
    values = _base_values(pairs, metric, at)
    new = values_at(pairs.new.value, pairs.new.column(metric), pairs.new_rows[at])
    found = Estimates.empty(len(at))
    base = np.nanmean(values, axis=0) if len(at) else np.zeros(0)
    _set_point(found, metric, base, new)
    if metric in EXACT:
        found.put(np.arange(len(at)), EXACT_HOW, lower=found.point, upper=found.point, p=found.point == 0)
        return found
    if metric in SCORES:
        fill_scores(found, pairs, metric, at, confidence)
    elif metric in FROM_ROUNDS:
        fill_rounds(found, pairs, metric, at, values, confidence)
    fill_values(found, pairs, metric, at, values, confidence)
    fill_saved(found, pairs, metric, at, confidence)
    return found


def _base_values(pairs: Pairs, metric: str, at: Ints) -> Floats:
    columns = [
        values_at(run.value, run.column(metric), rows[at])
        for run, rows in zip(pairs.base, pairs.base_rows, strict=True)
    ]
    return np.stack(columns)


def _set_point(found: Estimates, metric: str, base: Floats, new: Floats) -> None:
    found.base[:], found.new[:] = base, new
    if is_share(metric):
        found.point[:] = new - base
        return
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(base > 0, new / base - 1, np.nan)
    found.point[:] = np.where(base == new, 0.0, ratio)


def close(found: Estimates) -> Ints:
    """Entries from rounds or the delta method whose interval ends so near zero that resampling might move it over."""
    half = (found.upper - found.lower) / 2
    with np.errstate(invalid="ignore"):
        near = (np.abs(found.point) > CLEAR[0] * half) & (np.abs(found.point) < CLEAR[1] * half)
    return np.flatnonzero(near & np.isin(found.how.astype(str), (ROUNDS_HOW, DELTA)))


def resampled(found: Estimates, pairs: Pairs, metric: str, at: Ints, places: Ints, *, confidence: float) -> None:
    """Replace the intervals of ``places`` by bootstrap ones, from raw rounds and predictions; seeded."""
    for place in places:
        case = int(at[place])
        if found.how[place] == ROUNDS_HOW:
            resample_rounds(found, pairs, metric, case, int(place), confidence)
        else:
            resample_score(found, pairs, metric, case, int(place), confidence)
