"""Lengths are the model's own token counts, and their figures are those of numpy on the plain list."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from emobench.data.analyze.lengths import LEVELS, Lengths, TokenCounter, histogram
from emobench.data.analyze.sample import Sampler
from emobench.data.documents import Document

lengths_strategy = st.lists(st.integers(0, 700) | st.integers(0, 100_000), min_size=1, max_size=80)


def add(counts: list[int], one: Lengths) -> Lengths:
    for start in range(0, len(counts), 7):
        part = counts[start : start + 7]
        one.add([Document("abc", None, "f:1")] * len(part), part)
    return one


@given(lengths_strategy)
def test_figures_are_those_of_numpy(counts: list[int]) -> None:
    """Mean, deviation, percentiles, truncated shares and kept tokens of any lengths."""
    found = add(counts, Lengths(contexts=[128, 512])).result()
    data = np.array(counts)
    assert found["tokens"] == {"counted": int(data.sum()), "value": int(data.sum())}
    assert found["tokens_per_document"]["mean"] == pytest.approx(data.mean())
    if len(counts) > 1:
        assert found["tokens_per_document"]["deviation"] == pytest.approx(data.std(ddof=1), abs=1e-6)
    expected = np.percentile(data, [100 * level for level in LEVELS], method="inverted_cdf")
    assert [entry["value"] for entry in found["percentiles"]] == expected.tolist()
    for entry in found["contexts"]:
        assert entry["truncated"] == {"count": int((data > entry["context"]).sum()), "of": len(counts)}
        if data.sum():
            assert entry["tokens_kept_share"] == pytest.approx(np.minimum(data, entry["context"]).sum() / data.sum())
    assert found["characters"] == 3 * len(counts)


@given(lengths_strategy)
def test_the_histogram_holds_every_document_once(counts: list[int]) -> None:
    """Bins lie end to end and are no more than 20; their documents sum to all."""
    values, numbers = np.unique(np.array(counts), return_counts=True)
    bins = histogram(values, numbers)
    assert sum(entry["documents"] for entry in bins) == len(counts)
    assert bins[0]["from"] <= min(counts)
    assert bins[-1]["to"] >= max(counts)
    assert all(left["to"] + 1 == right["from"] for left, right in pairwise(bins))
    assert len(bins) <= 20


def test_a_sample_scales_the_total_and_bounds_the_percentiles() -> None:
    """Tokens of all documents are the mean times their number; half the sampled percentiles enclose the truth."""
    rng = np.random.default_rng(0)
    everything = rng.lognormal(4, 0.7, 5000).astype(int)
    sampler = Sampler(20, seed=3)
    taken = [int(length) for length in everything if next(sampler)]
    found = add(taken, Lengths(sampler=sampler)).result()
    low, high = found["tokens"]["interval"]
    assert low < everything.sum() < high
    assert found["tokens"]["counted"] == sum(taken)
    kept = {entry["context"]: entry["tokens_kept_interval"] for entry in found["contexts"]}
    for context in (128, 256):
        low, high = kept[context]
        assert low < np.minimum(everything, context).sum() / everything.sum() < high <= 1
    assert kept[8192] is None, "where nothing was cut the sample does not tell how much of all would be"
    low, high = found["characters_per_token_interval"]
    assert low < 3 * len(everything) / everything.sum() < high
    truth = np.percentile(everything, [100 * level for level in LEVELS], method="inverted_cdf")
    inside = [
        entry["interval"][0] <= value <= entry["interval"][1]
        for entry, value in zip(found["percentiles"], truth, strict=True)
    ]
    assert all(inside)


def test_tokens_are_counted_whole_with_special_ones() -> None:
    """Truncation and padding that the tokenizer was saved with are switched off."""
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, "[CLS]": 1, "a": 2}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A", special_tokens=[("[CLS]", 1)])
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=6)
    assert TokenCounter(tokenizer).count(["a a a a a a a a", "", "b"]) == [9, 1, 2]
