"""Computing only the first token in the last layer of encoders whose classifier looks at nothing else.

Keys and values still come from every token, so the first token's output is the same; the query, the attention's output
and the MLP of all other tokens are left out, most of one layer's work. Which models this is right for is a table here:
a model that pools otherwise is left as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from types import MethodType
from typing import Any

import torch
from torch import nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from emobench.models.adapters import inside_adapters


def bert_layer(layer: Any, hidden_BTE: torch.Tensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
    """The output (batch, 1, width) of a BERT or RoBERTa layer for the first token."""
    attend = layer.attention.self
    context = _first_token_attention(attend, attend.query, attend.key, attend.value, hidden_BTE, attention_mask)
    output: torch.Tensor = layer.feed_forward_chunk(layer.attention.output(context, hidden_BTE[:, :1]))
    return output


def distilbert_layer(layer: Any, hidden_BTE: torch.Tensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
    """The output (batch, 1, width) of a DistilBERT layer for the first token."""
    attend = layer.attention
    context = _first_token_attention(attend, attend.q_lin, attend.k_lin, attend.v_lin, hidden_BTE, attention_mask)
    attended = layer.sa_layer_norm(attend.out_lin(context) + hidden_BTE[:, :1])
    output: torch.Tensor = layer.output_layer_norm(layer.ffn(attended) + attended)
    return output


LAYERS: dict[str, tuple[str, Callable[..., torch.Tensor]]] = {
    "BertForSequenceClassification": ("bert.encoder.layer", bert_layer),
    "RobertaForSequenceClassification": ("roberta.encoder.layer", bert_layer),
    "DistilBertForSequenceClassification": ("distilbert.transformer.layer", distilbert_layer),
}
"""Classes whose head reads the first token of the last layer and nothing else: where their layers are, and the layer's
forward pass for that token."""


def only_first_token(model: nn.Module) -> Callable[[], None]:
    """Compute the last layer for the first token alone, in place; gives the call that undoes it.

    The last layer's hidden states are then of shape (batch, 1, width); adapters around the model take part. Nothing is
    changed in a model of another class, in a decoder, or where attention weights or hidden states are asked for by the
    configuration.
    """
    inner: Any = inside_adapters(model)
    found = LAYERS.get(type(inner).__name__)
    if found is None:
        return lambda: None
    config = inner.config
    if config.output_hidden_states or config.output_attentions or getattr(config, "is_decoder", False):
        return lambda: None
    place, forward = found
    last: Any = inner.get_submodule(place)[-1]

    def for_first_token(
        self: Any, hidden_states: torch.Tensor, attention_mask: torch.Tensor | None = None, *_: Any, **__: Any
    ) -> torch.Tensor:
        return forward(self, hidden_states, attention_mask)

    before = vars(last).get("forward")
    last.forward = MethodType(for_first_token, last)

    def undo() -> None:
        # Training validates between its steps: what was there before comes back, not the class's own.
        del last.forward
        if before is not None:
            last.forward = before

    return undo


def _first_token_attention(
    attend: Any,
    query: nn.Module,
    key: nn.Module,
    value: nn.Module,
    hidden_BTE: torch.Tensor,
    attention_mask: torch.Tensor | None,
) -> torch.Tensor:
    """Attention of the first token over all, (batch, 1, width), by the implementation the model is set to."""
    size = attend.attention_head_size

    def heads(projected: torch.Tensor) -> torch.Tensor:
        return projected.view(*projected.shape[:2], -1, size).transpose(1, 2)

    implementation = ALL_ATTENTION_FUNCTIONS.get_interface(attend.config._attn_implementation, _eager)
    mask = attention_mask[:, :, :1] if attention_mask is not None else None
    context: torch.Tensor = implementation(
        attend,
        heads(query(hidden_BTE[:, :1])),
        heads(key(hidden_BTE)),
        heads(value(hidden_BTE)),
        mask,
        dropout=attend.dropout.p if attend.training else 0.0,
        scaling=attend.scaling,
    )[0]
    return context.reshape(len(hidden_BTE), 1, -1)


def _eager(
    module: nn.Module,
    query_bhqd: torch.Tensor,
    key_bhkd: torch.Tensor,
    value_bhkd: torch.Tensor,
    mask: torch.Tensor | None,
    *,
    scaling: float,
    dropout: float,
) -> tuple[torch.Tensor, None]:
    scores = query_bhqd @ key_bhkd.transpose(2, 3) * scaling
    weights = torch.softmax(scores if mask is None else scores + mask, dim=-1)
    weights = nn.functional.dropout(weights, dropout, training=module.training)
    return (weights @ value_bhkd).transpose(1, 2).contiguous(), None
