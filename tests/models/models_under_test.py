"""What the tests of models share: two-layer copies of catalogue rows and a batch of texts. Not a test."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch

from emobench.catalogue.methods import METHODS
from emobench.catalogue.model_rows import MODELS, find_model
from emobench.models.load import load_tokenizer
from emobench.specs import LoraTargets, ModelSpec

MINILM = find_model("all-minilm-l6-v2")
HEAD, FULL, LORA = METHODS["head"], METHODS["full"], METHODS["lora"]
NAMES = ("negative", "positive")
TEXTS = ("a film I would gladly see again, twice", "dull")

_SIZES: dict[str, Any] = {
    "vocab_size": 120,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "dim": 32,
    "hidden_dim": 48,
    "n_layers": 2,
    "n_heads": 4,
    "head_dim": 8,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def two_layers(model_id: str) -> ModelSpec:
    """A catalogue row with two layers and small sizes, everything else as it is: key heads stay shared by two."""
    row = MODELS[model_id]
    config = {name: _SIZES.get(name, value) for name, value in row.config.items()}
    if "num_key_value_heads" in config:
        config["num_key_value_heads"] = 2
    if "layer_types" in config:
        config["layer_types"] = ["sliding_attention", "full_attention"]
    if "sliding_window" in config:
        config["sliding_window"] = 4
    groups = {group: list(getattr(row.lora_targets, group)) for group in ("attention", "mlp")}
    kept = {group: tuple(n for n in names if not n[0].isdigit() or n[0] in "01") for group, names in groups.items()}
    return row.model_copy(update={"config": config, "lora_targets": LoraTargets(**kept)})


def token_batch(padding_side: str = "right") -> dict[str, torch.Tensor]:
    """Two token sequences of 9 and 4 tokens, padded with 0 on the side given."""
    long, short = [5, 17, 80, 33, 9, 41, 66, 7, 23], [12, 99, 3, 58]
    gap = [0] * (len(long) - len(short))
    row = short + gap if padding_side == "right" else gap + short
    ids = torch.tensor([long, row])
    return {"input_ids": ids, "attention_mask": (ids != 0).long()}


@cache
def text_batch() -> dict[str, torch.Tensor]:
    """The two texts as MiniLM's tokenizer encodes them."""
    encoded = load_tokenizer(MINILM)(list(TEXTS), padding=True, return_tensors="pt")
    return {name: encoded[name] for name in ("input_ids", "attention_mask")}
