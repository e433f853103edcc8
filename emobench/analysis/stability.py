"""Stability: what order the cases would have had with other test examples and other rounds. See ``ranking`` for how."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from emobench.analysis.candidates import SERVED, Candidates, Floats, Ints
from emobench.analysis.scales import Scale, halves
from emobench.analysis.tradeoff import QUALITY

DRAWS = 1000
"""Draws of the stability, unless there are so many cases that :data:`DRAWN_NUMBERS` allows fewer."""
DRAWN_NUMBERS = 500_000
"""Most scores drawn for a group: draws times cases."""
FEWEST_DRAWS = 50
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
        down, up = halves(figures, at, scale)
        # Cases that share a timed case share its error.
        source = (group.timed if name in SERVED else group.rows)[at]
        own, shared = np.unique(source, return_inverse=True)
        normal = rng.standard_normal((draws, len(own)))[:, shared]
        values = scale.scaled(figures.value[at]) + normal * np.where(normal < 0, down, up) / _Z
        if name == QUALITY:
            taken = _resampled(group.rows[at], correct, draws, rng)
            resampled = len(taken)
            for place, accuracies in taken.items():
                values[:, place] = accuracies
        total += weight * scale.of_scaled(values)
    return total, resampled


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
    """Share of draws that keep each case within its rank's positions, and that place it first; shape (n,) each."""
    draws, n = drawn.shape
    if n == 0:
        return np.zeros(0), np.zeros(0)
    # Stable, so that cases which are drawn equal stay in their order.
    order = np.argsort(-drawn, axis=1, kind="stable")
    positions = np.empty_like(order)
    np.put_along_axis(positions, order, np.arange(n)[None, :], axis=1)
    first = ranks - 1
    last = np.searchsorted(ranks, ranks, side="right") - 1
    keeps = ((positions >= first) & (positions <= last)).mean(axis=0)
    return keeps, np.bincount(order[:, 0], minlength=n) / draws
