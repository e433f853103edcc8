"""Lengths in tokens of the model that will read the texts: counts, percentiles, and what each context cuts off."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from emobench.data.analyze.sample import Sampler, mean_interval, percentile_ranks, ratio_interval, values_at
from emobench.data.documents import Document

if TYPE_CHECKING:
    from tokenizers import Tokenizer

CONTEXTS = (128, 256, 512, 1024, 2048, 4096, 8192)
"""Longest inputs in tokens that the share of truncated documents is given for."""
LEVELS = (0.05, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
"""Percentiles that are given; by nearest rank, so each is the length of a document."""
HISTOGRAM_BINS = 20


class TokenCounter:
    """Counts tokens with a model's own tokenizer, special tokens included, nothing truncated or padded."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        """Switch truncation and padding of ``tokenizer`` off, which is the backend of the model's tokenizer."""
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self.tokenizer = tokenizer

    def count(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text."""
        # The ids stay in the library's memory: only their number is asked for.
        return [len(encoding) for encoding in self.tokenizer.encode_batch_fast(list(texts))]


class Lengths:
    """The pass that keeps an exact histogram of token counts: as many entries as there are different lengths."""

    name = "lengths"

    def __init__(self, *, contexts: Sequence[int] = CONTEXTS, sampler: Sampler | None = None) -> None:
        self.contexts = sorted(set(contexts))
        self.sampler = sampler
        self.counts: Counter[int] = Counter()
        self.characters = 0
        self.products = (0, 0)
        """Sums over documents of characters squared, and of characters times tokens; kept of a sample."""

    def add(self, batch: Sequence[Document], tokens: Sequence[int]) -> None:
        """Count a batch."""
        self.counts.update(tokens)
        characters = [len(document.text) for document in batch]
        self.characters += sum(characters)
        if self.sampler is not None:
            squared, crossed = self.products
            squared += sum(count * count for count in characters)
            crossed += sum(count * length for count, length in zip(characters, tokens, strict=True))
            self.products = squared, crossed

    def result(self) -> Mapping[str, Any]:
        """Number, mean, percentiles, total, and for each context the share truncated and the share of tokens lost."""
        values = np.array(sorted(self.counts), dtype=np.int64)
        counts = np.array([self.counts[int(value)] for value in values], dtype=np.int64)
        of = int(counts.sum())
        total = int(values @ counts)
        mean = total / of
        deviation = math.sqrt(float(counts @ (values - mean) ** 2) / (of - 1)) if of > 1 else 0.0
        return {
            "documents": of,
            "tokens": self._total(total, mean, deviation, of),
            "characters": self.characters,
            "characters_per_token": self.characters / total if total else None,
            **self._ratio(
                "characters_per_token", self.characters, total, (*self.products, int(counts @ values**2)), of
            ),
            "tokens_per_document": {"mean": mean, "deviation": deviation, "of": of},
            "smallest": int(values[0]),
            "largest": int(values[-1]),
            "percentiles": [self._percentile(level, values, counts, of) for level in LEVELS],
            "contexts": [self._context(context, values, counts, of, total) for context in self.contexts],
            "histogram": histogram(values, counts),
        }

    def _total(self, total: int, mean: float, deviation: float, of: int) -> dict[str, Any]:
        """Tokens of all documents: counted, or estimated from the sample."""
        if self.sampler is None or self.sampler.fraction >= 1:
            return {"counted": total, "value": total}
        interval = mean_interval(mean, deviation, of, fraction=self.sampler.fraction)
        documents = self.sampler.read
        scaled = None if interval is None else [max(0.0, bound) * documents for bound in interval]
        return {"counted": total, "value": mean * documents, "interval": scaled}

    def _ratio(
        self, name: str, above: int, below: int, squares: tuple[int, int, int], of: int, *, most: float = math.inf
    ) -> dict[str, Any]:
        """``NAME_interval`` where the figure is of a sample; none of it is above ``most``."""
        if self.sampler is None or self.sampler.fraction >= 1:
            return {}
        bounds = ratio_interval(above, below, squares, of, fraction=self.sampler.fraction)
        return {f"{name}_interval": None if bounds is None else [min(most, bound) for bound in bounds]}

    def _percentile(
        self, level: float, values: NDArray[np.int64], counts: NDArray[np.int64], of: int
    ) -> dict[str, Any]:
        found: dict[str, Any] = {"level": level, "value": values_at([max(1, math.ceil(level * of))], values, counts)[0]}
        if self.sampler is not None and self.sampler.fraction < 1:
            ranks = percentile_ranks(level, of)
            found["interval"] = None if ranks is None else values_at(ranks, values, counts)
        return found

    def _context(
        self, context: int, values: NDArray[np.int64], counts: NDArray[np.int64], of: int, total: int
    ) -> dict[str, Any]:
        longer = values > context
        cut = np.minimum(values, context)
        kept = int(cut @ counts)
        squares = (int(counts @ cut**2), int(counts @ (cut * values)), int(counts @ values**2))
        return {
            "context": context,
            "truncated": {"count": int(counts[longer].sum()), "of": of},
            "tokens_kept_share": kept / total if total else None,
            **self._ratio("tokens_kept", kept, total, squares, of, most=1.0),
        }


def histogram(values: NDArray[np.int64], counts: NDArray[np.int64]) -> list[dict[str, int]]:
    """Documents by length in bins of equal ratio, the last of them open at no end: ``from`` and ``to`` are included."""
    low, high = max(1, int(values[0])), max(1, int(values[-1]))
    edges = np.unique(np.rint(np.geomspace(low, high + 1, HISTOGRAM_BINS + 1)).astype(np.int64))
    edges[0] = min(int(edges[0]), int(values[0]))
    ends = np.searchsorted(values, edges)
    return [
        {"from": int(start), "to": int(stop) - 1, "documents": int(counts[first:last].sum())}
        for start, stop, first, last in zip(edges[:-1], edges[1:], ends[:-1], ends[1:], strict=True)
    ]
