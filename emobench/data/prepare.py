"""Preparation: a data set's row and a profile become checked splits, before any model is loaded."""

from __future__ import annotations

from emobench.data.clean import clean
from emobench.data.sources import read_rows
from emobench.data.split import Splits, make_splits
from emobench.specs import DatasetSpec, Profile


def load_splits(spec: DatasetSpec, *, profile: Profile, seed: int) -> Splits:
    """Read, clean and split a data set at the profile's sizes.

    Raises:
        NotOnMachineError: the data is not here; names the command that fetches it.
        DataError: rows that cannot be trained on; names file, row and remedy.
        SpecError: the label map names a class that the data set does not have.
    """
    cleaned = {name: clean(raw, spec) for name, raw in read_rows(spec).items()}
    return make_splits(
        cleaned,
        class_names=spec.labels,
        train=profile.train,
        validation=profile.validation,
        test=profile.test,
        seed=seed,
    )
