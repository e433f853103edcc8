"""Bytes of weights at rest: by precision, with the constants of quantization, adapters, and what loading takes."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

from emobench.estimate.parameters import adapter_parameters, head_parameters, parameters_of
from emobench.estimate.plan import MemoryPlan
from emobench.estimate.shapes import Shape, shape_of

NF4_BLOCK = 64
"""Weights that share a scale of one byte (bitsandbytes, double quantization)."""
NF4_BLOCKS_A_SCALE = 256
"""Such blocks that share a second scale of four bytes: 4 + 8/64 + 32/(64 x 256) = 4.127 bits a weight in all."""

FILE_ITEM = MappingProxyType({"encoder": 4, "decoder": 2})
"""Bytes of a weight in published files: encoders are saved in fp32, decoders in bf16."""

QUANTIZED = frozenset({"int8", "int8-bnb", "nf4"})


@dataclass(frozen=True, kw_only=True)
class WeightBytes:
    """Bytes of everything that lies in memory before the first token is read."""

    weights: int
    quantization: int
    """Scales and zero points."""
    adapters: int
    """LoRA matrices, and the copy of the head that peft trains in place of the head."""
    while_loading: int
    """Most bytes at one time until the model is loaded; what lies there afterwards included."""


def weight_bytes(plan: MemoryPlan) -> WeightBytes:
    """The plan's weights by part."""
    shape = shape_of(plan.model)
    count = parameters_of(plan.model, "causal" if plan.causal else "classifier", plan.num_labels)
    item = plan.item
    quantized = quantized_weights(shape) if plan.precision in QUANTIZED else 0
    stored = quantized // 2 if plan.precision == "nf4" else quantized
    adapters = 0
    if plan.method is not None and plan.method.id == "lora":
        adapters = 4 * (adapter_parameters(plan.model, plan.method) + head_parameters(shape, plan.num_labels))
    weights = (count - quantized) * item + stored
    constants = quantization_bytes(plan, shape)
    return WeightBytes(
        weights=weights,
        quantization=constants,
        adapters=adapters,
        while_loading=max(weights + constants, _while_loading(plan, shape, count)),
    )


def quantized_weights(shape: Shape) -> int:
    """Weights in matrices that a quantized precision replaces: those of the layers; heads and embeddings stay."""
    return shape.layers * sum(linear.inputs * linear.outputs for linear in shape.linears if not shape.family.conv1d)


def quantization_bytes(plan: MemoryPlan, shape: Shape) -> int:
    """Scales and zero points of the quantized matrices.

    int8 (torchao) has a scale of 4 bytes and a zero point of 1 an output row, int8-bnb a scale of 4; nf4 one byte a
    block of 64 weights and 4 bytes a 256 blocks (Dettmers et al. 2023, double quantization).
    """
    if plan.precision not in QUANTIZED or shape.family.conv1d:
        return 0
    rows = shape.layers * sum(linear.outputs for linear in shape.linears)
    if plan.precision == "int8":
        return 5 * rows
    if plan.precision == "int8-bnb":
        return 4 * rows
    blocks = [-(-linear.inputs * linear.outputs // NF4_BLOCK) for linear in shape.linears]
    return shape.layers * sum(block + 4 * -(-block // NF4_BLOCKS_A_SCALE) for block in blocks)


def _while_loading(plan: MemoryPlan, shape: Shape, count: int) -> int:
    """Weights that exist twice, unquantized, or as pages of a file of another dtype, before they are as asked for.

    On a CPU files are mapped: where the dtype is the same their pages are the weights. A model with random weights is
    made with an output layer of its own before that is tied to the token vectors.
    """
    if not plan.pretrained and plan.causal and shape.tied:
        count += shape.vocabulary * shape.width
    file_item = FILE_ITEM[plan.model.kind] if plan.pretrained and plan.device == "cpu" else plan.item
    mapped = count * file_item if file_item != plan.item else 0
    quantized_first = plan.pretrained and plan.precision in ("int8-bnb", "nf4")
    if plan.precision not in QUANTIZED or quantized_first:
        return mapped + count * plan.item if mapped or not plan.pretrained else 0
    largest = max(linear.inputs * linear.outputs for linear in shape.linears)
    return max(mapped, largest * plan.item) + count * plan.item
