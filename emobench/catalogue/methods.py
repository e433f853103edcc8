"""The training methods: which weights are trained. What goes with which precision stands in ``combinations``."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from emobench import errors
from emobench.specs import MethodName, MethodSpec

_HEAD = MethodSpec(id="head")
"""Only the modules a classifier adds; the pretrained body stays as it is."""

_FULL = MethodSpec(id="full")
"""Every weight."""

_LORA = MethodSpec(id="lora")
"""Low-rank adapters on the linear modules of the body, and the head."""

METHODS: Mapping[MethodName, MethodSpec] = MappingProxyType({row.id: row for row in (_HEAD, _FULL, _LORA)})


def find_method(name: str) -> MethodSpec:
    """Return the method called ``name``, or raise :class:`errors.SpecError` naming the nearest known one."""
    for row in METHODS.values():
        if row.id == name:
            return row
    raise errors.unknown_name("method", name, METHODS)
