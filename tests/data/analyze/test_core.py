"""One pass hands every document with its token count to every question, in order, and keeps what came of it."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from emobench.data.analyze.cache import cache_key, content_digest, kept_path, load, store
from emobench.data.analyze.core import BATCHES_AHEAD, Analysis, analyze
from emobench.data.analyze.labels import Labels
from emobench.data.analyze.lengths import Lengths
from emobench.data.analyze.sample import Sampler
from emobench.data.document_sources import find_source
from emobench.data.documents import Document
from emobench.errors import DataError


class Words:
    """Counts words as if they were tokens."""

    def count(self, texts: Sequence[str]) -> list[int]:
        return [len(text.split()) for text in texts]


class Seen:
    """A pass that remembers what it was given."""

    name = "seen"

    def __init__(self) -> None:
        self.found: list[tuple[str, int]] = []

    def add(self, batch: Sequence[Document], tokens: Sequence[int]) -> None:
        self.found += [(document.text, count) for document, count in zip(batch, tokens, strict=True)]

    def result(self) -> Mapping[str, Any]:
        return {"even": {"count": sum(count % 2 == 0 for _, count in self.found), "of": len(self.found)}}


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    items = ({"text": "word " * (number % 5 + 1), "label": str(number % 2)} for number in range(3000))
    path.write_text("".join(json.dumps(item) + "\n" for item in items))
    return path


def run(path: Path, sampler: Sampler | None = None, **options: Any) -> tuple[Analysis, Seen]:
    seen = Seen()
    source = find_source(str(path), {})
    passes = [seen, Labels(), Lengths(sampler=sampler)]
    return analyze(source, passes=passes, tokenizer=Words(), tokenizer_name="words", sampler=sampler, **options), seen


def test_every_pass_sees_every_document_once_in_order(rows: Path) -> None:
    """Texts and counts belong together, whatever thread counted them."""
    found, seen = run(rows)
    assert seen.found == [("word " * (number % 5 + 1), number % 5 + 1) for number in range(3000)]
    assert found.sample is None
    assert found.source["documents"] == 3000
    assert found.sections["seen"]["even"] == {"count": 1200, "of": 3000, "share": 0.4}
    assert found.sections["lengths"]["tokens"]["value"] == 9000
    assert [entry["count"] for entry in found.sections["labels"]["classes"]] == [1500, 1500]


def test_a_sample_has_intervals_on_every_figure(rows: Path) -> None:
    """Shares, means, totals and percentiles; equal seeds give the equal analysis."""
    found, seen = run(rows, Sampler(10, seed=1))
    again, _ = run(rows, Sampler(10, seed=1))
    assert found == again
    assert found.sample is not None
    assert found.sample["documents"] == len(seen.found) < 500
    assert found.sample["of"] == found.source["documents"] == 3000
    lengths = found.sections["lengths"]
    low, high = found.sections["seen"]["even"]["interval"]
    assert low < 0.4 < high
    assert lengths["tokens"]["interval"][0] < 9000 < lengths["tokens"]["interval"][1]
    assert lengths["tokens_per_document"]["interval"][0] < 3 < lengths["tokens_per_document"]["interval"][1]
    assert all("interval" in entry for entry in lengths["percentiles"])
    assert all("interval" in entry["truncated"] for entry in lengths["contexts"])


def test_an_empty_sample_is_an_error(tmp_path: Path) -> None:
    """Nothing is said of nothing."""
    path = tmp_path / "one.txt"
    path.write_text("a single line\n")
    with pytest.raises(DataError) as caught:
        run(path, Sampler(5, seed=0))
    assert str(caught.value).endswith(
        "no document is in the sample; it has 1 documents; take a larger --sample, or another --seed"
    )


def test_what_a_pass_raises_reaches_the_caller(rows: Path) -> None:
    """The thread that counts ahead hides no error."""

    class Broken(Words):
        def count(self, texts: Sequence[str]) -> list[int]:
            raise DataError("broken", why="planted", fix="none")

    with pytest.raises(DataError, match="planted"):
        analyze(find_source(str(rows), {}), passes=[], tokenizer=Broken(), tokenizer_name="x")


def test_progress_is_told_in_bytes(rows: Path) -> None:
    """From nothing to all bytes and documents, never backwards."""
    told: list[tuple[int, int, int]] = []
    run(rows, watch=lambda done, size, documents: told.append((done, size, documents)))
    size = rows.stat().st_size
    assert told[0] == (0, size, 0)
    assert told[-1] == (size, size, 3000)
    assert told == sorted(told)
    assert [documents for _, _, documents in told] == [0, 1024, 2048, 3000]


@pytest.mark.parametrize("slow", [0, 1])
def test_counting_ahead_keeps_the_order(rows: Path, slow: int) -> None:
    """Two batches are counted at a time: whichever is ready first, counts stay with their texts."""

    class Uneven(Words):
        def __init__(self) -> None:
            self.calls = count()

        def count(self, texts: Sequence[str]) -> list[int]:
            if next(self.calls) % 2 == slow:
                time.sleep(0.05)
            return super().count(texts)

    seen = Seen()
    analyze(find_source(str(rows), {}), passes=[seen], tokenizer=Uneven(), tokenizer_name="words")
    assert seen.found == [("word " * (number % 5 + 1), number % 5 + 1) for number in range(3000)]


def test_reading_ahead_is_bounded(tmp_path: Path) -> None:
    """While the passes look at a batch, no more are held than are said to be; a pass that fails ends the reading."""
    path = tmp_path / "rows.txt"
    path.write_text("a line\n" * 1024 * 40)
    source = find_source(str(path), {})
    counted = []

    class Slow(Words):
        def count(self, texts: Sequence[str]) -> list[int]:
            counted.append(len(texts))
            return super().count(texts)

    class Stops(Seen):
        def add(self, batch: Sequence[Document], tokens: Sequence[int]) -> None:
            time.sleep(0.05)
            super().add(batch, tokens)
            if len(self.found) > 4 * 1024:
                raise DataError("stop", why="planted", fix="none")

    with pytest.raises(DataError, match="planted"):
        analyze(source, passes=[Stops()], tokenizer=Slow(), tokenizer_name="words")
    assert 5 <= len(counted) <= 5 + BATCHES_AHEAD + 1


def test_a_kept_analysis_is_the_same(rows: Path, tmp_path: Path) -> None:
    """What was stored is what is loaded."""
    found, _ = run(rows, Sampler(50))
    store(tmp_path, "key", found)
    assert load(tmp_path, "key") == found
    assert load(tmp_path, "other") is None


def test_a_broken_kept_analysis_is_not_used(rows: Path, tmp_path: Path) -> None:
    """Cut anywhere, or with any byte changed, it is as if it were not there."""
    store(tmp_path, "key", run(rows)[0])
    path = kept_path(tmp_path, "key")
    whole = path.read_bytes()
    for end in (0, 10, 64, 65, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:end])
        assert load(tmp_path, "key") is None
    for place in (0, 70, len(whole) - 2):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert load(tmp_path, "key") is None


def test_the_key_is_of_content_names_and_options(tmp_path: Path) -> None:
    """A changed byte, a changed name and a changed option make another key; a copy elsewhere does not."""
    one, other = tmp_path / "a.txt", tmp_path / "b.txt"
    one.write_text("text")
    other.write_text("text")
    digest = content_digest([one], ["a.txt"])
    assert content_digest([other], ["a.txt"]) == digest
    assert content_digest([one], ["b.txt"]) != digest
    other.write_text("test")
    assert content_digest([other], ["a.txt"]) != digest
    assert content_digest([tmp_path / "gone"], ["a.txt"]) != digest
    assert cache_key(digest, {"sample": 5}) != cache_key(digest, {"sample": 6})
