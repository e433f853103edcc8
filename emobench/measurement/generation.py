"""Prefill and decode of a causal language model apart, with a constant number of tokens. Samples nothing: greedy."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from emobench.devices import synchronize
from emobench.measurement.clock import median_interval
from emobench.outcomes import Metric, metric
from emobench.specs import DeviceKind


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
    return Decoding(cache=output.past_key_values, next_ids_B1=output.logits[:, -1:].argmax(-1))


@torch.inference_mode()
def decode(model: nn.Module, state: Decoding, new_tokens: int) -> torch.Tensor:
    """Feed ``new_tokens`` tokens one at a time; end-of-text is an ordinary token here, so the work is constant.

    Returns the tokens fed, shape (batch, new_tokens); ``state`` has moved on by as many.
    """
    fed: list[torch.Tensor] = []
    for _ in range(new_tokens):
        fed.append(state.next_ids_B1)
        output = model(input_ids=state.next_ids_B1, past_key_values=state.cache, use_cache=True)
        state.cache = output.past_key_values
        state.next_ids_B1 = output.logits[:, -1:].argmax(-1)
    return torch.cat(fed, dim=1)


def generation_metrics(
    model: nn.Module, prompts_BT: torch.Tensor, *, device: DeviceKind, new_tokens: int, rounds: int
) -> list[Metric]:
    """Time to the first token from prefills, time per output token from decode-only passes; never by subtraction.

    Every decode-only pass starts from a prefill of its own, not timed with it. The device is synchronised at both ends.
    """
    first: list[float] = []
    each: list[float] = []
    for _ in range(rounds):
        synchronize(device)
        start = time.perf_counter_ns()
        state = prefill(model, prompts_BT)
        synchronize(device)
        middle = time.perf_counter_ns()
        decode(model, state, new_tokens)
        synchronize(device)
        first.append((middle - start) / 1e9)
        each.append((time.perf_counter_ns() - middle) / 1e9 / new_tokens)
    tpot = float(np.median(each))
    return [
        metric("ttft_p50_seconds", float(np.median(first)), ci=median_interval(first), n=rounds),
        metric("tpot_p50_seconds", tpot, ci=median_interval(each), n=rounds),
        metric("tokens_per_second", len(prompts_BT) / tpot, n=rounds),
    ]
