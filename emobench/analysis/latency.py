"""Ratio of latencies from raw rounds: medians, with the noise inside a run and between runs in the interval.

Rounds of one run follow one another and are not independent: each run counts as fewer rounds than it has, by the
correlation of neighbors. Two runs of the same code differ by more than their rounds explain (another placement in
memory, another temperature): that spread is taken from the runs where a side holds several, and is at least
``run_spread``. A closed form on logarithms decides what is clear, resampling the rest. Nothing here measures.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from emobench.analysis.bootstrap import DRAWS, bootstrap_interval, chunks
from emobench.analysis.quantiles import t_test_p, two_sided_t, two_sided_z
from emobench.analysis.significance import cliffs_delta
from emobench.errors import DataError
from emobench.order_statistics import FEWEST, median_quantile, median_rank

Floats = npt.NDArray[np.float64]

RUN_SPREAD = 0.01
"""Standard deviation of the log median between runs of the same code that is assumed at least: interleaved
measurements of one call differ by up to 1 %. Runs one after the other on a busy machine differ by several times that;
several baseline runs show it."""

CLEAR = (0.7, 1.4)
"""A change below or above these multiples of the half width is clear: resampling would not change the verdict."""


@dataclass(frozen=True, kw_only=True)
class LatencySummary:
    """What a comparison needs of a run's rounds; arrays of one shape for many runs."""

    median: Floats
    """In the rounds' unit."""
    scale: Floats
    """Standard error of the log median is ``scale / sqrt(effective)``; about 1.25 coefficients of variation."""
    effective: Floats
    """Independent rounds that would tell as much; at most ``rounds``."""
    rounds: int


@dataclass(frozen=True, kw_only=True)
class LatencyColumns:
    """Ratios of many comparisons at once; NaN bounds and p where a run has too few rounds."""

    ratio: Floats
    lower: Floats
    upper: Floats
    p: Floats


@dataclass(frozen=True, kw_only=True)
class LatencyRatio:
    """New latency over base latency. For the gate: ``ratio - 1`` and the bounds less 1, lower is better."""

    ratio: float
    lower: float | None
    upper: float | None
    confidence: float
    p: float | None
    """Two-sided, of the log ratio over its standard error (Student's t): agrees with the closed form's interval."""
    mann_whitney_p: float | None
    """Mann-Whitney on all raw rounds, its variance raised by their correlation; blind to the spread between runs."""
    base_seconds: float
    """Geometric mean of the runs' medians, in the rounds' unit."""
    new_seconds: float
    rounds_base: int
    rounds_new: int
    effective_base: float
    effective_new: float
    runs_base: int
    runs_new: int
    run_spread: float
    """Standard deviation of the log median between runs that went into the interval."""
    cliffs_delta: float
    """P(new slower) - P(new faster) over all pairs of rounds."""
    method: str
    reason: str | None
    """Why there is no interval: then the comparison is inconclusive."""


def summarize_rounds(rounds: npt.ArrayLike) -> LatencySummary:
    """Median, scale and effective number of the rounds of runs of one length; shape (..., n), in their order in time.

    The standard error of the log median is the order statistics' (Price and Bonett 2001): the distance of two of them
    about the median over twice the normal quantile of their exact binomial coverage. Below :data:`FEWEST` it is
    NaN.

    Raises:
        DataError: no round, or one that is not a number above zero.
    """
    values = np.asarray(rounds, dtype=np.float64)
    if not values.size or not (np.isfinite(values) & (values > 0)).all():
        raise DataError(
            f"rounds of shape {values.shape} hold no time or one that is not above zero",
            why="a latency is a positive number of seconds",
            fix="look at the case's record and run it again",
        )
    n = values.shape[-1]
    logs = np.log(values)
    effective = np.maximum(1.0, n / variance_inflation(logs))
    if n < FEWEST:
        return LatencySummary(
            median=np.median(values, axis=-1), scale=np.full(values.shape[:-1], np.nan), effective=effective, rounds=n
        )
    ordered = np.sort(logs, axis=-1)
    rank = median_rank(n)
    quantile = median_quantile(n)
    error = (ordered[..., n - rank] - ordered[..., rank - 1]) / (2 * quantile)
    # The error is that of n independent rounds: the scale is what does not depend on their number.
    return LatencySummary(median=np.median(values, axis=-1), scale=error * math.sqrt(n), effective=effective, rounds=n)


