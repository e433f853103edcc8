"""Differences of accuracy, F1, precision and recall on the same examples, with one or several seeds a side.

Closed forms come first (the delta method, and a two-way analysis of seeds and examples); resampling decides what they
leave close. Accuracy of one seed has its own, exact test: ``significance.paired_accuracy``.

Shapes: n examples, S seeds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from emobench.analysis.bootstrap import (
    DRAWS,
    SCORES,
    TAIL_DRAWS,
    Kinds,
    bootstrap_interval,
    class_counts,
    influences,
    kinds_of,
    resampled_scores,
    scores_of_counts,
    swapped_differences,
    typical_influence,
)
from emobench.analysis.quantiles import t_test_p, two_sided_t, two_sided_z
from emobench.analysis.significance import PairedDifference, cohens_h, matched_odds_ratio, paired_accuracy
from emobench.errors import DataError, unknown_name

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Method = Literal["auto", "closed_form", "bootstrap"]

CLEAR = (0.7, 1.4)
"""A difference below or above these multiples of the half width is clear: resampling would not change the verdict."""


@dataclass(frozen=True, kw_only=True)
class _Pair:
    """What is compared."""

    labels: Ints
    """(n,)"""
    base: Ints
    """(S, n)"""
    new: Ints
    """(S', n)"""
    metric: str
    classes: int

    def score(self, predicted: Ints) -> float:
        return float(scores_of_counts(self.metric, *class_counts(self.labels, predicted, self.classes)))

    def pseudo_values(self, predictions: Ints) -> Floats:
        """Score of each seed plus the influence of each example, shape (S, n): their means are the scores."""
        found = [
            self.score(row) + influences(self.metric, self.labels, row, classes=self.classes) for row in predictions
        ]
        return np.stack(found)

    def unseen(self) -> float:
        """Standard error for changes that the sample happens not to hold: two examples, as Bonett and Price add."""
        rows = (*self.base, *self.new)
        sizes = [typical_influence(self.metric, self.labels, row, classes=self.classes) for row in rows]
        return math.sqrt(2) * max(sizes) / (len(self.labels) + 2)

    def kinds(self) -> Kinds:
        return kinds_of(self.labels, self.base, self.new)


@dataclass(frozen=True, kw_only=True)
class _How:
    """Settings of a comparison."""

    confidence: float
    method: Method
    seeds_paired: bool
    draws: int
    seed: int


@dataclass(frozen=True, kw_only=True)
class _Spread:
    """Standard error of a difference and its degrees of freedom."""

    error: float
    df: float


def paired_score(
    labels: npt.ArrayLike,
    base: npt.ArrayLike,
    new: npt.ArrayLike,
    *,
    metric: str,
    classes: int,
    confidence: float = 0.95,
    method: Method = "auto",
    seeds_paired: bool = True,
    draws: int = DRAWS,
    seed: int = 0,
) -> PairedDifference:
    """Difference new - base of a score of :data:`SCORES` on the same examples, in the same order.

    ``labels`` has shape (n,); ``base`` and ``new`` are class indices of shape (n,) or (S, n). One seed a side: the
    interval of the delta method, or percentiles of the bootstrap over examples with the p of a randomization test
    (exchanging the two predictions of an example); ``auto`` resamples where the closed form is not clear. Accuracy is
    exact McNemar's throughout. Several seeds: see :func:`_over_seeds`; ``seeds_paired`` says that row s of both sides
    has the same seed and is compared as such.

    Raises:
        SpecError: ``metric`` is none of :data:`SCORES`.
        DataError: shapes that do not fit, a class outside 0 to ``classes`` - 1, or one seed against several.
    """
    if metric not in SCORES:
        raise unknown_name("metric for a paired comparison", metric, SCORES)
    truth, first, second = _checked(labels, base, new, classes, seeds_paired)
    pair = _Pair(labels=truth, base=first, new=second, metric=metric, classes=classes)
    settings = _How(confidence=confidence, method=method, seeds_paired=seeds_paired, draws=draws, seed=seed)
    if len(first) > 1:
        return _over_seeds(pair, settings)
    if metric == "accuracy":
        how: Literal["closed_form", "bootstrap"] = "bootstrap" if method == "bootstrap" else "closed_form"
        return paired_accuracy(
            first[0] == truth, second[0] == truth, confidence=confidence, method=how, draws=draws, seed=seed
        )
    return _one_seed(pair, settings)


def _checked(
    labels: npt.ArrayLike, base: npt.ArrayLike, new: npt.ArrayLike, classes: int, seeds_paired: bool
) -> tuple[Ints, Ints, Ints]:
    truth = np.asarray(labels, dtype=np.int64)
    first, second = np.atleast_2d(np.asarray(base, dtype=np.int64)), np.atleast_2d(np.asarray(new, dtype=np.int64))
    if truth.ndim != 1 or not len(truth) or first.shape[1:] != truth.shape or second.shape[1:] != truth.shape:
        raise DataError(
            f"labels of shape {truth.shape} with predictions of shapes {first.shape} and {second.shape}",
            why="a paired comparison needs the same examples, and at least one, on both sides",
            fix="compare runs of the same test split",
        )
    for name, values in (("labels", truth), ("base", first), ("new", second)):
        if values.min() < 0 or values.max() >= classes:
            raise DataError(
                f"{name} holds class {int(values.min())} to {int(values.max())}",
                why=f"the {classes} classes are 0 to {classes - 1}",
                fix="compare runs with the same classes",
            )
    counts = (len(first), len(second))
    if min(counts) == 1 < max(counts) or (seeds_paired and counts[0] != counts[1]):
        raise DataError(
            f"{counts[0]} seeds at the base and {counts[1]} now",
            why="seeds are compared one by one, and one seed alone tells nothing of the spread between seeds",
            fix="compare the seeds both have, or pass seeds_paired=False with two or more on each side",
        )
    return truth, first, second


def _one_seed(pair: _Pair, how: _How) -> PairedDifference:
    moved = pair.pseudo_values(pair.new)[0] - pair.pseudo_values(pair.base)[0]
    point = pair.score(pair.new[0]) - pair.score(pair.base[0])
    error = math.hypot(float(moved.std()) / math.sqrt(len(moved)), pair.unseen())
    half = float(two_sided_z(how.confidence)) * error
    close = how.method == "auto" and CLEAR[0] * half < abs(point) < CLEAR[1] * half
    if how.method != "bootstrap" and not close:
        p = float(t_test_p(point, error, math.inf))
        return _difference(pair, point, (point - half, point + half), how.confidence, p, "delta method")
    kinds = pair.kinds()
    first, second = resampled_scores(pair.metric, kinds, classes=pair.classes, draws=how.draws, seed=how.seed)
    interval = bootstrap_interval((second - first)[:, 0], point=point, confidence=how.confidence)
    p = _randomization_p(pair, kinds, point, how)
    return _difference(pair, point, interval, how.confidence, p, "paired bootstrap, randomization test")


def _randomization_p(pair: _Pair, kinds: Kinds, point: float, how: _How) -> float:
    """Share of exchanged data sets with at least this difference; beyond the draws' reach, the normal tail."""
    found = swapped_differences(pair.metric, kinds, classes=pair.classes, draws=how.draws, seed=how.seed)
    extreme = int((np.abs(found) >= abs(point) - 1e-12).sum())
    share = (1 + extreme) / (1 + how.draws)
    if extreme >= TAIL_DRAWS:
        return share
    return min(share, float(t_test_p(point, float(found.std()), math.inf)))


def _over_seeds(pair: _Pair, how: _How) -> PairedDifference:
    """Mean difference over seeds: both the seeds and the examples are samples, and all seeds see the same examples.

    The interval is point +- t * error. The error comes from :func:`seeds_and_examples` (closed form), or from
    hierarchical resampling: examples drawn jointly for all seeds, then seeds, whose deviations are scaled by
    sqrt(S / (S - 1)) since S resampled seeds vary too little. Resampling counts the noise of a seed on an example more
    than once (Owen 2007, the pigeonhole bootstrap), so it errs on the wide side; ``auto`` does not use it. t has the
    degrees of freedom of the closed form in both.
    """
    base, new = pair.pseudo_values(pair.base), pair.pseudo_values(pair.new)
    point = float(new.mean() - base.mean())
    spread = seeds_and_examples([new - base] if how.seeds_paired else [new, -base])
    error, method = spread.error, "seeds and examples, two-way"
    if how.method == "bootstrap":
        first, second = resampled_scores(
            pair.metric, pair.kinds(), classes=pair.classes, draws=how.draws, seed=how.seed
        )
        error = float(_drawn_seeds(first, second, how.seeds_paired, how.seed).std(ddof=1))
        method = "seeds then examples, resampled"
    error = math.hypot(error, pair.unseen() / math.sqrt(min(len(base), len(new))))
    half = float(two_sided_t(how.confidence, spread.df)) * error
    p = float(t_test_p(point, error, spread.df))
    return _difference(pair, point, (point - half, point + half), how.confidence, p, method)


def seeds_and_examples(groups: list[Floats]) -> _Spread:
    """Standard error of the sum of the groups' means, each of shape (S_g, n), examples shared and seeds not.

    Crossed random effects: (variance of the seeds' means) / S + (variance of the examples' sums of means) / n counts
    the remaining noise twice, so its share is taken off once; never below either part. Degrees of freedom after
    Satterthwaite. Two seeds that happen to agree hide their spread: where the seeds' part of the variance is several
    times the rest, a 95 % interval covers 90 to 93 % with two seeds, 94 % with three, 95 % with five (simulated).
    """
    n = groups[0].shape[1]
    seeds = [float(group.mean(axis=1).var(ddof=1)) / len(group) for group in groups]
    columns = np.sum([group.mean(axis=0) for group in groups], axis=0)
    examples = float(columns.var(ddof=1)) / n if n > 1 else 0.0
    rest = 0.0
    for group in groups:
        left = group - group.mean(axis=1, keepdims=True) - group.mean(axis=0, keepdims=True) + group.mean()
        rest += float((left**2).sum()) / max(1, (len(group) - 1) * (n - 1)) / group.size
    total = max(sum(seeds) + examples - rest, sum(seeds), examples)
    if total == 0:
        return _Spread(error=0.0, df=math.inf)
    # Satterthwaite squares this share. With few seeds a variance that is small by chance then comes with many degrees
    # of freedom, and the interval covers 2 to 3 points less (simulated for 2, 3 and 5 seeds).
    share = sum(part / total / (len(group) - 1) for part, group in zip(seeds, groups, strict=True))
    share += (examples / total) ** 2 / max(1, n - 1)
    return _Spread(error=math.sqrt(total), df=1 / share)


def _drawn_seeds(base: Floats, new: Floats, seeds_paired: bool, seed: int) -> Floats:
    """Differences after drawing seeds with replacement in each draw of examples; ``base`` (D, S), ``new`` (D, S')."""
    rng = np.random.default_rng((seed, 1))

    def drawn(scores: Floats) -> Floats:
        size = scores.shape[1]
        weights = rng.multinomial(size, np.full(size, 1 / size), size=len(scores)) / size
        center = scores.mean(axis=1)
        return np.asarray(center + math.sqrt(size / (size - 1)) * ((weights * scores).sum(axis=1) - center))

    return drawn(new - base) if seeds_paired else drawn(new) - drawn(base)


def _difference(
    pair: _Pair, point: float, interval: tuple[float, float], confidence: float, p: float, method: str
) -> PairedDifference:
    base, new = (float(np.mean([pair.score(row) for row in side])) for side in (pair.base, pair.new))
    b = c = 0
    if len(pair.base) == len(pair.new):
        right_base, right_new = pair.base == pair.labels, pair.new == pair.labels
        b, c = int((right_base & ~right_new).sum()), int((~right_base & right_new).sum())
    return PairedDifference(
        point=point,
        lower=interval[0],
        upper=interval[1],
        confidence=confidence,
        p=p,
        n=len(pair.labels),
        seeds=len(pair.new),
        base=base,
        new=new,
        base_only=b,
        new_only=c,
        # A mean of scores may pass 1 by rounding.
        cohens_h=cohens_h(min(1.0, base), min(1.0, new)),
        odds_ratio=matched_odds_ratio(b, c),
        method=method,
    )
