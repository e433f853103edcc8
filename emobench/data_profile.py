"""What is known of a data set's splits, as plain facts that checks and estimates read. Reads no data and judges none.

Whatever nobody measured is None or missing, never a guess.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class TokenLengths:
    """Tokens of whole texts before anything is cut off, special tokens included."""

    texts: int
    """Texts that were counted."""
    sampled: bool
    """True where these are a seeded sample of the texts and not all of them."""
    mean: float
    p50: int
    p90: int
    p99: int
    longest: int
    share_over: Mapping[int, float] = field(default_factory=dict)
    """Context in tokens to the share of the texts that are longer."""


@dataclass(frozen=True, kw_only=True)
class DataProfile:
    """One data set under one model's tokenizer, at one profile's sizes."""

    dataset: str
    """Id of its row, or a name for messages."""
    class_names: tuple[str, ...] = ()
    fingerprint: str = ""
    """Of texts, labels and their split; empty where the texts were not read."""
    rows: Mapping[str, int] = field(default_factory=dict)
    """Split (``train``, ``validation``, ``test``) to rows."""
    class_counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Split to class name to rows; a class without rows stands there with 0."""
    lengths: TokenLengths | None = None
    max_length: int | None = None
    """Tokens after which a text is cut off."""
    share_truncated: float | None = None
    """Share of the texts of all splits that are cut off at ``max_length``."""
    longest_input: int | None = None
    """Tokens of the longest input after cutting."""
    duplicates: int | None = None
    """Rows of the files that repeat a text of the same file with the same label; they were left out."""
    conflicting: int | None = None
    """Rows of the files whose text also stands there under another label; they were left out."""
    overlap: Mapping[str, int] = field(default_factory=dict)
    """Official split to the rows of the training file that also stand in it; they were left out of training."""
    near_duplicates: int | None = None
    """Training rows that differ from another one in case, punctuation and white space only; they are still there."""
    leaks: Mapping[str, int] = field(default_factory=dict)
    """Split to its rows that differ from a training row in case, punctuation and white space only; still there."""
    unknown_share: float | None = None
    """Share of the tokens that are the tokenizer's unknown token."""
    tokens_per_word: float | None = None
    """Tokens without special ones over words, which are what white space separates."""
    tokens_per_character: float | None = None
    languages: Mapping[str, float] | None = None
    """Language to its share of the texts; None where nobody looked."""

    def as_dict(self) -> dict[str, Any]:
        """The profile as plain values."""
        return asdict(self)

    def majority(self, split: str) -> tuple[str, float] | None:
        """The most frequent class of a split and its share, or None where the classes were not counted."""
        counts = self.class_counts.get(split, {})
        total = sum(counts.values())
        if not total:
            return None
        name = max(counts, key=lambda key: counts[key])
        return name, counts[name] / total
