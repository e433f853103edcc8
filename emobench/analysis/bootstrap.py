"""Resampling: bootstrap standard errors and intervals, and scores of resampled test sets from counts.

Drawing n examples with replacement is drawing from a multinomial how often each kind of example comes up, where a kind
is a label with every prediction for it. A draw then costs the number of kinds and not of examples, and the result is
the example bootstrap's, exactly. Every draw takes a seed. Nothing here decides anything.

Shapes: K classes, S seeds, n examples, U kinds of examples, D draws.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from emobench.analysis.quantiles import two_sided_z

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

DRAWS = 2000
"""Draws of a bootstrap where the caller names none."""

TAIL_DRAWS = 10
"""Fewest draws beyond an end of a percentile interval; with fewer the end is taken from the draws' standard error."""

CHUNK_NUMBERS = 4_000_000
"""Numbers held at a time while drawing: 32 MB of float64."""


@dataclass(frozen=True, kw_only=True)
class ScoreKind:
    """A score of the form mean over classes of ``hit_weight * hits / (support_weight * s + predicted_weight * p)``.

    ``hits`` of a class are its examples predicted as it, ``s`` its examples, ``p`` the predictions of it.
    """

    hit_weight: float
    support_weight: float
    predicted_weight: float
    average: Literal["macro", "weighted", "binary", "all"]
    """``all`` is hits of all classes over all examples, ``binary`` the class 1."""


SCORES: Mapping[str, ScoreKind] = {
    "accuracy": ScoreKind(hit_weight=1, support_weight=1, predicted_weight=0, average="all"),
    "f1_macro": ScoreKind(hit_weight=2, support_weight=1, predicted_weight=1, average="macro"),
    "f1_weighted": ScoreKind(hit_weight=2, support_weight=1, predicted_weight=1, average="weighted"),
    "f1_binary": ScoreKind(hit_weight=2, support_weight=1, predicted_weight=1, average="binary"),
    "precision_macro": ScoreKind(hit_weight=1, support_weight=0, predicted_weight=1, average="macro"),
    "recall_macro": ScoreKind(hit_weight=1, support_weight=1, predicted_weight=0, average="macro"),
}
"""Scores that can be compared from labels and predictions, by their name in the metric table."""


