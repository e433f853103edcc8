"""What a detector is: it sees every batch of documents once, with the token count of each, and gives plain values.

A share is given as ``{"count": c, "of": n}``, wherever it stands in a result: the analysis adds ``share``, and
``interval`` (95 %) where only a sample was read. A mean is given as ``{"mean": m, "deviation": s, "of": n}``, likewise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from emobench.data.documents import Document


class Pass(Protocol):
    """One question asked of all documents, in memory that does not grow with their number."""

    name: str
    """Section of the analysis that holds the answer."""

    def add(self, batch: Sequence[Document], tokens: Sequence[int]) -> None:
        """Take a batch of at most 1,024 documents; ``tokens`` has as many entries, special tokens included."""
        ...

    def result(self) -> Mapping[str, Any]:
        """The answer in plain JSON values; None stands for what is not known. Called once, after the last batch."""
        ...
