"""Which columns of a table hold the text and the label, told from names and first values; a guess is called one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

TEXT_NAMES = (
    *("text", "sentence", "review", "content", "body", "document", "article", "message", "comment", "question"),
    *("prompt", "instruction", "passage", "review_text", "reviewtext", "tweet", "utterance", "query"),
)
"""Names that a column of texts often has; the first of them that a table has is taken."""
LABEL_NAMES = (
    *("label", "labels", "class", "category", "target", "sentiment", "polarity", "rating", "stars", "score"),
    *("intent", "emotion", "topic"),
)
"""Names that a column of labels often has."""
GROUPS = (
    ("instruction", "input", "output"),
    ("instruction", "output"),
    ("instruction", "context", "response"),
    ("instruction", "response"),
    ("prompt", "completion"),
    ("prompt", "response"),
    ("question", "answer"),
    ("question", "context"),
    ("premise", "hypothesis"),
    ("sentence1", "sentence2"),
    ("messages",),
    ("conversations",),
)
"""Columns that are one text together: instructions, questions with answers, pairs of sentences, conversations."""


def guess_text(columns: Mapping[str, Sequence[object]]) -> tuple[str, ...]:
    """The column or columns of texts, or none: a known group, a known name, else the longest strings."""
    by_name = {name.strip().lower(): name for name in columns if _is_text(columns[name])}
    for group in GROUPS:
        if all(name in by_name for name in group):
            return tuple(by_name[name] for name in group)
    for known in TEXT_NAMES:
        if known in by_name:
            return (by_name[known],)
    lengths = {name: _mean_length(columns[name]) for name in by_name.values()}
    longest = max(lengths, key=lambda name: lengths[name], default=None)
    return () if longest is None or lengths[longest] == 0 else (longest,)


def guess_label(columns: Mapping[str, Sequence[object]], text: Sequence[str]) -> str | None:
    """A column with a known name whose values look like labels: short, and most of them not the only one."""
    by_name = {name.strip().lower(): name for name in columns if name not in text}
    for known in LABEL_NAMES:
        name = by_name.get(known)
        if name is None:
            continue
        values = [str(value).strip() for value in columns[name] if value is not None]
        if values and max(map(len, values)) <= 64 and (len(set(values)) <= max(2, len(values) // 2)):
            return name
    return None


def _is_text(values: Sequence[object]) -> bool:
    """Whether a column holds strings that are not all numbers, or lists (conversations), in its first values."""
    filled = [value for value in values if value is not None and value != ""]
    strings = [value for value in filled if isinstance(value, str)]
    if any(isinstance(value, list) for value in filled):
        return not strings and all(isinstance(value, list) for value in filled)
    return bool(strings) and 2 * sum(map(_is_number, strings)) <= len(filled)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _mean_length(values: Sequence[object]) -> float:
    lengths = [len(value) for value in values if isinstance(value, str)]
    return sum(lengths) / max(1, len(values))
