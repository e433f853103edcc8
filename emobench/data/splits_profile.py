"""The profile of a data set's splits: counts, lengths, cut-off share, pieces a word, repetitions across splits.

Read from splits that are loaded anyway; whole texts are tokenized for a sample only, so that it stays cheap beside
training. Judges nothing.
"""

from __future__ import annotations

import string
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from emobench.data.material import Material
from emobench.data.split import Examples, Splits
from emobench.data_profile import DataProfile, TokenLengths

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SAMPLE = 256
"""Texts tokenized whole: a share among them is known to within 6 points."""
CONTEXTS = (64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768)
"""Contexts, in tokens, for which the share of longer texts is given."""

_DROPPED = str.maketrans("", "", string.punctuation + string.whitespace)


def profile_splits(
    splits: Splits,
    tokenizer: PreTrainedTokenizerBase,
    *,
    dataset: str,
    max_length: int,
    material: Material | None = None,
    sample: int = SAMPLE,
    seed: int = 0,
) -> DataProfile:
    """Profile of splits under a tokenizer; ``material`` gives the cut-off share of all texts in place of a sample's.

    ``max_length`` is what inputs are cut off at, in tokens.
    """
    parts = {"train": splits.train, "validation": splits.validation, "test": splits.test}
    texts = drawn([text for part in parts.values() for text in part.texts], sample, seed)
    ids = whole_ids(texts, tokenizer)
    total = sum(len(part) for part in parts.values())
    lengths = lengths_of(np.array([len(row) for row in ids], dtype=np.int64), sampled=len(texts) < total)
    cut = None if lengths is None else float(np.mean([len(row) > max_length for row in ids]))
    longest = min(lengths.longest, max_length) if lengths is not None and not lengths.sampled else None
    if material is not None:
        tokens = np.concatenate([part.lengths for part in (material.train, material.validation, material.test)])
        longest = int(tokens.max()) if len(tokens) else None
        # A text of exactly max_length tokens counts as cut, as it does in the record.
        cut = float((tokens >= max_length).mean()) if len(tokens) else None
    return DataProfile(
        dataset=dataset,
        class_names=splits.class_names,
        fingerprint=splits.fingerprint,
        rows={name: len(part) for name, part in parts.items()},
        class_counts={name: class_counts(part, splits.class_names) for name, part in parts.items() if len(part)},
        lengths=lengths,
        max_length=max_length,
        share_truncated=cut,
        longest_input=longest,
        **repetitions(splits, parts),
        **piece_rates(texts, ids, tokenizer),
    )


def profile_sample(
    texts: Sequence[str],
    tokenizer: PreTrainedTokenizerBase,
    *,
    dataset: str,
    class_names: Sequence[str],
    max_length: int,
    sample: int = SAMPLE,
    seed: int = 0,
) -> DataProfile:
    """Profile of a data set that is streamed, from some of its texts: lengths and pieces a word, no counts of rows."""
    chosen = drawn(texts, sample, seed)
    ids = whole_ids(chosen, tokenizer)
    return DataProfile(
        dataset=dataset,
        class_names=tuple(class_names),
        lengths=lengths_of(np.array([len(row) for row in ids], dtype=np.int64), sampled=True),
        max_length=max_length,
        share_truncated=float(np.mean([len(row) > max_length for row in ids])) if ids else None,
        **piece_rates(chosen, ids, tokenizer),
    )


def drawn(texts: Sequence[str], count: int, seed: int) -> list[str]:
    """``count`` of the texts drawn by ``seed`` without repetition, or all of them where there are no more."""
    if len(texts) <= count:
        return list(texts)
    chosen = np.random.default_rng(seed).choice(len(texts), size=count, replace=False)
    return [texts[index] for index in sorted(chosen.tolist())]


def whole_ids(texts: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    """Token ids of whole texts, special tokens included; the tokenizer's own truncation is left as it was."""
    backend: Any = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or not texts:
        return []
    truncation, padding = backend.truncation, backend.padding
    backend.no_truncation()
    backend.no_padding()
    rows = [list(row.ids) for row in backend.encode_batch(list(texts))]
    if truncation is not None:
        backend.enable_truncation(**truncation)
    if padding is not None:
        backend.enable_padding(**padding)
    return rows


def lengths_of(tokens: NDArray[np.int64], *, sampled: bool) -> TokenLengths | None:
    """Mean, percentiles and shares beyond each context; None without a text. Percentiles are lengths that occur."""
    if not len(tokens):
        return None
    half, ninety, last = (int(np.percentile(tokens, q, method="higher")) for q in (50, 90, 99))
    return TokenLengths(
        texts=len(tokens),
        sampled=sampled,
        mean=float(tokens.mean()),
        p50=half,
        p90=ninety,
        p99=last,
        longest=int(tokens.max()),
        share_over={context: float((tokens > context).mean()) for context in CONTEXTS},
    )


def class_counts(part: Examples, names: Sequence[str]) -> dict[str, int]:
    """Class name to rows, classes without rows included."""
    counts = Counter(part.labels)
    return {name: counts[index] for index, name in enumerate(names)}


def repetitions(splits: Splits, parts: Mapping[str, Examples]) -> dict[str, Any]:
    """What cleaning and splitting left out, and what is still there but for case, punctuation and white space."""
    report = splits.report
    keys = {name: [near_key(text) for text in part.texts] for name, part in parts.items()}
    seen = set(keys["train"])
    return {
        "duplicates": sum(part.duplicates for part in report.cleaning.values()),
        "conflicting": sum(part.conflicting for part in report.cleaning.values()),
        "overlap": {"test": report.overlap_with_test, "validation": report.overlap_with_validation},
        "near_duplicates": len(keys["train"]) - len(seen),
        "leaks": {name: sum(key in seen for key in found) for name, found in keys.items() if name != "train"},
    }


def near_key(text: str) -> int:
    """Equal for texts that differ in case, ASCII punctuation and white space only, and hardly ever for others.

    A hash, so that the keys of many texts stay small; a text of punctuation alone keeps its own.
    """
    return hash(text.casefold().translate(_DROPPED) or text)


def piece_rates(
    texts: Sequence[str], ids: Sequence[Sequence[int]], tokenizer: PreTrainedTokenizerBase
) -> dict[str, Any]:
    """Unknown tokens over all, tokens over words and over characters; special tokens of the template are left out."""
    words = sum(len(text.split()) for text in texts)
    characters = sum(len(text) for text in texts)
    added = tokenizer.num_special_tokens_to_add()
    tokens = sum(len(row) - added for row in ids)
    if not ids or tokens <= 0 or not words:
        return {}
    unknown = tokenizer.unk_token_id
    rates = {"tokens_per_word": tokens / words, "tokens_per_character": tokens / characters}
    # Where one token stands for unknown text and for a text's end, what was counted would not be known.
    if unknown is not None and unknown != tokenizer.eos_token_id:
        rates["unknown_share"] = sum(list(row).count(unknown) for row in ids) / tokens
    return rates
