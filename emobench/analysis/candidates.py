"""Candidates: which cases are ranked against one another, and where each figure of theirs comes from.

Cases that score a data set are ranked inside one data set, profile and kind of weights. What a model costs once it is
deployed (:data:`SERVED`) is not measured there: it is taken from the inference case of the same model, precision,
device, backend, weights and hardware, at the smallest batch and shortest input that were timed.
That case timed the model as the catalogue has it, not the trained weights: an adapter that is not merged costs more.
A shrunk model is none of the timed ones and gets none of these figures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from emobench.analysis.rows import MEMORY
from emobench.analysis.tradeoff import SCORED
from emobench.errors import SpecError, unknown_name
from emobench.outcomes import METRICS

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Texts = npt.NDArray[np.object_]

TIMED = ("inference", "generation")
"""Kinds of case that measure what a deployed model costs."""
SERVED = frozenset(
    {
        MEMORY,
        *(name for name in METRICS if name.startswith(("latency_", "ttft_", "tpot_", "energy_"))),
        "samples_per_second",
        "tokens_per_second",
        "batches_per_second",
        "cost_per_thousand_samples",
        "cost_per_million_tokens",
        "device_memory_peak_bytes",
        "device_memory_reserved_bytes",
        "device_memory_allocated_bytes",
        "host_memory_peak_bytes",
        "host_memory_growth_bytes",
        "kv_cache_bytes",
    }
)
"""Quantities of a deployed model: a scored case's are those of the timed case it is joined with, never its own."""


class Columns(Protocol):
    """What is read of a run's columns; the index of a saved run fits it as it is."""

    @property
    def id(self) -> Texts: ...
    @property
    def status(self) -> Texts: ...
    @property
    def kind(self) -> Texts: ...
    @property
    def model(self) -> Texts: ...
    @property
    def dataset(self) -> Texts: ...
    @property
    def precision(self) -> Texts: ...
    @property
    def device(self) -> Texts: ...
    @property
    def backend(self) -> Texts: ...
    @property
    def profile(self) -> Texts: ...
    @property
    def weights(self) -> Texts: ...
    @property
    def hardware(self) -> Texts: ...
    @property
    def batch_size(self) -> Ints: ...
    @property
    def length(self) -> Ints: ...
    @property
    def metrics(self) -> tuple[str, ...]: ...
    @property
    def better(self) -> Mapping[str, str]: ...
    @property
    def value(self) -> Floats: ...
    @property
    def low(self) -> Floats: ...
    @property
    def high(self) -> Floats: ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Figures:
    """A quantity of n candidates with the ends of its 95 % intervals; NaN where there is none. Shape (n,) each."""

    value: Floats
    low: Floats
    high: Floats


@dataclass(frozen=True, kw_only=True, eq=False)
class Candidates:
    """Cases that may be ranked against one another."""

    name: str
    """What all of them share."""
    rows: Ints
    """Rows of the run's columns, shape (n,)."""
    timed: Ints
    """Row of the timed case each is joined with, -1 where there is none; where they are timed themselves, their own."""
    scored: bool
    """Whether they are cases that score a data set."""
    figures: Mapping[str, Figures]
    """By quantity asked for."""


def direction(columns: Columns, quantity: str) -> str:
    """``higher`` or ``lower``, whichever is better.

    Raises:
        SpecError: no metric of that name, or one of which neither more nor less is better.
    """
    if quantity == MEMORY:
        return "lower"
    found = columns.better.get(quantity) or (METRICS[quantity].better if quantity in METRICS else None)
    known = {MEMORY, *METRICS, *columns.metrics}
    if found is None:
        raise unknown_name("metric", quantity, known)
    if found not in ("higher", "lower"):
        raise SpecError(
            f"the metric {quantity!r} cannot be ranked by",
            why="neither more nor less of it is better",
            fix="take one with a direction, such as accuracy or latency_p50_seconds",
        )
    return found


def candidate_groups(columns: Columns, quantities: Sequence[str], *, extra: Sequence[str] = ()) -> list[Candidates]:
    """The groups of cases that are ranked by ``quantities``, in the order of their first case.

    Where every quantity is one of a deployed model the candidates are the timed cases themselves, of one kind, batch
    size, input length, profile and weights; else the cases that score a data set. ``extra`` quantities are given too.
    """
    scored = not set(quantities) <= SERVED
    kinds, axes = (SCORED, ("dataset",)) if scored else (TIMED, ("kind", "batch_size", "length"))
    rows = np.flatnonzero(np.isin(columns.kind.astype(str), kinds))
    timed = _timed(columns) if scored else np.arange(len(columns.id))
    sources = {name: _figures(columns, name) for name in (*quantities, *extra)}
    groups: dict[tuple[str, ...], list[int]] = {}
    keys = [getattr(columns, name) for name in (*axes, "profile", "weights")]
    for row in rows.tolist():
        groups.setdefault(tuple(str(key[row]) for key in keys), []).append(row)
    return [
        Candidates(
            name=_name(dict(zip((*axes, "profile", "weights"), key, strict=True))),
            rows=np.array(members),
            timed=timed[members],
            scored=scored,
            figures={
                name: _taken(found, np.array(members), timed[members] if name in SERVED else np.array(members))
                for name, found in sources.items()
            },
        )
        for key, members in groups.items()
    ]


def _name(axes: Mapping[str, str]) -> str:
    parts = [axes.get("kind", ""), axes.get("dataset", "")]
    parts += [f"batch {axes['batch_size']}"] if axes.get("batch_size", "0") != "0" else []
    parts += [f"{axes['length']} tokens"] if axes.get("length", "0") != "0" else []
    parts += [f"profile {axes['profile']}"] if axes["profile"] else []
    parts += ["random weights"] if axes["weights"] == "random" else []
    return ", ".join(part for part in parts if part)


def _figures(columns: Columns, quantity: str) -> Figures:
    if quantity == MEMORY:
        device, host = (_figures(columns, name) for name in ("device_memory_peak_bytes", "host_memory_growth_bytes"))
        own = ~np.isnan(device.value)
        return Figures(
            value=np.where(own, device.value, host.value),
            low=np.where(own, device.low, host.low),
            high=np.where(own, device.high, host.high),
        )
    if quantity not in columns.metrics:
        nothing = np.full(len(columns.id), np.nan)
        return Figures(value=nothing, low=nothing, high=nothing)
    at = columns.metrics.index(quantity)
    return Figures(value=columns.value[:, at], low=columns.low[:, at], high=columns.high[:, at])


def _taken(found: Figures, rows: Ints, sources: Ints) -> Figures:
    known = sources >= 0
    at = np.where(known, sources, rows)
    value, low, high = (np.where(known, part[at], np.nan) for part in (found.value, found.low, found.high))
    return Figures(value=value, low=low, high=high)


def _timed(columns: Columns) -> Ints:
    """For each case the row of the inference case that times its model; -1 where there is none."""
    axes = (columns.model, columns.precision, columns.device, columns.backend, columns.weights, columns.hardware)
    keys = list(zip(*(axis.tolist() for axis in axes), strict=True))
    ok = columns.status == "ok"
    rows = np.flatnonzero(ok & (columns.kind == "inference"))
    batch, length = columns.batch_size[rows], columns.length[rows]
    # Written last, so it stays: the smallest batch, then the shortest input.
    order = rows[np.lexsort((-rows, -length, -batch))]
    found = {keys[row]: row for row in order.tolist()}
    shrunk = columns.kind == "shrink"
    return np.array([-1 if skip else found.get(key, -1) for key, skip in zip(keys, shrunk, strict=True)], np.int64)
