"""Overrides: sizes and training settings that are set for one session, as texts ``key=value``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import ValidationError

from emobench import errors
from emobench.catalogue.project_tables import SIZES, is_sensible, wanted
from emobench.specs import Profile, Spec, TrainSettings

S = TypeVar("S", bound=Spec)


@dataclass(frozen=True, kw_only=True)
class Overrides:
    """Sizes and training settings after something was overridden."""

    profile: Profile
    train: TrainSettings


def find_overrides(pairs: Sequence[str], profile: Profile, train: TrainSettings) -> Overrides:
    """Apply ``key=value`` texts, as ``--emo-set`` takes them; a later pair wins over an earlier one.

    Keys are fields of :class:`Profile` or :class:`TrainSettings`; ``none`` stands for None. Raises
    :class:`errors.SpecError` naming the nearest known key, or what the key takes.
    """
    sizes: dict[str, Any] = {}
    settings: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = (part.strip() for part in pair.partition("="))
        if not equals:
            raise errors.SpecError(
                f"setting {pair!r} has no value", why="the form is key=value", fix="write for example train=500"
            )
        if key in SIZES:
            sizes[key] = _parse(Profile, profile, key, value)
        elif key in TrainSettings.model_fields:
            settings[key] = _parse(TrainSettings, train, key, value)
        else:
            raise errors.unknown_name("setting", key, (*SIZES, *TrainSettings.model_fields))
    return Overrides(profile=profile.model_copy(update=sizes), train=train.model_copy(update=settings))


def _parse(kind: type[S], base: S, key: str, text: str) -> Any:
    value = None if text.casefold() == "none" else text
    problem = errors.SpecError(
        f"setting {key}={text} cannot be used", why=f"{key} takes {wanted(key)}", fix="correct the value"
    )
    try:
        parsed = getattr(kind.model_validate({**base.model_dump(), key: value}), key)
    except ValidationError as error:
        raise problem from error
    if not is_sensible(key, parsed):
        raise problem
    return parsed
