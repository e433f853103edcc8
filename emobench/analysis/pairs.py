"""Pairs: which case of a new run is compared with which of a base run, by case id, and why others are not.

Runs come in as columns (see ``columns``); several runs of the same code may stand on the base side. Nothing here
computes a difference.

Shapes: C cases, R base runs.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from emobench.analysis.columns import Floats, Ints, Results, Texts

APART = ("hardware", "profile", "weights")
"""Columns that must be equal for two cases to be compared at all."""
DATA = "data"
"""What must be equal for quality to be compared: the fingerprint of the data."""
EVERYTHING = frozenset({*APART, DATA})

OK, DOES_NOT_FIT = "ok", "does_not_fit"


@dataclass(frozen=True, kw_only=True, eq=False)
class Pairs:
    """Every case of the base runs and of the new run, in the base's order and then the new run's."""

    base: tuple[Results, ...]
    new: Results
    id: Texts
    """(C,)"""
    base_rows: Ints
    """(R, C): rows of cases that ended ok and may be compared with the new run's; -1 elsewhere."""
    new_rows: Ints
    """(C,): -1 where the new run has no record."""
    base_status: Texts
    """(C,): how the case ended in the newest base run that has it; empty where none has."""
    new_status: Texts
    """(C,)"""
    apart: Texts
    """(C,): why a case that both have is not compared; empty where it is."""
    same_data: npt.NDArray[np.bool_]
    """(C,): whether quality may be compared."""

    @property
    def paired(self) -> npt.NDArray[np.bool_]:
        """Cases that ended ok on both sides and may be compared."""
        found = (self.base_rows >= 0).any(axis=0) & (self.new_status == OK) & (self.apart == "")
        return np.asarray(found, bool)

    def newest(self, at: Ints) -> tuple[Ints, Ints]:
        """For cases ``at``, each with a base row: number of the last base run that has it, and its row there."""
        rows = self.base_rows[:, at]
        run = len(rows) - 1 - np.argmax(rows[::-1] >= 0, axis=0)
        return run, rows[run, np.arange(len(at))]


def pair(base: Sequence[Results], new: Results, *, across: Collection[str] = ()) -> Pairs:
    """Join runs by case id. ``across`` names what may differ, of :data:`EVERYTHING`.

    The base runs are given oldest first. Of base runs that differ among themselves only those that may be compared with
    the new case count for it.
    """
    ids = _union([*base, new])
    base_at = np.stack([_rows(run, ids) for run in base]) if base else np.full((0, len(ids)), -1, np.int64)
    new_at = _rows(new, ids)
    new_status = _taken(new.status, new_at)
    base_status = np.full(len(ids), "", object)
    usable = np.full(base_at.shape, -1, np.int64)
    reason, same_data = np.full(len(ids), "", object), np.ones(len(ids), bool)
    for number, run in enumerate(base):
        rows = base_at[number]
        status = _taken(run.status, rows)
        base_status = np.where(rows >= 0, status, base_status)
        both = (rows >= 0) & (new_at >= 0)
        why = np.full(len(ids), "", object)
        for name in APART:
            if name not in across:
                _note(why, name, _taken(getattr(run, name), rows), _taken(getattr(new, name), new_at), both)
        fits = (status == OK) & (why == "")
        usable[number, fits] = rows[fits]
        reason = np.where(both, why, reason)
        prints = _taken(run.data_fingerprint, rows), _taken(new.data_fingerprint, new_at)
        same_data = np.where(both & fits, (prints[0] == prints[1]) | (DATA in across), same_data)
    return Pairs(
        base=tuple(base),
        new=new,
        id=ids,
        base_rows=usable,
        new_rows=new_at,
        base_status=base_status,
        new_status=new_status,
        apart=np.where((usable >= 0).any(axis=0), "", reason),
        same_data=np.asarray(same_data, bool),
    )


def has_metric(pairs: Pairs, metric: str) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Which cases have a value of the metric: in an ok base run that counts, and in the new run."""
    base = np.zeros(len(pairs.id), bool)
    for run, rows in zip(pairs.base, pairs.base_rows, strict=True):
        base |= np.isfinite(values_at(run.value, run.column(metric), rows))
    return base, np.isfinite(values_at(pairs.new.value, pairs.new.column(metric), pairs.new_rows))


def values_at(matrix: Floats, column: int | None, rows: Ints) -> Floats:
    """Values of a column of a run's matrix at these rows; NaN where the run has no such row or column."""
    if column is None or not len(matrix):
        return np.full(len(rows), np.nan)
    return np.where(rows >= 0, matrix[rows, column], np.nan)


def _note(why: Texts, name: str, first: Texts, second: Texts, both: npt.NDArray[np.bool_]) -> None:
    # An old or foreign record that says nothing of it is taken for equal: there is nothing to tell them apart.
    differs = both & (first != second) & (first != "") & (second != "") & (why == "")
    for at in np.flatnonzero(differs):
        why[at] = f"{name} differs: {first[at]} at the base, {second[at]} now"


def _union(runs: Sequence[Results]) -> Texts:
    first = runs[0].id
    if all(run.id is first or np.array_equal(run.id, first) for run in runs):
        return first
    return np.array(list(dict.fromkeys(name for run in runs for name in run.id)), object)


def _rows(run: Results, ids: Texts) -> Ints:
    if run.id is ids or (len(run.id) == len(ids) and np.array_equal(run.id, ids)):
        return np.arange(len(ids), dtype=np.int64)
    known = run.rows
    return np.array([known.get(name, -1) for name in ids], np.int64)


def _taken(column: Texts, rows: Ints) -> Texts:
    """The column at these rows, empty text where there is none."""
    if not len(column):
        return np.full(len(rows), "", object)
    return np.asarray(np.where(rows >= 0, column[rows], ""), object)
