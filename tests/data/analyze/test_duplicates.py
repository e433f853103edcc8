"""Duplicates: planted ones are found, no others are, and the result does not depend on batches or partitions."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emobench.data.analyze import duplicates as module
from emobench.data.analyze import spill
from emobench.data.analyze.duplicates import SIMILAR, Duplicates
from emobench.data.documents import Document
from tests.data.analyze.planted import batches, plant
from tests.data.analyze.test_minhash import slow_jaccard


def result_of(documents: list[Document], *, size: int = 1024, parts: int = 256) -> dict[str, Any]:
    found = Duplicates(parts=parts)
    for batch in batches(documents, size):
        found.add(batch, [0] * len(batch))
    return dict(found.result())


def pairs_of(entry: dict[str, Any]) -> set[frozenset[str]]:
    return {frozenset(example["places"]) for example in entry["examples"]}


@pytest.fixture
def all_examples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every pair that is counted is also shown."""
    monkeypatch.setattr(module, "MOST_EXAMPLES", 10**6)


@pytest.mark.slow
@pytest.mark.usefixtures("all_examples")
@pytest.mark.parametrize(("name", "recall"), [("imdb-train", 0.97), ("rotten_tomatoes-train", 0.85)])
def test_planted_duplicates_are_found(name: str, recall: float) -> None:
    """Exact copies and conflicts all and alone; near copies with 5 % of the words changed at the stated recall.

    Of sentences (27 tokens) one changed word leaves a similarity around 0.5, so fewer reach the limit.
    """
    planted = plant(name=name)
    found = result_of(planted.documents)
    assert pairs_of(found["exact"]) == planted.exact | planted.conflicts
    assert found["exact"]["count"] == len(planted.exact | planted.conflicts)
    assert pairs_of(found["conflicts"]) == planted.conflicts
    assert found["conflicts"]["count"] == 2 * len(planted.conflicts)
    near = pairs_of(found["near"])
    texts = {document.place: document.text for document in planted.documents}
    within = {pair for pair in planted.near if slow_jaccard(*(texts[place] for place in pair)) >= SIMILAR}
    assert len(near & within) >= recall * len(within)
    for pair in near:
        assert slow_jaccard(*(texts[place] for place in pair)) >= SIMILAR
    # Short sentences with the same footer or the same added sentence are alike, too.
    others = {pair for pair in near - planted.near if not (pair <= planted.footers or pair <= planted.mojibake)}
    assert len(others) <= 2
    for example in found["near"]["examples"]:
        first, second = (texts[place] for place in example["places"])
        assert example["similarity"] == round(slow_jaccard(first, second), 3)
    if name == "imdb-train":
        assert len(within) >= 0.9 * len(planted.near)


DOCUMENTS = st.lists(
    st.tuples(
        st.lists(st.sampled_from(["a", "b", "c", "d", "e", "f"]), max_size=12).map(" ".join),
        st.sampled_from((None, "x", "y")),
    ),
    max_size=40,
)


@settings(max_examples=40, deadline=None)
@given(DOCUMENTS, st.integers(1, 41), st.sampled_from((1, 4, 256)), st.booleans())
def test_batches_and_partitions_change_nothing(
    rows: list[tuple[str, str | None]], size: int, parts: int, on_disk: bool
) -> None:
    """The whole result, examples included, is the same for every batch size and partitioning, on disk or not."""
    documents = [Document(text, label, f"f:{row}") for row, (text, label) in enumerate(rows)]
    expected = result_of(documents)
    held = spill.HELD_BYTES
    try:
        spill.Partitions.__init__.__kwdefaults__["held_bytes"] = 64 if on_disk else held
        assert result_of(documents, size=size, parts=parts) == expected
    finally:
        spill.Partitions.__init__.__kwdefaults__["held_bytes"] = held


@settings(max_examples=40, deadline=None)
@given(DOCUMENTS)
def test_exact_counts_are_those_of_a_dictionary(rows: list[tuple[str, str | None]]) -> None:
    """Documents whose text stands earlier, and labeled documents of texts that have several labels."""
    documents = [Document(f" {text}\n", label, f"f:{row}") for row, (text, label) in enumerate(rows)]
    found = result_of(documents)
    seen: dict[str, list[str | None]] = {}
    for text, label in rows:
        if text:
            seen.setdefault(text, []).append(label)
    repeated = [labels for labels in seen.values() if len(labels) > 1]
    assert found["exact"]["count"] == sum(len(labels) - 1 for labels in repeated)
    assert found["exact"]["groups"] == len(repeated)
    clashing = [labels for labels in repeated if len({*labels} - {None}) > 1]
    assert found["conflicts"]["count"] == sum(label is not None for labels in clashing for label in labels)
    assert found["conflicts"]["of"] == sum(label is not None for _, label in rows)


def test_near_duplicates_under_another_label_are_told() -> None:
    """The same sentence but for case and punctuation is similar to 1; its labels are shown."""
    documents = [
        Document("A film that nobody should ever have to see.", "bad", "f:1"),
        Document("a film that nobody should ever have to see", "good", "f:2"),
        Document("Quite another text about something else entirely.", "good", "f:3"),
    ]
    found = result_of(documents)
    assert found["exact"]["count"] == 0
    assert (found["near"]["count"], found["near_conflicts"]["count"]) == (1, 1)
    (example,) = found["near_conflicts"]["examples"]
    assert (example["places"], example["labels"], example["similarity"]) == (["f:1", "f:2"], ["bad", "good"], 1.0)


def test_a_text_many_times_costs_no_comparisons(monkeypatch: pytest.MonkeyPatch) -> None:
    """Copies stand for their first: 3,000 of them are not compared with each other."""
    monkeypatch.setattr(module, "FEW_COMPARED", 1)
    documents = [Document("The same text again and again and again.", None, f"f:{row}") for row in range(3_000)]
    found = result_of(documents)
    assert (found["exact"]["count"], found["exact"]["largest"], found["near"]["count"]) == (2_999, 3_000, 0)
    assert found["near"]["complete"]


def test_an_endless_search_ends_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts that are all a little alike end the search at its limit."""
    monkeypatch.setattr(module, "FEW_COMPARED", 50)
    monkeypatch.setattr(module, "MOST_COMPARED", 0)
    random_ = random.Random(2)
    frame = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
    texts = [" ".join([*frame, *(f"w{random_.randrange(10**6)}" for _ in range(10))]) for _ in range(200)]
    found = result_of([Document(text, None, f"f:{row}") for row, text in enumerate(texts)])
    assert not found["near"]["complete"]


def test_empty_documents_are_no_duplicates() -> None:
    """Nothing, white space and signs without a word: only equal signs repeat each other."""
    texts = ["", "", "  \n", "\u2003", "!!!", "!!!", "..."]
    found = result_of([Document(text, None, f"f:{row}") for row, text in enumerate(texts)])
    assert (found["exact"]["count"], found["near"]["count"]) == (1, 0)


def test_nothing_stays_on_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """After the result the temporary folder is empty."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setitem(spill.Partitions.__init__.__kwdefaults__, "held_bytes", 64)
    result_of([Document(f"text number {row} of many", None, f"f:{row}") for row in range(100)], size=10)
    assert not list(tmp_path.iterdir())
