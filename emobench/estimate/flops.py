"""Floating-point operations of forward passes, plans and whole cases. Measures nothing.

Of cases the figures are rough and for every architecture (``case_flops``); of a plan they are counts of every matrix
product (``plan_products``), for the architectures of ``shapes``. A multiplication and an addition are two operations.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from emobench.estimate.parameters import adapted, head_parameters
from emobench.estimate.plan import MemoryPlan
from emobench.estimate.shapes import Shape, shape_of
from emobench.kinds import Work
from emobench.specs import CaseSpec, ModelSpec

BACKWARD_SHARE = {"full": 2.0, "lora": 1.2, "head": 0.1}
"""Work of the backward pass in units of the forward pass: weights and inputs, inputs (and adapters), the head alone."""


def body_parameters(model: ModelSpec) -> int:
    """Parameters that multiply each token: the layers' matrices, from the configuration; embeddings are looked up.

    A gated MLP has three matrices (the LLaMA family), a plain one two.
    """
    config = model.config
    width = int(config.get("hidden_size") or config["dim"])
    inner = int(config.get("intermediate_size") or config["hidden_dim"])
    layers = int(config.get("num_hidden_layers") or config["n_layers"])
    heads = int(config.get("num_attention_heads") or config["n_heads"])
    head_width = int(config.get("head_dim") or width // heads)
    kv_heads = int(config.get("num_key_value_heads") or heads)
    attention = 2 * width * head_width * (heads + kv_heads)
    return layers * (attention + (3 if model.kind == "decoder" else 2) * width * inner)


def forward_flops(model: ModelSpec, tokens: int) -> float:
    """Two operations a parameter and token; attention's own products are left out."""
    return 2.0 * body_parameters(model) * tokens


def case_flops(case: CaseSpec) -> float:
    """Floating-point operations of all of a case: every seed, warm-up and fewest rounds included."""
    if case.kind.timed is not None:
        return _timed_flops(case, case.kind.timed)
    assert case.dataset is not None
    length = min(case.dataset.mean_tokens, case.profile.max_length)
    scored = sum((part.times + part.pilot) * scored_rows(case, part) for part in case.kind.work if part.does == "score")
    found = forward_flops(case.model, 1) * scored * length
    if case.training is not None:
        found += training_flops(case, length, case.training)
    return found * len(case.seeds)


def scored_rows(case: CaseSpec, part: Work) -> int:
    """Rows that one pass of a scoring part goes over; a smoke run proves the path on its profile's rows."""
    assert case.dataset is not None
    if part.rows == "all" and case.profile.id != "smoke":
        return case.dataset.rows
    return case.profile.test or case.dataset.rows


def _timed_flops(case: CaseSpec, call: Work) -> float:
    profile = case.profile
    tokens = (case.length or profile.prompt_tokens) + (profile.new_tokens if call.does == "generate" else 0)
    return call.times * forward_flops(case.model, (case.batch_size or 1) * tokens) * (profile.latency_rounds + 4)


def training_flops(case: CaseSpec, length: int, training: Work) -> float:
    """Operations of training one seed on texts of ``length`` tokens, with its validations.

    A shrinking method's own epochs run the original beside the variant.
    """
    assert case.dataset is not None
    profile, method = case.profile, case.method
    rows = (profile.train or case.dataset.rows) * profile.epochs
    if profile.max_steps:
        rows = min(rows, profile.max_steps * case.train.batch_size)
    again = 0.0 if method is None or method.shrink is None else 2 * method.shrink.epochs / max(1, profile.epochs)
    share = BACKWARD_SHARE[method.id if training.method == "own" and method is not None else "full"]
    passes = rows * (1 + share) * (1 + again) + (profile.validation or 0) * profile.epochs
    return forward_flops(case.model, 1) * passes * length


@dataclass(frozen=True, kw_only=True)
class Products:
    """Floating-point operations of a plan's matrix products, by what sets the rate they reach."""

    layers: Mapping[int, float]
    """Of the layers' forward passes, by the rows (tokens of the whole batch) that are multiplied at once."""
    head: Mapping[int, float]
    """Of the head's, likewise."""
    backward_inputs: float = 0.0
    """Of the gradients of layers' inputs."""
    backward_weights: float = 0.0
    """Of the gradients of trained weights."""

    @property
    def total(self) -> float:
        """All of them."""
        return sum(self.layers.values()) + sum(self.head.values()) + self.backward_inputs + self.backward_weights


