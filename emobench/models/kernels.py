"""Which attention a CPU runs fastest, found by timing it at the shape at hand, and cheaper dropout for training there.

On other devices nothing is changed. The choice is returned, so that a record can say what ran.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from emobench.devices import find_device
from emobench.files import cache_folder, write_bytes
from emobench.models import attention
from emobench.models.adapters import inside_adapters
from emobench.models.first_token import only_first_token
from emobench.specs import DeviceKind

ROUNDS = 5
"""Timed passes a candidate, after one thrown away; the fastest of them counts."""

PLAIN = frozenset({"bert", "distilbert", "roberta", "llama", "qwen2"})
"""Model types whose attention is the plain kind, shown by tests; others may pass arguments that ours does not know."""

MEASURED_TOKENS = 2048
"""Most tokens in a timed pass."""

Attention = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""Query, key and value of shape (rows, heads, length, head size) to the attention's output."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Shape of one layer's attention in one pass."""

    rows: int
    heads: int
    length: int
    head_size: int


def use_fastest(
    model: PreTrainedModel, device: DeviceKind, *, rows: int, length: int, training: bool, insist: str | None = None
) -> str:
    """Set the faster attention for batches of ``rows`` x ``length`` tokens and return its name; ``insist`` names one.

    For training every ``nn.Dropout`` also gets masks from the cheap generator. Models whose attention is not the plain
    kind (windows, soft capping) keep their own.
    """
    config = model.config
    if device != "cpu" or config.model_type not in PLAIN or _is_special(config):
        return str(config._attn_implementation)
    attention.register()
    if training:
        attention.replace_dropout(model)
    heads = int(config.num_attention_heads)
    head_size = int(getattr(config, "head_dim", None) or config.hidden_size // heads)
    dropout = max((part.p for part in model.modules() if isinstance(part, attention.FastDropout)), default=0.0)
    # Powers of two: near shapes share one choice. More rows than this change no ranking, and cost time and memory.
    rows = min(rows, max(1, MEASURED_TOKENS // length))
    shape = Shape(rows=_next_power(rows), heads=heads, length=_next_power(length), head_size=head_size)
    chosen = insist or remembered(shape, dropout=dropout, training=training)
    model.set_attn_implementation(chosen)
    return str(config._attn_implementation)


@contextlib.contextmanager
def scoring(model: nn.Module, device: DeviceKind, *, rows: int, length: int) -> Iterator[str]:
    """Inside the block the model computes a classifier's logits as fast as this machine can; gives the kernel's name.

    The attention is the faster one for batches of ``rows`` x ``length`` tokens, and encoders compute their last layer
    for the first token alone. Afterwards the model is as it was. What is no transformers model is left alone.
    """
    inner = inside_adapters(model)
    if not isinstance(inner, PreTrainedModel):
        yield ""
        return
    usual = str(inner.config._attn_implementation)
    undo = only_first_token(model)
    try:
        yield use_fastest(inner, device, rows=rows, length=length, training=False)
    finally:
        undo()
        inner.set_attn_implementation(usual)


def _is_special(config: PreTrainedConfig) -> bool:
    return bool(getattr(config, "sliding_window", None) or getattr(config, "attn_logit_softcapping", None))


def _next_power(number: int) -> int:
    return 1 << max(0, number - 1).bit_length()


def remembered(shape: Shape, *, dropout: float, training: bool) -> str:
    """The choice this machine made for a shape, measured once and kept: a rerun must draw the same dropout masks."""
    device = find_device("cpu")
    assert device is not None
    parts = (device.name, device.threads, torch.__version__, torch.get_default_dtype(), shape, dropout > 0, training)
    key = hashlib.sha256(repr(parts).encode()).hexdigest()[:16]
    path = cache_folder("kernels", f"{key}.txt")
    if path.exists() and (name := path.read_text().strip()) in ("sdpa", attention.NAME):
        return name
    name = fastest(shape, dropout=dropout, training=training)
    write_bytes(path, name.encode())
    return name


def fastest(shape: Shape, *, dropout: float, training: bool) -> str:
    """Time scaled-dot-product attention against plain matrix products at a shape; the name of the faster."""
    module = nn.Module().train(training)
    rate = dropout if training else 0.0
    candidates: dict[str, Attention] = {
        "sdpa": lambda q, k, v: nn.functional.scaled_dot_product_attention(q, k, v, dropout_p=rate),
        attention.NAME: lambda q, k, v: attention.attention(module, q, k, v, None, dropout=dropout)[0],
    }
    with torch.random.fork_rng(devices=[]):
        seconds = {name: _seconds(call, shape, training=training) for name, call in candidates.items()}
    return min(seconds, key=lambda name: seconds[name])


def _seconds(call: Attention, shape: Shape, *, training: bool) -> float:
    size = (shape.rows, shape.heads, shape.length, shape.head_size)
    best = float("inf")
    for _ in range(ROUNDS + 1):
        qkv = [torch.randn(size, requires_grad=training) for _ in range(3)]
        start = time.perf_counter()
        with torch.set_grad_enabled(training):
            out = call(*qkv)
            if training:
                out.sum().backward()
        best = min(best, time.perf_counter() - start)
    return best
