"""Trade-off: what quality costs. Cases of one data set and profile, their Pareto front, and which of them to take.

Quality is compared inside one data set and one profile only. Whether two cases really differ is for the comparison.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from emobench.analysis.pareto import on_front
from emobench.analysis.rows import MEMORY, Pick, Row, batch_of, best_of, labels, overlap, weights
from emobench.analysis.sweep import Measured
from emobench.kinds import FORWARD, SCORING, SHRINKING

QUALITY = "accuracy"
LATENCY = "latency_p50_seconds"
ACROSS = (LATENCY, "train_seconds", MEMORY)
"""What quality is shown against: the first of these that half of the cases have and that differs among them."""
PRICES = ("cost_per_thousand_samples", "cost_per_run", "train_seconds")
"""What a case costs, by choice; the time of training where no price was given."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A case with a quality, and what it costs."""

    row: Row
    label: str
    """What tells it from the others of its group."""
    quality: Measured
    costs: Mapping[str, Measured]
    """By quantity: latency, training time, memory, weights, prices; those that are known."""
    latency_case: str = ""
    """Id of the case the latency was measured in; empty where there is none."""
    latency_batch: int | None = None
    on_front: bool = False
    """No other case of the group is better in quality and in what it is shown against."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """The scored cases of one data set at one profile."""

    dataset: str
    profile: str
    common: str
    """What all of them share."""
    across: str
    """Quantity that quality is shown against; empty where no case has any."""
    candidates: tuple[Candidate, ...]
    best: Pick
    trade_off: Pick | None
    """The lowest ``across`` among the cases whose quality the intervals do not tell from the best."""

    @property
    def name(self) -> str:
        """Data set and profile."""
        return ", ".join(part for part in (self.dataset, f"profile {self.profile}" if self.profile else "") if part)

    @property
    def shown(self) -> tuple[Candidate, ...]:
        """Those that have the quantity they are shown against."""
        return tuple(item for item in self.candidates if self.across in item.costs)

    @property
    def hidden(self) -> tuple[Candidate, ...]:
        """Those that lack it."""
        return tuple(item for item in self.candidates if self.across not in item.costs)


def groups_of(rows: Sequence[Row]) -> tuple[Group, ...]:
    """The groups of all rows that have a quality; the other rows are where latencies are looked for."""
    found: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if row.case.get("kind") in SCORING and row.metric(QUALITY):
            key = (str(row.case.get("dataset") or ""), str(row.case.get("profile") or ""))
            found.setdefault(key, []).append(row)
    return tuple(_group(key, members, rows) for key, members in found.items())


def _group(key: tuple[str, str], members: Sequence[Row], rows: Sequence[Row]) -> Group:
    common, names = labels(members)
    candidates = [_candidate(row, name, rows) for row, name in zip(members, names, strict=True)]
    across = _across(candidates)
    on_front = front(candidates, across)
    fronted = [replace(item, on_front=index in on_front) for index, item in enumerate(candidates)]
    pairs = [(item.row, item.quality) for item in fronted]
    best = best_of(pairs, QUALITY, names)
    assert best is not None
    return Group(
        dataset=key[0],
        profile=key[1],
        common=common,
        across=across,
        candidates=tuple(fronted),
        best=best,
        trade_off=_trade_off(fronted, across, best),
    )


def _across(candidates: Sequence[Candidate]) -> str:
    values = {name: [item.costs[name].value for item in candidates if name in item.costs] for name in ACROSS}
    common = [name for name in ACROSS if values[name] and len(values[name]) * 2 >= len(candidates)]
    telling = [name for name in common if len(set(values[name])) > 1]
    return next(iter([*telling, *common]), "") or max(ACROSS, key=lambda name: len(values[name])) * any(values.values())


def _candidate(row: Row, label: str, rows: Sequence[Row]) -> Candidate:
    quality = row.measured(QUALITY)
    assert quality is not None
    costs: dict[str, Measured] = {}
    for name in ("train_seconds", "model_bytes", "cost_per_run", "cost_per_thousand_samples", MEMORY):
        if item := row.measured(name):
            costs[name] = item
    timed = row if row.metric(LATENCY) else _timed_for(row, rows)
    if timed is not None and (item := timed.measured(LATENCY)):
        costs[LATENCY] = item
    if timed is not None and (price := timed.measured("cost_per_thousand_samples")):
        costs["cost_per_thousand_samples"] = price
    batch = None if timed is None else timed.case.get("batch_size")
    return Candidate(
        row=row,
        label=label,
        quality=quality,
        costs=costs,
        latency_case="" if timed is None else timed.id,
        latency_batch=None if batch is None else int(batch),
    )


def _timed_for(row: Row, rows: Sequence[Row]) -> Row | None:
    """The timed case of the same model, precision, device and hardware: batch 1, the same profile and run, if possible.

    A shrunk model is none of the timed ones.
    """
    fits = [other for other in rows if other.case.get("kind") in FORWARD and _same_model(row, other)]
    if row.case.get("kind") in SHRINKING:
        return None
    order = [
        (
            batch_of(other) != 1,
            other.case.get("profile") != row.case.get("profile"),
            other.run != row.run,
            batch_of(other),
            int(other.case.get("length") or 0),
        )
        for other in fits
    ]
    return fits[order.index(min(order))] if fits else None


def _same_model(row: Row, other: Row) -> bool:
    return (
        all(other.case.get(name) == row.case.get(name) for name in ("model", "precision", "device"))
        and (other.case.get("backend") or "eager") == (row.case.get("backend") or "eager")
        and weights(other) == weights(row)
        and other.hardware == row.hardware
        and other.metric(LATENCY) is not None
    )


def front(candidates: Sequence[Candidate], across: str) -> set[int]:
    """Indices of the Pareto front: no other case has at least this quality for less, or more quality for this much."""
    priced = [index for index, item in enumerate(candidates) if across in item.costs]
    if not priced:
        return set()
    costs = [(-candidates[index].quality.value, candidates[index].costs[across].value) for index in priced]
    return {index for index, stays in zip(priced, on_front(costs), strict=True) if stays}


def _trade_off(candidates: Sequence[Candidate], across: str, best: Pick) -> Pick | None:
    near = [item for item in candidates if across in item.costs and overlap(item.quality, best.item)]
    if not near:
        return None
    chosen = min(near, key=lambda item: (item.costs[across].value, -item.quality.value))
    tied = [
        item.label for item in near if item is not chosen and item.costs[across].value == chosen.costs[across].value
    ]
    return Pick(label=chosen.label, row=chosen.row, quantity=across, item=chosen.costs[across], tied=tuple(tied))


def radar(group: Group, *, most: int = 6) -> tuple[tuple[str, ...], list[tuple[Candidate, list[float]]]]:
    """Axes and, for at most ``most`` cases, their values as shares of the group's best: 1 is best on every axis.

    Axes are accuracy, speed (the inverse of the latency), memory, and cost (the first of :data:`PRICES` that the cases
    have); one that fewer than two cases have is left out, and so is a case that lacks an axis. Cases on the front come
    first, then those of the highest quality. Empty where fewer than three axes or two cases are left.
    """
    price = next((name for name in PRICES if sum(name in item.costs for item in group.candidates) > 1), "")
    axes = [name for name in (LATENCY, MEMORY, price) if sum(name in item.costs for item in group.candidates) > 1]
    whole = [item for item in group.candidates if all(name in item.costs for name in axes)]
    if len(axes) < 2 or len(whole) < 2:
        return (), []
    whole.sort(key=lambda item: (not item.on_front, -item.quality.value))
    top = max(item.quality.value for item in whole)
    least = {name: min(item.costs[name].value for item in whole) for name in axes}
    rows = [
        (
            item,
            [
                item.quality.value / top if top else 1.0,
                *(least[name] / item.costs[name].value if item.costs[name].value else 1.0 for name in axes),
            ],
        )
        for item in whole[:most]
    ]
    return (QUALITY, *axes), rows
