"""The profiles: how much data, how many epochs and how many rounds a case takes. Overrides are ``overrides``' work."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from emobench import errors
from emobench.specs import Profile

_SMOKE = Profile(
    id="smoke",
    train=64,
    validation=32,
    test=64,
    epochs=1,
    max_length=64,
    max_steps=4,
    latency_seconds=0.3,
    latency_cap_seconds=1.0,
    latency_rounds=10,
    spread_limit=None,
    new_tokens=4,
    prompt_tokens=16,
)
"""Seconds a case: proves the path and says nothing about quality."""

_QUICK = Profile(id="quick", train=2_000, validation=500, test=1_000, epochs=1, max_length=128)
"""The default: minutes on two CPU cores with a small model."""

_STANDARD = Profile(
    id="standard",
    train=10_000,
    validation=2_000,
    test=5_000,
    epochs=3,
    max_length=512,
    early_stopping_patience=1,
    latency_seconds=5.0,
    latency_cap_seconds=20.0,
)
"""Enough test rows for a difference of two points to show."""

_FULL = Profile(
    id="full",
    train=None,
    validation=None,
    test=None,
    epochs=3,
    max_length=512,
    latency_seconds=10.0,
    new_tokens=128,
    latency_cap_seconds=40.0,
)
"""All rows there are."""

PROFILES: Mapping[str, Profile] = MappingProxyType({row.id: row for row in (_SMOKE, _QUICK, _STANDARD, _FULL)})


def find_profile(name: str) -> Profile:
    """Return the profile called ``name``, or raise :class:`errors.SpecError` naming the nearest known one."""
    if name in PROFILES:
        return PROFILES[name]
    raise errors.unknown_name("profile", name, PROFILES)


def random_sizes(batch_size: int) -> dict[str, Any]:
    """Profile sizes for random weights: eight training steps and two batches of evaluation show speed and memory."""
    return {
        "train": 8 * batch_size,
        "validation": 0,
        "test": 2 * batch_size,
        "epochs": 1,
        "max_steps": None,
        "early_stopping_patience": None,
    }
