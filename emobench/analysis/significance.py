"""Whether two runs differ: tests and intervals of paired shares and of means, and the gate's rule, in columns.

Differences are always new - base. Closed forms only: F1 and several seeds are in ``score_differences``, times in
``median_ratios``. Nothing here reads a record or knows a metric's name.

Shapes: C comparisons, S seeds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import bdtr

from emobench.analysis.columns import Floats
from emobench.analysis.quantiles import t_test_p, two_sided_t, two_sided_z


@dataclass(frozen=True, kw_only=True)
class Differences:
    """Differences of many comparisons, of shape (C,)."""

    point: Floats
    lower: Floats
    upper: Floats
    p: Floats


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
) -> Differences:
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
    return Differences(
        point=point,
        # The center is shrunk towards zero; at a low confidence it could leave the point outside.
        lower=np.clip(np.minimum(center - half, point), -1.0, 1.0),
        upper=np.clip(np.maximum(center + half, point), -1.0, 1.0),
        p=mcnemar_exact(b, c),
    )


def mean_differences(base: Floats, new: Floats, *, confidence: float = 0.95) -> Differences:
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
    return t_interval(point, np.sqrt(total), 1 / np.where(total > 0, share, 1.0), confidence=confidence)


def t_interval(point: Floats, error: Floats, df: npt.ArrayLike, *, confidence: float) -> Differences:
    """Point +- t * error and the p that agrees with it; infinite degrees of freedom mean a known error."""
    half = two_sided_t(confidence, df) * error
    return Differences(point=point, lower=point - half, upper=point + half, p=t_test_p(point, error, df))


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
    """The gate's rule for many comparisons, of which a single one is a column.

    ``point`` is the change new - base (for a ratio: ratio - 1, and the interval likewise), ``limit`` how much worse is
    tolerated in the same terms (0 or more), ``lower`` and ``upper`` its interval at the confidence the caller chose: at
    a gate ``1 - bonferroni_level(alpha, comparisons)``; NaN ends mean no interval, a NaN limit means none. The loss is
    the change in the direction that is not better. In this order:

    - ``inconclusive``: there is no interval. A metric that does not vary (parameters, bytes of a file) has one: pass
      the point as both ends.
    - ``worse``: the loss is beyond the limit (more than it, not equal) and the whole interval lies on the losing side
      of zero.
    - ``better``: the whole interval lies on the winning side of zero; the limit plays no part.
    - ``inconclusive``: the losing end of the interval is beyond the limit, so a loss beyond it is neither shown nor
      excluded. ``resolution_lower`` and ``resolution_upper`` may be an interval of lower confidence for this question
      alone: the correction for many comparisons guards against false alarms and would call most unchanged cases of a
      large matrix inconclusive, whereas whether one comparison's data are enough does not depend on how many others
      there are.
    - ``same``: otherwise: a loss beyond the limit is excluded. A loss inside the limit is ``same`` even where the
      interval excludes zero, for it is tolerated.

    Without a limit (a comparison, no gate) an interval that excludes zero decides, and ``same`` means that no
    difference was shown, not that there is none.

    Power: a loss is found when the point passes the limit and the interval zero. With a standard error s and a true
    loss L the chances are Phi((L - limit) / s) and Phi(L / s - z): for L = 0.02, limit = 0.01 on 5,000 examples of
    which 8 % change sides s = 0.004, so 99.4 % and, corrected for 20 comparisons (z = 3.02), 97.6 %.

    Raises:
        ValueError: a point is NaN or a limit negative; a case without a number is incomplete and must not get here.
    """
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
