"""The profile of a data set, against counts made by hand and by other means."""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from emobench.catalogue.datasets import find_dataset
from emobench.catalogue.model_rows import find_model
from emobench.catalogue.profiles import find_profile
from emobench.data.clean import Cleaned, CleaningReport
from emobench.data.material import encode_splits
from emobench.data.prepare import load_splits
from emobench.data.split import Splits, make_splits
from emobench.data.splits_profile import drawn, lengths_of, near_key, profile_splits, whole_ids
from emobench.models.load import load_tokenizer

WORDS = [f"w{number}" for number in range(50)]


def words_tokenizer() -> PreTrainedTokenizerFast:
    """One token a known word, [UNK] for others, [CLS] and [SEP] around a text."""
    vocabulary = {name: index for index, name in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS])}
    backend = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="[UNK]"))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    backend.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    made = PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]"
    )
    made.model_max_length = 10**6
    return made


def some_splits(texts: dict[str, list[str]], labels: dict[str, list[int]] | None = None) -> Splits:
    report = CleaningReport(rows_read=0, dropped_by_label=0, empty=0, duplicates=3, conflicting=2, rows_kept=0)
    cleaned = {
        name: Cleaned(
            texts=tuple(rows),
            labels=tuple(labels[name] if labels else [number % 2 for number in range(len(rows))]),
            report=report,
        )
        for name, rows in texts.items()
    }
    return make_splits(cleaned, class_names=("no", "yes"), train=None, validation=None, test=None, seed=0)


def sentences(count: int, length: int, seed: int) -> list[str]:
    draw = random.Random(seed)
    return list({" ".join(draw.choices(WORDS, k=length)) for _ in range(2 * count)})[:count]


def test_counts_lengths_and_rates_are_those_of_the_texts() -> None:
    """Rows, classes, lengths with special tokens, pieces a word and unknown tokens, all counted by hand."""
    train = [f"{text} unheard" for text in sentences(40, 9, 1)]
    splits = some_splits({"train": train, "validation": sentences(10, 9, 2), "test": sentences(20, 9, 3)})
    found = profile_splits(splits, words_tokenizer(), dataset="own", max_length=11)
    assert found.rows == {"train": 40, "validation": 10, "test": 20}
    assert found.class_counts["train"] == {"no": 20, "yes": 20}
    assert found.lengths is not None
    assert not found.lengths.sampled
    assert (found.lengths.texts, found.lengths.longest, found.lengths.p50) == (70, 12, 12)
    assert found.lengths.mean == pytest.approx((40 * 12 + 30 * 11) / 70)
    assert found.share_truncated == pytest.approx(40 / 70)
    assert found.longest_input == 11
    assert found.tokens_per_word == 1.0
    assert found.unknown_share == pytest.approx(40 / (40 * 10 + 30 * 9))
    assert (found.duplicates, found.conflicting) == (9, 6)
    assert found.languages is None


def test_leaks_are_rows_that_differ_in_case_and_punctuation_only() -> None:
    """Three planted test rows and two planted training repetitions are found, and no other row is."""
    train, test = sentences(40, 8, 1), sentences(20, 8, 2)
    leaked = [train[0].upper(), train[1] + " !", train[2].replace(" ", "  ; ")]
    repeated = [train[5].title(), f"({train[6]})"]
    splits = some_splits({"train": train + repeated, "validation": sentences(10, 8, 3), "test": test + leaked})
    found = profile_splits(splits, words_tokenizer(), dataset="own", max_length=64)
    assert found.leaks == {"validation": 0, "test": 3}
    assert found.near_duplicates == 2


def test_an_unknown_token_that_means_something_else_is_not_counted() -> None:
    """Where the unknown token also ends a text, its share is not known, and is not said to be none."""
    tokenizer = words_tokenizer()
    tokenizer.eos_token = "[UNK]"
    splits = some_splits({"train": sentences(30, 8, 1)})
    assert profile_splits(splits, tokenizer, dataset="own", max_length=64).unknown_share is None


def test_a_tokenizers_settings_are_left_as_they_were() -> None:
    """Whole texts are counted although the tokenizer truncates, and it still truncates afterwards."""
    tokenizer = words_tokenizer()
    tokenizer.backend_tokenizer.enable_truncation(max_length=4)
    tokenizer.backend_tokenizer.enable_padding(length=7)
    before = (tokenizer.backend_tokenizer.truncation, tokenizer.backend_tokenizer.padding)
    assert [len(row) for row in whole_ids([" ".join(WORDS[:20])], tokenizer)] == [22]
    assert (tokenizer.backend_tokenizer.truncation, tokenizer.backend_tokenizer.padding) == before


@given(st.lists(st.integers(1, 40_000), min_size=1, max_size=300))
def test_percentiles_are_lengths_that_occur(tokens: list[int]) -> None:
    """At least that share of the texts is no longer than each percentile; shares fall with the context."""
    found = lengths_of(np.array(tokens, dtype=np.int64), sampled=False)
    assert found is not None
    for share, value in ((0.5, found.p50), (0.9, found.p90), (0.99, found.p99)):
        assert value in tokens
        assert sum(count <= value for count in tokens) >= share * len(tokens) - 1e-9
    assert found.longest == max(tokens)
    assert found.mean == pytest.approx(math.fsum(tokens) / len(tokens))
    shares = list(found.share_over.values())
    assert shares == sorted(shares, reverse=True)


@given(st.lists(st.text(), max_size=60), st.integers(1, 50), st.integers(0, 5))
def test_a_sample_is_drawn_by_its_seed(texts: list[str], count: int, seed: int) -> None:
    """The same seed draws the same texts, never one twice, and all where there are no more."""
    numbered = [f"{index} {text}" for index, text in enumerate(texts)]
    found = drawn(numbered, count, seed)
    assert found == drawn(numbered, count, seed)
    assert len(found) == len(set(found)) == min(count, len(texts))
    assert set(found) <= set(numbered)


@given(st.text(min_size=1), st.text(min_size=1))
def test_different_letters_have_different_keys(one: str, other: str) -> None:
    """Texts with equal keys differ in case, ASCII punctuation and white space only."""
    import string

    def letters(text: str) -> str:
        dropped = string.punctuation + string.whitespace
        return "".join(mark for mark in text.casefold() if mark not in dropped) or text

    assert (near_key(one) == near_key(other)) == (letters(one) == letters(other))


@pytest.mark.slow
def test_the_packaged_reviews() -> None:
    """On real data: balanced classes, no leaks, about 27 tokens a sentence, and the exact share that is cut off."""
    spec, profile = find_dataset("rotten_tomatoes-train"), find_profile("quick")
    splits = load_splits(spec, profile=profile, seed=0)
    tokenizer: Any = load_tokenizer(find_model("all-minilm-l6-v2"))
    material = encode_splits(splits, tokenizer, max_length=32)
    found = profile_splits(splits, tokenizer, dataset=spec.id, max_length=32, material=material)
    assert found.lengths is not None
    assert found.lengths.sampled
    assert 22 < found.lengths.mean < 32
    assert found.longest_input == 32
    whole = [len(row) for row in whole_ids(splits.train.texts + splits.validation.texts + splits.test.texts, tokenizer)]
    assert found.share_truncated == pytest.approx(np.mean([count >= 32 for count in whole]))
    assert set(found.class_counts["train"].values()) == {1000}
    assert 1.0 < (found.tokens_per_word or 0) < 1.5
    assert found.leaks["test"] < 10
