"""Ranking: cases by weighted, normalized metrics, with shared ranks, the Pareto front and how stable the order is.

**Score.** Each metric becomes a number from 0 (worst of the ranked cases) to 1 (best), and the score is their weighted
mean. Shares (accuracy, F1) are scaled linearly between worst and best: a point of accuracy is worth the same
everywhere. Times, bytes, rates, joules and prices are scaled by their logarithm, ``log(worst / x) /
log(worst / best)``, because halving a time is worth the same at 10 ms as at 1 s; scaled linearly, one slow model would
push all others together. Both need the set of cases: adding one that is worse than all moves the scores (not the raw
figures) of all. A metric that is equal in all cases gives 1 to each.

**Error bar.** The ends of a metric's 95 % interval go through the same map and are combined as of independent errors,
``sqrt(sum((w * half)^2))`` on each side. A metric without an interval adds nothing; the ranking names it. Cases that
were scored on the same examples have errors that rise and fall together, so this bar of a difference is too wide rather
than too narrow.

**Rank.** In the order of the score, a case shares the rank of the group's first while the difference of their scores
lies inside the 95 % bar of that difference; the first that lies outside opens a new rank, counted as in a race
(1, 1, 3). Without intervals only equal scores share a rank.

**Missing figures** are never filled in: a case without a weighted metric is unranked, with the reason.

**Stability.** Each figure is drawn anew (accuracies of cases with the same test examples by resampling these examples
for all cases at once, other figures from their interval as a normal distribution, split where it is lopsided and on the
logarithm where the score is), the scale between worst and best staying as it is, and the cases are put in order again.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from emobench.analysis.candidates import SERVED, Candidates, Figures, candidate_groups, direction
from emobench.analysis.columns import Cases, Floats, Ints
from emobench.analysis.pareto import on_front
from emobench.analysis.rows import MEMORY
from emobench.analysis.scales import Scale, bars
from emobench.analysis.stability import Correct, drawn_scores, stability
from emobench.analysis.tradeoff import LATENCY, QUALITY
from emobench.errors import SpecError

Interval = tuple[float, float | None, float | None]
"""A value and the ends of its interval, None where there is none."""
Entry = TypeVar("Entry")

PRESETS: Mapping[str, Mapping[str, float]] = {
    "quality": {QUALITY: 0.7, LATENCY: 0.15, MEMORY: 0.15},
    "speed": {QUALITY: 0.2, LATENCY: 0.6, MEMORY: 0.2},
    "memory": {QUALITY: 0.2, LATENCY: 0.2, MEMORY: 0.6},
    "balanced": {QUALITY: 1 / 3, LATENCY: 1 / 3, MEMORY: 1 / 3},
}
"""Weights by name; each sums to 1."""
COSTS = (LATENCY, MEMORY, "energy_joules_per_sample", "cost_per_thousand_samples")
"""What quality is set against for the Pareto front."""


class Ranked(NamedTuple):
    """One case in the order. A named tuple, because there are as many as cases: a frozen dataclass takes five times as
    long to make, more than all the rest of a ranking.
    """

    row: int
    id: str
    model: str
    rank: int
    score: float
    low: float
    """Ends of the score's 95 % bar."""
    high: float
    parts: Mapping[str, float]
    """Metric to its normalized value, 0 to 1."""
    values: Mapping[str, Interval]
    """Metric to value and interval, the unweighted quantities of the front included."""
    timed: str
    """Id of the case that the figures of the deployed model come from; empty where none was needed or is its own."""
    batch: int
    """Batch size of that case; 0 where there is none."""
    fronts: tuple[str, ...]
    """Quantities against which no other ranked case has more quality for less."""
    on_joint_front: bool
    """The same over all of the ranking's ``joint`` quantities at once."""
    keeps_rank: float
    """Share of draws that place it among the positions of its rank."""
    is_first: float
    """Share of draws that place it first."""


@dataclass(frozen=True, kw_only=True)
class Unranked:
    """One case that could not be ranked."""

    id: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """The order of one group of cases."""

    name: str
    weights: Mapping[str, float]
    """As used: they sum to 1."""
    better: Mapping[str, str]
    ranked: tuple[Ranked, ...]
    unranked: tuple[Unranked, ...]
    joint: tuple[str, ...]
    """Quality, where there is one, and the quantities all ranked cases have."""
    draws: int
    seed: int
    resampled: int
    """Ranked cases whose accuracy was drawn by resampling their test examples; the others' from its interval."""
    without_interval: tuple[str, ...]
    """Weighted metrics that lack an interval in some ranked case."""


