"""Axes the user lists by option instead of taking the usual ones: batch sizes, input lengths, backends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from emobench import errors
from emobench.catalogue.backends import BACKENDS
from emobench.specs import Backend


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Values of the axes; an empty one takes the usual values."""

    batch_sizes: tuple[int, ...] = ()
    lengths: tuple[int, ...] = ()
    backends: tuple[Backend, ...] = ()


def find_asked(*, batch_sizes: str | None, lengths: str | None, backends: str | None) -> Asked:
    """Read the options' comma-separated lists.

    Raises:
        SpecError: something that is no whole number above 0, or an unknown backend.
    """
    names = _parts(backends)
    for name in names:
        if name not in BACKENDS:
            raise errors.unknown_name("backend", name, BACKENDS)
    return Asked(
        batch_sizes=_numbers("--emo-batch-sizes", batch_sizes),
        lengths=_numbers("--emo-lengths", lengths),
        backends=tuple(cast(Backend, name) for name in names),
    )


def _parts(text: str | None) -> list[str]:
    return list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip())) if text else []


def _numbers(option: str, text: str | None) -> tuple[int, ...]:
    parts = _parts(text)
    for part in parts:
        if not (part.isdecimal() and int(part) > 0):
            raise errors.SpecError(
                f"{option} {text}", why=f"{part!r} is no whole number above 0", fix="write for example 1,8,64"
            )
    return tuple(sorted({int(part) for part in parts}))
