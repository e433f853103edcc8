"""Vocabulary: exact below the cap, within its stated error above, and Heaps' law found again."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emobench.data.analyze.scan import mixed
from emobench.data.analyze.vocabulary import (
    MOST_VOCABULARY,
    DistinctWords,
    Vocabulary,
    heaps_law,
    tokenizer_size,
)
from emobench.data.documents import Document
from tests.data.analyze.planted import batches, reviews
from tests.data.analyze.test_scan import slow_words


def result_of(documents: list[Document], *, size: int = 1024, cap: int = 1 << 16) -> dict[str, Any]:
    found = Vocabulary(cap=cap)
    for batch in batches(documents, size):
        found.add(batch, [0] * len(batch))
    return dict(found.result())


def test_reviews_are_counted_as_a_dictionary_counts_them() -> None:
    """Words, different words, those seen once and those seen 100 times, of 1,500 sentences."""
    texts = [text for text, _ in reviews("rotten_tomatoes-train")[:1_500]]
    counts = Counter(word for text in texts for word in slow_words(text))
    found = result_of([Document(text, None, "f") for text in texts])
    assert found["words"] == counts.total()
    assert (found["distinct_words"], found["distinct_standard_error"]) == (len(counts), 0.0)
    assert found["once"] == {"count": sum(count == 1 for count in counts.values()), "of": len(counts)}
    assert found["often"]["count"] == sum(count >= 100 for count in counts.values())
    words = [word for text in texts for word in slow_words(text)]
    for point in found["growth"]:
        assert point["distinct"] == len(set(words[: point["words"]]))


def test_estimates_are_within_their_standard_error() -> None:
    """Of 30 vocabularies of 40,000 words with a cap of 1,024, errors have the spread that is stated."""
    errors, stated = [], []
    for seed in range(30):
        keys = mixed(np.arange(seed * 10**6, seed * 10**6 + 40_000, dtype=np.uint64))
        found = DistinctWords(cap=1_024)
        found.add(np.concatenate((keys, keys)))
        assert set(found.counts.tolist()) == {2}
        errors.append(found.distinct / 40_000 - 1)
        stated.append(np.sqrt((1 - 1 / found.weight) / len(found.counts)))
    scaled = np.array(errors) / np.mean(stated)
    assert abs(scaled.mean()) < 4 / np.sqrt(30)
    assert 0.6 < scaled.std() < 1.5


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 60), st.sampled_from((8, 64, 1 << 16)), st.integers(0, 10**6))
def test_batches_change_nothing(size: int, cap: int, seed: int) -> None:
    """Growth, estimates and fit are the same for every batch size, also where the cap is reached."""
    numbers = np.random.default_rng(seed).zipf(1.3, (60, 50)) % 5_000
    documents = [Document(" ".join(f"w{number}" for number in row), None, "f") for row in numbers]
    assert result_of(documents, size=size, cap=cap) == result_of(documents, cap=cap)


def test_heaps_law_is_found_again() -> None:
    """Points on a line of the law give its constants; two points are too few."""
    points = [(words, round(7.5 * words**0.62)) for words in (10**3, 10**4, 10**5, 10**6)]
    found = heaps_law(points)
    assert found is not None
    assert found["k"] == pytest.approx(7.5, rel=0.01)
    assert found["beta"] == pytest.approx(0.62, abs=0.001)
    assert found["r_squared"] > 0.9999
    assert heaps_law(points[:2]) is None


def test_the_law_of_reviews_is_one_of_language() -> None:
    """English text grows with an exponent between 0.4 and 0.8 (Heaps 1978)."""
    found = result_of([Document(text, None, "f") for text, _ in reviews()[:400]])
    assert 0.4 < found["heaps"]["beta"] < 0.8
    assert found["heaps"]["r_squared"] > 0.99


def test_a_tokenizer_is_sized_by_words_that_come_often() -> None:
    """The largest power of two of which 95 % come 100 times or more; none for little text."""
    assert tokenizer_size(900)["size"] is None
    assert "take the model's" in tokenizer_size(900)["why"]
    assert tokenizer_size(15_565)["size"] == 16_384
    assert tokenizer_size(15_564)["size"] == 8_192
    assert tokenizer_size(10**9)["size"] == MOST_VOCABULARY
    assert "Gowda" in tokenizer_size(900)["source"]


def test_nothing_is_known_of_no_words() -> None:
    """No growth and no law, instead of a division by zero."""
    found = result_of([Document("", None, "f")])
    assert (found["words"], found["distinct_words"], found["growth"], found["heaps"]) == (0, 0, [], None)