def plan_products(plan: MemoryPlan) -> Products:
    """The matrix products of the plan's unit of work.

    The backward pass of a trained matrix is two products of the forward's size, of a frozen one with something
    trained below it one, and of attention two; checkpointing adds the layers' forward pass once more.
    """
    if plan.work == "generate":
        return _generation_products(plan)
    rows, head_rows = plan.batch_size * plan.length, plan.batch_size
    layers, head = _layers_flops(plan), plan.batch_size * _head_flops(plan, shape_of(plan.model), plan.length)
    if plan.work != "train":
        return Products(layers={rows: layers}, head={head_rows: head})
    assert plan.method is not None
    inputs, weights, again = {"head": (0.0, 0.0, 0.0), "full": (layers, layers, layers)}.get(
        plan.method.id, (layers, 0.0, layers)
    )
    adapters = 0.0
    if plan.method.id == "lora":
        # Both products of attention's backward pass are there whatever is trained.
        inputs += _layers_flops(plan, matrices=False)
        adapters = _adapter_flops(plan)
    again = again if plan.gradient_checkpointing else 0.0
    return Products(
        layers={rows: plan.parts * (layers + again + adapters)},
        head={head_rows: plan.parts * head},
        backward_inputs=plan.parts * (inputs + adapters + head),
        backward_weights=plan.parts * (weights + adapters + head),
    )


def _generation_products(plan: MemoryPlan) -> Products:
    shape = shape_of(plan.model)
    prompt = plan.batch_size * shape.layers * _layer_flops(shape, plan.length, plan.length, plan.length)
    # The prompt gives the first new token, and each of them but the last is fed.
    fed = range(plan.length + 1, plan.length + max(1, plan.new_tokens))
    each = sum(plan.batch_size * shape.layers * _layer_flops(shape, 1, 1, keys) for keys in fed)
    logits = plan.batch_size * 2.0 * shape.width * shape.vocabulary * (1 + len(fed))
    layers = {plan.batch_size * plan.length: prompt}
    layers[plan.batch_size] = layers.get(plan.batch_size, 0.0) + each
    return Products(layers=layers, head={plan.batch_size: logits})


def _layers_flops(plan: MemoryPlan, *, matrices: bool = True) -> float:
    """Operations of all layers on the whole batch; without the matrices those of attention's two products alone."""
    shape = shape_of(plan.model)
    whole = _layer_flops(shape, plan.length, plan.length, plan.length, matrices=matrices)
    if not (shape.family.encoder and plan.first_token):
        return plan.batch_size * shape.layers * whole
    last = _layer_flops(shape, 1, plan.length, plan.length, matrices=matrices)
    return plan.batch_size * ((shape.layers - 1) * whole + last)


def _layer_flops(shape: Shape, queries: int, read: int, keys: int, *, matrices: bool = True) -> float:
    """One layer on one row: ``queries`` tokens attend to ``keys``, and keys and values are made of ``read`` tokens."""
    attention = 4.0 * queries * keys * shape.query_width
    if not matrices:
        return attention
    tokens = {"k": read, "v": read}
    products = sum(2.0 * part.inputs * part.outputs * tokens.get(part.name, queries) for part in shape.linears)
    return products + attention


def _head_flops(plan: MemoryPlan, shape: Shape, length: int) -> float:
    """The classifier on one row: an encoder's on one token, a decoder's on all; a language model's on all."""
    if plan.causal:
        return 2.0 * shape.width * shape.vocabulary * length
    biases = shape.width + plan.num_labels if shape.family.encoder else 0
    products = 2.0 * (head_parameters(shape, plan.num_labels) - biases)
    return products if shape.family.encoder else products * length


def _adapter_flops(plan: MemoryPlan) -> float:
    """Products of the adapters on the whole batch."""
    assert plan.method is not None
    shape = shape_of(plan.model)
    found = [linear for layer in range(shape.layers) for linear in adapted(shape, plan.model, plan.method, layer)]
    tokens = plan.batch_size * plan.length
    return 2.0 * tokens * plan.method.rank * sum(linear.inputs + linear.outputs for linear in found)
