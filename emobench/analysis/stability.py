"""Stability: what order the cases would have had with other test examples and other rounds. See ``ranking`` for how."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt

from emobench.analysis.candidates import SERVED, Candidates
from emobench.analysis.columns import Floats, Ints
from emobench.analysis.scales import Scale, halves
from emobench.analysis.tradeoff import QUALITY

DRAWS = 1000
"""Draws of the stability, unless there are so many cases that :data:`DRAWN_NUMBERS` allows fewer."""
DRAWN_NUMBERS = 500_000
"""Most scores drawn for a group: draws times cases."""
FEWEST_DRAWS = 50
CACHED_NUMBERS = 20_000
"""Scores worked on at a time: 160 kB, so that the steps of the arithmetic find them in a core's cache."""
_Z = 1.959963984540054


Correct = Mapping[int, tuple[str, npt.NDArray[np.bool_]]]
"""Row of a case to the digest of its examples and, shape (S, n), whether each seed's prediction was right."""


def drawn_scores(
    group: Candidates,
    at: Ints,
    scales: Mapping[str, Scale],
    weights: Mapping[str, float],
    correct: Correct,
    seed: int,
) -> tuple[Floats, int]:
    """Scores drawn anew, shape (draws, n), and how many cases' accuracies came from their examples."""
    draws = int(min(DRAWS, max(FEWEST_DRAWS, DRAWN_NUMBERS // max(1, len(at)))))
    rng = np.random.default_rng(seed)
    total = np.zeros((draws, len(at)))
    resampled = 0
    for name, weight in weights.items():
        figures, scale = group.figures[name], scales[name]
        ends = halves(figures, at, scale)
        # Cases that share a timed case share its error.
        source = (group.timed if name in SERVED else group.rows)[at]
        own, shared = np.unique(source, return_inverse=True)
        normal = rng.standard_normal((draws, len(own)))
        taken = _resampled(group.rows[at], correct, draws, rng) if name == QUALITY else {}
        resampled += len(taken)
        middle = scale.scaled(figures.value[at])
        for part in _parts(draws, len(at)):
            values = _moved(middle, np.take(normal[part], shared, axis=1), *ends)
            for place, accuracies in taken.items():
                values[:, place] = accuracies[part]
            normalized = scale.of_scaled(values)
            normalized *= weight
            total[part] += normalized
    return total, resampled


def _moved(middle: Floats, normal: Floats, down: Floats, up: Floats) -> Floats:
    """Figures drawn with the halves of their intervals as 1.96 standard deviations, each side with its own.

    ``normal`` is used up.
    """
    # One of the products is zero, so the sum is exact; choosing a side by its sign is several times slower.
    values = np.maximum(normal, 0.0)
    values *= up
    np.minimum(normal, 0.0, out=normal)
    normal *= down
    values += normal
    values /= _Z
    values += middle
    return values


def _parts(draws: int, n: int) -> Iterator[slice]:
    """The draws in parts of :data:`CACHED_NUMBERS`."""
    step = max(1, CACHED_NUMBERS // max(1, n))
    for start in range(0, draws, step):
        yield slice(start, start + step)


def _resampled(rows: Ints, correct: Correct, draws: int, rng: np.random.Generator) -> dict[int, Floats]:
    """Accuracies on resampled test examples by place, the same examples for all cases that were scored on them."""
    sets: dict[str, list[int]] = {}
    for place, row in enumerate(rows.tolist()):
        if row in correct:
            sets.setdefault(correct[row][0], []).append(place)
    found: dict[int, Floats] = {}
    for places in sets.values():
        right = np.stack([correct[int(rows[place])][1].mean(axis=0) for place in places], axis=1)
        n = len(right)
        counts = rng.multinomial(n, np.full(n, 1 / n), size=draws).astype(np.float64)
        accuracies = counts @ right / n
        found |= {place: accuracies[:, column] for column, place in enumerate(places)}
    return found


def stability(drawn: Floats, ranks: Ints) -> tuple[Floats, Floats]:
    """Share of draws that keep each case within its rank's positions, and that place it first; shape (n,) each.

    ``drawn`` has the cases in their order, so that those of a rank lie side by side; cases that are drawn equal stay in
    that order. A case is among the positions ``first`` to ``last`` where its score lies between those sorted there, so
    a draw needs its scores in order and not the cases, which is several times faster. Where two ranks meet in equal
    scores that does not tell which case stands on which side: such a draw is put in order case by case.
    """
    draws, n = drawn.shape
    if n == 0:
        return np.zeros(0), np.zeros(0)
    first = ranks - 1
    last = np.searchsorted(ranks, ranks, side="right") - 1
    starts = np.unique(first)[1:]
    kept, leads = np.zeros(n, np.int64), np.zeros(n, np.int64)
    for part in _parts(draws, n):
        scores = -drawn[part]
        ordered = np.sort(scores, axis=1)
        clear = (ordered[:, starts - 1] < ordered[:, starts]).all(axis=1) & ~np.isnan(ordered[:, -1])
        for within, leading in (
            _between(scores[clear], ordered[clear], first, last),
            _placed(scores[~clear], first, last),
        ):
            kept += within
            leads += leading
    return kept / draws, leads / draws


def _between(scores: Floats, ordered: Floats, first: Ints, last: Ints) -> tuple[Ints, Ints]:
    """In how many draws each case keeps its rank, and leads; for draws whose ranks are parted by their scores."""
    within = (scores >= np.take(ordered, first, axis=1)) & (scores <= np.take(ordered, last, axis=1))
    return np.count_nonzero(within, axis=0), np.bincount(scores.argmin(axis=1), minlength=scores.shape[1])


def _placed(scores: Floats, first: Ints, last: Ints) -> tuple[Ints, Ints]:
    """The same for any draws, by the position of each case."""
    n = scores.shape[1]
    order = np.argsort(scores, axis=1, kind="stable")
    positions = np.empty_like(order)
    np.put_along_axis(positions, order, np.arange(n)[None, :], axis=1)
    within = (positions >= first) & (positions <= last)
    return np.count_nonzero(within, axis=0), np.bincount(order[:, 0], minlength=n)
