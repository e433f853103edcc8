"""Attention and dropout for training on a CPU: plain matrix products, and dropout masks from a cheap generator.

torch draws a mask one 53-bit number an element; here one 64-bit number of SFC64 gives four elements. Distribution,
independence and reproducibility are those of ordinary dropout; the bits are not the same as torch's. On a GPU none of
this is of use.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import eager_mask

NAME = "emobench"
"""What ``set_attn_implementation`` knows the attention of this module as."""

_LEVELS = 1 << 16
"""A mask element is kept or dropped by one number of 16 bits."""


def register() -> None:
    """Make the attention known to transformers under :data:`NAME`; doing it again changes nothing."""
    AttentionInterface.register(NAME, attention)
    AttentionMaskInterface.register(NAME, eager_mask)


def dropout_mask(shape: torch.Size, p: float, dtype: torch.dtype) -> torch.Tensor:
    """Draw a mask of 0 and 1/keep of the given shape on the CPU, where an element is 0 with probability ``p``.

    ``p`` is rounded to a multiple of 2**-16 and the scale is exact for the rounded value. One number of torch's default
    generator seeds the whole mask, so ``torch.manual_seed`` and a restored generator state reproduce it.
    """
    dropped = round(p * _LEVELS)
    if dropped >= _LEVELS:
        return torch.zeros(shape, dtype=dtype)
    count = math.prod(shape)
    seed = int(torch.randint(2**62, ()).item())
    raw = np.random.SFC64(seed).random_raw((count + 3) // 4)
    numbers = torch.from_numpy(raw.view(np.int16)[:count])
    # Signed numbers: the `dropped` smallest of all 2**16 are dropped.
    keep = (numbers >= dropped - _LEVELS // 2).to(dtype)
    return keep.mul_(_LEVELS / (_LEVELS - dropped)).view(shape)


class FastDropout(nn.Module):
    """``nn.Dropout`` with masks of :func:`dropout_mask`; the identity in evaluation mode and at ``p=0``."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Drop elements of ``inputs`` (any shape, on the CPU)."""
        if not self.training or self.p == 0:
            return inputs
        return inputs * dropout_mask(inputs.shape, self.p, inputs.dtype)

    def extra_repr(self) -> str:
        """What ``print(model)`` shows."""
        return f"p={self.p}"


def replace_dropout(model: nn.Module) -> int:
    """Put :class:`FastDropout` in the place of every ``nn.Dropout``, in place; return how many.

    Raises:
        ValueError: the model is not on the CPU (a programmer's mistake: the masks are drawn there).
    """
    places = {parameter.device.type for parameter in model.parameters()}
    if places - {"cpu"}:
        raise ValueError(f"fast dropout is for models on the CPU, this one is on {', '.join(sorted(places))}")
    replaced = 0
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if type(child) is nn.Dropout:
                new = FastDropout(child.p)
                new.train(child.training)
                setattr(module, name, new)
                replaced += 1
    return replaced


def attention(
    module: nn.Module,
    query_bhqd: torch.Tensor,
    key_bgkd: torch.Tensor,
    value_bgkd: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    softcap: float | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attention as transformers calls it. b batch, h heads, g key heads (h a multiple), q and k positions, d head size.

    ``attention_mask`` is additive, (b or 1, 1 or h, q, k). Returns (b, q, h, d), and no weights.
    """
    batch, heads, length, size = query_bhqd.shape
    key_length = key_bgkd.shape[2]
    scale = size**-0.5 if scaling is None else scaling
    query = (query_bhqd * scale).reshape(batch * heads, length, size)
    key = _for_all_heads(key_bgkd, heads)
    scores = torch.bmm(query, key.transpose(1, 2))
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    if attention_mask is not None:
        by_head = scores.view(batch, heads, length, key_length) + attention_mask[..., :key_length]
        scores = by_head.view(batch * heads, length, key_length)
    weights = torch.softmax(scores, -1)
    if dropout > 0 and module.training:
        weights = weights * dropout_mask(weights.shape, dropout, weights.dtype)
    out = torch.bmm(weights.to(value_bgkd.dtype), _for_all_heads(value_bgkd, heads))
    return out.view(batch, heads, length, size).transpose(1, 2).contiguous(), None


def _for_all_heads(states_bgkd: torch.Tensor, heads: int) -> torch.Tensor:
    """Repeat each key head for the query heads that share it; returns (batch x heads, positions, size)."""
    batch, groups, length, size = states_bgkd.shape
    if groups != heads:
        states_bgkd = states_bgkd.repeat_interleave(heads // groups, dim=1)
    return states_bgkd.reshape(batch * heads, length, size)
