"""Forward passes of a classifier over fixed inputs: what is timed, and whether rows of a batch mix."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


def random_prompts(vocabulary: int, *, rows: int, tokens: int, device: str, seed: int = 0) -> torch.Tensor:
    """Token ids (rows, tokens), uniform over the vocabulary but for its first hundred ids, where special tokens stand.

    Drawn on the CPU, so they are equal on every device.
    """
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(min(100, vocabulary // 2), vocabulary, (rows, tokens), generator=generator).to(device)


Logits = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Token ids and attention mask, both (batch, tokens), to logits (batch, classes)."""


def logits_of(model: Any) -> Logits:
    """The logits of a transformers model as a function of ids and mask."""

    def call(input_ids_BT: torch.Tensor, mask_BT: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = model(input_ids=input_ids_BT, attention_mask=mask_BT).logits
        return logits

    return call


def forward_pass(model: Logits, input_ids_BT: torch.Tensor) -> Callable[[], torch.Tensor]:
    """A call that returns the logits (batch, classes) of the inputs; every token counts, none is padding."""
    mask_BT = torch.ones_like(input_ids_BT)

    def call() -> torch.Tensor:
        with torch.inference_mode():
            return model(input_ids_BT, mask_BT)

    return call


def largest_difference(model: Logits, input_ids_BT: torch.Tensor) -> float:
    """Largest absolute difference between the first row's logits in its batch and alone, in logits."""
    together = forward_pass(model, input_ids_BT)()[:1]
    alone = forward_pass(model, input_ids_BT[:1])()
    return float((together.float() - alone.float()).abs().max())
