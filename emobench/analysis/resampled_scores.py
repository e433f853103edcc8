"""Scores of resampled and of exchanged test sets, from counts of kinds of examples. Nothing here decides anything.

Drawing n examples with replacement is drawing from a multinomial how often each kind of example comes up. A draw then
costs the number of kinds and not of examples, and the result is the example bootstrap's, exactly. Every draw takes a
seed.

Shapes: U kinds of examples, D draws; one pair of predictors.
"""

from __future__ import annotations

import numpy as np

from emobench.analysis.bootstrap import chunks
from emobench.analysis.class_scores import ClassCounts, Kinds, class_counts, scores_of
from emobench.analysis.columns import Floats


def resampled_scores(name: str, kinds: Kinds, *, classes: int, draws: int, seed: int) -> tuple[Floats, Floats]:
    """Scores of base and new, shape (D,), on resampled test sets; a draw's set is the same for both."""
    rng = np.random.default_rng(seed)
    counts = kinds.counts[0]
    n = int(counts.sum())
    found: list[list[Floats]] = [[], []]
    for size in chunks(draws, len(counts)):
        drawn = rng.multinomial(n, counts / n, size=size).astype(np.float64)
        for scores, predicted in zip(found, (kinds.base, kinds.new), strict=True):
            scores.append(scores_of(name, class_counts(kinds.labels, predicted, drawn, classes=classes)))
    return np.concatenate(found[0]), np.concatenate(found[1])


def swapped_differences(name: str, kinds: Kinds, *, classes: int, draws: int, seed: int) -> Floats:
    """Differences new - base, shape (D,), after exchanging the two predictions of each example with probability 1/2.

    This is the randomization test's distribution under "base and new are exchangeable". Of a kind with c examples
    Bin(c, 1/2) are exchanged.
    """
    rng = np.random.default_rng(seed)
    counts = kinds.counts[0]
    sides = (kinds.base, kinds.new)
    whole = [class_counts(kinds.labels, side, kinds.counts, classes=classes) for side in sides]
    found = []
    for size in chunks(draws, len(counts)):
        moved = rng.binomial(counts, 0.5, size=(size, len(counts))).astype(np.float64)
        parts = [class_counts(kinds.labels, side, moved, classes=classes) for side in sides]
        base, new = (scores_of(name, _exchanged(whole[at], parts[at], parts[1 - at])) for at in (0, 1))
        found.append(new - base)
    return np.concatenate(found)


def _exchanged(whole: ClassCounts, given: ClassCounts, taken: ClassCounts) -> ClassCounts:
    """Counts of a side that gave some of its predictions for others of the same examples."""
    return ClassCounts(
        hits=whole.hits - given.hits + taken.hits,
        support=np.broadcast_to(whole.support, given.hits.shape),
        predicted=whole.predicted - given.predicted + taken.predicted,
    )