def parse_weights(texts: Sequence[str]) -> dict[str, float]:
    """``METRIC=W`` as numbers above 0.

    Raises:
        SpecError: another form, a weight that is no number above 0, or a metric given twice.
    """
    found: dict[str, float] = {}
    for text in texts:
        name, sign, value = text.partition("=")
        try:
            weight = float(value)
        except ValueError:
            weight = 0.0
        if not sign or not name.strip() or not 0 < weight < float("inf"):
            raise SpecError(
                f"--weight {text}",
                why="a weight is METRIC=W with a number W above 0; only their ratios count",
                fix="write such as --weight accuracy=2 --weight latency_p50_seconds=1",
            )
        if name.strip() in found:
            raise SpecError(f"--weight {text}", why=f"{name.strip()} has a weight already", fix="give it once")
        found[name.strip()] = weight
    return found


def rankings(
    columns: Cases, weights: Mapping[str, float], *, correct: Correct | None = None, seed: int = 0
) -> list[Ranking]:
    """Rank every group of cases of a run; ``weights`` need not sum to 1.

    ``correct`` holds the answers of cases whose accuracy is to be drawn by resampling examples.

    Raises:
        SpecError: no weights, or a metric that is unknown or has no direction.
    """
    if not weights:
        raise SpecError("no weights", why="a ranking needs at least one metric", fix="give --weight METRIC=W")
    better = {name: direction(columns, name) for name in weights}
    extra = [name for name in (QUALITY, *COSTS) if name not in weights]
    total = sum(weights.values())
    shares = {name: weight / total for name, weight in weights.items()}
    return [
        _ranking(columns, group, shares, better, correct or {}, seed)
        for group in candidate_groups(columns, list(weights), extra=extra)
    ]


def by_model(ranking: Ranking) -> tuple[tuple[Ranked, ...], Mapping[str, int]]:
    """The best case of each model with the rank it has among all cases, and how many ranked cases each model has."""
    best: dict[str, Ranked] = {}
    count: dict[str, int] = {}
    for item in ranking.ranked:
        best.setdefault(item.model, item)
        count[item.model] = count.get(item.model, 0) + 1
    return tuple(best.values()), count


def _ranking(
    columns: Cases,
    group: Candidates,
    weights: Mapping[str, float],
    better: Mapping[str, str],
    correct: Correct,
    seed: int,
) -> Ranking:
    ok = np.asarray(columns.status[group.rows] == "ok", bool)
    whole = ok & np.all([~np.isnan(group.figures[name].value) for name in weights], axis=0)
    at = np.flatnonzero(whole)
    scales = {name: Scale.of(name, better[name], group.figures[name].value[at]) for name in weights}
    parts = {name: scales[name].of_values(group.figures[name].value[at]) for name in weights}
    score = np.sum([weights[name] * parts[name] for name in weights], axis=0) if len(at) else np.zeros(0)
    below, above = bars(group.figures, at, scales, weights, score)
    order = _order(score, columns.id[group.rows[at]].tolist())
    ranks = shared_ranks(score[order], below[order], above[order])
    at, score, below, above = at[order], score[order], below[order], above[order]
    drawn, resampled = drawn_scores(group, at, scales, weights, correct, seed)
    keeps, first = stability(drawn, ranks)
    fronts, joint, in_joint = _fronts(group, at)
    rows, timed = group.rows[at], group.timed[at]
    # Whole columns of plain Python values: numbers taken one by one from arrays cost several times as much.
    fields: dict[str, Iterable[Any]] = {
        "row": rows.tolist(),
        "id": map(str, columns.id[rows].tolist()),
        "model": map(str, columns.model[rows].tolist()),
        "rank": ranks.tolist(),
        "score": score.tolist(),
        "low": (score - below).tolist(),
        "high": (score + above).tolist(),
        "parts": _mappings({name: parts[name][order].tolist() for name in weights}, len(at)),
        "values": _mappings({name: _entries(figures, at) for name, figures in group.figures.items()}, len(at)),
        "timed": map(str, np.where((timed >= 0) & (timed != rows), columns.id[timed], "").tolist()),
        "batch": np.where(timed >= 0, columns.batch_size[timed], 0).tolist(),
        "fronts": _members(fronts, len(at)),
        "on_joint_front": in_joint.tolist(),
        "keeps_rank": keeps.tolist(),
        "is_first": first.tolist(),
    }
    ranked = tuple(map(Ranked._make, zip(*(fields[name] for name in Ranked._fields), strict=True)))
    return Ranking(
        name=group.name,
        weights=weights,
        better=better,
        ranked=ranked,
        unranked=_unranked(columns, group, np.flatnonzero(~whole), weights),
        joint=joint,
        draws=len(drawn),
        seed=seed,
        resampled=resampled,
        without_interval=tuple(name for name in weights if np.isnan(group.figures[name].low[at]).any()),
    )


