"""Prefill and decode of a causal language model apart, with a constant number of tokens. Samples nothing: greedy."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers.modeling_outputs import CausalLMOutputWithPast

from emobench.devices import synchronize
from emobench.measurement.clock import median_interval
from emobench.outcomes import Metric, metric
from emobench.specs import DeviceKind

CACHE = "cache" if "cache" in CausalLMOutputWithPast.__dataclass_fields__ else "past_key_values"
"""What the installed transformers calls a decoder's KV cache, given and returned: ``cache`` since 5.24."""


@dataclass(kw_only=True)
class Decoding:
    """A prompt that has been read: the KV cache and the token to feed next."""

    cache: Any
    next_ids_B1: torch.Tensor
    """Shape (batch, 1)."""


@torch.inference_mode()
def prefill(model: nn.Module, input_ids_BT: torch.Tensor) -> Decoding:
    """Read prompts of equal length (batch, tokens) and choose the first new token of each."""
    output = model(input_ids=input_ids_BT, use_cache=True, logits_to_keep=1)
    return Decoding(cache=output[CACHE], next_ids_B1=output.logits[:, -1:].argmax(-1))


@torch.inference_mode()
def decode(model: nn.Module, state: Decoding, new_tokens: int) -> torch.Tensor:
    """Feed ``new_tokens`` tokens one at a time; end-of-text is an ordinary token here, so the work is constant.

    Returns the tokens fed, shape (batch, new_tokens); ``state`` has moved on by as many.
    """
    fed: list[torch.Tensor] = []
    for _ in range(new_tokens):
        fed.append(state.next_ids_B1)
        output = model(input_ids=state.next_ids_B1, use_cache=True, **{CACHE: state.cache})
        state.cache = output[CACHE]
        state.next_ids_B1 = output.logits[:, -1:].argmax(-1)
    return torch.cat(fed, dim=1)


def generate(model: nn.Module, prompts_BT: torch.Tensor, tokens: int) -> Decoding:
    """A whole generation of ``tokens`` new tokens a prompt: the prefill gives the first, decoding the rest."""
    state = prefill(model, prompts_BT)
    decode(model, state, tokens - 1)
    return state


@dataclass(kw_only=True)
class Parts:
    """Prefill and decoding of the same generation timed apart, once each time it is called."""

    model: nn.Module
    prompts_BT: torch.Tensor
    device: DeviceKind
    tokens: int
    """New tokens a prompt, the first one included; at least two."""
    first_seconds: list[float] = field(default_factory=list)
    each_seconds: list[float] = field(default_factory=list)

    def __call__(self) -> None:
        """Time one prefill, then decoding alone from it. The device is synchronised at both ends of each."""
        synchronize(self.device)
        start = time.perf_counter_ns()
        state = prefill(self.model, self.prompts_BT)
        synchronize(self.device)
        middle = time.perf_counter_ns()
        decode(self.model, state, self.tokens - 1)
        synchronize(self.device)
        self.first_seconds.append((middle - start) / 1e9)
        self.each_seconds.append((time.perf_counter_ns() - middle) / 1e9 / (self.tokens - 1))

    def metrics(self, rounds: int) -> list[Metric]:
        """Time to the first token from prefills, time per output token from decode-only passes; never by subtraction.

        Of the last ``rounds`` calls: earlier ones were warm-up.
        """
        first, each = self.first_seconds[-rounds:], self.each_seconds[-rounds:]
        tpot = float(np.median(each))
        return [
            metric("ttft_p50_seconds", float(np.median(first)), ci=median_interval(first), n=len(first)),
            metric("tpot_p50_seconds", tpot, ci=median_interval(each), n=len(each)),
            metric("decode_tokens_per_second", len(self.prompts_BT) / tpot, n=len(each)),
        ]


def whole_over_parts(whole_seconds: Sequence[float], parts: Parts) -> float:
    """Median time of whole generations over what the parts add up to: TTFT + (n - 1) x time per token."""
    rounds = len(whole_seconds)
    first, each = np.median(parts.first_seconds[-rounds:]), np.median(parts.each_seconds[-rounds:])
    return float(np.median(whole_seconds) / (first + (parts.tokens - 1) * each))


def cache_bytes(cache: Any) -> int:
    """Bytes of all keys and values a transformers cache holds."""
    layers = [layer for layer in cache.layers if layer.keys is not None]
    return sum(part.numel() * part.element_size() for layer in layers for part in (layer.keys, layer.values))
