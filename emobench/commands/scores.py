"""What an evaluation prints: one row a checkpoint, then what it got right and wrong by class. Computes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from emobench.outcomes import Metric
from emobench.records.record import Record
from emobench.reports.tables import grid, number, wrapped

_MOST_CLASSES = 10
"""More do not fit as columns; then the commonest mistakes are listed."""
_MOST_MISTAKES = 20
_SHARES = (
    ("accuracy", "accuracy\n95 % interval"),
    ("f1_macro", "F1\nmacro"),
    ("f1_weighted", "F1\nweighted"),
    ("f1_binary", "F1\nbinary"),
    ("precision_macro", "precision\nmacro"),
    ("recall_macro", "recall\nmacro"),
    ("calibration_error", "calibration\nerror"),
)


def summary_table(records: Sequence[Record]) -> str:
    """One row a checkpoint; a metric is a column where any of them has it."""
    columns = [(name, head) for name, head in _SHARES if any(record.metric(name) for record in records)]
    heads = ["checkpoint", "precision", *(head for _, head in columns), "speed\nsamples/s"]
    rows = [
        [
            str(record.case["checkpoint"]),
            str(record.case["precision"]),
            *(_share(record.metric(name)) for name, _ in columns),
            _speed(record.metric("evaluate_samples_per_second")),
        ]
        for record in records
    ]
    return grid(heads, rows, ["left", "left", *["right"] * (len(columns) + 1)])


def class_table(record: Record) -> str:
    """Precision, recall, F1 and rows of each class, and how often each was taken for which."""
    entries: Sequence[Mapping[str, Any]] = record.details["per_class"]
    confusion: Sequence[Sequence[int]] = record.details["confusion"]
    names = [str(entry["name"]) for entry in entries]
    few = len(names) <= _MOST_CLASSES
    heads = ["label", "precision", "recall", "F1", "rows", *(f"predicted\n{name}" for name in names if few)]
    rows = [
        [
            str(entry["name"]),
            *(f"{entry[key]:.3f}" for key in ("precision", "recall", "f1")),
            str(entry["support"]),
            *(str(cell) for cell in counts if few),
        ]
        for entry, counts in zip(entries, confusion, strict=True)
    ]
    lines = [grid(heads, rows, ["left", *["right"] * (len(heads) - 1)])]
    if not few:
        lines += wrapped(f"commonest mistakes: {', '.join(_mistakes(names, confusion)) or 'none'}")
    return "\n".join(lines)


def _mistakes(names: Sequence[str], confusion: Sequence[Sequence[int]]) -> list[str]:
    found = [
        (count, f"{names[label]} as {names[prediction]} {count}")
        for label, row in enumerate(confusion)
        for prediction, count in enumerate(row)
        if count and label != prediction
    ]
    return [text for _, text in sorted(found, key=lambda entry: -entry[0])[:_MOST_MISTAKES]]


def _share(item: Metric | None) -> str:
    if item is None:
        return ""
    if item.name == "accuracy" and item.ci is not None:
        return f"{item.value:.3f} ({item.ci[0]:.3f} to {item.ci[1]:.3f})"
    return f"{item.value:.3f}"


def _speed(item: Metric | None) -> str:
    return number(item.value) if item else ""
