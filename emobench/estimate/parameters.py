"""Parameters of a model and of what a method trains, from the configuration alone; builds no model.

The counts equal those of the models transformers builds: a test compares every catalogue row.
"""

from __future__ import annotations

from typing import Literal

from emobench.errors import UnsupportedError
from emobench.estimate.shapes import Linear, Shape, shape_of
from emobench.specs import MethodSpec, ModelSpec

Head = Literal["classifier", "causal", "none"]
"""What stands on the body: a sequence classifier, a language model's output layer, or nothing (and no pooler)."""


def parameters_of(model: ModelSpec, head: Head = "classifier", num_labels: int = 2) -> int:
    """Parameters of the row with that head; tied weights count once.

    Raises:
        UnsupportedError: see :func:`emobench.estimate.shapes.shape_of`; also a language model of an encoder.
    """
    shape = shape_of(model)
    body = embedding_parameters(shape) + shape.layers * layer_parameters(shape) + final_norm_parameters(shape)
    if head == "none":
        return body
    if head == "classifier":
        return body + head_parameters(shape, num_labels)
    if shape.family.encoder:
        raise UnsupportedError(
            f"model {model.id!r} has no language model's head", why="it is an encoder", fix="take a decoder"
        )
    return body + output_parameters(shape)


def trainable_parameters(model: ModelSpec, method: MethodSpec, num_labels: int = 2) -> int:
    """Parameters of a classifier that the method trains, head included.

    Raises:
        UnsupportedError: ``lora`` on a model that has none of its row's targets.
    """
    shape = shape_of(model)
    if method.id == "full":
        return parameters_of(model, "classifier", num_labels)
    head = head_parameters(shape, num_labels)
    if method.id != "lora":
        return head
    return head + adapter_parameters(model, method)


def adapter_parameters(model: ModelSpec, method: MethodSpec) -> int:
    """Parameters of LoRA: rank x (inputs + outputs) of every adapted matrix (Hu et al. 2021, section 4.1)."""
    shape = shape_of(model)
    found = [linear for layer in range(shape.layers) for linear in adapted(shape, model, method, layer)]
    if not found:
        raise UnsupportedError(
            f"model {model.id!r} has none of its row's LoRA targets",
            why="no linear module of its layers has one of those names",
            fix="correct the LoRA targets of the row",
        )
    return sum(method.rank * (linear.inputs + linear.outputs) for linear in found)


def adapted(shape: Shape, model: ModelSpec, method: MethodSpec | None, layer: int) -> tuple[Linear, ...]:
    """The matrices of a layer that adapters stand on: those whose name ends like a target of the row."""
    if method is None or method.id != "lora" or shape.family.conv1d:
        return ()
    endings = tuple(f".{name}" for group in method.targets for name in getattr(model.lora_targets, group))
    place = f"{shape.family.layers_at}.{layer}"
    return tuple(linear for linear in shape.linears if f"{place}.{linear.path}".endswith(endings))


def layer_parameters(shape: Shape) -> int:
    """Matrices and norms of one layer."""
    qk = 2 * shape.head_size if shape.family.qk_norm else 0
    norms = shape.family.norms * norm_parameters(shape)
    return sum(linear.parameters for linear in shape.linears) + norms + qk


def norm_parameters(shape: Shape) -> int:
    """One norm over the width; only layer norms have a bias."""
    return (2 if shape.family.norm == "layer" else 1) * shape.width


def embedding_parameters(shape: Shape) -> int:
    """Token, position and type vectors, and the norm encoders put over their sum."""
    norm = norm_parameters(shape) if shape.family.encoder else 0
    return (shape.vocabulary + shape.positions + shape.types) * shape.width + norm


def final_norm_parameters(shape: Shape) -> int:
    """The norm after the last layer, which encoders have not."""
    return 0 if shape.family.encoder else norm_parameters(shape)


def head_parameters(shape: Shape, num_labels: int) -> int:
    """What a sequence classifier adds: a dense layer (encoders) and the classes' matrix."""
    classes = shape.width * num_labels
    if not shape.family.encoder:
        return classes
    return shape.width * (shape.width + 1) + classes + num_labels


def output_parameters(shape: Shape) -> int:
    """What a language model adds: nothing where the token vectors serve twice."""
    bias = shape.vocabulary if shape.family.lm_bias else 0
    return bias if shape.tied else shape.vocabulary * shape.width + bias
