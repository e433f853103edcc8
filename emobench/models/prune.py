"""Pruning a trained classifier: what matters least, and a copy without it. Trains nothing.

Structured pruning removes whole layers, MLP neurons and attention heads; magnitude pruning sets single weights to zero
and leaves every shape as it is.

Shapes: B examples, T tokens, E width, N neurons, H key heads.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize
from transformers import PreTrainedModel

from emobench.errors import UnsupportedError
from emobench.models.anatomy import Kept, anatomy_of, head_size, key_heads, layers_of, smaller
from emobench.models.architecture import quantizable
from emobench.specs import ShrinkSettings

FEATURE = "structured pruning"

Batch = Mapping[str, torch.Tensor]
"""``input_ids`` and ``attention_mask`` of shape (B, T), ``labels`` of shape (B,)."""


@dataclass(frozen=True, kw_only=True)
class Importance:
    """How much each part matters, float64 on the CPU; larger matters more."""

    layers: torch.Tensor
    """Shape (layers,): one less the cosine between a layer's input and output, mean over real tokens."""
    neurons: torch.Tensor
    """Shape (layers, N)."""
    heads: torch.Tensor
    """Shape (layers, H): of a key head with all query heads that share it."""


@dataclass(frozen=True, kw_only=True)
class Pruned:
    """A smaller copy and what was done to get it."""

    model: PreTrainedModel
    facts: dict[str, Any]
    """Kept and original counts, indices of kept layers; plain values for a record."""
    notes: tuple[str, ...]


def importance(model: PreTrainedModel, batches: Sequence[Batch]) -> Importance:
    """First-order Taylor importance of neurons and heads, and the influence of each layer, over labelled batches.

    A neuron's is the sum over examples of ``|sum over tokens of a * dL/da|`` (Molchanov et al. 2017, Michel et al.
    2019 for heads), L the cross-entropy of the example: the change of the loss to first order if the neuron became
    zero. A layer's is that of Men et al. 2024. The model is used in evaluation mode, and its ``.grad`` stay untouched.
    """
    anatomy = anatomy_of(model, feature=FEATURE)
    layers = layers_of(model, feature=FEATURE)
    sums: dict[str, list[torch.Tensor]] = {}
    # Input channels of a module that make one unit.
    units = {anatomy.mlp_out: 1, anatomy.attention_out: _channels_of_head(model)}
    tokens = 0
    was_training = model.training
    model.eval()
    try:
        for batch in batches:
            found = _one_batch(model, layers, units, batch)
            tokens += int(batch["attention_mask"].sum())
            for name, rows in found.items():
                before = sums.get(name)
                sums[name] = rows if before is None else [old + new for old, new in zip(before, rows, strict=True)]
    finally:
        model.train(was_training)
    return Importance(
        layers=torch.stack(sums["layers"]) / tokens,
        neurons=torch.stack(sums[anatomy.mlp_out]),
        heads=torch.stack(sums[anatomy.attention_out]),
    )


def prune_structured(model: PreTrainedModel, batches: Sequence[Batch], settings: ShrinkSettings) -> Pruned:
    """A copy with the least important layers, neurons and (where the configuration can say so) heads removed.

    Every layer keeps the same number of neurons and heads. Same model, batches and settings give the same copy: equal
    importance keeps the lower index.

    Raises:
        UnsupportedError: an architecture whose parts are not known.
    """
    anatomy = anatomy_of(model, feature=FEATURE)
    found = importance(model, batches)
    layers = tuple(_top(found.layers, settings.layers_kept).tolist())
    neurons = tuple(_top(row, settings.neurons_kept) for row in found.neurons)
    heads = tuple(_top(row, settings.heads_kept) for row in found.heads) if anatomy.prunable_heads else None
    made = smaller(model, Kept(layers=layers, neurons=neurons, heads=heads), feature=FEATURE)
    notes = []
    if heads is None and settings.heads_kept < 1:
        notes.append(
            f"attention heads are kept: a {model.config.model_type} configuration cannot express fewer of the same size"
        )
    facts = {
        "layers": [len(layers), len(found.layers)],
        "layers_kept": list(layers),
        "neurons_per_layer": [len(neurons[0]), found.neurons.shape[1]],
        "key_heads_per_layer": [found.heads.shape[1] if heads is None else len(heads[0]), found.heads.shape[1]],
    }
    return Pruned(model=made, facts=facts, notes=tuple(notes))


