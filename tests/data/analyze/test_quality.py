"""Quality findings: each rule on documents just inside and outside it, and planted faults among reviews."""

from __future__ import annotations

import base64
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emobench.data.analyze import quality as module
from emobench.data.analyze.quality import LONG_BYTES, RULES, Quality
from emobench.data.documents import Document
from tests.data.analyze.planted import FOOTER, batches, plant

DATA = base64.b64encode(random.Random(1).randbytes(300)).decode()


def result_of(documents: list[Document], *, size: int = 1024, parts: int = 256) -> dict[str, Any]:
    found = Quality(parts=parts)
    for batch in batches(documents, size):
        found.add(batch, [0] * len(batch))
    return dict(found.result())


def findings_of(text: str) -> set[str]:
    found = result_of([Document(text, None, "f:1")])["findings"]
    return {name for name, finding in found.items() if finding["count"]}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {"empty"}),
        (" \n\t\u2003", {"empty"}),
        ("two words", {"short"}),
        ("now three words", set()),
        ("真不错。", set()),
        ("不错。", {"short"}),
        ("x. " * (LONG_BYTES // 3), {"repeated_lines"}),
        ("x. " * (LONG_BYTES // 3 + 1), {"long", "repeated_lines"}),
        ("One line.\nOne line.\nAnother one.\nA last one.", set()),
        ("One line.\nOne line.\nOne line.\nA last one.", {"repeated_lines"}),
        ("One line. One line. One line. A last one.", {"repeated_lines"}),
        ("One line.\nOne line.\nOne line.", set()),
        ("--- *** ### $$$ one two three ---", {"mostly_symbols"}),
        ("one (two), three! four?", set()),
        ("one two\x00 three", {"control_characters"}),
        (f"see this picture {DATA} here", {"encoded_data"}),
        ("see this digest " + "0123456789abcdef" * 12 + " here", {"encoded_data"}),
        ("see this line " + "a" * 500 + " here", set()),
        ("see https://example.org/" + "some/path-with-words/" * 20 + " here", set()),
        ("a lost \ufffd sign", {"replacement_character"}),
        ("a cafÃ© in town", {"mojibake"}),
        ("it\x92s not right", {"latin_controls"}),
    ],
)
def test_each_rule_finds_what_it_says(text: str, expected: set[str]) -> None:
    """And nothing else."""
    assert findings_of(text) == expected


def test_every_finding_is_in_the_result() -> None:
    """With its rule, also where nothing was found: a count of 0 is not the same as not looked."""
    found = result_of([Document("a text without fault", None, "f:1")])
    assert set(found["findings"]) == {*RULES, "boilerplate"}
    assert all(finding["rule"] and finding["of"] == 1 for finding in found["findings"].values())
    assert found["flagged"] == {"count": 0, "of": 1}


def test_planted_faults_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of reviews with 1 % mojibake and a footer under 10 %: every one, and hardly anything else."""
    monkeypatch.setattr(module, "MOST_PLACES", 10**6)
    planted = plant()
    found = result_of(planted.documents)["findings"]
    mojibake = {example["place"] for example in found["mojibake"]["examples"]}
    assert planted.mojibake <= mojibake
    assert len(mojibake - planted.mojibake) <= len(planted.documents) / 1_000
    boilerplate = found["boilerplate"]
    assert len(planted.footers) <= boilerplate["count"] <= len(planted.footers) + len(planted.documents) / 100
    first = boilerplate["examples"][0]
    assert first["text"] == FOOTER.rstrip(".")
    assert first["documents"] == {"count": len(planted.footers), "of": len(planted.documents)}
    assert first["place"] == min(planted.footers, key=lambda place: int(place.split(":")[1]))


SENTENCES = st.sampled_from(
    (
        "The same long line that stands in many of these documents.",
        "Short.",
        "Another line that is long enough to count!",
        "x",
    )
)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.lists(SENTENCES, max_size=6).map("\n".join), max_size=40),
    st.integers(1, 41),
    st.sampled_from((1, 4, 256)),
)
def test_batches_and_partitions_change_nothing(texts: list[str], size: int, parts: int) -> None:
    """The whole result is the same for every batch size and number of partitions."""
    documents = [Document(text, None, f"f:{row}") for row, text in enumerate(texts)]
    assert result_of(documents, size=size, parts=parts) == result_of(documents)
