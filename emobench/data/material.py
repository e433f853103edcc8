"""Material: the three encoded splits of a case and how to pad them. Made of texts, or of random tokens."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from emobench.data.encode import Encoded, encode
from emobench.data.split import Splits
from emobench.files import cache_folder
from emobench.specs import ModelSpec, Profile

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, kw_only=True)
class Material:
    """Encoded splits, ready for training and evaluation."""

    train: Encoded
    validation: Encoded
    test: Encoded
    class_names: tuple[str, ...]
    fingerprint: str
    """Of the texts, labels and their split; hex digits."""
    pad_id: int
    padding_side: Literal["left", "right"]
    facts: dict[str, Any]
    """Rows per split, mean tokens, share truncated, and what cleaning and splitting did; for the record."""


def encode_splits(splits: Splits, tokenizer: PreTrainedTokenizerBase, *, max_length: int) -> Material:
    """Tokenize the three splits, truncated to ``max_length``; ids are kept on disk under ``tokens`` in the cache."""
    cache = cache_folder("tokens")
    train, validation, test = (
        encode(part, tokenizer, max_length=max_length, cache=cache)
        for part in (splits.train, splits.validation, splits.test)
    )
    lengths = np.concatenate([part.lengths for part in (train, validation, test)])
    return Material(
        train=train,
        validation=validation,
        test=test,
        class_names=splits.class_names,
        fingerprint=splits.fingerprint,
        pad_id=int(tokenizer.pad_token_id or 0),
        padding_side="left" if tokenizer.padding_side == "left" else "right",
        facts={
            "rows": {"train": len(train), "validation": len(validation), "test": len(test)},
            "mean_tokens": float(lengths.mean()),
            "share_truncated": float((lengths >= max_length).mean()),
            "tokens_from_cache": all(part.origin == "cache" for part in (train, validation, test)),
            **splits.report.as_dict(),
        },
    )


def random_material(model: ModelSpec, profile: Profile, *, classes: int = 2, seed: int = 0) -> Material:
    """Uniform random tokens of the profile's full length with random labels: for speed and memory only."""
    rng = np.random.default_rng(seed)
    length = min(profile.max_length, model.context)
    vocabulary = int(model.config["vocab_size"])

    def split(rows: int) -> Encoded:
        return Encoded(
            # The first hundred ids are special tokens in most vocabularies, padding among them.
            ids=rng.integers(min(100, vocabulary // 2), vocabulary, size=rows * length, dtype=np.int32),
            offsets=np.arange(rows + 1, dtype=np.int64) * length,
            labels=np.arange(rows, dtype=np.int64) % classes,
        )

    train, validation, test = (split(rows or 0) for rows in (profile.train, profile.validation, profile.test))
    fingerprint = hashlib.sha256(f"random {seed} {vocabulary} {length} {classes}".encode()).hexdigest()[:32]
    return Material(
        train=train,
        validation=validation,
        test=test,
        class_names=tuple(f"class_{index}" for index in range(classes)),
        fingerprint=fingerprint,
        pad_id=int(model.config.get("pad_token_id") or 0),
        padding_side=model.padding_side,
        facts={
            "rows": {"train": len(train), "validation": len(validation), "test": len(test)},
            "mean_tokens": float(length),
        },
    )
