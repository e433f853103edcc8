"""Differences of accuracy, F1, precision and recall on the same examples, for many pairs of predictors at once.

Closed forms come first (the exact test of accuracy, the delta method of other scores, and a two-way analysis of seeds
and examples); resampling decides what they leave close.

Shapes: C pairs of predictors, K classes, U kinds of examples, S seeds, n examples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from emobench.analysis.bootstrap import DRAWS, TAIL_DRAWS, bootstrap_interval
from emobench.analysis.class_scores import (
    ClassCounts,
    Classes,
    Kinds,
    class_counts,
    influences,
    scores_of,
    typical_influence,
)
from emobench.analysis.columns import Floats
from emobench.analysis.quantiles import t_test_p
from emobench.analysis.resampled_scores import resampled_scores, swapped_differences
from emobench.analysis.significance import Differences, paired_counts, t_interval


@dataclass(frozen=True, kw_only=True, eq=False)
class ScoreDifferences:
    """Scores of many pairs, as shares (0.01 is one point), and their differences; of shape (C,)."""

    base: Floats
    new: Floats
    change: Differences


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Standard error of a difference and its degrees of freedom."""

    error: float
    df: float


def score_differences(metric: str, kinds: Kinds, *, classes: int, confidence: float = 0.95) -> ScoreDifferences:
    """Differences new - base of a score of ``SCORES``, one seed a side.

    Accuracy has the exact test's p and interval (``significance.paired_counts``), every other score the delta method's.
    """
    if metric == "accuracy":
        return _accuracies(kinds, confidence)
    n, sides = kinds.counts.sum(axis=1), (kinds.base, kinds.new)
    base, new = (class_counts(kinds.labels, side, kinds.counts, classes=classes) for side in sides)
    moved = influences(metric, kinds.labels, kinds.new, new) - influences(metric, kinds.labels, kinds.base, base)
    variance = (kinds.counts * moved**2).sum(axis=1) / n - ((kinds.counts * moved).sum(axis=1) / n) ** 2
    error = np.hypot(np.sqrt(np.maximum(0.0, variance) / n), _unseen(metric, (base, new)))
    scores = scores_of(metric, base), scores_of(metric, new)
    change = t_interval(scores[1] - scores[0], error, np.inf, confidence=confidence)
    return ScoreDifferences(base=scores[0], new=scores[1], change=change)


def _accuracies(kinds: Kinds, confidence: float) -> ScoreDifferences:
    n = kinds.counts.sum(axis=1)
    base, new = kinds.base == kinds.labels, kinds.new == kinds.labels
    of_base, of_new, lost, won = (kinds.counts[:, which].sum(axis=1) for which in (base, new, base & ~new, new & ~base))
    change = paired_counts(lost, won, n, confidence=confidence)
    return ScoreDifferences(base=of_base / n, new=of_new / n, change=change)


def _unseen(metric: str, predictors: Sequence[ClassCounts]) -> Floats:
    """Standard error for changes that the sample happens not to hold: two examples, as Bonett and Price add."""
    n = predictors[0].support.sum(axis=1)
    sizes = [typical_influence(metric, counts) for counts in predictors]
    return np.asarray(math.sqrt(2) * np.max(sizes, axis=0) / (n + 2))


def resampled_difference(
    metric: str, kinds: Kinds, *, classes: int, confidence: float = 0.95, draws: int = DRAWS, seed: int = 0
) -> tuple[float, float, float]:
    """Ends and p of one difference (C = 1): percentiles of the bootstrap over examples, and a randomization test.

    That exchanges the two predictions of an example; p is the share of exchanged data sets with at least this
    difference, and beyond the draws' reach the normal tail.
    """
    options = {"classes": classes, "draws": draws, "seed": seed}
    scores = [
        scores_of(metric, class_counts(kinds.labels, side, kinds.counts, classes=classes))
        for side in (kinds.base, kinds.new)
    ]
    point = float((scores[1] - scores[0])[0])
    base, new = resampled_scores(metric, kinds, **options)
    lower, upper = bootstrap_interval(new - base, point=point, confidence=confidence)
    found = swapped_differences(metric, kinds, **options)
    extreme = int((np.abs(found) >= abs(point) - 1e-12).sum())
    share = (1 + extreme) / (1 + draws)
    if extreme < TAIL_DRAWS:
        share = min(share, float(t_test_p(point, float(found.std()), math.inf)))
    return lower, upper, share


def seed_differences(
    metric: str, labels: Classes, base: Classes, new: Classes, *, classes: int, confidence: float = 0.95
) -> ScoreDifferences:
    """Mean difference over the same two or more seeds a side, C = 1; ``labels`` (n,), ``base`` and ``new`` (S, n).

    Both the seeds and the examples are samples, and all seeds see the same examples: the interval is point +- t * error
    of :func:`seeds_and_examples`.
    """
    each = np.ones((1, len(labels)))
    predicted = np.concatenate([base, new])
    counts = [class_counts(labels, row, each, classes=classes) for row in predicted]
    # Score plus influence of each example: their means are the scores.
    values = np.concatenate(
        [scores_of(metric, of) + influences(metric, labels, row, of) for row, of in zip(predicted, counts, strict=True)]
    )
    first, second = values[: len(base)], values[len(base) :]
    spread = seeds_and_examples(second - first)
    error = math.hypot(spread.error, float(_unseen(metric, counts)[0]) / math.sqrt(len(base)))
    scores = np.array([[first.mean()], [second.mean()]])
    change = t_interval(scores[1] - scores[0], np.array([error]), spread.df, confidence=confidence)
    return ScoreDifferences(base=scores[0], new=scores[1], change=change)


def seeds_and_examples(table: Floats) -> Spread:
    """Standard error of the mean of a table of seeds and examples, shape (S, n), both of them samples.

    Crossed random effects: (variance of the seeds' means) / S + (variance of the examples' means) / n counts the
    remaining noise twice, so its share is taken off once; never below either part. Degrees of freedom after
    Satterthwaite. Two seeds that happen to agree hide their spread: where the seeds' part of the variance is several
    times the rest, a 95 % interval covers 90 to 93 % with two seeds, 94 % with three, 95 % with five (simulated).
    """
    size, n = table.shape
    seeds = float(table.mean(axis=1).var(ddof=1)) / size
    examples = float(table.mean(axis=0).var(ddof=1)) / n if n > 1 else 0.0
    left = table - table.mean(axis=1, keepdims=True) - table.mean(axis=0, keepdims=True) + table.mean()
    rest = float((left**2).sum()) / max(1, (size - 1) * (n - 1)) / table.size
    total = max(seeds + examples - rest, seeds, examples)
    if total == 0:
        return Spread(error=0.0, df=math.inf)
    # Satterthwaite squares this share. With few seeds a variance that is small by chance then comes with many degrees
    # of freedom, and the interval covers 2 to 3 points less (simulated for 2, 3 and 5 seeds).
    share = seeds / total / (size - 1) + (examples / total) ** 2 / max(1, n - 1)
    return Spread(error=math.sqrt(total), df=1 / share)
