"""Where a classifier's layers, MLP neurons and attention heads are, and the same classifier with fewer of them.

The smaller model is an ordinary one of an ordinary configuration, so that it is saved and read back like any other.
What no configuration can express (another number of heads in each layer, or fewer BERT heads of the same size) is not
offered. Which parts go is decided in ``prune``.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, cast

import torch
from torch import nn
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from emobench.errors import UnsupportedError
from emobench.models.draws import seeded
from emobench.models.library_output import quiet_transformers


@dataclass(frozen=True, kw_only=True)
class Anatomy:
    """Names of a family's parts: modules inside a layer, and the fields of its configuration that count them."""

    layers: str
    """Module list inside the base model."""
    mlp_in: tuple[str, ...]
    """Linear modules whose output rows are the neurons."""
    mlp_out: str
    """Linear module whose input columns are the neurons."""
    attention_in: tuple[str, str, str]
    """Query, key and value."""
    attention_out: str
    layer_field: str
    neuron_field: str
    prunable_heads: bool
    """Whether the configuration gives the size of a head apart from their number."""


_BERT = Anatomy(
    layers="encoder.layer",
    mlp_in=("intermediate.dense",),
    mlp_out="output.dense",
    attention_in=("attention.self.query", "attention.self.key", "attention.self.value"),
    attention_out="attention.output.dense",
    layer_field="num_hidden_layers",
    neuron_field="intermediate_size",
    prunable_heads=False,
)
_DISTILBERT = Anatomy(
    layers="transformer.layer",
    mlp_in=("ffn.lin1",),
    mlp_out="ffn.lin2",
    attention_in=("attention.q_lin", "attention.k_lin", "attention.v_lin"),
    attention_out="attention.out_lin",
    layer_field="n_layers",
    neuron_field="hidden_dim",
    prunable_heads=False,
)
_LLAMA = Anatomy(
    layers="layers",
    mlp_in=("mlp.gate_proj", "mlp.up_proj"),
    mlp_out="mlp.down_proj",
    attention_in=("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    attention_out="self_attn.o_proj",
    layer_field="num_hidden_layers",
    neuron_field="intermediate_size",
    prunable_heads=True,
)

ANATOMIES: Mapping[str, Anatomy] = MappingProxyType(
    {
        "bert": _BERT,
        "roberta": _BERT,
        "distilbert": _DISTILBERT,
        "llama": _LLAMA,
        "qwen2": _LLAMA,
        "gemma2": _LLAMA,
        "gemma3_text": _LLAMA,
    }
)
"""By ``model_type``."""


@dataclass(frozen=True, kw_only=True)
class Kept:
    """Indices that stay, ascending. ``neurons`` and ``heads`` have one entry a layer of the original."""

    layers: tuple[int, ...]
    neurons: tuple[torch.Tensor, ...] | None = None
    """Each of shape (kept,), the same number in every layer; None keeps all."""
    heads: tuple[torch.Tensor, ...] | None = None
    """Key heads, each with all query heads that share it; None keeps all."""


def anatomy_of(model: PreTrainedModel, *, feature: str) -> Anatomy:
    """The parts of a model, or :class:`UnsupportedError` naming its architecture and what it was needed for."""
    found = ANATOMIES.get(str(model.config.model_type))
    if found is None:
        raise UnsupportedError(
            f"{feature} does not know the architecture {model.config.model_type!r} ({type(model).__name__})",
            why="where its layers, neurons and heads are stands in no table",
            fix=f"take a model of one of these: {', '.join(sorted(ANATOMIES))}",
        )
    return found


def layers_of(model: PreTrainedModel, *, feature: str) -> nn.ModuleList:
    """The model's layers, first to last."""
    found = model.base_model.get_submodule(anatomy_of(model, feature=feature).layers)
    return cast(nn.ModuleList, found)


def key_heads(model: PreTrainedModel) -> int:
    """Key heads of a layer; several query heads may share one."""
    config: Any = model.config
    return int(getattr(config, "num_key_value_heads", None) or config.num_attention_heads)


def head_size(model: PreTrainedModel) -> int:
    """Width of one attention head."""
    config: Any = model.config
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


def smaller(model: PreTrainedModel, kept: Kept, *, feature: str) -> PreTrainedModel:
    """A new classifier of the same class with only the parts in ``kept``; the original is left as it is.

    Raises:
        UnsupportedError: an architecture that is not in the table, or heads that its configuration cannot express.
    """
    anatomy = anatomy_of(model, feature=feature)
    if kept.heads is not None and not anatomy.prunable_heads:
        raise UnsupportedError(
            f"{feature} cannot remove attention heads of {model.config.model_type!r}",
            why="its configuration ties the size of a head to the width over their number",
            fix="keep the heads, and remove neurons or layers",
        )
    config = _smaller_config(model, anatomy, kept)
    state = _smaller_state(model, anatomy, kept)
    first = next(model.parameters())
    auto: Any = AutoModelForSequenceClassification
    with quiet_transformers(), seeded(0), torch.device(first.device):
        made: PreTrainedModel = auto.from_config(config, dtype=first.dtype)
    made.load_state_dict(state)
    made.train(False)
    return made


def _smaller_config(model: PreTrainedModel, anatomy: Anatomy, kept: Kept) -> Any:
    config: Any = copy.deepcopy(model.config)
    setattr(config, anatomy.layer_field, len(kept.layers))
    if getattr(config, "layer_types", None):
        config.layer_types = [config.layer_types[index] for index in kept.layers]
    if kept.neurons is not None:
        setattr(config, anatomy.neuron_field, len(kept.neurons[0]))
    if kept.heads is not None:
        shared = config.num_attention_heads // key_heads(model)
        config.head_dim = head_size(model)
        config.num_key_value_heads = len(kept.heads[0])
        config.num_attention_heads = shared * len(kept.heads[0])
    return config


def _smaller_state(model: PreTrainedModel, anatomy: Anatomy, kept: Kept) -> dict[str, torch.Tensor]:
    prefix = f"{model.base_model_prefix}.{anatomy.layers}."
    places = {index: place for place, index in enumerate(kept.layers)}
    state: dict[str, torch.Tensor] = {}
    for name, tensor in model.state_dict().items():
        if not name.startswith(prefix):
            state[name] = tensor
            continue
        number, _, inner = name.removeprefix(prefix).partition(".")
        if int(number) in places:
            part = _sliced(model, anatomy, kept, int(number), inner, tensor)
            state[f"{prefix}{places[int(number)]}.{inner}"] = part
    return state


def _sliced(
    model: PreTrainedModel, anatomy: Anatomy, kept: Kept, layer: int, name: str, tensor: torch.Tensor
) -> torch.Tensor:
    """The kept rows (or input columns) of one tensor of a layer."""
    module, _, _kind = name.rpartition(".")
    if kept.neurons is not None:
        neurons = kept.neurons[layer].to(tensor.device)
        if module in anatomy.mlp_in:
            return tensor[neurons]
        # A bias has no input columns.
        if module == anatomy.mlp_out and tensor.ndim == 2:
            return tensor[:, neurons]
    if kept.heads is not None:
        shared = int(model.config.num_attention_heads) // key_heads(model)
        per_key = {anatomy.attention_in[0]: shared, anatomy.attention_in[1]: 1, anatomy.attention_in[2]: 1}
        if module in per_key:
            return tensor[_rows_of_heads(kept.heads[layer], per_key[module] * head_size(model)).to(tensor.device)]
        if module == anatomy.attention_out and tensor.ndim == 2:
            return tensor[:, _rows_of_heads(kept.heads[layer], shared * head_size(model)).to(tensor.device)]
    return tensor


def _rows_of_heads(heads: torch.Tensor, size: int) -> torch.Tensor:
    """Row numbers of these heads, where each has ``size`` rows in a row."""
    return (heads[:, None] * size + torch.arange(size)).reshape(-1)
