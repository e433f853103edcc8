"""Whether two runs differ: tests, intervals and effect sizes of paired shares and single numbers, and the gate's rule.

Differences are always new - base. Closed forms only: resampling is in ``resampling``, F1 and several seeds in
``paired_scores``, latency in ``latency``. Nothing here reads a record or knows a metric's name.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.special import bdtr

from emobench.analysis.bootstrap import DRAWS, bootstrap_interval
from emobench.analysis.quantiles import t_test_p, two_sided_t, two_sided_z
from emobench.errors import DataError
from emobench.outcomes import Better

Floats = npt.NDArray[np.float64]
Verdict = Literal["better", "worse", "same", "inconclusive"]

VERDICTS: dict[str, Verdict] = {
    "better": "better",
    "worse": "worse",
    "same": "same",
    "inconclusive": "inconclusive",
}


@dataclass(frozen=True, kw_only=True)
class PairedDifference:
    """Difference of a share-valued score (accuracy, F1) between two predictors of the same examples."""

    point: float
    """New - base, as a share (0.01 is one point)."""
    lower: float
    upper: float
    confidence: float
    p: float
    """Two-sided: exact McNemar for accuracy of one seed, else of the test named by ``method``."""
    n: int
    """Examples; counted once however many seeds."""
    seeds: int
    base: float
    new: float
    base_only: int
    """Predictions right at the base and wrong now, summed over seeds where those are paired."""
    new_only: int
    cohens_h: float
    odds_ratio: float
    """``new_only / base_only`` with 0.5 added to both (Haldane): the matched pairs' odds ratio."""
    method: str
    """How the interval was made."""


@dataclass(frozen=True, kw_only=True)
class PairedColumns:
    """The same for many comparisons at once; every array has the shape of the counts."""

    point: Floats
    lower: Floats
    upper: Floats
    p: Floats


@dataclass(frozen=True, kw_only=True)
class ScalarDifference:
    """Difference of a number of which only one value a seed was kept (memory, train_seconds)."""

    point: float
    """New - base in the metric's unit, or new / base - 1 where ``relative``."""
    lower: float | None
    upper: float | None
    p: float | None
    confidence: float
    relative: bool
    n_base: int
    n_new: int
    reason: str | None
    """Why there is no interval."""


def mcnemar_exact(b: npt.ArrayLike, c: npt.ArrayLike) -> Floats:
    """Two-sided exact McNemar p-values: ``b`` and ``c`` count the pairs in which only base or only new is right.

    min(1, 2 P(Bin(b + c, 1/2) <= min(b, c))); 1 where no pair differs. Shapes broadcast.
    """
    first, second = np.asarray(b, dtype=np.int64), np.asarray(c, dtype=np.int64)
    if (first < 0).any() or (second < 0).any():
        raise ValueError("counts of pairs cannot be negative")
    tail = bdtr(np.minimum(first, second).astype(np.float64), first + second, 0.5)
    return np.asarray(np.minimum(1.0, 2.0 * tail), dtype=np.float64)


def paired_counts(
    b: npt.ArrayLike, c: npt.ArrayLike, n: npt.ArrayLike, *, confidence: npt.ArrayLike = 0.95
) -> PairedColumns:
    """Accuracy differences (c - b) / n of many comparisons with exact McNemar p and Bonett-Price intervals.

    ``b`` counts examples only base has right, ``c`` those only new has right, ``n`` all of them. The interval is the
    adjusted Wald interval of Bonett and Price (2012), which Fagerland, Lydersen and Laake (2014) recommend beside
    Tango's and Newcombe's: one example is added to b and to c, so it keeps its width where no pair differs.
    """
    only_base, only_new = np.asarray(b, dtype=np.float64), np.asarray(c, dtype=np.float64)
    size = np.asarray(n, dtype=np.float64)
    if (size < 1).any() or (only_base + only_new > size).any():
        raise ValueError("n must be at least 1 and at least b + c")
    point = (only_new - only_base) / size
    center = (only_new - only_base) / (size + 2)
    variance = ((only_base + only_new + 2) / (size + 2) - center**2) / (size + 2)
    half = two_sided_z(confidence) * np.sqrt(variance)
    return PairedColumns(
        point=point,
        # The center is shrunk towards zero; at a low confidence it could leave the point outside.
        lower=np.clip(np.minimum(center - half, point), -1.0, 1.0),
        upper=np.clip(np.maximum(center + half, point), -1.0, 1.0),
        p=mcnemar_exact(b, c),
    )


