"""Profiles and methods: sizes and lookups."""

from __future__ import annotations

import pytest

from emobench import errors
from emobench.catalogue.methods import METHODS, find_method
from emobench.catalogue.profiles import PROFILES, find_profile


@pytest.mark.parametrize(
    ("name", "sizes", "epochs", "max_length"),
    [
        ("smoke", (64, 32, 64), 1, 64),
        ("quick", (2_000, 500, 1_000), 1, 128),
        ("standard", (10_000, 2_000, 5_000), 3, 512),
        ("full", (None, None, None), 3, 512),
    ],
)
def test_a_profile_has_its_documented_sizes(
    name: str, sizes: tuple[int | None, ...], epochs: int, max_length: int
) -> None:
    """Rows, epochs and length of each profile are the documented ones."""
    row = find_profile(name)
    assert (row.train, row.validation, row.test) == sizes
    assert (row.epochs, row.max_length) == (epochs, max_length)


def test_only_long_profiles_stop_early() -> None:
    """Early stopping needs several epochs; a limit on steps is smoke's alone."""
    assert [name for name, row in PROFILES.items() if row.early_stopping_patience] == ["standard"]
    assert [name for name, row in PROFILES.items() if row.max_steps] == ["smoke"]


def test_methods_are_the_three() -> None:
    """head, full and lora, each found under its name."""
    assert list(METHODS) == ["head", "full", "lora"]
    assert [find_method(name).id for name in METHODS] == ["head", "full", "lora"]


def test_unknown_names_get_the_nearest() -> None:
    """A misspelt profile or method is answered with the nearest one."""
    with pytest.raises(errors.SpecError, match=r"unknown profile 'quik'; .* did you mean 'quick'\?"):
        find_profile("quik")
    with pytest.raises(errors.SpecError, match=r"unknown method 'qlora'; .* did you mean 'lora'\?"):
        find_method("qlora")
