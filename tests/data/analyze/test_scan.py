"""The scan: words, segments and counts of characters are those of a slow reading, whatever the batch."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emobench.data.analyze import scan as module
from emobench.data.analyze.scan import Scanner, scan
from emobench.data.documents import Document

TEXTS = st.lists(
    st.one_of(
        st.text(max_size=60),
        st.text(alphabet="aAb 1.\n!?-\x00é\u2019\u00a0\u2014日本。한\U0001f600", max_size=60),
        st.lists(st.sampled_from(("The film", "is good.", "Very\n", "bad!", "日本語", "don\u2019t")), max_size=30).map(
            " ".join
        ),
    ),
    max_size=12,
)


def _inside(sign: str) -> bool:
    code = ord(sign)
    if code < 128:
        return sign.isalnum()
    return not (0x2000 <= code <= 0x203F or code == 0xA0 or 0x3000 <= code <= 0x303F)


def slow_words(text: str) -> list[str]:
    """The words, character by character."""
    found: list[str] = []
    open_word = False
    for sign in text:
        if not _inside(sign):
            open_word = False
            continue
        # The characters whose UTF-8 begins with E3 to E9.
        if not open_word or 0x3000 <= ord(sign) <= 0x9FFF:
            found.append("")
        found[-1] += sign.lower() if sign.isascii() else sign
        open_word = True
    return found


def slow_segments(text: str) -> list[list[str]]:
    """Words of each line or sentence that has any."""
    parts = [slow_words(part) for part in re.split(r"\n|(?<=[.!?])(?= )", text)]
    return [part for part in parts if part]


@settings(max_examples=150, deadline=None)
@given(TEXTS)
def test_words_are_those_of_a_slow_reading(texts: list[str]) -> None:
    """As many words in each document, and two hashes are equal where the words are, and only there."""
    found = scan(texts)
    slow = [slow_words(text) for text in texts]
    assert np.diff(found.word_offsets).tolist() == [len(words) for words in slow]
    flat = [word for words in slow for word in words]
    by_hash = dict(zip(found.words.tolist(), flat, strict=True))
    assert [by_hash[key] for key in found.words.tolist()] == flat
    assert len(by_hash) == len(set(flat))


@settings(max_examples=150, deadline=None)
@given(TEXTS)
def test_segments_are_those_of_a_slow_reading(texts: list[str]) -> None:
    """Each line or sentence belongs to its document and holds its words; its text is found again."""
    found = scan(texts)
    slow = [(owner, words) for owner, text in enumerate(texts) for words in slow_segments(text)]
    assert found.segment_owners.tolist() == [owner for owner, _ in slow]
    assert [slow_words(found.segment_text(index)) for index in range(len(slow))] == [words for _, words in slow]


@settings(max_examples=100, deadline=None)
@given(TEXTS)
def test_counts_are_those_of_a_slow_reading(texts: list[str]) -> None:
    """White space, signs, control characters, longest run and emptiness of each document."""
    found = scan(texts)
    space = " \t\n\r\f\v"
    for index, text in enumerate(texts):
        ascii_signs = [sign for sign in text if ord(sign) < 128]
        control = [sign for sign in ascii_signs if (ord(sign) < 32 or ord(sign) == 127) and sign not in space]
        assert found.spaces[index] == sum(sign in space for sign in ascii_signs)
        assert found.controls[index] == len(control)
        assert found.symbols[index] == sum(
            not sign.isalnum() and sign not in space and sign not in control for sign in ascii_signs
        )
        assert found.longest_run[index] == max(
            map(len, re.split(b"[ \t\n\r\f\v]", text.encode("utf-8", "surrogatepass")))
        )
        assert found.empty[index] == (not text.strip())


@settings(max_examples=80, deadline=None)
@given(TEXTS, st.integers(0, 12))
def test_a_document_is_the_same_in_any_batch(texts: list[str], cut: int) -> None:
    """What is found of documents does not depend on those beside them."""
    whole, parts = scan(texts), [scan(texts[:cut]), scan(texts[cut:])]
    for name in ("words", "segments", "segment_bytes", "spaces", "symbols", "controls", "longest_run", "digests"):
        joined = np.concatenate([getattr(part, name) for part in parts])
        assert np.array_equal(getattr(whole, name), joined), name


def test_a_document_in_pieces_has_the_same_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cutting a long document at white space changes no word, and no character is lost without white space."""
    text = "A long text of many words. " * 200 + "é" * 500
    whole = scan([text, "and another"])
    monkeypatch.setattr(module, "PIECE_BYTES", 300)
    pieces = scan([text, "and another"])
    words = np.diff(whole.word_offsets)[0] - 1
    assert np.array_equal(pieces.words[:words], whole.words[:words])
    assert (pieces.spaces[0], pieces.size_bytes[0]) == (whole.spaces[0], whole.size_bytes[0])
    assert b"".join(module._pieces(text.encode())) == text.encode()
    assert all(piece.decode() for piece in module._pieces(text.encode()))
    assert np.array_equal(pieces.words[-2:], whole.words[-2:])


def test_a_batch_is_scanned_once() -> None:
    """Detectors that share a scanner share the scan; a list that was filled anew is scanned anew."""
    scanner = Scanner()
    batch = [Document("one text", None, "a:1")]
    first = scanner.of(batch)
    assert scanner.of(list(batch)) is first
    batch[0] = Document("another text", None, "a:2")
    assert scanner.of(batch) is not first


def test_hashes_stay_the_same() -> None:
    """The hash of a word is part of stored analyses: it may change with the version of the analysis only."""
    assert scan(["word Word WORD"]).words.tolist() == [scan(["word"]).words[0]] * 3