def variance_inflation(series: npt.ArrayLike) -> Floats:
    """Factor by which correlation of neighbors raises the variance of a location, shape (...); at least 1.

    (1 + r) / (1 - r) of a first-order autoregression, with r from values cut at three median deviations (one stall must
    not hide or feign a correlation) and corrected for its bias, r + (1 + 3 r) / n (Kendall 1954).
    """
    values = np.asarray(series, dtype=np.float64)
    n = values.shape[-1]
    away = values - np.median(values, axis=-1, keepdims=True)
    deviation = np.median(np.abs(away), axis=-1, keepdims=True)
    cut = np.where(deviation > 0, np.clip(away, -4.4 * deviation, 4.4 * deviation), np.sign(away))
    cut = cut - cut.mean(axis=-1, keepdims=True)
    total = (cut**2).sum(axis=-1)
    lagged = (cut[..., 1:] * cut[..., :-1]).sum(axis=-1)
    r = np.divide(lagged, total, out=np.zeros(total.shape), where=total > 0)
    r = np.where(total > 0, np.clip(r + (1 + 3 * r) / n, 0.0, 0.95), 0.0)
    return np.asarray((1 + r) / (1 - r))


def scale_from_quartiles(median: npt.ArrayLike, iqr: npt.ArrayLike) -> Floats:
    """``scale`` of a summary of which only median and interquartile range were kept, for nearly normal rounds.

    1.2533 (a median's standard error over a mean's) times the relative standard deviation, IQR / 1.349.
    """
    return np.asarray(1.2533 / 1.349 * np.asarray(iqr, dtype=np.float64) / np.asarray(median, dtype=np.float64))


def latency_columns(
    base: LatencySummary,
    new: LatencySummary,
    *,
    confidence: npt.ArrayLike = 0.95,
    run_spread: npt.ArrayLike = RUN_SPREAD,
) -> LatencyColumns:
    """Ratios new / base of many pairs of single runs with intervals, in closed form; shapes of the summaries.

    On logarithms: the difference +- t * sqrt(error_base^2 + error_new^2 + 2 run_spread^2), with degrees of freedom by
    Satterthwaite from the effective rounds; ``run_spread`` counts as known.
    """
    spread = np.asarray(run_spread, dtype=np.float64)
    parts = [side.scale**2 / side.effective for side in (base, new)]
    total = parts[0] + parts[1] + 2 * spread**2
    safe = np.where(total > 0, total, 1.0)
    share = sum((part / safe) ** 2 / _freedom(side.effective) for part, side in zip(parts, (base, new), strict=True))
    df = 1 / np.maximum(share, 1e-9)
    point, error = np.log(new.median) - np.log(base.median), np.sqrt(total)
    half = two_sided_t(confidence, df) * error
    p = np.where(np.isnan(total), np.nan, t_test_p(point, np.nan_to_num(error), df))
    return LatencyColumns(ratio=np.exp(point), lower=np.exp(point - half), upper=np.exp(point + half), p=p)


def _freedom(effective: npt.ArrayLike) -> Floats:
    return np.maximum(np.asarray(effective, dtype=np.float64) - 1, 1.0)


@dataclass(frozen=True, kw_only=True)
class _Side:
    """One side's runs."""

    runs: tuple[Floats, ...]
    log_medians: Floats
    errors: Floats
    """Standard errors of the log medians; NaN for a run with too few rounds."""
    effective: Floats

    @property
    def center(self) -> float:
        return float(self.log_medians.mean())

    @property
    def inner(self) -> float:
        """Variance of the center from the rounds."""
        return float((self.errors**2).mean()) / len(self.runs)


