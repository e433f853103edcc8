"""Score changes: intervals from predictions of the same examples, in closed form for many cases at once.

Single comparisons are resampled where :func:`resample_score` is asked to.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from emobench.analysis.binary_kinds import binary_kinds, class_bits
from emobench.analysis.class_scores import Kinds, kinds_of
from emobench.analysis.columns import Ints, Predictions, Scored
from emobench.analysis.estimate_columns import Estimates
from emobench.analysis.pairs import Pairs
from emobench.analysis.score_differences import (
    ScoreDifferences,
    resampled_difference,
    score_differences,
    seed_differences,
)

MCNEMAR, DELTA, SEEDS = "McNemar, Bonett-Price", "delta method", "seeds and examples, two-way"
FROM_EXAMPLES = (MCNEMAR, DELTA)
"""Intervals that narrow with the examples alone."""


def fill_scores(found: Estimates, pairs: Pairs, metric: str, at: Ints, confidence: float) -> None:
    """Fill in what both sides have predictions of the same examples for; the newest base run's are taken."""
    run, rows = pairs.newest(at)
    new_rows = pairs.new_rows[at]
    for number, side in enumerate(pairs.base):
        mine = np.flatnonzero(run == number)
        if len(mine):
            two = _TwoRuns(found, side.predictions, pairs.new.predictions, metric=metric, confidence=confidence)
            two.fill(mine, rows[mine], new_rows[mine])


@dataclass(frozen=True)
class _TwoRuns:
    """What a score is compared of, and where it goes."""

    found: Estimates
    base: Predictions
    new: Predictions
    metric: str = field(kw_only=True)
    confidence: float = field(kw_only=True)

    def fill(self, places: Ints, base_rows: Ints, new_rows: Ints) -> None:
        """Fill ``places`` from these rows of the two."""
        base, new = self.base, self.new
        same = (base.examples[base_rows] != "") & (base.examples[base_rows] == new.examples[new_rows])
        single = same & (base.num_seeds[base_rows] == 1) & (new.num_seeds[new_rows] == 1)
        columnar = np.zeros(len(places), bool)
        for name in np.unique(base.examples[base_rows[single]].astype(str)) if single.any() else ():
            part = single & (base.examples[base_rows] == name)
            first = base.case(int(base_rows[np.flatnonzero(part)[0]]))
            assert first is not None
            if len(first.labels) and (self.metric == "accuracy" or len(first.class_names) == 2):
                columnar |= part
                self._fill_columns(first, places[part], base_rows[part], new_rows[part])
        for index in np.flatnonzero(same & ~columnar):
            one, other = base.case(int(base_rows[index])), new.case(int(new_rows[index]))
            if one is not None and other is not None and len(one.labels):
                self._fill_single(one, other, int(places[index]))

    def _fill_columns(self, scored: Scored, places: Ints, base_rows: Ints, new_rows: Ints) -> None:
        bits = class_bits(scored.labels)
        parts = max(1, len(places) * len(scored.labels) // (1 << 27))
        blocks = zip(np.array_split(base_rows, parts), np.array_split(new_rows, parts), strict=True)
        kinds = [
            binary_kinds(bits, scored.labels, self.base.correct_bits(first)[:, 0], self.new.correct_bits(second)[:, 0])
            for first, second in blocks
        ]
        counts = np.concatenate([part.counts for part in kinds])
        self._fill_kinds(places, replace(kinds[0], counts=counts), classes=2)

    def _fill_single(self, base: Scored, new: Scored, place: int) -> None:
        """One comparison with several seeds, or with more than two classes."""
        shared = [seed for seed in base.seeds if seed in new.seeds]
        if not shared:
            return
        first = base.predicted[[base.seeds.index(seed) for seed in shared]]
        second = new.predicted[[new.seeds.index(seed) for seed in shared]]
        places, classes = np.array([place]), len(base.class_names)
        if len(shared) == 1:
            self._fill_kinds(places, kinds_of(base.labels, first[0], second[0]), classes=classes)
            return
        scores = seed_differences(self.metric, base.labels, first, second, classes=classes, confidence=self.confidence)
        self._put(places, SEEDS, scores)

    def _fill_kinds(self, places: Ints, kinds: Kinds, *, classes: int) -> None:
        """One seed a side."""
        scores = score_differences(self.metric, kinds, classes=classes, confidence=self.confidence)
        self._put(places, MCNEMAR if self.metric == "accuracy" else DELTA, scores)

    def _put(self, places: Ints, method: str, scores: ScoreDifferences) -> None:
        change = {name: getattr(scores.change, name) for name in ("point", "lower", "upper", "p")}
        self.found.put(places, method, base=scores.base, new=scores.new, **change)


def resample_score(found: Estimates, pairs: Pairs, metric: str, case: int, place: int, confidence: float) -> None:
    """Replace one closed-form interval of a score by the bootstrap's, where each side has one seed."""
    run, rows = pairs.newest(np.array([case]))
    base = pairs.base[int(run[0])].predictions.case(int(rows[0]))
    new = pairs.new.predictions.case(int(pairs.new_rows[case]))
    if base is None or new is None or max(len(base.seeds), len(new.seeds)) > 1:
        return
    kinds = kinds_of(base.labels, base.predicted[0], new.predicted[0])
    lower, upper, p = resampled_difference(metric, kinds, classes=len(base.class_names), confidence=confidence)
    found.put(np.array([place]), "paired bootstrap, randomization test", lower=lower, upper=upper, p=p)
