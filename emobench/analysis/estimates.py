"""Estimates: the change of one metric in many paired cases at once, with the interval that what was kept allows.

Scores come from predictions of the same examples, times from raw rounds, counts are exact, the rest from the values of
seeds and baseline runs, and where there is only one value a side from the intervals saved with it. Closed forms in
columns first; single comparisons are resampled where :func:`resampled` is asked to. No verdict is given here.

Shapes: C cases, R base runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from scipy.special import bdtr, ndtri

from emobench.analysis.binary_scores import ClassCounts, binary_scores, class_bits, count_classes
from emobench.analysis.columns import Floats, Ints, Predictions, Rounds, Scored, Texts
from emobench.analysis.latency import CLEAR, FEWEST_ROUNDS, RUN_SPREAD, latency_ratio, order_rank
from emobench.analysis.paired_scores import paired_score
from emobench.analysis.pairing import Pairs
from emobench.analysis.quantiles import t_test_p, two_sided_t, two_sided_z
from emobench.analysis.resampling import SCORES
from emobench.analysis.significance import paired_counts, scalar_difference
from emobench.outcomes import METRICS

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

EXACT = frozenset(
    {
        *("parameters", "trainable_parameters", "model_bytes", "disk_bytes", "kv_cache_bytes", "memory_ratio"),
        *("train_steps", "device_memory_peak_bytes", "device_memory_allocated_bytes"),
    }
)
"""Counts that the same code gives again: their change is not an estimate."""

TIMED_UNITS = frozenset({"s", "samples/s", "tokens/s", "batches/s", "J", "x", "price"})
"""Units of what depends on the hardware and differs between runs of the same code."""

MCNEMAR, EXACT_HOW, SAVED, ROUNDS_HOW = "McNemar, Bonett-Price", "exact", "saved intervals", "rounds, order statistics"
NOTHING = "one value a side and no interval"


@dataclass(frozen=True, kw_only=True, eq=False)
class Estimates:
    """Changes of one metric; every array has the shape of the cases asked for. NaN where there is no such number."""

    base: Floats
    new: Floats
    point: Floats
    """new - base for shares, else new / base - 1."""
    lower: Floats
    upper: Floats
    p: Floats
    how: Texts
    """How the interval was made, or why there is none."""

    @classmethod
    def empty(cls, size: int) -> Estimates:
        """All NaN, to be filled."""
        columns = {name: np.full(size, np.nan) for name in ("base", "new", "point", "lower", "upper", "p")}
        return cls(**columns, how=np.full(size, NOTHING, object))

    def put(self, at: Ints, how: str, **columns: npt.ArrayLike) -> None:
        """Fill some entries."""
        for name, values in columns.items():
            getattr(self, name)[at] = values
        self.how[at] = how


def is_share(metric: str) -> bool:
    """Whether its change is in points and not relative."""
    kind = METRICS.get(metric)
    return kind is not None and kind.unit == "share"


def is_timed(metric: str) -> bool:
    """Whether it depends on the hardware it was measured on; a metric that no table knows counts as such."""
    kind = METRICS.get(metric)
    return kind is None or kind.unit in TIMED_UNITS


def is_quality(metric: str) -> bool:
    """Whether it is a score on data, which only means the same on the same data."""
    return is_share(metric) and metric not in EXACT and not metric.endswith("_utilization")


def has_metric(pairs: Pairs, metric: str) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Which cases have a value of the metric: in an ok base run that counts, and in the new run."""
    base = np.zeros(len(pairs.id), bool)
    for run, rows in zip(pairs.base, pairs.base_rows, strict=True):
        base |= np.isfinite(values_at(run.value, run.column(metric), rows))
    return base, np.isfinite(values_at(pairs.new.value, pairs.new.column(metric), pairs.new_rows))


def values_at(matrix: Floats, column: int | None, rows: Ints) -> Floats:
    """Values of a column of a run's matrix at these rows; NaN where the run has no such row or column."""
    if column is None or not len(matrix):
        return np.full(len(rows), np.nan)
    return np.where(rows >= 0, matrix[rows, column], np.nan)


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
        _fill_scores(found, pairs, metric, at, confidence)
    elif metric in FROM_ROUNDS:
        _fill_rounds(found, pairs, metric, at, values, confidence)
    _fill_values(found, pairs, metric, at, values, confidence)
    _fill_saved(found, pairs, metric, at, confidence)
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


def _open(found: Estimates) -> npt.NDArray[np.bool_]:
    """Entries that have no interval yet."""
    return np.isnan(found.lower)


# Scores from predictions of the same examples.


def _fill_scores(found: Estimates, pairs: Pairs, metric: str, at: Ints, confidence: float) -> None:
    run, rows = pairs.newest(at)
    new_rows = pairs.new_rows[at]
    for number, side in enumerate(pairs.base):
        mine = np.flatnonzero(run == number)
        if len(mine):
            _scores_of_run(
                found, side.predictions, pairs.new.predictions, mine, rows[mine], new_rows[mine], metric, confidence
            )


