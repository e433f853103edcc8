"""A row's architecture without its weights: configuration, model on the meta device, bytes its weights will take.

Allocates nothing: every number comes from shapes.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any, cast

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification, PreTrainedConfig

from emobench.devices import torch_dtype
from emobench.models.library_output import quiet_transformers
from emobench.specs import MethodSpec, ModelSpec, Precision

NF4_BLOCK = 64
"""Weights that share a scale in bitsandbytes' 4-bit format; 256 scales share a second one (double quantization)."""


def row_config(spec: ModelSpec, class_names: Sequence[str] | None = None) -> PreTrainedConfig:
    """The transformers configuration of a row, with its classes where ``class_names`` are given."""
    # Building a configuration may write into the dictionaries it is given; rows never change.
    values: dict[str, Any] = copy.deepcopy(dict(spec.config))
    return AutoConfig.for_model(**values, **(label_fields(class_names) if class_names else {}))


def label_fields(class_names: Sequence[str]) -> dict[str, Any]:
    """What a configuration holds about classes: their number, and names in both directions."""
    return {
        "num_labels": len(class_names),
        "id2label": dict(enumerate(class_names)),
        "label2id": {name: index for index, name in enumerate(class_names)},
    }


def meta_classifier(spec: ModelSpec, num_labels: int) -> nn.Module:
    """A row's sequence classifier on the meta device: shapes and names, no memory."""
    config = row_config(spec, [str(index) for index in range(num_labels)])
    with torch.device("meta"), quiet_transformers():
        model: nn.Module = cast(Any, AutoModelForSequenceClassification).from_config(config, dtype=torch.float32)
    return model


def meta_causal_lm(spec: ModelSpec) -> nn.Module:
    """A row's language model on the meta device."""
    with torch.device("meta"), quiet_transformers():
        model: nn.Module = cast(Any, AutoModelForCausalLM).from_config(row_config(spec), dtype=torch.float32)
    return model


def in_modules(name: str, modules: Sequence[str]) -> bool:
    """Whether a module or parameter name lies in one of ``modules``, each named by one component of its path."""
    return not set(name.split(".")).isdisjoint(modules)


def linear_names(spec: ModelSpec, class_names: Sequence[str] | None, modules: Sequence[str]) -> list[str]:
    """Full names of the linear layers inside ``modules``; bitsandbytes would not know ``bert.pooler`` by ``pooler``."""
    model = meta_causal_lm(spec) if class_names is None else meta_classifier(spec, len(class_names))
    layers = (name for name, module in model.named_modules() if isinstance(module, nn.Linear))
    return [name for name in layers if in_modules(name, modules)]


def storage_dtype(precision: Precision, method: MethodSpec | None) -> torch.dtype:
    """Dtype of the unquantized weights: training at bf16 or fp16 keeps fp32 weights, and autocast does the computing.

    Updates of a few thousandths of a weight are lost in bf16, whose numbers lie 1/256 apart.
    """
    if method is not None and precision in ("bf16", "fp16"):
        return torch.float32
    return torch_dtype(precision)


def weights_bytes(
    spec: ModelSpec,
    precision: Precision,
    *,
    num_labels: int = 2,
    causal: bool = False,
    method: MethodSpec | None = None,
    while_loading: bool = False,
) -> int:
    """Bytes of a row's parameters at a precision, counted on the meta device; adapters not included.

    int8 is one byte a weight and a scale of 4 bytes (torchao adds a zero point of 1) an output row; nf4 half a byte,
    one byte a block of 64 and 4 bytes a 256 blocks. ``while_loading`` counts what random or torchao weights take
    before they are quantized.
    """
    model = meta_causal_lm(spec) if causal else meta_classifier(spec, num_labels)
    skipped = ("lm_head",) if causal else spec.head_modules
    # Quantized training keeps what is not quantized in fp32, see quantize.prepare_for_training.
    size = storage_dtype(precision, method).itemsize if method is None else 4
    quantized = dict(quantizable(model, skipped)) if precision in ("int8", "int8-bnb", "nf4") else {}
    weights = {id(layer.weight): layer for layer in quantized.values()}
    total = 0
    for parameter in model.parameters():
        layer = weights.get(id(parameter))
        whole = layer is None or while_loading
        total += parameter.numel() * size if whole or layer is None else _quantized_bytes(layer, precision)
    return total


def quantizable(model: nn.Module, skipped: Sequence[str]) -> Iterator[tuple[str, nn.Linear]]:
    """The linear layers a quantized precision replaces: all but those in ``skipped`` modules and what peft added."""
    for name, module in model.named_modules():
        added = "lora_" in name or "modules_to_save" in name
        if isinstance(module, nn.Linear) and not added and not in_modules(name, skipped):
            yield name, module


def _quantized_bytes(layer: nn.Linear, precision: Precision) -> int:
    count = layer.weight.numel()
    if precision == "int8":
        return count + 5 * layer.out_features
    if precision == "int8-bnb":
        return count + 4 * layer.out_features
    blocks = -(-count // NF4_BLOCK)
    return count // 2 + blocks + 4 * -(-blocks // 256)
