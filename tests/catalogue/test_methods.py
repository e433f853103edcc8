"""The methods: names, settings, and that the shrinking ones stand apart from the training ones."""

from __future__ import annotations

from typing import get_args

import pytest

from emobench.catalogue.methods import METHODS, SHRINK_METHODS, find_method
from emobench.kinds import KINDS
from emobench.specs import MethodName, ShrinkName, ShrinkSettings
from fixtures import methods


def test_every_name_has_a_row_and_no_row_another_name() -> None:
    """Both tables hold exactly the names of their type, in order; shrinking methods alone have shrinking settings."""
    assert tuple(METHODS) == get_args(MethodName)
    assert tuple(SHRINK_METHODS) == get_args(ShrinkName)
    for name, row in {**METHODS, **SHRINK_METHODS}.items():
        assert row.id == name
        assert find_method(name) is row
        assert (row.shrink is not None) == (name in SHRINK_METHODS)


@pytest.mark.parametrize("kind", ["finetune", "shrink"])
def test_the_axis_has_the_methods_of_its_kind(kind: str) -> None:
    """Fine-tuning cases see training methods only, shrink cases shrinking methods only."""
    expected = {"finetune": MethodName, "shrink": ShrinkName}[kind]
    assert tuple(methods.names(KINDS[kind])) == get_args(expected)


def test_settings_say_what_each_method_does() -> None:
    """A student has at most half the layers; a mask trains on with the labels; int8 trains nothing."""
    settings = {name: row.shrink or ShrinkSettings() for name, row in SHRINK_METHODS.items()}
    assert settings["distill"].layers_kept <= 0.5
    assert settings["distill"].teach
    assert settings["prune-magnitude"].sparsity == 0.5
    assert not settings["prune-magnitude"].teach
    assert settings["quantize-int8"].epochs == 0
    assert settings["prune-structured"].neurons_kept < 1
