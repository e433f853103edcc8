"""Ratios of median times, with the noise inside a run and between runs in the interval, for many cases at once.

Rounds of one run follow one another and are not independent: each run counts as fewer rounds than it has, by the
correlation of neighbors. Two runs of the same code differ by more than their rounds explain (another placement in
memory, another temperature): that spread is taken from the base runs where there are several, and is at least
``RUN_SPREAD``. A closed form on logarithms decides what is clear, resampling the rest. Nothing here measures.

Shapes: C cases, R base runs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from emobench.analysis.bootstrap import DRAWS, bootstrap_interval, chunks
from emobench.analysis.columns import Floats, Ints, Rounds
from emobench.analysis.quantiles import t_test_p, two_sided_t, two_sided_z
from emobench.errors import DataError
from emobench.order_statistics import FEWEST, median_quantile

RUN_SPREAD = 0.01
"""Standard deviation of the log median between runs of the same code that is assumed at least: interleaved
measurements of one call differ by up to 1 %. Runs one after the other on a busy machine differ by several times that;
several baseline runs show it."""

CLEAR = (0.7, 1.4)
"""A change below or above these multiples of the half width is clear: resampling would not change the verdict."""


@dataclass(frozen=True, kw_only=True)
class Medians:
    """Medians of rounds, as logarithms; NaN where a case has too few rounds."""

    center: Floats
    variance: Floats
    """Of the center, from the rounds."""
    effective: Floats
    """Independent rounds that would tell as much; at most the rounds there are."""

    @classmethod
    def stacked(cls, parts: Sequence[Medians]) -> Medians:
        """Runs below one another: shape (R, C)."""
        return cls(
            center=np.stack([part.center for part in parts]),
            variance=np.stack([part.variance for part in parts]),
            effective=np.stack([part.effective for part in parts]),
        )


@dataclass(frozen=True, kw_only=True)
class Ratios:
    """Logarithms of ratios new / base, shape (C,); NaN where there is no interval."""

    base: Floats
    """Log of the base's time: the geometric mean of its runs' medians, so that each run counts the same."""
    point: Floats
    error: Floats
    df: Floats
    lower: Floats
    upper: Floats
    p: Floats
    """Two-sided, of the log ratio over its standard error (Student's t): agrees with the interval."""


def medians(rounds: Rounds, rows: Ints) -> Medians:
    """Of some rows of a run's figures, shape (C,); a row below 0 is a case without rounds.

    The standard error of the log median is the order statistics' (Price and Bonett 2001): the distance of two of them
    about the median over twice the normal quantile of their exact binomial coverage. The effective rounds are those of
    a first-order autoregression, n (1 - r) / (1 + r), with r corrected for its bias, r + (1 + 3 r) / n (Kendall 1954).
    """
    there = rows >= 0
    n = np.where(there, rounds.n[rows], 0).astype(np.float64)
    median, low, high, lag1 = (
        np.where(there, column[rows], np.nan) for column in (rounds.median, rounds.low, rounds.high, rounds.lag1)
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        center = np.log(median)
        error = (np.log(high) - np.log(low)) / (2 * median_quantiles(n))
        # Rounds that are all alike are not correlated: what is corrected there would be no bias.
        r = np.where((error > 0) | (lag1 != 0), np.clip(lag1 + (1 + 3 * lag1) / n, 0.0, 0.95), 0.0)
        effective = np.maximum(1.0, n * (1 - r) / (1 + r))
        # The error is that of n independent rounds.
        variance = error**2 * n / effective
    return Medians(center=center, variance=variance, effective=effective)


def median_quantiles(n: npt.NDArray[np.float64] | Ints) -> Floats:
    """``median_quantile`` of each number of rounds; NaN below :data:`FEWEST`."""
    found = np.full(len(n), np.nan)
    for size in np.unique(n[n >= FEWEST]):
        found[n == size] = median_quantile(int(size))
    return found


def median_ratios(
    base: Medians,
    new: Medians,
    *,
    used: npt.NDArray[np.bool_] | None = None,
    confidence: float = 0.95,
    run_spread: float = RUN_SPREAD,
) -> Ratios:
    """Ratios of one new run, shape (C,), over up to R base runs a case, shape (R, C), in closed form.

    The variance on logarithms is that of the medians plus that between runs, for which the base runs beyond the first
    are evidence and ``run_spread`` the least; where it does not exceed that, it is taken as known. Degrees of freedom
    after Satterthwaite. ``used`` leaves base runs out, case by case.

    Two or three runs may look alike by chance: where the true spread is three times ``run_spread``, the 95 % interval
    misses in 15 % of comparisons against two base runs, about 10 % against three, 7 % against five (simulated, one new
    run of 30 rounds, coefficient of variation 3 %).
    """
    used = np.isfinite(base.variance) & np.isfinite(new.variance) if used is None else used
    count = used.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        middle = np.where(used, base.center, 0.0).sum(axis=0) / count
        mean_variance = np.where(used, base.variance, 0.0).sum(axis=0) / count
        scatter = np.where(used, (base.center - middle) ** 2, 0.0).sum(axis=0) / (count - 1)
        excess = np.sqrt(np.maximum(0.0, scatter - mean_variance))
        shown = (count > 1) & (excess > run_spread)
        spread = np.where(shown, excess, run_spread)
        outer = spread**2 * (1 / count + 1)
        inner = mean_variance / count
        total = outer + inner + new.variance
        # Where nothing varies at all the error is known: it is 0.
        safe = np.where(total > 0, total, 1.0)
        share = np.where(shown, (outer / safe) ** 2 / (count - 1), 0.0)
        share += (inner / safe) ** 2 / np.where(used, np.maximum(base.effective - 1, 1.0), 0.0).sum(axis=0)
        share += (new.variance / safe) ** 2 / np.maximum(new.effective - 1, 1.0)
        df = 1 / np.maximum(share, 1e-9)
        point, error = new.center - middle, np.sqrt(total)
    there = (count > 0) & np.isfinite(total)
    df = np.where(there, df, 1.0)
    half = np.where(there, two_sided_t(confidence, df) * error, np.nan)
    p = np.where(there, t_test_p(np.nan_to_num(point), np.nan_to_num(error), df), np.nan)
    return Ratios(base=middle, point=point, error=error, df=df, lower=point - half, upper=point + half, p=p)


def is_clear(found: Ratios) -> npt.NDArray[np.bool_]:
    """Whether resampling would not change the verdict, shape (C,)."""
    half, size = found.upper - found.point, np.abs(found.point)
    return np.asarray((size <= CLEAR[0] * half) | (size >= CLEAR[1] * half))


def resampled_ratio(
    base_rounds: Sequence[Floats],
    new_rounds: Floats,
    base: Medians,
    new: Medians,
    *,
    confidence: float = 0.95,
    run_spread: float = RUN_SPREAD,
    draws: int = DRAWS,
    seed: int = 0,
) -> tuple[float, float]:
    """Ends of the log ratio of one case by the bootstrap, from its rounds in time order and their medians (C = 1).

    It resamples runs where the base has several (the new run is moved by the base's deviations), then in each run as
    many rounds as it has effective ones. The ends are stretched as Student's t is beside the normal distribution.

    Raises:
        DataError: a round that is not a number above zero.
    """
    for rounds in (*base_rounds, new_rounds):
        _check_times(rounds)
    found = median_ratios(base, new, confidence=confidence, run_spread=run_spread)
    point = float(found.point[0])
    drawn = _drawn(base_rounds, new_rounds, base, new, run_spread, draws=_enough(draws, confidence), seed=seed)
    low, high = bootstrap_interval(drawn, point=point, confidence=confidence)
    stretch = float(two_sided_t(confidence, found.df[0]) / two_sided_z(confidence))
    return point + stretch * (low - point), point + stretch * (high - point)


def _check_times(rounds: Floats) -> None:
    if not (np.isfinite(rounds) & (rounds > 0)).all():
        raise DataError(
            f"rounds of shape {rounds.shape} hold one that is not above zero",
            why="a latency is a positive number of seconds",
            fix="look at the case's record and run it again",
        )


def _enough(draws: int, confidence: float) -> int:
    """Draws for about twenty beyond each end, up to ten times what was asked for."""
    return min(10 * draws, max(draws, math.ceil(40 / (1 - confidence))))


def _drawn(
    base_rounds: Sequence[Floats],
    new_rounds: Floats,
    base: Medians,
    new: Medians,
    run_spread: float,
    *,
    draws: int,
    seed: int,
) -> Floats:
    """Resampled log ratios, shape (draws,)."""
    rng = np.random.default_rng(seed)
    runs, centers = len(base_rounds), base.center[:, 0]
    away, shown = np.zeros(1), 0.0
    if runs > 1:
        away = (centers - centers.mean()) * math.sqrt(runs / (runs - 1))
        shown = max(0.0, float(centers.var(ddof=1)) - float(base.variance.mean()))
    # What the base runs do not show of the spread that is assumed at least is drawn.
    missing = max(0.0, run_spread**2 - shown)
    sizes = base.effective[:, 0]
    drawn = [_resampled_medians(rng, part, size, draws) for part, size in zip(base_rounds, sizes, strict=True)]
    table = np.stack(drawn, axis=1)
    first = table.mean(axis=1)
    if runs > 1:
        picked = np.take_along_axis(table, rng.integers(0, runs, table.shape), axis=1).mean(axis=1)
        first = first + math.sqrt(runs / (runs - 1)) * (picked - first)
    first = first + rng.normal(0.0, math.sqrt(missing / runs), draws)
    second = _resampled_medians(rng, new_rounds, float(new.effective[0]), draws)
    if runs > 1:
        second = second + rng.choice(away, size=draws)
    return np.asarray(second + rng.normal(0.0, math.sqrt(missing), draws) - first)


def _resampled_medians(rng: np.random.Generator, run: Floats, effective: float, draws: int) -> Floats:
    size = max(2, round(effective))
    logs = np.log(run)
    parts = [np.median(logs[rng.integers(0, len(logs), (part, size))], axis=1) for part in chunks(draws, size)]
    return np.concatenate(parts)
