"""Predictions of one case: the rows it got wrong and was surest of. Texts are not stored, so a row is its number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from emobench.errors import BrokenFileError
from emobench.records.packed import ARTIFACT
from emobench.records.predictions import read_predictions
from emobench.records.store import Run

MOST = 100
"""Errors that are listed."""


@dataclass(frozen=True, kw_only=True)
class Error:
    """A row that was given the wrong class."""

    row: int
    """In the test split."""
    label: str
    predicted: str
    probabilities: tuple[float, ...]
    """In the order of the classes."""
    sure: float
    """Probability of the predicted class."""


@dataclass(frozen=True, kw_only=True)
class Errors:
    """What one seed of a case got wrong."""

    classes: tuple[str, ...]
    rows: int
    wrong: int
    listed: tuple[Error, ...]
    """The surest first, at most :data:`MOST`."""


def seeds_of(artifacts: Mapping[str, Any]) -> list[int]:
    """Seeds whose predictions a record points to."""
    found = (ARTIFACT.fullmatch(name) for name in artifacts)
    return sorted(int(match[1]) for match in found if match)


def errors_of(run: Run, case: str, seed: int) -> Errors:
    """The errors of a case's seed; of equal probability the lower row first.

    Raises:
        BrokenFileError: there is no such file, it cannot be read, or it lies outside of the run's folder.
    """
    record = next((record for record in run.records if record.id == case), None)
    named = record.artifacts.get(f"predictions_seed{seed}") if record else None
    if named is None:
        raise _broken(case, seed, "the record names no file of it")
    frame = read_predictions(_file(run, str(named), case, seed))
    classes = tuple(map(str, frame.attrs["class_names"]))
    columns = [f"p_{name}" for name in classes]
    labels, predicted = frame["label"].to_numpy(), frame["prediction"].to_numpy()
    ends = [int(end) for values in (labels, predicted) if len(values) for end in (values.min(), values.max())]
    if any(name not in frame for name in columns) or any(not 0 <= end < len(classes) for end in ends):
        raise _broken(case, seed, f"its columns do not fit its {len(classes)} classes")
    table = frame[columns].to_numpy(dtype=np.float64)
    rows = frame["row"].to_numpy()
    wrong = np.flatnonzero(labels != predicted)
    sure = table[wrong, predicted[wrong]]
    first = wrong[np.lexsort((rows[wrong], -np.nan_to_num(sure, nan=-1.0)))][:MOST]
    listed = tuple(
        Error(
            row=int(rows[at]),
            label=classes[labels[at]],
            predicted=classes[predicted[at]],
            probabilities=tuple(table[at].tolist()),
            sure=float(table[at, predicted[at]]),
        )
        for at in first
    )
    return Errors(classes=classes, rows=len(frame), wrong=len(wrong), listed=listed)


def _file(run: Run, named: str, case: str, seed: int) -> Path:
    """The file below the run's folder, which lies in the storage: next to the run's file or one folder higher."""
    folder = str(run.settings.get("folder") or "")
    if not folder or "\0" in folder + named:
        raise _broken(case, seed, "the run names no folder of its own")
    places = [storage.resolve() for storage in (run.path.parent.parent, run.path.parent)]
    own = next((place / folder for place in places if (place / folder).is_dir()), None)
    if own is None:
        raise _broken(case, seed, "the run's folder is not there")
    found = (own / named).resolve()
    inside = any(own.resolve().is_relative_to(place) and own.resolve() != place for place in places)
    if not inside or not found.is_relative_to(own.resolve()):
        raise _broken(case, seed, "its path leads out of the run's folder")
    return found


def _broken(case: str, seed: int, why: str) -> BrokenFileError:
    return BrokenFileError(
        f"seed {seed} of {case} has no readable predictions", why=why, fix="run the case again to keep them"
    )