def paired_accuracy(
    correct_base: npt.ArrayLike,
    correct_new: npt.ArrayLike,
    *,
    confidence: float = 0.95,
    method: Literal["closed_form", "bootstrap"] = "closed_form",
    draws: int = DRAWS,
    seed: int = 0,
) -> PairedDifference:
    """Difference in accuracy on the same examples; both arguments are 0 or 1 (bool), shape (n,), in the same order.

    p is exact McNemar's. The interval is :func:`paired_counts`', or a percentile bootstrap over examples, drawn as a
    multinomial over the three kinds of pairs (better, worse, unchanged), which is the same thing.

    Raises:
        DataError: no example, or the two do not have the same number of them.
    """
    base, new = _same_examples(correct_base, correct_new)
    n = len(base)
    b, c = int((base & ~new).sum()), int((~base & new).sum())
    columns = paired_counts(b, c, n, confidence=confidence)
    lower, upper = float(columns.lower), float(columns.upper)
    if method == "bootstrap":
        pairs = np.random.default_rng(seed).multinomial(n, [b / n, c / n, (n - b - c) / n], size=draws)
        lower, upper = bootstrap_interval((pairs[:, 1] - pairs[:, 0]) / n, point=(c - b) / n, confidence=confidence)
    share_base, share_new = float(base.mean()), float(new.mean())
    return PairedDifference(
        point=float(columns.point),
        lower=lower,
        upper=upper,
        confidence=confidence,
        p=float(columns.p),
        n=n,
        seeds=1,
        base=share_base,
        new=share_new,
        base_only=b,
        new_only=c,
        cohens_h=cohens_h(share_base, share_new),
        odds_ratio=matched_odds_ratio(b, c),
        method="Bonett-Price" if method == "closed_form" else "paired bootstrap",
    )


def _same_examples(base: npt.ArrayLike, new: npt.ArrayLike) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    first, second = np.asarray(base), np.asarray(new)
    if first.ndim != 1 or first.shape != second.shape or not len(first):
        raise DataError(
            f"the base has predictions of shape {first.shape} and the new run of shape {second.shape}",
            why="a paired comparison needs the same examples, and at least one, on both sides",
            fix="compare runs of the same test split",
        )
    return first.astype(bool), second.astype(bool)


def scalar_difference(
    base: Sequence[float], new: Sequence[float], *, confidence: float = 0.95, relative: bool = False
) -> ScalarDifference:
    """Difference of means over seeds with Welch's t interval; with ``relative`` new / base - 1 of geometric means.

    The relative form is Welch on logarithms. With one value on a side there is a point and no interval. Where the seeds
    of both sides do not vary at all the interval is the point, and p is 1 or 0: a count, not an estimate.

    Raises:
        DataError: no value on a side, a value that is not finite, or ``relative`` with one that is not above zero.
    """
    first, second = (np.asarray(side, dtype=np.float64) for side in (base, new))
    _check_values(first, "base", relative)
    _check_values(second, "new", relative)
    if relative:
        first, second = np.log(first), np.log(second)
    point = float(second.mean() - first.mean())
    lower, upper, p, reason = None, None, None, None
    if min(len(first), len(second)) < 2:
        reason = f"{len(first)} and {len(second)} values: an interval needs two seeds on each side"
    else:
        error, df = welch_error([first, second])
        half = float(two_sided_t(confidence, df)) * error
        lower, upper, p = point - half, point + half, float(t_test_p(point, error, df))
    ends = [None if end is None else math.expm1(end) if relative else end for end in (point, lower, upper)]
    return ScalarDifference(
        point=float(ends[0] or 0.0),
        lower=ends[1],
        upper=ends[2],
        p=p,
        confidence=confidence,
        relative=relative,
        n_base=len(first),
        n_new=len(second),
        reason=reason,
    )


