"""Language: planted texts of four languages are told, the draw is even, and without the package nothing is told."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from emobench.data.analyze import language as module
from emobench.data.analyze.language import UNKNOWN, Language
from emobench.data.documents import Document
from tests.data.analyze.planted import FOREIGN, batches, reviews


def result_of(documents: list[Document], *, size: int = 1024, **settings: Any) -> dict[str, Any]:
    found = Language(**settings)
    for batch in batches(documents, size):
        found.add(batch, [0] * len(batch))
    return dict(found.result())


def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Texts that were handed over to be told, which is faked: the first word is the language."""
    seen: list[str] = []

    def fake(texts: list[str], *, confidence: float) -> list[str]:
        seen.extend(texts)
        return [text.split()[0] if text else UNKNOWN for text in texts]

    monkeypatch.setattr(module, "detect", fake)
    return seen


def test_planted_languages_are_told() -> None:
    """Every text of a sentence or two in English, German, French or Spanish; signs and digits are unknown."""
    texts = [text for text, _ in reviews("rotten_tomatoes-train") if len(text) > 170][:40]
    expected = {"english": len(texts), UNKNOWN: 3}
    for name, sentences in FOREIGN.items():
        made = [" ".join((first, second)) for first in sentences for second in sentences if first != second][:6]
        texts += made
        expected[name] = len(made)
    texts += ["12345 67890", "", "!!! ???"]
    found = result_of([Document(text, None, f"f:{row}") for row, text in enumerate(texts)])
    counts = {name: entry["count"] for name, entry in found["languages"].items()}
    assert counts.keys() == expected.keys()
    for name, count in expected.items():
        assert counts[name] == count
        assert found["languages"][name]["of"] == len(texts)
    assert found["languages"]["german"]["places"] == ["f:40", "f:41", "f:42"]


def test_the_draw_does_not_depend_on_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same documents are drawn for every batch size, evenly over the file, and the interval is that of the draw."""
    seen = told(monkeypatch)
    documents = [Document(f"{'one' if row % 4 else 'other'} text {row}", None, f"f:{row}") for row in range(5_000)]
    found = result_of(documents, most=400)
    assert len(seen) == 400
    drawn = list(seen)
    seen.clear()
    assert result_of(documents, size=77, most=400) == found
    assert seen == drawn
    quarters = [sum(int(text.split()[-1]) // 1250 == quarter for text in drawn) for quarter in range(4)]
    assert min(quarters) > 70
    entry = found["languages"]["other"]
    assert (found["sampled"], found["looked_at"], entry["looked_at"]) == (True, 400, 400)
    assert entry["interval"][0] < 0.25 < entry["interval"][1]
    assert entry["share"] == entry["count"] / 400


def test_all_are_told_where_there_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the figures are counts of all documents."""
    told(monkeypatch)
    found = result_of([Document("one text", None, "f:1")] * 3)
    assert not found["sampled"]
    assert found["languages"] == {"one": {"count": 3, "of": 3, "places": ["f:1"] * 3}}


def test_without_the_package_it_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """The result says what to install, and names no language."""
    monkeypatch.setitem(sys.modules, "lingua", None)
    found = result_of([Document("A text in English.", None, "f:1")])
    assert found["languages"] is None
    assert found["why"].startswith("unknown: telling languages needs the package 'lingua'")
    assert found["fix"] == 'run: pip install "emobench[lang]"'
