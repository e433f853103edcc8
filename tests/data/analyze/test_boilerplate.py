"""Boilerplate: counts are those of a dictionary; the same document many times is none."""

from __future__ import annotations

from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emobench.data.analyze import boilerplate as module
from emobench.data.analyze.boilerplate import LEAST_DOCUMENTS, Boilerplate
from emobench.data.documents import Document

LINES = tuple(f"line {word} that is long enough to be counted as a line" for word in ("one", "two", "three"))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.lists(
            st.sampled_from((*LINES, "short line", "Line one THAT is long enough to be counted, as a line")), max_size=4
        ),
        max_size=50,
    )
)
def test_counts_are_those_of_a_dictionary(rows: list[list[str]]) -> None:
    """Documents that hold a line of 40 bytes or more that stands in five different texts or more."""
    found = Boilerplate()
    texts = ["\n".join(lines) for lines in rows]
    found.add([Document(text, None, f"f:{row}") for row, text in enumerate(texts)], [])
    result = found.result()
    holding: defaultdict[str, set[int]] = defaultdict(set)
    for row, lines in enumerate(rows):
        for line in lines:
            if len(line) >= 40:
                holding[line.casefold()].add(row)
    many = {line: at for line, at in holding.items() if len({texts[row] for row in at}) >= LEAST_DOCUMENTS}
    assert result["segments"] == len(many)
    assert result["holding"] == {"count": len(set().union(*many.values())), "of": len(rows)}
    assert {example["text"].casefold(): example["documents"]["count"] for example in result["examples"]} == {
        line: len(at) for line, at in many.items()
    }


def test_the_same_document_many_times_is_no_boilerplate() -> None:
    """Its lines stand in one text only."""
    found = Boilerplate()
    found.add([Document(LINES[0] + "\n" + LINES[1], None, f"f:{row}") for row in range(100)], [])
    assert found.result()["segments"] == 0


def test_a_text_that_was_not_kept_is_not_invented(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the list of texts is full, the place alone is given."""
    monkeypatch.setattr(module, "_KEPT_TEXTS", 0)
    found = Boilerplate()
    found.add([Document(f"{row}\n{LINES[0]}", None, f"f:{row}") for row in range(10)], [])
    (example,) = found.result()["examples"]
    assert (example["text"], example["place"], example["documents"]) == (None, "f:0", {"count": 10, "of": 10})
