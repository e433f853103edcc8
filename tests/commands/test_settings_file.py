"""Changes to the user's file: comments and order stay, and what comes out is what was asked for."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emobench.catalogue.project import load_project
from emobench.commands.settings_file import change_settings
from emobench.errors import SpecError

OWN = """\
# My project.
profile = "quick"   # small

[train]
batch_size = 16     # fits my card
# token_budget = 1

[datasets.tickets]
path = "tickets.csv"
labels = ["a", "b"]
"""


def test_comments_and_order_stay(tmp_path: Path) -> None:
    """Only the changed lines differ, and the diff shows them."""
    file = tmp_path / "emobench.toml"
    file.write_text(OWN)
    diff = change_settings(file, {"train": {"token_budget": 2048, "gradient_checkpointing": True}})
    after = file.read_text()
    assert [line for line in after.splitlines() if line not in OWN.splitlines()] == [
        "token_budget = 2048",
        "gradient_checkpointing = true",
    ]
    assert [line for line in OWN.splitlines() if line not in after.splitlines()] == []
    assert [line for line in diff.splitlines() if line[:1] in "+-" and line[:2] not in ("++", "--")] == [
        "+token_budget = 2048",
        "+gradient_checkpointing = true",
    ]
    assert load_project(tmp_path).settings["train"] == {
        "batch_size": 16,
        "token_budget": 2048,
        "gradient_checkpointing": True,
    }


def test_a_value_that_is_there_is_replaced(tmp_path: Path) -> None:
    """The comment beside a changed value stays beside it."""
    file = tmp_path / "emobench.toml"
    file.write_text(OWN)
    change_settings(file, {"train": {"batch_size": 8}})
    assert "batch_size = 8     # fits my card" in file.read_text()


def test_without_a_file_one_is_made(tmp_path: Path) -> None:
    """A project without settings gets a file that the loader reads."""
    diff = change_settings(tmp_path / "emobench.toml", {"train": {"token_budget": 512}})
    assert load_project(tmp_path).settings == {"train": {"token_budget": 512}}
    assert "+token_budget = 512" in diff


@pytest.mark.parametrize("text", ["[tool.emobench]\nseeds = 2\n", "[tool.emobench.train]\nbatch_size = 4\n"])
def test_settings_in_pyproject_stay_there(tmp_path: Path, text: str) -> None:
    """Where the settings are in pyproject.toml they are changed there, and other tools' tables are left alone."""
    file = tmp_path / "pyproject.toml"
    file.write_text(f"[tool.ruff]\nline-length = 100 # wide\n\n{text}")
    change_settings(file, {"train": {"token_budget": 512}})
    assert load_project(tmp_path).settings["train"]["token_budget"] == 512
    assert "line-length = 100 # wide" in file.read_text()


@pytest.mark.parametrize("text", ["train = 3\n", "train = = 3\n"])
def test_what_cannot_be_changed_is_named(tmp_path: Path, text: str) -> None:
    """A file that is not TOML, or has no table there, stays as it is."""
    file = tmp_path / "emobench.toml"
    file.write_text(text)
    with pytest.raises(SpecError, match=r"emobench.toml cannot be changed; .*; write \[train\] by hand"):
        change_settings(file, {"train": {"token_budget": 512}})
    assert file.read_text() == text


@given(
    before=st.dictionaries(st.sampled_from(["batch_size", "token_budget", "warmup_steps"]), st.integers(1, 10**6)),
    changes=st.dictionaries(st.sampled_from(["batch_size", "token_budget", "warmup_steps"]), st.integers(1, 10**6)),
)
def test_the_file_holds_both(tmp_path_factory: Any, before: dict[str, int], changes: dict[str, int]) -> None:
    """What was there and is not changed stays; the rest is as asked; a second time changes nothing."""
    file = tmp_path_factory.mktemp("own") / "emobench.toml"
    file.write_text("[train]\n" + "".join(f"{key} = {value} # why\n" for key, value in before.items()))
    change_settings(file, {"train": changes})
    assert tomllib.loads(file.read_text())["train"] == {**before, **changes}
    assert change_settings(file, {"train": changes}) == ""
