"""Score changes: intervals from predictions of the same examples, in closed form for many cases at once.

Single comparisons are resampled where :func:`resample_score` is asked to.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from emobench.analysis.binary_scores import ClassCounts, ScoreColumns, binary_scores, class_bits, count_classes
from emobench.analysis.columns import Ints, Predictions, Scored
from emobench.analysis.estimate_columns import Estimates
from emobench.analysis.paired_scores import paired_score
from emobench.analysis.pairs import Pairs
from emobench.analysis.significance import PairedDifference, paired_counts

MCNEMAR, DELTA = "McNemar, Bonett-Price", "delta method"


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
        n = len(scored.labels)
        bits = class_bits(scored.labels)
        parts = max(1, len(places) * n // (1 << 27))
        blocks = zip(np.array_split(base_rows, parts), np.array_split(new_rows, parts), strict=True)
        counted = [
            count_classes(bits, scored.labels, self.base.correct_bits(first)[:, 0], self.new.correct_bits(second)[:, 0])
            for first, second in blocks
        ]
        counts = ClassCounts.joined(counted)
        right = counts.both.sum(axis=1)
        base_only, new_only = counts.base_only.sum(axis=1), counts.new_only.sum(axis=1)
        if self.metric == "accuracy":
            columns = paired_counts(base_only, new_only, n, confidence=self.confidence)
            shares = {"base": (right + base_only) / n, "new": (right + new_only) / n}
            interval = {"point": columns.point, "lower": columns.lower, "upper": columns.upper, "p": columns.p}
            self.found.put(places, MCNEMAR, **shares, **interval)
            return
        scores = binary_scores(self.metric, counts, confidence=self.confidence)
        self._put(places, DELTA, scores)

    def _fill_single(self, base: Scored, new: Scored, place: int) -> None:
        """One comparison with several seeds, or with more than two classes."""
        shared = [seed for seed in base.seeds if seed in new.seeds]
        if not shared:
            return
        first = base.predicted[[base.seeds.index(seed) for seed in shared]]
        second = new.predicted[[new.seeds.index(seed) for seed in shared]]
        scored = paired_score(
            base.labels,
            first,
            second,
            metric=self.metric,
            classes=len(base.class_names),
            confidence=self.confidence,
            method="closed_form",
        )
        self._put(np.array([place]), scored.method, scored)

    def _put(self, places: Ints, method: str, scored: PairedDifference | ScoreColumns) -> None:
        names = ("base", "new", "point", "lower", "upper", "p")
        self.found.put(places, method, **{name: getattr(scored, name) for name in names})


def resample_score(found: Estimates, pairs: Pairs, metric: str, case: int, place: int, confidence: float) -> None:
    """Replace one closed-form interval of a score by the bootstrap's, where each side has one seed."""
    run, rows = pairs.newest(np.array([case]))
    base = pairs.base[int(run[0])].predictions.case(int(rows[0]))
    new = pairs.new.predictions.case(int(pairs.new_rows[case]))
    if base is None or new is None or len(base.seeds) > 1:
        return
    scored = paired_score(
        base.labels, base.predicted, new.predicted, metric=metric, classes=len(base.class_names), confidence=confidence
    )
    found.put(np.array([place]), scored.method, lower=scored.lower, upper=scored.upper, p=scored.p)
