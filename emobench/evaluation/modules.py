"""Metrics of the user's own, as modules of the ``evaluate`` library. Only local ones: a module is code that is run."""

from __future__ import annotations

import numbers
from collections.abc import Mapping, Sequence
from pathlib import Path

from emobench.errors import DataError, NotOnMachineError


def module_scores(place: Path, predictions: Sequence[int], labels: Sequence[int]) -> Mapping[str, float]:
    """What an ``evaluate`` module says of class indices (N,) against labels (N,): its numbers by name.

    ``place`` is the module's file or folder, as ``evaluate.load`` takes it. Values that are no numbers are left out.

    Raises:
        NotOnMachineError: there is no such file or folder.
        DataError: the module does not take class indices, or gives no number.
    """
    if not place.exists():
        raise NotOnMachineError(
            f"there is no metric module {place}",
            why="modules are taken from a file or a folder, never downloaded",
            fix="give the path of a module of the evaluate library",
        )
    import evaluate

    module = evaluate.load(str(place))
    try:
        found = module.compute(predictions=list(predictions), references=list(labels))
    except (ValueError, TypeError) as error:
        raise DataError(
            f"metric module {place} cannot score class indices", why=str(error), fix="take one for classification"
        ) from error
    numbers_found = {name: float(value) for name, value in (found or {}).items() if isinstance(value, numbers.Real)}
    if not numbers_found:
        raise DataError(f"metric module {place} gives no number", why=f"it gave {found!r}", fix="take another module")
    return numbers_found
