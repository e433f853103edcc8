"""Kinds: columns, labels and texts of each kind are told, and thin evidence is unknown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from emobench.data.analyze.kinds import Kinds, text_kind
from emobench.data.documents import Document
from tests.data.analyze.planted import reviews

PYTHON = '''import os

def read(path: str) -> str:
    """Return the content."""
    with open(path) as stream:
        return stream.read()

for name in os.listdir("."):
    print(read(name))
'''
JAVA = """public class Main {
    private int count = 0;

    public static void main(String[] args) {
        System.out.println("hello");
    }
}
"""
QUESTION = "Question: Who wrote the play?\nAnswer: Nobody knows."
INSTRUCTION = "### Instruction:\nTranslate the sentence.\n\n### Response:\nVoilà."
CHAT = "<|im_start|>user\nHello there<|im_end|>\n<|im_start|>assistant\nHi"
LETTER = "Dear all,\nI went home early;\nthe others stayed for dinner.\nIt was a good evening:\nwe talked.\nYours, A."


def result_of(texts: Sequence[str], labels: Sequence[str | None] = (), columns: Sequence[str] = ()) -> dict[str, Any]:
    found = Kinds(columns=columns)
    given = [*labels, *([None] * (len(texts) - len(labels)))]
    found.add(
        [Document(text, label, f"f:{row}") for row, (text, label) in enumerate(zip(texts, given, strict=True))], []
    )
    return dict(found.result())


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (PYTHON, "code"),
        (JAVA, "code"),
        (QUESTION, "question answering"),
        ("Q: why?\nA: because it is so", "question answering"),
        (INSTRUCTION, "instruction"),
        (CHAT, "instruction"),
        ("Human: do this\n\nAssistant: done", "instruction"),
        (LETTER, "plain text"),
        ("What a question: is it one? The answer is no.", "plain text"),
        ("two words", "unknown"),
        ("", "unknown"),
    ],
)
def test_single_texts(text: str, kind: str) -> None:
    """By marks at the beginnings of lines."""
    assert text_kind(text) == kind


def test_reviews_are_plain() -> None:
    """Of 2,000 long reviews fewer than 1 in 100 is taken for anything else."""
    kinds = [text_kind(text) for text, _ in reviews()[:2_000]]
    assert kinds.count("plain text") > 0.99 * len(kinds)


@pytest.mark.parametrize(
    ("columns", "kind"),
    [
        (("id", "Question", "answer"), "question answering"),
        (("instruction", "input", "output"), "instruction"),
        (("messages",), "instruction"),
        (("code", "language"), "code"),
    ],
)
def test_columns_tell_a_kind(columns: Sequence[str], kind: str) -> None:
    """Names of columns count before texts."""
    found = result_of(["a plain little text"] * 30, columns=columns)
    assert found["kind"] == kind
    assert "columns" in found["why"]


@pytest.mark.parametrize(
    ("texts", "labels", "kind"),
    [
        ([PYTHON] * 30, [], "code"),
        ([INSTRUCTION] * 16 + [LETTER] * 14, [], "instruction"),
        ([LETTER] * 30, ["a", "b"] * 15, "classification"),
        ([LETTER] * 30, ["a"] * 30, "plain text"),
        ([LETTER] * 30, ["a", "b"] * 10, "plain text"),
        ([LETTER] * 30, [f"{row}" for row in range(30)], "plain text"),
        ([LETTER] * 30, [], "plain text"),
        ([LETTER] * 19, ["a", "b"] * 9, "unknown"),
        ([PYTHON] * 10 + [LETTER] * 10 + [QUESTION] * 10, [], "unknown"),
        (["one"] * 30, [], "unknown"),
        ([], [], "unknown"),
    ],
)
def test_a_kind_needs_evidence(texts: list[str], labels: list[str], kind: str) -> None:
    """Half of at least 20 texts, or labels on nine of ten with five texts each."""
    found = result_of(texts, labels)
    assert found["kind"] == kind
    assert found["why"]
    assert sum(entry["count"] for entry in found["texts"].values()) == len(texts)


def test_too_many_labels_are_not_counted_on() -> None:
    """More than 1,000 are no classes, and their number is not known."""
    found = result_of([LETTER] * 6_006, [f"{row % 1001}" for row in range(6_006)])
    assert (found["labels"], found["kind"]) == (None, "plain text")
