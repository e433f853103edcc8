"""MinHash against brute force in float64: shingle sets, similarity, the estimate's error, and how often pairs meet."""

from __future__ import annotations

import random

import numpy as np
import pytest

from emobench.data.analyze import minhash
from emobench.data.analyze.minhash import (
    BANDS,
    BINS,
    SHINGLE_WORDS,
    band_keys,
    jaccard,
    meeting_probability,
    shingles,
    signatures,
)
from emobench.data.analyze.scan import mixed, scan
from tests.data.analyze.test_scan import slow_words


def slow_set(text: str) -> set[tuple[str, ...]]:
    """Five words in a row; all words where there are fewer."""
    words = slow_words(text)
    if not words:
        return set()
    return {tuple(words[at : at + SHINGLE_WORDS]) for at in range(max(1, len(words) - SHINGLE_WORDS + 1))}


def slow_jaccard(first: str, second: str) -> float:
    one, other = slow_set(first), slow_set(second)
    return len(one & other) / len(one | other) if one | other else 0.0


def sets_of(texts: list[str]) -> list[np.ndarray]:
    found = scan(texts)
    made = shingles(found.words, found.word_offsets)
    return np.split(made.hashes, np.cumsum(made.sizes)[:-1])


def pair(size: int, similarity: float, random_: random.Random) -> tuple[np.ndarray, np.ndarray]:
    """Two sets of 32-bit numbers with this Jaccard similarity, but for rounding."""
    shared = round(2 * size * similarity / (1 + similarity))
    numbers = random_.sample(range(2**32), 2 * size - shared)
    return np.sort(numbers[:size]).astype(np.uint32), np.sort(numbers[size - shared :]).astype(np.uint32)


def signed(sets: list[np.ndarray]) -> np.ndarray:
    owners = np.repeat(np.arange(len(sets)), [len(one) for one in sets])
    return signatures(minhash.Shingles(hashes=np.concatenate(sets), owners=owners, count=len(sets)))


def test_shingle_sets_are_those_of_a_slow_reading() -> None:
    """As many shingles, and the same similarity for every pair, of random texts of 0 to 30 words."""
    random_ = random.Random(3)
    texts = [" ".join(random_.choices(["aa", "bb", "cc", "dd"], k=random_.randrange(31))) for _ in range(60)]
    texts += [texts[5] + " ee", texts[6].upper() + "!", "", "one", "one two three four five"]
    sets = sets_of(texts)
    assert [len(one) for one in sets] == [len(slow_set(text)) for text in texts]
    for at, first in enumerate(texts):
        for other, second in enumerate(texts):
            assert jaccard(sets[at], sets[other]) == pytest.approx(slow_jaccard(first, second), abs=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("size", [12, 60, 400])
@pytest.mark.parametrize("similarity", [0.2, 0.5, 0.8])
def test_the_estimate_is_unbiased_and_within_its_bound(size: int, similarity: float) -> None:
    """Over 600 pairs the mean error is below 4 standard errors; the spread is that of the bins that were filled.

    A set of n shingles fills BINS (1 - (1 - 1 / BINS)**n) bins; filled ones are copied into the others, so that the
    variance lies between J (1 - J) / BINS and J (1 - J) / (filled bins of the union).
    """
    random_ = random.Random(size)
    pairs = [pair(size, similarity, random_) for _ in range(600)]
    truth = np.array([jaccard(*one) for one in pairs])
    first, second = (signed([one[side] for one in pairs]) for side in (0, 1))
    errors = (first == second).mean(axis=1) - truth
    variance = float(np.mean(truth * (1 - truth)))
    filled = BINS * (1 - (1 - 1 / BINS) ** size)
    assert abs(errors.mean()) < 4 * np.sqrt(variance / min(filled, size) / len(pairs))
    assert errors.std() < 1.35 * np.sqrt(variance / min(filled, size))
    assert errors.std() > 0.6 * np.sqrt(variance / BINS)


def slow_signature(hashes: np.ndarray) -> list[int]:
    """One bin after the other, an empty one taking the first filled bin of its own random order."""
    smallest: dict[int, int] = {}
    for value in mixed(hashes.astype(np.uint64) + np.uint64(minhash._SEED)).tolist():
        place, low = (value >> 32) * BINS >> 32, value & 0xFFFFFFFF
        smallest[place] = min(low, smallest.get(place, low))
    random_ = np.random.default_rng(minhash._SEED)
    orders = [[place, *random_.permutation(np.delete(np.arange(BINS), place)).tolist()] for place in range(BINS)]
    return [next(smallest[source] for source in order if source in smallest) for order in orders]


def test_empty_bins_are_filled_as_a_slow_reading_fills_them() -> None:
    """Signatures of sets of 1 to 400 shingles, from one filled bin to all; no shingle gives zeros."""
    random_ = random.Random(7)
    sizes = [*range(1, 80), 150, 400]
    sets = [np.sort(random_.sample(range(2**32), size)).astype(np.uint32) for size in sizes]
    assert signed(sets).tolist() == [slow_signature(one) for one in sets]
    assert not signed([sets[0], np.empty(0, np.uint32)])[1].any()


@pytest.mark.slow
@pytest.mark.parametrize("similarity", [0.3, 0.5, 0.63, 0.8])
def test_pairs_meet_as_often_as_stated(similarity: float) -> None:
    """The share of 500 pairs that share a key is the formula's within 4 standard errors and rounding of the sets."""
    random_ = random.Random(11)
    pairs = [pair(600, similarity, random_) for _ in range(500)]
    first, second = (band_keys(signed([one[side] for one in pairs])) for side in (0, 1))
    assert first.shape == (500, BANDS)
    met = (first == second).any(axis=1).mean()
    expected = np.mean([meeting_probability(jaccard(*one)) for one in pairs])
    assert abs(met - expected) < 4 * np.sqrt(expected * (1 - expected) / 500) + 0.01


def test_equal_sets_have_equal_keys_and_bands_do_not_meet() -> None:
    """A set shares all its keys with itself; no key of one band is one of another."""
    keys = band_keys(signed([np.array([5], np.uint32), np.array([5], np.uint32), np.array([6], np.uint32)]))
    assert np.array_equal(keys[0], keys[1])
    assert len(np.unique(keys[:2])) == BANDS
    assert not np.intersect1d(keys[0], keys[2]).size
