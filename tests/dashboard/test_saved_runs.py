"""The shelf: runs are listed by a key, broken ones too, and nothing but a listed run can be asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from emobench.dashboard.saved_runs import Shelf
from emobench.errors import BrokenFileError, SpecError
from tests.records.made_runs import make_run


def test_runs_are_listed_newest_first_with_the_broken_one(tmp_path: Path) -> None:
    """A truncated run is a line with its problem; the others have their counts."""
    make_run(tmp_path, cases=3)
    broken = make_run(tmp_path, cases=3)
    broken.write_bytes(broken.read_bytes()[:300])
    make_run(tmp_path, cases=5)
    first, second, third = Shelf(tmp_path).entries()
    assert (first.number, first.cases, first.ok, first.problem) == ("0003", 5, 5, "")
    assert first.label == "0003, 2026-11-01 12:03, 0000000, 5 cases"
    assert second.number == "0001"
    assert "it is not complete JSON" in third.problem
    assert third.label.startswith("0002, cannot be read: 0002_")


def test_a_run_is_read_again_when_its_file_changes(tmp_path: Path) -> None:
    """What is held in memory is not shown for a file that was replaced."""
    path = make_run(tmp_path, cases=2)
    shelf = Shelf(tmp_path)
    key = shelf.entries()[0].key
    assert len(shelf.content(key).overview.rows) == 2
    assert shelf.content(key) is shelf.content(key)
    path.write_bytes(make_run(tmp_path / "other", cases=4).read_bytes())
    assert len(shelf.content(key).overview.rows) == 4
    assert shelf.entries()[0].cases == 4


@pytest.mark.parametrize("key", ["../outside.json", "/etc/passwd", "latest", "0001", "", None, 3])
def test_only_a_listed_key_names_a_run(tmp_path: Path, key: object) -> None:
    """A request cannot name a file by a path, a number or anything else that other verbs take."""
    make_run(tmp_path / "results", cases=1)
    (tmp_path / "outside.json").write_text("{}")
    shelf = Shelf(tmp_path / "results")
    for read in (shelf.content, shelf.run, shelf.index):
        with pytest.raises(SpecError, match="this run is not there; it was deleted or renamed; press Refresh"):
            read(key)


def test_a_broken_run_is_an_error_when_opened(tmp_path: Path) -> None:
    """It is told and not replaced by another run."""
    path = make_run(tmp_path, cases=1)
    path.write_text("{}")
    shelf = Shelf(tmp_path)
    with pytest.raises(BrokenFileError, match="it holds no list of benchmarks"):
        shelf.content(shelf.entries()[0].key)