def _order(score: Floats, ids: Sequence[str]) -> Ints:
    """Places by descending score, equal ones by id."""
    order = np.argsort(-score, kind="stable")
    ordered = score[order]
    if not (ordered[1:] < ordered[:-1]).all():
        names = np.empty(len(ids), np.int64)
        names[sorted(range(len(ids)), key=ids.__getitem__)] = np.arange(len(ids))
        order = np.lexsort((names, -score))
    return order


def _mappings(columns: Mapping[str, Sequence[Entry | None]], n: int) -> list[dict[str, Entry]]:
    """One mapping a row from n rows of columns, without the names whose entry is None."""
    held = {name: values for name, values in columns.items() if values.count(None) < n}
    rows = zip(*held.values(), strict=True) if held else itertools.repeat((), n)
    if any(None in values for values in held.values()):
        return [{name: entry for name, entry in zip(held, row, strict=True) if entry is not None} for row in rows]
    return [dict(zip(held, row, strict=True)) for row in rows]


def _entries(figures: Figures, at: Ints) -> Sequence[Interval | None]:
    """Value and interval of each candidate; None where it has no value."""
    value, low, high = figures.value[at], figures.low[at], figures.high[at]
    unknown = np.isnan(value)
    if unknown.all():
        return [None] * len(at)
    found: list[Interval | None] = list(zip(value.tolist(), _or_none(low), _or_none(high), strict=True))
    for place in np.flatnonzero(unknown).tolist():
        found[place] = None
    return found


def _or_none(values: Floats) -> list[float | None]:
    """Plain numbers, None for NaN."""
    found: list[float | None] = values.tolist()
    for place in np.flatnonzero(np.isnan(values)).tolist():
        found[place] = None
    return found


def _members(fronts: Mapping[str, npt.NDArray[np.bool_]], n: int) -> list[tuple[str, ...]]:
    """Of each candidate the fronts it is on."""
    found: list[tuple[str, ...]] = [()] * n
    for name, members in fronts.items():
        for place in np.flatnonzero(members).tolist():
            found[place] += (name,)
    return found


def _unranked(columns: Cases, group: Candidates, rest: Ints, weights: Mapping[str, float]) -> tuple[Unranked, ...]:
    found = []
    for index in rest.tolist():
        row = int(group.rows[index])
        if columns.status[row] != "ok":
            reason = f"its status is {columns.status[row]}"
        else:
            lacking = [name for name in weights if np.isnan(group.figures[name].value[index])]
            reason = f"it has no {', '.join(lacking)}"
            if group.timed[index] < 0 and SERVED.intersection(lacking):
                reason += "; the run has no inference case of the same model, precision, device and backend"
        found.append(Unranked(id=str(columns.id[row]), reason=reason))
    return tuple(found)


def shared_ranks(score: npt.ArrayLike, below: npt.ArrayLike, above: npt.ArrayLike) -> Ints:
    """Ranks of scores in descending order, all of shape (n,); see the module for when a rank is shared.

    ``below`` and ``above`` are how far each score's bar reaches.
    """
    scores, downs, ups = (np.asarray(part, np.float64).tolist() for part in (score, below, above))
    ranks, leader = [], 0
    for place, value in enumerate(scores):
        bar = (downs[leader] ** 2 + ups[place] ** 2) ** 0.5
        # Scores that differ by rounding only are equal.
        if scores[leader] - value > bar + 1e-12:
            leader = place
        ranks.append(leader + 1)
    return np.array(ranks, np.int64)


def _fronts(
    group: Candidates, at: Ints
) -> tuple[dict[str, npt.NDArray[np.bool_]], tuple[str, ...], npt.NDArray[np.bool_]]:
    """Members of the front against each quantity, the quantities of the joint front, and its members."""
    quality = -group.figures[QUALITY].value[at]
    costs = {name: group.figures[name].value[at] for name in COSTS}
    known = {name: cost for name, cost in costs.items() if not np.isnan(cost).all()}
    none = np.zeros(len(at), bool)
    if len(at) == 0 or np.isnan(quality).all():
        return {}, (), none
    fronts = {name: on_front(np.stack([quality, cost], axis=1)) for name, cost in known.items()}
    shared = [name for name, cost in known.items() if not np.isnan(cost).any()]
    if not shared:
        return fronts, (), none
    joint = on_front(np.stack([quality, *(known[name] for name in shared)], axis=1))
    return fronts, (QUALITY, *shared), joint
