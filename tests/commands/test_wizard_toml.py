"""TOML that the wizard writes: what is written is what ``tomllib`` reads."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emobench.commands.wizard_toml import to_toml

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
PLAIN = st.one_of(
    TEXTS, st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False, allow_infinity=False), st.booleans()
)
VALUES = st.one_of(PLAIN, st.lists(PLAIN))
TABLES = st.recursive(
    st.dictionaries(TEXTS, VALUES),
    lambda inner: st.dictionaries(TEXTS, st.one_of(VALUES, inner)),
    max_leaves=20,
)


@pytest.mark.slow
@given(TABLES)
def test_what_is_written_is_read_again(tables: dict[str, Any]) -> None:
    """Every table of texts, numbers, truth values, lists and tables comes back equal, whatever its keys hold."""
    assert tomllib.loads(to_toml(tables)) == tables


def test_it_reads_like_written_by_hand() -> None:
    """Own keys first, then tables with a blank line before each; None is left out, an empty table stays."""
    tables = {
        "datasets": {"tickets": {"path": "a.csv", "labels": ["x", "y"]}},
        "profile": "quick",
        "seeds": None,
        "train": {"learning_rate": 5e-05},
        "models": {},
    }
    assert to_toml(tables) == (
        'profile = "quick"\n'
        "\n[datasets.tickets]\n"
        'path = "a.csv"\nlabels = ["x", "y"]\n'
        "\n[train]\nlearning_rate = 5e-05\n"
        "\n[models]\n"
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf"), b"bytes", object()])
def test_what_has_no_form_is_refused(value: object) -> None:
    """A value TOML or this writer has no form for is an error, not a guess."""
    with pytest.raises(TypeError):
        to_toml({"key": value})
