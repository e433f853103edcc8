"""Overrides: what ``key=value`` sets, and what a mistake in one is answered with."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emobench import errors
from emobench.catalogue.overrides import Overrides, find_overrides
from emobench.catalogue.profiles import find_profile
from emobench.specs import Profile, TrainSettings


def override(*pairs: str) -> Overrides:
    return find_overrides(pairs, find_profile("quick"), TrainSettings())


@given(st.sampled_from([name for name in Profile.model_fields if name != "id"]), st.integers(1, 10**9))
def test_every_size_can_be_overridden(name: str, value: int) -> None:
    """key=value sets exactly that field and leaves every other as it was."""
    found = override(f"{name}={value}")
    assert found.profile == find_profile("quick").model_copy(update={name: value})
    assert type(getattr(found.profile, name)) in (int, float)
    assert found.train == TrainSettings()


def test_training_settings_can_be_overridden() -> None:
    """Numbers, choices, booleans and none arrive with their type; a later pair wins."""
    found = override(
        "learning_rate=3e-4", "scheduler=cosine", "gradient_checkpointing=true", "batch_size=8", "train=none"
    )
    assert (found.train.learning_rate, found.train.scheduler) == (3e-4, "cosine")
    assert (found.train.gradient_checkpointing, found.train.batch_size) == (True, 8)
    assert found.profile.train is None
    assert override("batch_size=8", "batch_size=9").train.batch_size == 9


@pytest.mark.parametrize(
    ("pair", "answer"),
    [
        ("tran=3", "did you mean 'train'?"),
        ("id=mine", "unknown setting 'id'"),
        ("train", "setting 'train' has no value; the form is key=value"),
        ("train=0", "setting train=0 cannot be used; train takes a whole number above 0 or none"),
        ("epochs=two", "setting epochs=two cannot be used; epochs takes a whole number above 0; "),
        ("epochs=none", "epochs takes a whole number above 0; "),
        ("scheduler=poly", "scheduler takes one of linear, cosine, constant, constant_with_warmup"),
        ("learning_rate=inf", "learning_rate takes a number above 0 or none"),
        ("max_grad_norm=0", "max_grad_norm takes a number above 0"),
        ("weight_decay=-1", "weight_decay takes a number of at least 0"),
        ("batch_size=0", "batch_size takes a whole number of at least 1"),
        ("gradient_checkpointing=maybe", "gradient_checkpointing takes true or false"),
    ],
)
def test_mistakes_in_an_override(pair: str, answer: str) -> None:
    """A bad key is answered with the nearest one, a bad value with what the key takes."""
    with pytest.raises(errors.SpecError) as caught:
        override(pair)
    assert answer in str(caught.value)