def _side(rounds_by_run: Sequence[Sequence[float]]) -> _Side:
    if not len(rounds_by_run):
        raise DataError("a side holds no run", why="nothing was timed", fix="compare cases that have rounds")
    found = [summarize_rounds(rounds) for rounds in rounds_by_run]
    return _Side(
        runs=tuple(np.asarray(rounds, dtype=np.float64) for rounds in rounds_by_run),
        log_medians=np.array([math.log(item.median) for item in found]),
        errors=np.array([float(item.scale) / math.sqrt(item.effective) for item in found]),
        effective=np.array([float(item.effective) for item in found]),
    )


def latency_ratio(
    base_rounds_by_run: Sequence[Sequence[float]],
    new_rounds_by_run: Sequence[Sequence[float]],
    *,
    confidence: float = 0.95,
    run_spread: float = RUN_SPREAD,
    method: Literal["auto", "closed_form", "bootstrap"] = "auto",
    draws: int = DRAWS,
    seed: int = 0,
) -> LatencyRatio:
    """Ratio of median latencies new / base; each side is a list of runs, each a list of seconds in time order.

    A side's latency is the geometric mean of its runs' medians, so that each run counts the same. The variance on
    logarithms is that of the medians (:func:`summarize_rounds`) plus that between runs, for which the runs beyond the
    first of each side are evidence, and ``run_spread`` the least. The bootstrap resamples runs where a side has several
    (a single run is moved by the other side's deviations), then in each run as many rounds as it has effective ones.
    With fewer than :data:`FEWEST` rounds in some run there is no interval but a reason.

    Raises:
        DataError: no run, no round, or a round that is not a number above zero.
    """
    base, new = _side(base_rounds_by_run), _side(new_rounds_by_run)
    point = new.center - base.center
    shortest = min(len(run) for run in (*base.runs, *new.runs))
    if shortest < FEWEST:
        reason = f"{shortest} rounds in a run; an interval of a median needs at least {FEWEST}"
        return _found(base, new, confidence, reason=reason)
    spread, spread_df = between_runs([base, new], run_spread)
    error, df = _error([base, new], spread, spread_df)
    half = float(two_sided_t(confidence, df)) * error
    lower, upper, how = point - half, point + half, "order statistics"
    if method == "bootstrap" or (method == "auto" and CLEAR[0] * half < abs(point) < CLEAR[1] * half):
        stretch = float(two_sided_t(confidence, df) / two_sided_z(confidence))
        drawn = _drawn(base, new, run_spread, draws=_enough(draws, confidence), seed=seed)
        low, high = bootstrap_interval(drawn, point=point, confidence=confidence)
        lower, upper = point + stretch * (low - point), point + stretch * (high - point)
        how = "bootstrap of runs and rounds"
    p = float(t_test_p(point, error, df))
    return _found(base, new, confidence, interval=(lower, upper), p=p, spread=spread, method=how)


def _enough(draws: int, confidence: float) -> int:
    """Draws for about twenty beyond each end, up to ten times what was asked for."""
    return min(10 * draws, max(draws, math.ceil(40 / (1 - confidence))))


def between_runs(sides: Sequence[_Side], least: float) -> tuple[float, float]:
    """Standard deviation of the log median between runs beyond what rounds explain, and its degrees of freedom.

    Pooled over sides with several runs; where it does not exceed ``least`` that is taken as known (infinite freedom).
    Two or three runs may look alike by chance: where the true spread is three times ``least``, the 95 % interval misses
    in 15 % of comparisons against two baseline runs, about 10 % against three, 7 % against five (simulated, one new run
    of 30 rounds, coefficient of variation 3 %).
    """
    several = [side for side in sides if len(side.runs) > 1]
    freedom = sum(len(side.runs) - 1 for side in several)
    if not freedom:
        return least, math.inf
    excess = sum(
        (len(side.runs) - 1) * (float(side.log_medians.var(ddof=1)) - float((side.errors**2).mean()))
        for side in several
    )
    found = math.sqrt(max(0.0, excess / freedom))
    return (found, float(freedom)) if found > least else (least, math.inf)


