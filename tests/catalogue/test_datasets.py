"""The data set catalogue and its lookup."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pandas
import pytest

from emobench import errors
from emobench.catalogue.datasets import DATASETS, RANDOM_TOKENS, find_dataset
from emobench.specs import DatasetSpec


@pytest.mark.parametrize("row", DATASETS.values(), ids=lambda row: row.id)
def test_a_row_is_complete(row: DatasetSpec) -> None:
    """Every row has a train file (unless it is drawn), maps onto its classes only, and reaches every class."""
    assert row.id == RANDOM_TOKENS or "train" in row.files
    assert set(row.files) <= {"train", "validation", "test"}
    mapped = {name for name in row.label_map.values() if name is not None}
    assert mapped == (set() if row.id == RANDOM_TOKENS else set(row.labels))
    assert (row.source == "package") == bool(row.module) == bool(row.extra)


def test_disneyland_drops_three_stars() -> None:
    """Four and five stars are positive, one and two negative, three dropped."""
    row = DATASETS["disneyland"]
    assert {rating: row.label_map[rating] for rating in "12345"} == {
        "1": "negative",
        "2": "negative",
        "3": None,
        "4": "positive",
        "5": "positive",
    }
    assert row.encoding == "cp1252"


def test_sst2_is_never_tested_on_hidden_labels() -> None:
    """SST-2's test labels are all -1: its validation file is the test split, its test file is not used."""
    assert DATASETS["sst2"].files == {"train": "data/train-*.parquet", "test": "data/validation-*.parquet"}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "rows"), [("imdb-train", 25_000), ("rotten_tomatoes-train", 8_530)])
def test_packaged_rows_are_what_the_row_says(name: str, rows: int) -> None:
    """The packaged file has the columns, the source and the labels the row names, in the number the row states."""
    row = find_dataset(name)
    folder = importlib.util.find_spec(row.module).submodule_search_locations[0]
    table = pandas.read_csv(Path(folder, row.files["train"]), dtype=str)
    (column, value), *_ = row.where.items()
    chosen = table[table[column] == value]
    assert len(chosen) == rows == row.rows
    assert set(chosen[row.label]) == set(row.label_map)
    assert chosen[row.text].notna().all()


def test_an_unknown_data_set_names_the_nearest() -> None:
    """A misspelt name is answered with the nearest id; the user's own rows count as known."""
    mine = DATASETS["imdb"].model_copy(update={"id": "tickets"})
    assert find_dataset("tickets", {"tickets": mine}) is mine
    with pytest.raises(errors.SpecError, match=r"unknown data set 'ticket'; .* did you mean 'tickets'\?"):
        find_dataset("ticket", {"tickets": mine})
    with pytest.raises(errors.SpecError, match=r"did you mean 'rotten_tomatoes'\?"):
        find_dataset("rotten-tomatoes")
