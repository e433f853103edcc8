"""Vocabulary: how many different words there are, how fast new ones come, and what size of tokenizer that supports.

Words are those of the scan. Different words are counted exactly up to 65,536; beyond, a sample of the words drawn by
their hashes is kept with exact counts (distinct sampling, Gibbons 2001), whose size halves as it fills up. The growth
is fitted as Heaps' law. It trains no tokenizer and knows no token: those are counted elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from emobench.data.analyze.scan import I64, U64, Scanner
from emobench.data.documents import Document

CAP = 1 << 16
"""Different words that are kept."""
FIRST_POINT = 1 << 10
"""Words at the first point of the growth; each next point has twice as many."""
_HELD_WORDS = 1 << 19
OFTEN = 100
OFTEN_SHARE = 0.95
SOURCE = (
    "after Gowda and May 2020, Finding the Optimal Vocabulary Size for Neural Machine Translation; "
    f"{OFTEN_SHARE:.0%} and {OFTEN} times are our choice"
)
LEAST_VOCABULARY = 1_024
MOST_VOCABULARY = 1 << 18


class DistinctWords:
    """Counts of the different words among those whose hash is below a limit, at most ``cap`` of them."""

    def __init__(self, *, cap: int = CAP) -> None:
        self._cap = cap
        self._level = 0
        self._keys = np.empty(0, np.uint64)
        self._counts = np.empty(0, np.int64)
        self._held: list[U64] = []
        self._held_words = 0

    def add(self, words: U64) -> None:
        """Take word hashes."""
        kept = words if not self._level else words[words < np.uint64(2 ** (64 - self._level))]
        self._held.append(kept)
        self._held_words += len(kept)
        if self._held_words > _HELD_WORDS:
            self._merge()

    def _merge(self) -> None:
        keys, counts = np.unique(np.concatenate([np.empty(0, np.uint64), *self._held]), return_counts=True)
        self._held, self._held_words = [], 0
        keys, counts = np.concatenate((self._keys, keys)), np.concatenate((self._counts, counts))
        order = np.argsort(keys, kind="stable")
        keys, counts = keys[order], counts[order]
        if len(keys):
            first = np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1])))
            keys, counts = keys[first], np.add.reduceat(counts, first)
        while len(keys) > self._cap:
            self._level += 1
            end = int(np.searchsorted(keys, np.uint64(2 ** (64 - self._level))))
            keys, counts = keys[:end], counts[:end]
        self._keys, self._counts = keys, counts

    @property
    def counts(self) -> I64:
        """How often each kept word came."""
        self._merge()
        return self._counts

    @property
    def weight(self) -> int:
        """Different words that each kept one stands for: a power of two, 1 where all are kept."""
        self._merge()
        return 1 << self._level

    @property
    def distinct(self) -> int:
        """Different words, exact where ``weight`` is 1."""
        return len(self.counts) * self.weight


class Vocabulary:
    """The detector; see the module."""

    name = "vocabulary"

    def __init__(self, *, scanner: Scanner | None = None, cap: int = CAP) -> None:
        self._scanner = scanner or Scanner()
        self._distinct = DistinctWords(cap=cap)
        self._words = 0
        self._points: list[tuple[int, int]] = []
        self._next = FIRST_POINT

    def add(self, batch: Sequence[Document], tokens: Sequence[int]) -> None:
        """Take a batch; the token counts are not used."""
        words = self._scanner.of(batch).words
        while self._words + len(words) >= self._next:
            cut = self._next - self._words
            self._take(words[:cut])
            self._points.append((self._words, self._distinct.distinct))
            words = words[cut:]
            self._next *= 2
        self._take(words)

    def _take(self, words: U64) -> None:
        self._distinct.add(words)
        self._words += len(words)

    def result(self) -> Mapping[str, Any]:
        """Counts, growth and the tokenizer sizes they support."""
        counts, weight = self._distinct.counts, self._distinct.weight
        distinct = len(counts) * weight
        points = [*self._points, (self._words, distinct)] if self._words else []
        often = int(np.count_nonzero(counts >= OFTEN)) * weight
        return {
            "words": self._words,
            "distinct_words": distinct,
            # Of len(counts) kept of distinct, each kept with probability 1 / weight.
            "distinct_standard_error": 0.0 if weight == 1 else math.sqrt((1 - 1 / weight) / len(counts)),
            "once": {"count": int(np.count_nonzero(counts == 1)) * weight, "of": distinct},
            "often": {"count": often, "of": distinct, "at_least": OFTEN},
            "growth": [{"words": words, "distinct": found} for words, found in dict(points).items()],
            "heaps": heaps_law(list(dict(points).items())),
            "tokenizer": tokenizer_size(often),
        }


def heaps_law(points: Sequence[tuple[int, int]]) -> dict[str, float] | None:
    """The line through the points (words, different words) on logarithmic axes: distinct = k * words**beta.

    Least squares; ``r_squared`` is that of the logarithms. None for fewer than three points. Source: Heaps 1978.
    """
    usable = [(words, found) for words, found in points if words > 0 and found > 0]
    if len(usable) < 3:
        return None
    x, y = np.log(np.array(usable, np.float64)).T
    beta, start = np.polyfit(x, y, 1)
    rest, spread = y - (start + beta * x), y - y.mean()
    r_squared = 1.0 if not spread.any() else float(1 - (rest @ rest) / (spread @ spread))
    return {"k": float(np.exp(start)), "beta": float(beta), "r_squared": r_squared}


def tokenizer_size(often: int) -> dict[str, Any]:
    """The largest vocabulary, a power of two, of which 95 % can be seen at least 100 times.

    ``often`` is how many different words come at least 100 times. A subword tokenizer has at least as many entries
    that often, so the size errs on the small side.
    """
    most = int(often / OFTEN_SHARE)
    if most < LEAST_VOCABULARY:
        why = f"{often:,} different words come {OFTEN} times or more: too few for a tokenizer of their own"
        return {"size": None, "why": f"{why}; take the model's", "source": SOURCE}
    size = min(MOST_VOCABULARY, 1 << (most.bit_length() - 1))
    return {"size": size, "why": f"{often:,} different words come {OFTEN} times or more", "source": SOURCE}