def _scores_of_run(
    found: Estimates,
    base: Predictions,
    new: Predictions,
    places: Ints,
    base_rows: Ints,
    new_rows: Ints,
    metric: str,
    confidence: float,
) -> None:
    """Fill ``places`` from the predictions of one base run."""
    same = (base.examples[base_rows] != "") & (base.examples[base_rows] == new.examples[new_rows])
    single = same & (base.num_seeds[base_rows] == 1) & (new.num_seeds[new_rows] == 1)
    columnar = np.zeros(len(places), bool)
    for name in np.unique(base.examples[base_rows[single]].astype(str)) if single.any() else ():
        part = single & (base.examples[base_rows] == name)
        first = base.case(int(base_rows[np.flatnonzero(part)[0]]))
        assert first is not None
        if len(first.labels) and (metric == "accuracy" or len(first.class_names) == 2):
            columnar |= part
            _fill_columns(found, base, new, first, places[part], base_rows[part], new_rows[part], metric, confidence)
    for index in np.flatnonzero(same & ~columnar):
        one, other = base.case(int(base_rows[index])), new.case(int(new_rows[index]))
        if one is not None and other is not None and len(one.labels):
            _fill_single(found, one, other, int(places[index]), metric, confidence)


def _fill_columns(
    found: Estimates,
    base: Predictions,
    new: Predictions,
    scored: Scored,
    places: Ints,
    base_rows: Ints,
    new_rows: Ints,
    metric: str,
    confidence: float,
) -> None:
    n = len(scored.labels)
    bits = class_bits(scored.labels)
    parts = max(1, len(places) * n // (1 << 27))
    blocks = zip(np.array_split(base_rows, parts), np.array_split(new_rows, parts), strict=True)
    counted = [
        count_classes(bits, scored.labels, base.correct_bits(first)[:, 0], new.correct_bits(second)[:, 0])
        for first, second in blocks
    ]
    counts = ClassCounts.joined(counted)
    right = counts.both.sum(axis=1)
    base_only, new_only = counts.base_only.sum(axis=1), counts.new_only.sum(axis=1)
    if metric == "accuracy":
        columns = paired_counts(base_only, new_only, n, confidence=confidence)
        shares = {"base": (right + base_only) / n, "new": (right + new_only) / n}
        interval = {"point": columns.point, "lower": columns.lower, "upper": columns.upper, "p": columns.p}
        found.put(places, MCNEMAR, **shares, **interval)
        return
    scores = binary_scores(metric, counts, confidence=confidence)
    found.put(
        places,
        "delta method",
        base=scores.base,
        new=scores.new,
        point=scores.point,
        lower=scores.lower,
        upper=scores.upper,
        p=scores.p,
    )


def _fill_single(found: Estimates, base: Scored, new: Scored, place: int, metric: str, confidence: float) -> None:
    """One comparison with several seeds, or with more than two classes."""
    shared = [seed for seed in base.seeds if seed in new.seeds]
    if not shared:
        return
    first = base.predicted[[base.seeds.index(seed) for seed in shared]]
    second = new.predicted[[new.seeds.index(seed) for seed in shared]]
    scored = paired_score(
        base.labels,
        first,
        second,
        metric=metric,
        classes=len(base.class_names),
        confidence=confidence,
        method="closed_form",
    )
    found.put(
        np.array([place]),
        scored.method,
        base=scored.base,
        new=scored.new,
        point=scored.point,
        lower=scored.lower,
        upper=scored.upper,
        p=scored.p,
    )


# Times from raw rounds.


@dataclass(frozen=True, kw_only=True)
class _Timed:
    """Rounds of cases of one run, as logarithms; NaN where a case has too few."""

    center: Floats
    variance: Floats
    """Of the center, from the rounds."""
    effective: Floats


@cache
def _quantile(n: int) -> float:
    return -float(ndtri(bdtr(order_rank(n) - 1, n, 0.5)))


def _timed(rounds: Rounds, rows: Ints) -> _Timed:
    """The standard error of the log median as ``latency.summarize_rounds`` has it, from the figures of an index."""
    there = rows >= 0
    n = np.where(there, rounds.n[rows], 0).astype(np.float64)
    quantile = np.full(len(rows), np.nan)
    for size in np.unique(n[n >= FEWEST_ROUNDS]):
        quantile[n == size] = _quantile(int(size))
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


def _fill_rounds(found: Estimates, pairs: Pairs, metric: str, at: Ints, values: Floats, confidence: float) -> None:
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
    few = _open(found) & np.isfinite(new.center) & (follows | np.isnan(variance)).all(axis=0)
    found.how[few] = f"fewer than {FEWEST_ROUNDS} rounds in a run"


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


# Values of seeds and runs.


def _fill_values(found: Estimates, pairs: Pairs, metric: str, at: Ints, values: Floats, confidence: float) -> None:
    """Intervals from values that several seeds or base runs gave, where there are two on a side."""
    relative = not is_share(metric)
    runs = (*pairs.base, pairs.new)
    if any(len(run.facts.seeds) > 1 for run in runs):
        for place in np.flatnonzero(_open(found)):
            _fill_seeds(found, pairs, metric, at, int(place), confidence)
    if metric in SCORES or metric in FROM_ROUNDS or len(pairs.base) < 2:
        return  # runs of one seed and the same data repeat a score, and say nothing of how examples vary
    there = np.isfinite(values)
    count = there.sum(axis=0)
    places = np.flatnonzero(_open(found) & (count > 1) & (~relative | (np.nan_to_num(values, nan=1) > 0).all(axis=0)))
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
    point, half = now - center, two_sided_t(confidence, size - 1) * error
    ends = {"point": point, "lower": point - half, "upper": point + half}
    if relative:
        ends = {name: np.expm1(end) for name, end in ends.items()}
        ends["base"] = np.exp(center)
    found.put(places, "values of base runs, pooled t", p=t_test_p(point, error, size - 1), **ends)


def _fill_seeds(found: Estimates, pairs: Pairs, metric: str, at: Ints, place: int, confidence: float) -> None:
    base_rows, new_row = pairs.base_rows[:, at[place]], int(pairs.new_rows[at[place]])
    sides = [run.seed_values(int(row), metric) for run, row in zip(pairs.base, base_rows, strict=True) if row >= 0]
    base, new = np.concatenate(sides), pairs.new.seed_values(new_row, metric)
    base, new = base[np.isfinite(base)], new[np.isfinite(new)]
    relative = not is_share(metric)
    if min(len(base), len(new)) < 2 or (relative and min(base.min(), new.min()) <= 0):
        return
    change = scalar_difference(base.tolist(), new.tolist(), confidence=confidence, relative=relative)
    found.put(
        np.array([place]),
        "values of seeds, Welch",
        point=change.point,
        lower=change.lower if change.lower is not None else np.nan,
        upper=change.upper if change.upper is not None else np.nan,
        p=change.p if change.p is not None else np.nan,
    )


def _fill_saved(found: Estimates, pairs: Pairs, metric: str, at: Ints, confidence: float) -> None:
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
    places = np.flatnonzero(_open(found) & np.isfinite(error) & np.isfinite(point))
    half = two_sided_z(confidence) * error[places]
    changes = {"point": point[places], "lower": point[places] - half, "upper": point[places] + half}
    if relative:
        changes = {name: np.expm1(end) for name, end in changes.items()}
    p = t_test_p(point[places], error[places], np.inf)
    found.put(places, SAVED, base=ends[0, places, 2], p=p, **changes)


# Single comparisons.


def close(found: Estimates) -> Ints:
    """Entries from rounds or the delta method whose interval ends so near zero that resampling might move it over."""
    half = (found.upper - found.lower) / 2
    with np.errstate(invalid="ignore"):
        near = (np.abs(found.point) > CLEAR[0] * half) & (np.abs(found.point) < CLEAR[1] * half)
    return np.flatnonzero(near & np.isin(found.how.astype(str), (ROUNDS_HOW, "delta method")))


def resampled(found: Estimates, pairs: Pairs, metric: str, at: Ints, places: Ints, *, confidence: float) -> None:
    """Replace the intervals of ``places`` by bootstrap ones, from raw rounds and predictions; seeded."""
    for place in places:
        case = int(at[place])
        if found.how[place] == ROUNDS_HOW:
            _resample_rounds(found, pairs, metric, case, int(place), confidence)
        else:
            _resample_score(found, pairs, metric, case, int(place), confidence)


def _resample_rounds(found: Estimates, pairs: Pairs, metric: str, case: int, place: int, confidence: float) -> None:
    rows = pairs.base_rows[:, case]
    sides = [run.raw_rounds(int(row)) for run, row in zip(pairs.base, rows, strict=True) if row >= 0]
    base = [side.tolist() for side in sides if len(side) >= FEWEST_ROUNDS]
    new = pairs.new.raw_rounds(int(pairs.new_rows[case])).tolist()
    ratio = latency_ratio(base, [new], confidence=confidence)
    if ratio.lower is None or ratio.upper is None:
        return
    ends = [ratio.lower - 1, ratio.upper - 1] if FROM_ROUNDS[metric] > 0 else [1 / ratio.upper - 1, 1 / ratio.lower - 1]
    found.put(np.array([place]), ratio.method, lower=ends[0], upper=ends[1])


def _resample_score(found: Estimates, pairs: Pairs, metric: str, case: int, place: int, confidence: float) -> None:
    run, rows = pairs.newest(np.array([case]))
    base = pairs.base[int(run[0])].predictions.case(int(rows[0]))
    new = pairs.new.predictions.case(int(pairs.new_rows[case]))
    if base is None or new is None or len(base.seeds) > 1:
        return
    scored = paired_score(
        base.labels, base.predicted, new.predicted, metric=metric, classes=len(base.class_names), confidence=confidence
    )
    found.put(np.array([place]), scored.method, lower=scored.lower, upper=scored.upper, p=scored.p)
