"""MinHash: shingles of a document, a short signature of their set, and the keys under which like documents meet.

A shingle is five words in a row (all words of a shorter document). A signature has one minimum a bin: each shingle
falls into one bin by its hash and each bin keeps its smallest (one-permutation hashing, Li, Owen and Zhang 2012); a
bin that got none takes the minimum of another bin, chosen by a random order of its own (optimal densification,
Shrivastava 2017). The share of equal bins of two signatures then estimates the Jaccard similarity J of the shingle
sets without bias, with a standard error of about sqrt(J (1 - J) / bins). It compares nothing and stores nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from emobench.data.analyze.scan import I64, U64, mixed

SHINGLE_WORDS = 5
BANDS = 20
ROWS = 3
"""Bins of a band. Two documents meet where all bins of a band are equal: with probability 1 - (1 - J**3)**20."""
BINS = BANDS * ROWS
_SEED = 20_240_518
_STEP = 64
"""More than any bin: a step and a bin are one number, ordered by the step."""


@dataclass(frozen=True, kw_only=True)
class Shingles:
    """Shingle sets of D documents, each without repetition and ascending."""

    hashes: npt.NDArray[np.uint32]
    """(N,) a shingle's hash in 32 bits: two different ones are taken for one with probability 2**-32."""
    owners: I64
    """(N,) index of the document, ascending."""
    count: int
    """D."""

    @property
    def sizes(self) -> I64:
        """(D,) shingles of each document; 0 where it has no word."""
        return np.bincount(self.owners, minlength=self.count)


def shingles(words: U64, word_offsets: I64) -> Shingles:
    """Shingle sets from the word hashes of a batch, as :class:`~emobench.data.analyze.scan.Scan` has them."""
    count = len(word_offsets) - 1
    sizes = np.diff(word_offsets)
    padded = np.concatenate((words, np.zeros(SHINGLE_WORDS - 1, np.uint64)))
    total = np.zeros(len(words), np.uint64)
    owners = np.repeat(np.arange(count), sizes)
    # Words of a short document that it does not have count nothing; place says how many it has from here on.
    left = word_offsets[1:][owners] - np.arange(len(words))
    short = sizes[owners] < SHINGLE_WORDS
    whole = left >= SHINGLE_WORDS
    starts = whole | (short & (left == sizes[owners]))
    for step, factor in enumerate(_factors()):
        part = padded[step : step + len(words)] * factor
        total += np.where(left > step, part, np.uint64(0)) if short.any() else part
    keys = (owners[starts].astype(np.uint64) << np.uint64(32)) | (mixed(total[starts]) >> np.uint64(32))
    keys = np.sort(keys)
    keys = keys[np.concatenate(([True], keys[1:] != keys[:-1]))] if len(keys) else keys
    return Shingles(
        hashes=(keys & np.uint64(0xFFFFFFFF)).astype(np.uint32),
        owners=(keys >> np.uint64(32)).astype(np.int64),
        count=count,
    )


@cache
def _factors() -> U64:
    return np.random.default_rng(_SEED).integers(2**63, 2**64, SHINGLE_WORDS, dtype=np.uint64) | np.uint64(1)


def signatures(found: Shingles) -> npt.NDArray[np.uint32]:
    """(D, ``BINS``) signature of each document; zeros where it has no shingle."""
    # The shingle's own order is spent on the bin: its rank within the bin comes from other bits.
    spread = mixed(found.hashes.astype(np.uint64) + np.uint64(_SEED))
    bins = ((spread >> np.uint64(32)) * np.uint64(BINS)) >> np.uint64(32)
    cells = found.owners.astype(np.uint64) * np.uint64(BINS) + bins
    ranked = np.sort((cells << np.uint64(32)) | (spread & np.uint64(0xFFFFFFFF)))
    cells = ranked >> np.uint64(32)
    first = np.concatenate(([True], cells[1:] != cells[:-1])) if len(cells) else np.zeros(0, np.bool_)
    table = np.zeros(found.count * BINS, np.uint32)
    filled = np.zeros(found.count * BINS, np.bool_)
    at = cells[first].astype(np.int64)
    table[at] = (ranked[first] & np.uint64(0xFFFFFFFF)).astype(np.uint32)
    filled[at] = True
    return _densified(table.reshape(-1, BINS), filled.reshape(-1, BINS))


def _densified(table: npt.NDArray[np.uint32], filled: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint32]:
    """Give every empty bin the value of the filled bin that comes first in the empty one's own order."""
    first = _first_sources()
    # Eight bins at a time: what is first among them is looked up by which of them are filled.
    packed = np.packbits(filled, axis=1)
    best = first[0][packed[:, 0]]
    for byte in range(1, len(first)):
        np.minimum(best, np.take(first[byte], packed[:, byte], axis=0), out=best)
    sources = (best % _STEP).astype(np.intp) + np.arange(len(table))[:, None] * BINS
    densified: npt.NDArray[np.uint32] = np.take(table, sources)
    return densified


@cache
def _first_sources() -> npt.NDArray[np.uint16]:
    """(BINS / 8, 256, BINS) at [byte, which of its bins are filled, bin]: ``_STEP`` * step + source of the first.

    A bin looks for a source in a random order of its own, itself at step 0. Where none is filled, the largest number
    there is, whose source means nothing.
    """
    random = np.random.default_rng(_SEED)
    found = np.full((-(-BINS // 8), 256, BINS), BINS * _STEP, np.uint16)
    for place in range(BINS):
        others = np.delete(np.arange(BINS), place)
        for step, source in enumerate([place, *random.permutation(others)]):
            byte, bit = divmod(int(source), 8)
            holds = (np.arange(256) >> (7 - bit) & 1).astype(np.bool_)
            found[byte, holds, place] = np.minimum(found[byte, holds, place], step * _STEP + source)
    return found


def band_keys(signed: npt.NDArray[np.uint32]) -> U64:
    """(D, ``BANDS``) keys; two documents share a key where all bins of that band are equal."""
    random = np.random.default_rng(_SEED + 1)
    factors = random.integers(2**63, 2**64, ROWS, dtype=np.uint64) | np.uint64(1)
    grouped = mixed(signed.astype(np.uint64)).reshape(len(signed), BANDS, ROWS)
    # The band is part of the key, so that bands do not meet each other.
    total = np.arange(BANDS, dtype=np.uint64) * factors[0] + grouped[:, :, 0] * factors[0]
    for row in range(1, ROWS):
        total += grouped[:, :, row] * factors[row]
    return mixed(total)


def jaccard(first: npt.NDArray[np.uint32], second: npt.NDArray[np.uint32]) -> float:
    """Shared shingles by all shingles of two ascending sets without repetition; 0 where both are empty."""
    shared = len(np.intersect1d(first, second, assume_unique=True))
    together = len(first) + len(second) - shared
    return shared / together if together else 0.0


def meeting_probability(similarity: float) -> float:
    """Probability that two documents of this similarity share a band's key, each bin independent of the others."""
    return 1 - (1 - similarity**ROWS) ** BANDS
