"""Score changes: intervals from predictions of the same examples, in closed form for many cases at once.

Single comparisons are resampled where :func:`resample_score` is asked to.
"""

from __future__ import annotations

import numpy as np

from emobench.analysis.binary_scores import ClassCounts, binary_scores, class_bits, count_classes
from emobench.analysis.columns import Ints, Predictions, Scored
from emobench.analysis.estimate_columns import Estimates
from emobench.analysis.paired_scores import paired_score
from emobench.analysis.pairing import Pairs
from emobench.analysis.significance import paired_counts

MCNEMAR, DELTA = "McNemar, Bonett-Price", "delta method"


def fill_scores(found: Estimates, pairs: Pairs, metric: str, at: Ints, confidence: float) -> None:
    """Fill in what both sides have predictions of the same examples for; the newest base run's are taken."""
    run, rows = pairs.newest(at)
    new_rows = pairs.new_rows[at]
    for number, side in enumerate(pairs.base):
        mine = np.flatnonzero(run == number)
        if len(mine):
            _scores_of_run(
                found, side.predictions, pairs.new.predictions, mine, rows[mine], new_rows[mine], metric, confidence
            )


def _scores_of_run(
    found: Estimates,
    base: Predictions,
    new: Predictions,
    places: Ints,
    base_rows: Ints,
    new_rows: Ints,
    metric: str,
    confidence: float,
) -> None:
    """Fill ``places`` from the predictions of one base run."""
    same = (base.examples[base_rows] != "") & (base.examples[base_rows] == new.examples[new_rows])
    single = same & (base.num_seeds[base_rows] == 1) & (new.num_seeds[new_rows] == 1)
    columnar = np.zeros(len(places), bool)
    for name in np.unique(base.examples[base_rows[single]].astype(str)) if single.any() else ():
        part = single & (base.examples[base_rows] == name)
        first = base.case(int(base_rows[np.flatnonzero(part)[0]]))
        assert first is not None
        if len(first.labels) and (metric == "accuracy" or len(first.class_names) == 2):
            columnar |= part
            _fill_columns(found, base, new, first, places[part], base_rows[part], new_rows[part], metric, confidence)
    for index in np.flatnonzero(same & ~columnar):
        one, other = base.case(int(base_rows[index])), new.case(int(new_rows[index]))
        if one is not None and other is not None and len(one.labels):
            _fill_single(found, one, other, int(places[index]), metric, confidence)


def _fill_columns(
    found: Estimates,
    base: Predictions,
    new: Predictions,
    scored: Scored,
    places: Ints,
    base_rows: Ints,
    new_rows: Ints,
    metric: str,
    confidence: float,
) -> None:
    n = len(scored.labels)
    bits = class_bits(scored.labels)
    parts = max(1, len(places) * n // (1 << 27))
    blocks = zip(np.array_split(base_rows, parts), np.array_split(new_rows, parts), strict=True)
    counted = [
        count_classes(bits, scored.labels, base.correct_bits(first)[:, 0], new.correct_bits(second)[:, 0])
        for first, second in blocks
    ]
    counts = ClassCounts.joined(counted)
    right = counts.both.sum(axis=1)
    base_only, new_only = counts.base_only.sum(axis=1), counts.new_only.sum(axis=1)
    if metric == "accuracy":
        columns = paired_counts(base_only, new_only, n, confidence=confidence)
        shares = {"base": (right + base_only) / n, "new": (right + new_only) / n}
        interval = {"point": columns.point, "lower": columns.lower, "upper": columns.upper, "p": columns.p}
        found.put(places, MCNEMAR, **shares, **interval)
        return
    scores = binary_scores(metric, counts, confidence=confidence)
    found.put(
        places,
        DELTA,
        base=scores.base,
        new=scores.new,
        point=scores.point,
        lower=scores.lower,
        upper=scores.upper,
        p=scores.p,
    )


def _fill_single(found: Estimates, base: Scored, new: Scored, place: int, metric: str, confidence: float) -> None:
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
        metric=metric,
        classes=len(base.class_names),
        confidence=confidence,
        method="closed_form",
    )
    found.put(
        np.array([place]),
        scored.method,
        base=scored.base,
        new=scored.new,
        point=scored.point,
        lower=scored.lower,
        upper=scored.upper,
        p=scored.p,
    )


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
