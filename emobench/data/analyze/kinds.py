"""Kinds: whether a data set is plain text, questions and answers, instructions, code, or texts with labels.

Rules over the names of the columns, the labels and the beginning of each text, every one with its count. Where too
little speaks for any kind the answer is "unknown".
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

from emobench.data.documents import Document

Kind = Literal["plain text", "question answering", "instruction", "code", "classification", "unknown"]
TextKind = Literal["plain text", "question answering", "instruction", "code", "unknown"]

LOOKED_AT = 2_000
"""Characters of each text the rules see."""
LEAST_DOCUMENTS = 20
"""Fewer say nothing of a data set's kind by their texts."""
MOST_SHARE = 0.5
"""Of the texts that must be of a kind for the data set to be."""
LABELED_SHARE = 0.9
MOST_LABELS = 1_000
LEAST_TEXTS_A_LABEL = 5
_CODE_SHARE = 0.3
_CODE_LINES = 4

_COLUMNS: Sequence[tuple[Kind, Sequence[str]]] = (
    ("question answering", ("question answer", "question answers", "query answer", "question choices")),
    ("instruction", ("instruction", "prompt completion", "prompt response", "messages", "conversations")),
    ("code", ("code", "func_code_string", "source_code", "canonical_solution")),
)
"""Names of columns that together tell a kind."""

# Each is tried at the beginning of a line only: a search through all of the text would take ten times as long.
_QUESTION = re.compile(r"\W{0,3}(?:question|q)\s?\d{0,3}\s?[:.)]", re.IGNORECASE)
_ANSWER = re.compile(r"\W{0,3}(?:answer|a)\s?\d{0,3}\s?[:.)]", re.IGNORECASE)
_INSTRUCTION = re.compile(
    r"#{2,3} ?(?:Instruction|Response|Input)\b|(?:Human|User|Assistant|System|Instruction): ?|Below is an instruction"
)
_TURN = re.compile(r"<\|(?:im_start|user|assistant|system)\|>|\[INST\]|<start_of_turn>")
"""What chat templates begin a turn with, anywhere in a line."""
_CODE = re.compile(
    r"[ \t]*(?:#include\b|#!/|import [\w.]+(?: as \w+)?;?$|from [\w.]+ import |def \w+\(|class \w+[(:{ ]|return\b"
    r"|@\w+|function \w*\(|(?:public|private|protected|static|const|let|var|fn|func|package|using|struct)\s+\w"
    r"|(?:if|for|while|switch)\s?\(|(?:if|for|while|with|try|else|elif|except)\b.*:$|[\w.\[\]]+ ?[-+*/]?= ?\S"
    r"|//|/\*|SELECT |INSERT |CREATE )"
)
_CODE_ENDS = (";", "{", "}")


class Kinds:
    """The detector. ``columns`` are the names of the file's columns, empty where it has none."""

    name = "kind"

    def __init__(self, *, columns: Sequence[str] = ()) -> None:
        self._columns = tuple(columns)
        self._texts: dict[TextKind, int] = dict.fromkeys(get_args(TextKind), 0)
        self._labels: set[str] = set()
        self._labeled = 0
        self._count = 0

    def add(self, batch: Sequence[Document], tokens: Sequence[int]) -> None:
        """Take a batch; the token counts are not used."""
        self._count += len(batch)
        for document in batch:
            self._texts[text_kind(document.text)] += 1
        labels = [document.label for document in batch if document.label is not None]
        self._labeled += len(labels)
        if len(self._labels) <= MOST_LABELS:
            self._labels.update(labels)

    def result(self) -> Mapping[str, Any]:
        """The kind, the reasons in words, and the counts behind them."""
        labels = len(self._labels)
        kind, why = _verdict(self._columns, self._texts, self._count, labels, self._labeled)
        return {
            "kind": kind,
            "why": why,
            "columns": list(self._columns),
            "texts": {name: {"count": count, "of": self._count} for name, count in self._texts.items()},
            "labeled": {"count": self._labeled, "of": self._count},
            # None: more than can be classes.
            "labels": labels if labels <= MOST_LABELS else None,
        }


def text_kind(text: str) -> TextKind:
    """The kind of one text by its beginning; "unknown" where it has fewer than three words."""
    start = text[:LOOKED_AT]
    lines = start.split("\n")
    may_turn = ("<" in start and ("<|" in start or "<start_of" in start)) or "[INST]" in start
    if any(map(_INSTRUCTION.match, lines)) or (may_turn and _TURN.search(start)):
        return "instruction"
    if len(lines) > 1 and any(map(_QUESTION.match, lines)) and any(map(_ANSWER.match, lines)):
        return "question answering"
    if len(lines) >= _CODE_LINES and _is_code(lines):
        return "code"
    return "plain text" if len(start.split(maxsplit=3)) >= 3 else "unknown"


def _is_code(lines: Sequence[str]) -> bool:
    filled = [line for line in map(str.rstrip, lines) if line]
    marked = sum(line.endswith(_CODE_ENDS) or _CODE.match(line) is not None for line in filled)
    return len(filled) >= _CODE_LINES and marked >= _CODE_SHARE * len(filled)


def _verdict(
    columns: Sequence[str], texts: Mapping[TextKind, int], count: int, labels: int, labeled: int
) -> tuple[Kind, str]:
    names = {name.strip().casefold() for name in columns}
    for kind, groups in _COLUMNS:
        for group in groups:
            if names.issuperset(group.split()):
                return kind, f"it has the columns {' and '.join(group.split())}"
    if count < LEAST_DOCUMENTS:
        return "unknown", f"{count} texts are too few to tell (fewer than {LEAST_DOCUMENTS})"
    for name in ("code", "instruction", "question answering"):
        if texts[name] >= MOST_SHARE * count:
            return name, f"{texts[name]:,} of {count:,} texts look like it"
    if _are_classes(count, labels, labeled):
        return "classification", f"{labeled:,} of {count:,} texts have one of {labels} labels"
    if texts["plain text"] >= MOST_SHARE * count:
        return "plain text", f"{texts['plain text']:,} of {count:,} texts have no mark of another kind"
    return "unknown", f"no kind has {MOST_SHARE:.0%} of the {count:,} texts"


def _are_classes(count: int, labels: int, labeled: int) -> bool:
    enough = labeled >= LABELED_SHARE * count and labeled >= LEAST_TEXTS_A_LABEL * labels
    return 2 <= labels <= MOST_LABELS and enough
