"""What quality a model reached on a data set: quoted from saved runs, else from a publication, else unknown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from emobench.catalogue.published import published_for
from emobench.errors import BrokenFileError
from emobench.kinds import TRAINING

if TYPE_CHECKING:
    from emobench.records.index import RunIndex

RUNS_READ = 50
"""Newest saved runs that are looked through."""


@dataclass(frozen=True, kw_only=True)
class Quote:
    """An accuracy of a saved run."""

    accuracy: float
    low: float
    """Lower end of its 95 % interval; NaN where the run gives none, as ``high``."""
    high: float
    method: str
    precision: str
    profile: str
    run: str
    """Number of the run, as ``emobench runs`` shows it."""

    @property
    def text(self) -> str:
        """The accuracy with its interval and where it comes from."""
        interval = "" if np.isnan(self.low) else f" [{self.low:.3f}, {self.high:.3f}]"
        return f"{self.accuracy:.3f}{interval} {self.method} {self.precision}, profile {self.profile} (run {self.run})"


def saved_quotes(storage: Path) -> Mapping[tuple[str, str], Quote]:
    """(model, data set) to the best accuracy of the newest saved run that trained it, unreadable runs left out.

    Random weights and cases without an ok record give none.
    """
    from emobench.records.index import read_index
    from emobench.records.store import run_files

    files = sorted(run_files(storage), key=lambda path: path.stat().st_mtime, reverse=True) if storage.is_dir() else []
    indexes = []
    for path in files[:RUNS_READ]:
        try:
            indexes.append(read_index(path))
        except BrokenFileError:
            continue
    found: dict[tuple[str, str], Quote] = {}
    for index in sorted(indexes, key=lambda item: item.facts.datetime, reverse=True):
        for pair, quote in _best_of(index).items():
            found.setdefault(pair, quote)
    return found


def _best_of(index: RunIndex) -> Mapping[tuple[str, str], Quote]:
    """(model, data set) to the run's best accuracy of a training."""
    column = index.column("accuracy")
    if column is None:
        return {}
    usable = index.ok & np.isin(index.kind, list(TRAINING)) & (index.weights == "pretrained")
    best: dict[tuple[str, str], Quote] = {}
    for number in np.flatnonzero(usable & ~np.isnan(index.value[:, column])):
        row = int(number)
        pair = (str(index.model[row]), str(index.dataset[row]))
        if pair in best and index.value[row, column] <= best[pair].accuracy:
            continue
        best[pair] = Quote(
            accuracy=float(index.value[row, column]),
            low=float(index.low[row, column]),
            high=float(index.high[row, column]),
            method=str(index.method[row]),
            precision=str(index.precision[row]),
            profile=str(index.profile[row]),
            run=index.facts.number,
        )
    return best


def quality_text(quotes: Mapping[tuple[str, str], Quote], model: str, dataset: str) -> str:
    """``accuracy ...`` with its source, or that it is unknown."""
    saved = quotes.get((model, dataset))
    if saved is not None:
        return f"accuracy {saved.text}"
    published = published_for(model, dataset)
    return f"accuracy {published[0].text}" if published else "accuracy unknown"