def magnitude_masks(
    model: PreTrainedModel, settings: ShrinkSettings, *, skipped: Sequence[str]
) -> dict[str, torch.Tensor]:
    """By name of linear module outside ``skipped``: False where a weight is among the smallest of its matrix.

    Exactly ``round(sparsity * weights)`` of each matrix are False, or with the pattern 2:4 two of every four along the
    input; of equal weights the earlier one goes.

    Raises:
        UnsupportedError: no linear module to mask, or an input width that 2:4 cannot cut into fours.
    """
    masks = {}
    for name, layer in quantizable(model, skipped):
        weight = layer.weight.detach().abs()
        if settings.pattern == "2:4" and weight.shape[1] % 4:
            raise UnsupportedError(
                f"{name} cannot be pruned 2:4",
                why=f"its input width {weight.shape[1]} is no multiple of 4",
                fix='take pattern="any"',
            )
        groups = weight.view(-1, 4) if settings.pattern == "2:4" else weight.view(1, -1)
        gone = 2 if settings.pattern == "2:4" else round(settings.sparsity * weight.numel())
        order = groups.argsort(dim=1, stable=True)
        mask = torch.ones_like(groups, dtype=torch.bool).scatter_(1, order[:, :gone], False)
        masks[name] = mask.view_as(weight)
    if not masks:
        raise UnsupportedError(
            f"magnitude pruning finds nothing to mask in {type(model).__name__}",
            why="it has no linear module outside its head",
            fix="take another method",
        )
    return masks


@contextlib.contextmanager
def masked(model: PreTrainedModel, masks: Mapping[str, torch.Tensor]) -> Iterator[None]:
    """Hold masked weights at zero while the block trains the model; they are plain zeros in plain weights after it."""
    for name, mask in masks.items():
        parametrize.register_parametrization(model.get_submodule(name), "weight", _Mask(mask))
    try:
        yield
    finally:
        for name in masks:
            parametrize.remove_parametrizations(model.get_submodule(name), "weight", leave_parametrized=True)


def sparsity_facts(model: PreTrainedModel, masks: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """Share of zeros in the masked matrices, counted in the weights themselves."""
    weights = [model.get_submodule(name).get_parameter("weight") for name in masks]
    zeros = sum(int((weight == 0).sum()) for weight in weights)
    return {"masked_modules": len(weights), "zero_share": zeros / sum(weight.numel() for weight in weights)}


class _Mask(nn.Module):
    mask: torch.Tensor

    def __init__(self, mask: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask)

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return weight * self.mask


def _top(values: torch.Tensor, share: float) -> torch.Tensor:
    """Ascending indices of the ``round(share * n)`` largest values, at least one."""
    count = max(1, round(share * len(values)))
    return values.argsort(descending=True, stable=True)[:count].sort().values


def _channels_of_head(model: PreTrainedModel) -> int:
    """Input channels of the attention's output that belong to one key head."""
    return head_size(model) * int(model.config.num_attention_heads) // key_heads(model)


def _one_batch(
    model: PreTrainedModel, layers: nn.ModuleList, units: Mapping[str, int], batch: Batch
) -> dict[str, list[torch.Tensor]]:
    """Sums over one batch: a row of units a layer under each name in ``units``, and a number a layer under ``layers``.

    ``units`` gives for a linear module how many of its input channels make one unit.
    """
    inputs: dict[tuple[str, int], torch.Tensor] = {}
    turned: dict[int, torch.Tensor] = {}
    mask = batch["attention_mask"].bool()

    def keep_input(name: str, index: int) -> Any:
        def hook(_module: nn.Module, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
            hidden = args[0] if args[0].requires_grad else args[0].detach().requires_grad_()
            inputs[name, index] = hidden
            return (hidden, *args[1:])

        return hook

    def keep_turn(index: int) -> Any:
        def hook(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            before = args[0] if args else kwargs["hidden_states"]
            after = output[0] if isinstance(output, tuple) else output
            cosine = nn.functional.cosine_similarity(before.detach().double(), after.detach().double(), dim=-1)
            turned[index] = (1 - cosine)[mask.to(cosine.device)].sum().cpu()

        return hook

    with contextlib.ExitStack() as stack, torch.enable_grad():
        for index, layer in enumerate(layers):
            stack.callback(layer.register_forward_hook(keep_turn(index), with_kwargs=True).remove)
            for name in units:
                module = layer.get_submodule(name)
                stack.callback(module.register_forward_pre_hook(keep_input(name, index)).remove)
        logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        loss = nn.functional.cross_entropy(logits.float(), batch["labels"], reduction="sum")
        keys = list(inputs)
        gradients = torch.autograd.grad(loss, [inputs[key] for key in keys])
    found: dict[str, list[torch.Tensor]] = {"layers": [turned[index] for index in range(len(layers))]}
    for key, gradient in sorted(zip(keys, gradients, strict=True), key=lambda item: item[0][1]):
        per_channel = (inputs[key].detach() * gradient).double().sum(dim=1)
        per_unit = per_channel.unflatten(1, (-1, units[key[0]])).sum(dim=2)
        found.setdefault(key[0], []).append(per_unit.abs().sum(dim=0).cpu())
    return found
