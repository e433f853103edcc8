"""Estimates in columns: changes of one metric in many cases, which are filled in by how they were made."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from emobench.analysis.columns import Floats, Ints, Texts

NOTHING = "one value a side and no interval"


@dataclass(frozen=True, kw_only=True, eq=False)
class Estimates:
    """Changes of one metric; every array has the shape of the cases asked for. NaN where there is no such number."""

    base: Floats
    new: Floats
    point: Floats
    """new - base for shares, else new / base - 1."""
    lower: Floats
    upper: Floats
    p: Floats
    how: Texts
    """How the interval was made, or why there is none."""

    @classmethod
    def empty(cls, size: int) -> Estimates:
        """All NaN, to be filled."""
        columns = {name: np.full(size, np.nan) for name in ("base", "new", "point", "lower", "upper", "p")}
        return cls(**columns, how=np.full(size, NOTHING, object))

    def put(self, at: Ints, how: str, **columns: npt.ArrayLike) -> None:
        """Fill some entries."""
        for name, values in columns.items():
            getattr(self, name)[at] = values
        self.how[at] = how

    def unfilled(self) -> npt.NDArray[np.bool_]:
        """Entries that have no interval yet."""
        return np.isnan(self.lower)