def bootstrap_standard_error(
    samples: npt.ArrayLike,
    statistic: Callable[..., npt.NDArray[Any]] = np.mean,
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> float:
    """Standard deviation of ``statistic(resampled, axis=-1)`` over ``draws`` samples drawn with replacement.

    ``samples`` has shape (n,). It is the standard error of the statistic itself: not divided by the number of draws.
    For a mean it goes to s / sqrt(n) times sqrt((n - 1) / n).
    """
    values = np.asarray(samples, dtype=np.float64)
    rng = np.random.default_rng(seed)
    found = [
        statistic(values[rng.integers(0, len(values), (size, len(values)))], axis=-1)
        for size in chunks(draws, len(values))
    ]
    return float(np.concatenate(found).std(ddof=1))


def chunks(draws: int, width: int) -> Iterator[int]:
    """Sizes of the parts in which ``draws`` rows of ``width`` numbers are made, so that memory stays bounded."""
    step = max(1, CHUNK_NUMBERS // max(1, width))
    for start in range(0, draws, step):
        yield min(step, draws - start)


def bootstrap_interval(draws: Floats, *, point: float, confidence: float) -> tuple[float, float]:
    """Percentile interval of the draws, widened to hold the point.

    Where fewer than :data:`TAIL_DRAWS` lie beyond an end (a high confidence after a correction) the percentile would be
    a guess: the interval is then the point and a normal quantile times the draws' standard deviation.
    """
    tail = (1 - confidence) / 2
    if len(draws) * tail < TAIL_DRAWS:
        half = float(two_sided_z(confidence)) * float(draws.std(ddof=1))
        return point - half, point + half
    low, high = np.quantile(draws, (tail, 1 - tail))
    return min(float(low), point), max(float(high), point)


def scores_of_counts(
    name: str, hits: npt.NDArray[Any], support: npt.NDArray[Any], predicted: npt.NDArray[Any]
) -> Floats:
    """The score for counts per class of shape (..., K); shape (...). 0/0 counts as 0, and macro runs over all K."""
    kind = SCORES[name]
    if kind.average == "all":
        return _ratio(hits.sum(axis=-1), support.sum(axis=-1))
    per_class = _ratio(kind.hit_weight * hits, kind.support_weight * support + kind.predicted_weight * predicted)
    if kind.average == "macro":
        return np.asarray(per_class.mean(axis=-1))
    if kind.average == "binary":
        return np.asarray(per_class[..., 1])
    return _ratio((per_class * support).sum(axis=-1), support.sum(axis=-1))


def _ratio(over: npt.NDArray[Any], under: npt.NDArray[Any]) -> Floats:
    result = np.zeros(np.shape(under), dtype=np.float64)
    np.divide(over, under, out=result, where=under > 0)
    return result


def class_counts(labels: Ints, predicted: Ints, classes: int) -> tuple[Ints, Ints, Ints]:
    """Hits, support and predictions of each class, each of shape (K,)."""
    hits = np.bincount(labels[labels == predicted], minlength=classes)
    return hits, np.bincount(labels, minlength=classes), np.bincount(predicted, minlength=classes)


@dataclass(frozen=True, kw_only=True)
class Kinds:
    """The distinct combinations of a label and all predictions for it, and how many examples each has."""

    labels: Ints
    """(U,)"""
    base: Ints
    """(S, U)"""
    new: Ints
    """(S', U)"""
    counts: Ints
    """(U,)"""


def kinds_of(labels: Ints, base: Ints, new: Ints) -> Kinds:
    """Sort n examples into kinds; ``labels`` (n,), ``base`` (S, n), ``new`` (S', n)."""
    stacked = np.vstack([labels[None, :], base, new])
    if len(stacked) == 3:
        # One number a column: np.unique of columns compares bytes and is many times slower.
        size = int(stacked.max()) + 1
        codes, counts = np.unique((stacked[0] * size + stacked[1]) * size + stacked[2], return_counts=True)
        columns = np.stack([codes // size**2, codes // size % size, codes % size])
    else:
        columns, counts = np.unique(stacked, axis=1, return_counts=True)
    seeds = len(base)
    return Kinds(labels=columns[0], base=columns[1 : 1 + seeds], new=columns[1 + seeds :], counts=counts)


def resampled_scores(name: str, kinds: Kinds, *, classes: int, draws: int, seed: int) -> tuple[Floats, Floats]:
    """Scores of base (D, S) and new (D, S') on ``draws`` resampled test sets; a draw's set is the same for all."""
    rng = np.random.default_rng(seed)
    n = int(kinds.counts.sum())
    sets = (kinds.base, kinds.new)
    found: list[list[Floats]] = [[], []]
    for size in chunks(draws, len(kinds.counts)):
        weights = rng.multinomial(n, kinds.counts / n, size=size).astype(np.float64)
        support = weights @ _one_hot(kinds.labels, classes)
        for index, predictions in enumerate(sets):
            columns = [_weighted_score(name, weights, support, kinds.labels, row, classes) for row in predictions]
            found[index].append(np.stack(columns, axis=-1))
    return np.concatenate(found[0]), np.concatenate(found[1])


def _weighted_score(name: str, weights: Floats, support: Floats, labels: Ints, predicted: Ints, classes: int) -> Floats:
    one_hot = _one_hot(predicted, classes)
    hits = weights @ (one_hot * (predicted == labels)[:, None])
    return scores_of_counts(name, hits, support, weights @ one_hot)


def _one_hot(values: Ints, classes: int) -> Floats:
    table = np.zeros((len(values), classes), dtype=np.float64)
    table[np.arange(len(values)), values] = 1.0
    return table


def swapped_differences(name: str, kinds: Kinds, *, classes: int, draws: int, seed: int) -> Floats:
    """Differences new - base, shape (D,), after exchanging the two predictions of each example with probability 1/2.

    This is the randomization test's distribution under "base and new are exchangeable"; one seed a side. Of a kind with
    c examples Bin(c, 1/2) are exchanged.
    """
    rng = np.random.default_rng(seed)
    base, new = _one_hot(kinds.base[0], classes), _one_hot(kinds.new[0], classes)
    right = [table * (row == kinds.labels)[:, None] for table, row in ((base, kinds.base[0]), (new, kinds.new[0]))]
    support = kinds.counts @ _one_hot(kinds.labels, classes)
    found = []
    for size in chunks(draws, len(kinds.counts)):
        moved = rng.binomial(kinds.counts, 0.5, size=(size, len(kinds.counts))).astype(np.float64)
        kept = kinds.counts - moved
        first = scores_of_counts(
            name,
            kept @ right[0] + moved @ right[1],
            np.broadcast_to(support, (size, classes)),
            kept @ base + moved @ new,
        )
        second = scores_of_counts(
            name,
            kept @ right[1] + moved @ right[0],
            np.broadcast_to(support, (size, classes)),
            kept @ new + moved @ base,
        )
        found.append(second - first)
    return np.concatenate(found)


def influences(name: str, labels: Ints, predicted: Ints, *, classes: int) -> Floats:
    """First-order influence of each example on the score, shape (n,); they sum to 0.

    The delta method: the variance of the score over test sets is the mean square of these over n. For accuracy it is
    (right or wrong) - accuracy.
    """
    kind = SCORES[name]
    n = len(labels)
    hits, support, counted = class_counts(labels, predicted, classes)
    right = (labels == predicted).astype(np.float64)
    if kind.average == "all":
        return np.asarray(right - right.mean())
    under = kind.support_weight * support + kind.predicted_weight * counted
    per_class = _ratio(kind.hit_weight * hits, under)
    gain = n * _class_weights(kind, support) / np.maximum(under, 1) * (under > 0)
    moved = kind.hit_weight * right * gain[labels]
    moved -= kind.support_weight * (gain * per_class)[labels] + kind.predicted_weight * (gain * per_class)[predicted]
    if kind.average == "weighted":
        moved += per_class[labels] - (per_class * support).sum() / n
    return np.asarray(moved)


def _class_weights(kind: ScoreKind, support: Ints) -> Floats:
    classes = len(support)
    if kind.average == "macro":
        return np.full(classes, 1 / classes)
    if kind.average == "binary":
        return np.asarray(np.arange(classes) == 1, dtype=np.float64)
    return np.asarray(support / support.sum())


def typical_influence(name: str, labels: Ints, predicted: Ints, *, classes: int) -> float:
    """Root mean square over the labels of what one more hit in that class adds, times n; at least 1.

    The size of a change that has not been seen yet: it keeps the interval of two equal predictors above zero width.
    """
    kind = SCORES[name]
    if kind.average == "all":
        return 1.0
    _, support, counted = class_counts(labels, predicted, classes)
    under = kind.support_weight * support + kind.predicted_weight * counted
    gain = kind.hit_weight * len(labels) * _class_weights(kind, support) / np.maximum(under, 1)
    # A class that nothing is in and nothing is taken for has no gain: at least that of accuracy.
    return max(1.0, float(np.sqrt((support * gain**2).sum() / len(labels))))