def mean_differences(base: Floats, new: Floats, *, confidence: float = 0.95) -> PairedColumns:
    """Differences of means over two or more seeds a side, shapes (S, C) and (S', C), with Welch's t interval.

    Where the seeds of both sides do not vary at all the interval is the point, and p is 1 or 0: a count, not an
    estimate.
    """
    point = new.mean(axis=0) - base.mean(axis=0)
    parts = [side.var(axis=0, ddof=1) / len(side) for side in (base, new)]
    total = parts[0] + parts[1]
    # Scaled first: squares of tiny variances vanish.
    safe = np.where(total > 0, total, 1.0)
    share = sum((part / safe) ** 2 / (len(side) - 1) for part, side in zip(parts, (base, new), strict=True))
    error, df = np.sqrt(total), 1 / np.where(total > 0, share, 1.0)
    half = two_sided_t(confidence, df) * error
    return PairedColumns(point=point, lower=point - half, upper=point + half, p=t_test_p(point, error, df))


def _check_values(values: Floats, side: str, positive: bool) -> None:
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all() or (positive and (values <= 0).any()):
        raise DataError(
            f"the {side} values {values.tolist()} cannot be compared",
            why="a comparison needs at least one number a side, finite, and above zero where a ratio is asked for",
            fix="look at the case's record and run it again",
        )


def welch_error(groups: Sequence[Floats]) -> tuple[float, float]:
    """Standard error of a difference of means and its degrees of freedom (Welch-Satterthwaite)."""
    parts = [float(values.var(ddof=1)) / len(values) for values in groups]
    total = sum(parts)
    if total == 0:
        return 0.0, math.inf
    # Scaled first: squares of tiny variances vanish.
    spread = sum((part / total) ** 2 / (len(values) - 1) for part, values in zip(parts, groups, strict=True))
    return math.sqrt(total), 1 / spread


def cohens_h(base: float, new: float) -> float:
    """Cohen's h of two shares, 2 asin(sqrt(new)) - 2 asin(sqrt(base)): 0.2 is small, 0.5 medium, 0.8 large (1988)."""
    return 2 * math.asin(math.sqrt(new)) - 2 * math.asin(math.sqrt(base))


def matched_odds_ratio(b: int, c: int) -> float:
    """Odds ratio of matched pairs, c / b with 0.5 added to both so that it exists where one of them is 0."""
    return (c + 0.5) / (b + 0.5)


def cliffs_delta(base: npt.ArrayLike, new: npt.ArrayLike) -> float:
    """P(new > base) - P(new < base) over all pairs of values, from -1 to 1; ``(delta + 1) / 2`` is Vargha-Delaney A12.

    For latency above 0 means slower. Sorting makes it O(n log n).
    """
    first, second = np.sort(np.asarray(base, dtype=np.float64)), np.asarray(new, dtype=np.float64)
    below = np.searchsorted(first, second, side="left").sum(dtype=np.float64)
    above = (len(first) - np.searchsorted(first, second, side="right")).sum(dtype=np.float64)
    return float((below - above) / (len(first) * len(second)))


def gate_decisions(
    point: npt.ArrayLike,
    lower: npt.ArrayLike,
    upper: npt.ArrayLike,
    limit: npt.ArrayLike,
    *,
    lower_is_better: npt.ArrayLike,
    resolution_lower: npt.ArrayLike | None = None,
    resolution_upper: npt.ArrayLike | None = None,
) -> npt.NDArray[np.str_]:
    """:func:`gate_decision` for columns: NaN bounds mean no interval, a NaN limit means none."""
    flip = np.where(np.asarray(lower_is_better, dtype=bool), 1.0, -1.0)
    loss = flip * np.asarray(point, dtype=np.float64)
    allowed = np.asarray(limit, dtype=np.float64)
    if np.isnan(loss).any() or (allowed < 0).any():
        raise ValueError("a point must be a number and a limit at least 0: what has no number is incomplete")
    low, high = _turned(flip, lower, upper)
    widest = (
        high
        if resolution_upper is None or resolution_lower is None
        else (_turned(flip, resolution_lower, resolution_upper)[1])
    )
    unlimited, unknown = np.isnan(allowed), np.isnan(low) | np.isnan(high) | np.isnan(widest)
    worse = (low > 0) & (unlimited | _beyond(loss, allowed))
    conditions = [unknown, worse, high < 0, ~unlimited & (_beyond(widest, allowed) | _beyond(loss, allowed))]
    shape = np.broadcast_shapes(*(item.shape for item in conditions))
    conditions = [np.broadcast_to(item, shape) for item in conditions]
    return np.select(conditions, ["inconclusive", "worse", "better", "inconclusive"], "same")