def _error(sides: Sequence[_Side], spread: float, spread_df: float) -> tuple[float, float]:
    outer = spread**2 * sum(1 / len(side.runs) for side in sides)
    total = outer + sum(side.inner for side in sides)
    if total == 0:
        return 0.0, math.inf
    share = (outer / total) ** 2 / spread_df
    share += sum((side.inner / total) ** 2 / float(_freedom(side.effective).sum()) for side in sides)
    return math.sqrt(total), 1 / max(share, 1e-9)


def _drawn(base: _Side, new: _Side, least: float, *, draws: int, seed: int) -> Floats:
    """Resampled log ratios, shape (draws,)."""
    rng = np.random.default_rng(seed)
    spread, _ = between_runs([base, new], 0.0)
    missing = max(0.0, least**2 - spread**2)
    found = []
    for side, other in ((base, new), (new, base)):
        medians = np.stack(
            [_resampled_medians(rng, run, size, draws) for run, size in zip(side.runs, side.effective, strict=True)],
            axis=1,
        )
        center = medians.mean(axis=1)
        if len(side.runs) > 1:
            picked = np.take_along_axis(medians, rng.integers(0, len(side.runs), medians.shape), axis=1).mean(axis=1)
            center = center + math.sqrt(len(side.runs) / (len(side.runs) - 1)) * (picked - center)
        elif len(other.runs) > 1:
            away = (other.log_medians - other.center) * math.sqrt(len(other.runs) / (len(other.runs) - 1))
            center = center + rng.choice(away, size=draws)
        found.append(center + rng.normal(0.0, math.sqrt(missing / len(side.runs)), draws))
    return np.asarray(found[1] - found[0])


def _resampled_medians(rng: np.random.Generator, run: Floats, effective: float, draws: int) -> Floats:
    size = max(2, round(effective))
    logs = np.log(run)
    parts = [np.median(logs[rng.integers(0, len(logs), (part, size))], axis=1) for part in chunks(draws, size)]
    return np.concatenate(parts)


def mann_whitney_p(base: npt.ArrayLike, new: npt.ArrayLike, *, inflation: float = 1.0) -> float:
    """Two-sided Mann-Whitney p (normal approximation, ties and continuity corrected, as scipy's ``asymptotic``).

    ``inflation`` multiplies the statistic's variance: 1 for independent values. 1 where all values are equal.
    """
    first, second = np.asarray(base, dtype=np.float64), np.asarray(new, dtype=np.float64)
    n, m = len(first), len(second)
    both = np.concatenate([first, second])
    _, ties = np.unique(both, return_counts=True)
    variance = n * m / 12 * ((n + m + 1) - float((ties.astype(np.float64) ** 3 - ties).sum()) / ((n + m) * (n + m - 1)))
    if variance <= 0:
        return 1.0
    away = abs(cliffs_delta(first, second)) * n * m / 2
    return min(1.0, float(t_test_p(max(0.0, away - 0.5), math.sqrt(variance * inflation), math.inf)))


def _found(
    base: _Side,
    new: _Side,
    confidence: float,
    *,
    interval: tuple[float, float] | None = None,
    p: float | None = None,
    spread: float = 0.0,
    method: str = "none",
    reason: str | None = None,
) -> LatencyRatio:
    pooled = [np.concatenate(side.runs) for side in (base, new)]
    effective = [float(side.effective.sum()) for side in (base, new)]
    inflation = max(1.0, sum(len(rounds) for rounds in pooled) / sum(effective))
    return LatencyRatio(
        ratio=math.exp(new.center - base.center),
        lower=None if interval is None else math.exp(interval[0]),
        upper=None if interval is None else math.exp(interval[1]),
        confidence=confidence,
        p=p,
        mann_whitney_p=None if interval is None else mann_whitney_p(*pooled, inflation=inflation),
        base_seconds=math.exp(base.center),
        new_seconds=math.exp(new.center),
        rounds_base=len(pooled[0]),
        rounds_new=len(pooled[1]),
        effective_base=effective[0],
        effective_new=effective[1],
        runs_base=len(base.runs),
        runs_new=len(new.runs),
        run_spread=spread,
        cliffs_delta=cliffs_delta(*pooled),
        method=method,
        reason=reason,
    )
