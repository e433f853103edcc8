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
from typing import Any

import numpy as np

from emobench.analysis.columns import Cases, Floats, Ints
from emobench.analysis.rows import MEMORY
from emobench.errors import SpecError, unknown_name
from emobench.kinds import FORWARD, GENERATING, SCORING, SHRINKING
from emobench.outcomes import METRICS

SERVED = frozenset(
    {
        MEMORY,
        *(name for name in METRICS if name.startswith(("latency_", "ttft_", "tpot_", "energy_"))),
        "device_seconds",
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


def direction(columns: Cases, quantity: str) -> str:
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


def candidate_groups(columns: Cases, quantities: Sequence[str], *, extra: Sequence[str] = ()) -> list[Candidates]:
    """The groups of cases that are ranked by ``quantities``, in the order of their first case.

    Where every quantity is one of a deployed model the candidates are the timed cases themselves, of one kind, batch
    size, input length, profile and weights; else the cases that score a data set. ``extra`` quantities are given too.
    """
    scored = not set(quantities) <= SERVED
    kinds, axes = (SCORING, ("dataset",)) if scored else (FORWARD | GENERATING, ("kind", "batch_size", "length"))
    rows = np.flatnonzero(np.isin(columns.kind.astype(str), sorted(kinds)))
    timed = np.arange(len(columns.id))
    if scored:
        timed[rows] = _timed(columns, rows)
    sources = {name: _figures(columns, name) for name in (*quantities, *extra)}
    shared = (*axes, "profile", "weights")
    groups: dict[tuple[Any, ...], list[int]] = {}
    for row, key in zip(
        rows.tolist(), zip(*(getattr(columns, name)[rows].tolist() for name in shared), strict=True), strict=True
    ):
        groups.setdefault(key, []).append(row)
    return [
        Candidates(
            name=_name(dict(zip(shared, map(str, key), strict=True))),
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


def _figures(columns: Cases, quantity: str) -> Figures:
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


def _timed(columns: Cases, members: Ints) -> Ints:
    """For each case of the rows ``members`` the row of the inference case that times its model; -1 for none."""
    axes = (columns.model, columns.precision, columns.device, columns.backend, columns.weights, columns.hardware)
    rows = np.flatnonzero((columns.status == "ok") & np.isin(columns.kind, list(FORWARD)))
    batch, length = columns.batch_size[rows], columns.length[rows]
    # Written last, so it stays: the smallest batch, then the shortest input.
    order = rows[np.lexsort((-rows, -length, -batch))]
    timed = zip(*(axis[order].tolist() for axis in axes), strict=True)
    found = dict(zip(timed, order.tolist(), strict=True))
    asked = zip(*(axis[members].tolist() for axis in axes), strict=True)
    sources = np.fromiter((found.get(key, -1) for key in asked), np.int64, len(members))
    sources[np.isin(columns.kind[members], list(SHRINKING))] = -1
    return sources