def _turned(flip: Floats, lower: npt.ArrayLike, upper: npt.ArrayLike) -> tuple[Floats, Floats]:
    """The interval of the loss: for a score that should be high its ends change sign and place."""
    first, second = flip * np.asarray(lower, dtype=np.float64), flip * np.asarray(upper, dtype=np.float64)
    return np.minimum(first, second), np.maximum(first, second)


def _beyond(loss: Floats, limit: Floats) -> npt.NDArray[np.bool_]:
    # 0.80 - 0.79 is 0.010000000000000009 and not beyond a limit of 0.01.
    return np.asarray(loss > limit * (1 + 1e-9) + 1e-12)


def gate_decision(
    point: float,
    lower: float | None,
    upper: float | None,
    limit: float | None,
    better: Better,
    *,
    resolution: tuple[float, float] | None = None,
) -> Verdict:
    """The gate's rule for one comparison.

    ``point`` is the change new - base (for a ratio: ratio - 1, and the interval likewise), ``limit`` how much worse is
    tolerated in the same terms (0 or more), ``lower`` and ``upper`` its interval at the confidence the caller chose: at
    a gate ``1 - bonferroni_level(alpha, comparisons)``. The loss is the change in the direction that is not ``better``.
    In this order:

    - ``inconclusive``: there is no interval. A metric that does not vary (parameters, bytes of a file) has one: pass
      the point as both ends.
    - ``worse``: the loss is beyond the limit (more than it, not equal) and the whole interval lies on the losing side
      of zero.
    - ``better``: the whole interval lies on the winning side of zero; the limit plays no part.
    - ``inconclusive``: the losing end of the interval is beyond the limit, so a loss beyond it is neither shown nor
      excluded. ``resolution`` may be an interval of lower confidence for this question alone: the correction for many
      comparisons guards against false alarms and would call most unchanged cases of a large matrix inconclusive,
      whereas whether one comparison's data are enough does not depend on how many others there are.
    - ``same``: otherwise: a loss beyond the limit is excluded. A loss inside the limit is ``same`` even where the
      interval excludes zero, for it is tolerated.

    Without a limit (None: a comparison, no gate) an interval that excludes zero decides, and ``same`` means that no
    difference was shown, not that there is none.

    Power: a loss is found when the point passes the limit and the interval zero. With a standard error s and a true
    loss L the chances are Phi((L - limit) / s) and Phi(L / s - z): for L = 0.02, limit = 0.01 on 5,000 examples of
    which 8 % change sides s = 0.004, so 99.4 % and, corrected for 20 comparisons (z = 3.02), 97.6 %.

    Raises:
        ValueError: a number is NaN, the limit is negative, or the metric has no direction; a case without a number is
            incomplete and must not get here.
    """
    if better == "none":
        raise ValueError("a metric without a better direction cannot be worse")
    if any(end is not None and math.isnan(end) for end in (point, lower, upper, limit)):
        raise ValueError(f"point={point}, interval {lower} to {upper}, limit={limit}: NaN cannot be judged")
    ends = (math.nan, math.nan) if lower is None or upper is None else (lower, upper)
    found = gate_decisions(
        point,
        *ends,
        math.nan if limit is None else limit,
        lower_is_better=better == "lower",
        resolution_lower=None if resolution is None else resolution[0],
        resolution_upper=None if resolution is None else resolution[1],
    )
    return VERDICTS[str(found)]
