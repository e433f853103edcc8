"""Value changes: intervals from values of seeds and base runs, or from the intervals saved with one value a side."""

from __future__ import annotations

import numpy as np

from emobench.analysis.class_scores import SCORES
from emobench.analysis.columns import Floats, Ints
from emobench.analysis.estimate_columns import Estimates
from emobench.analysis.median_ratios import RUN_SPREAD
from emobench.analysis.metric_kinds import is_share, is_timed
from emobench.analysis.pairs import Pairs, values_at
from emobench.analysis.quantiles import two_sided_z
from emobench.analysis.round_changes import FROM_ROUNDS
from emobench.analysis.significance import Differences, mean_differences, t_interval

SAVED = "saved intervals"


def fill_values(found: Estimates, pairs: Pairs, metric: str, at: Ints, values: Floats, confidence: float) -> None:
    """Intervals from values that several seeds or base runs gave, where there are two on a side."""
    relative = not is_share(metric)
    runs = (*pairs.base, pairs.new)
    if any(len(run.facts.seeds) > 1 for run in runs):
        for place in np.flatnonzero(found.unfilled()):
            _fill_seeds(found, pairs, metric, at, int(place), confidence)
    if metric in SCORES or metric in FROM_ROUNDS or len(pairs.base) < 2:
        return  # runs of one seed and the same data repeat a score, and say nothing of how examples vary
    there = np.isfinite(values)
    count = there.sum(axis=0)
    places = np.flatnonzero(
        found.unfilled() & (count > 1) & (~relative | (np.nan_to_num(values, nan=1) > 0).all(axis=0))
    )
    places = places[(found.new[places] > 0) | (not relative)]
    if not len(places):
        return
    sample, now = values[:, places], found.new[places]
    if relative:
        sample, now = np.log(sample), np.log(now)
    size = count[places]
    center = np.nanmean(sample, axis=0)
    # One new value has no spread of its own: the base runs', which measured the same code, is taken for both.
    error = np.sqrt(np.nanvar(sample, axis=0) * size / (size - 1) * (1 + 1 / size))
    change = t_interval(now - center, error, size - 1, confidence=confidence)
    shown = {"base": np.exp(center)} if relative else {}
    _put(found, places, "values of base runs, pooled t", change, relative=relative, **shown)


def _put(found: Estimates, places: Ints, how: str, change: Differences, *, relative: bool, **columns: Floats) -> None:
    """Fill in differences; relative ones are of logarithms."""
    ends = {"point": change.point, "lower": change.lower, "upper": change.upper}
    if relative:
        ends = {name: np.expm1(end) for name, end in ends.items()}
    found.put(places, how, p=change.p, **ends, **columns)


def _fill_seeds(found: Estimates, pairs: Pairs, metric: str, at: Ints, place: int, confidence: float) -> None:
    base_rows, new_row = pairs.base_rows[:, at[place]], int(pairs.new_rows[at[place]])
    sides = [run.seed_values(int(row), metric) for run, row in zip(pairs.base, base_rows, strict=True) if row >= 0]
    base, new = np.concatenate(sides), pairs.new.seed_values(new_row, metric)
    base, new = base[np.isfinite(base)], new[np.isfinite(new)]
    relative = not is_share(metric)
    if min(len(base), len(new)) < 2 or (relative and min(base.min(), new.min()) <= 0):
        return
    if relative:
        base, new = np.log(base), np.log(new)
    change = mean_differences(base[:, None], new[:, None], confidence=confidence)
    _put(found, np.array([place]), "values of seeds, Welch", change, relative=relative)


def fill_saved(found: Estimates, pairs: Pairs, metric: str, at: Ints, confidence: float) -> None:
    """Independent differences from the 95 % intervals saved with one value a side.

    On the same examples this is wider than a paired interval. Times get the spread between runs added.
    """
    run, rows = pairs.newest(at)
    ends = np.full((2, len(at), 3), np.nan)
    for number, side in enumerate(pairs.base):
        mine = run == number
        for index, matrix in enumerate((side.low, side.high, side.value)):
            ends[0, mine, index] = values_at(matrix, side.column(metric), rows[mine])
    for index, matrix in enumerate((pairs.new.low, pairs.new.high, pairs.new.value)):
        ends[1, :, index] = values_at(matrix, pairs.new.column(metric), pairs.new_rows[at])
    relative = not is_share(metric)
    with np.errstate(divide="ignore", invalid="ignore"):
        scaled = np.log(ends) if relative else ends
        error = np.hypot(*((scaled[..., 1] - scaled[..., 0]) / (2 * two_sided_z(0.95))))
        if is_timed(metric):
            error = np.hypot(error, np.sqrt(2) * RUN_SPREAD)
        point = scaled[1, :, 2] - scaled[0, :, 2]
    places = np.flatnonzero(found.unfilled() & np.isfinite(error) & np.isfinite(point))
    change = t_interval(point[places], error[places], np.inf, confidence=confidence)
    _put(found, places, SAVED, change, relative=relative, base=ends[0, places, 2])
