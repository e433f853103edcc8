"""The methods: which weights are trained, and how a trained model is made smaller.

What goes with which precision stands in ``combinations``.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from emobench import errors
from emobench.specs import MethodName, MethodSpec, ShrinkName, ShrinkSettings

_HEAD = MethodSpec(id="head")
"""Only the modules a classifier adds; the pretrained body stays as it is."""

_FULL = MethodSpec(id="full")
"""Every weight."""

_LORA = MethodSpec(id="lora")
"""Low-rank adapters on the linear modules of the body, and the head."""

METHODS: Mapping[MethodName, MethodSpec] = MappingProxyType(
    {"head": _HEAD, "full": _FULL, "lora": _LORA},
)
"""The training methods."""

_PRUNE_STRUCTURED = MethodSpec(
    id="prune-structured",
    shrink=ShrinkSettings(layers_kept=2 / 3, neurons_kept=0.5, heads_kept=0.5, epochs=4, teach=True),
)
"""Whole layers, MLP neurons and attention heads go, and the matrices get smaller."""

_PRUNE_MAGNITUDE = MethodSpec(id="prune-magnitude", shrink=ShrinkSettings(sparsity=0.5, epochs=1))
"""The smallest weights become zero; the matrices keep their shapes, so nothing gets faster."""

_QUANTIZE_INT8 = MethodSpec(id="quantize-int8", shrink=ShrinkSettings())
"""Linear layers and embeddings in int8 after training; heads stay in fp32."""

_DISTILL = MethodSpec(id="distill", shrink=ShrinkSettings(layers_kept=0.5, epochs=6, teach=True))
"""A student with half the layers, taken evenly from the original and taught by it."""

SHRINK_METHODS: Mapping[ShrinkName, MethodSpec] = MappingProxyType(
    {
        "prune-structured": _PRUNE_STRUCTURED,
        "prune-magnitude": _PRUNE_MAGNITUDE,
        "quantize-int8": _QUANTIZE_INT8,
        "distill": _DISTILL,
    }
)
"""The methods that make a trained model smaller."""


def find_method(name: str, *, training: bool = False) -> MethodSpec:
    """Return the method called ``name``, one that trains if ``training``.

    Raises :class:`errors.SpecError` naming the nearest known one.
    """
    rows: tuple[MethodSpec, ...] = (*METHODS.values(), *(() if training else SHRINK_METHODS.values()))
    for row in rows:
        if row.id == name:
            return row
    raise errors.unknown_name("method", name, [row.id for row in rows])
