"""The analysis: one pass over all documents, counted in tokens and handed to every question asked of them.

Which questions those are is the caller's choice. While they look at one batch, the next ones are read and tokenized.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

from emobench.data.analyze.passes import Pass
from emobench.data.analyze.sample import Sampler, with_shares
from emobench.data.document_sources import Source
from emobench.data.documents import Document, open_documents
from emobench.errors import DataError

VERSION = 3
"""Raised when the same documents would give another analysis."""
BATCHES_AHEAD = 4
"""Batches that are read or counted before they are asked for."""


class Counter(Protocol):
    """What counts tokens, as :class:`emobench.data.analyze.lengths.TokenCounter`."""

    def count(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text."""
        ...


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """What a source holds. Everything is plain values."""

    source: Mapping[str, Any]
    """Files, bytes, documents, and columns with which of them were guessed."""
    tokenizer: str
    """Model whose tokenizer counted."""
    sample: Mapping[str, Any] | None
    """Percent, seed and sizes; None where all documents were read."""
    faults: Mapping[str, Any]
    """How many places could not be read, and the first of them."""
    sections: Mapping[str, Mapping[str, Any]]
    """Result of each pass by its name."""

    def to_json(self) -> dict[str, Any]:
        """The analysis as one object for a file."""
        return {
            "schema": 1,
            "version": VERSION,
            "source": dict(self.source),
            "tokenizer": self.tokenizer,
            "sample": None if self.sample is None else dict(self.sample),
            "faults": dict(self.faults),
            "sections": {name: dict(section) for name, section in self.sections.items()},
        }

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> Analysis:
        """The analysis that :meth:`to_json` wrote; KeyError where a part is missing."""
        return Analysis(**{name: content[name] for name in ("source", "tokenizer", "sample", "faults", "sections")})


def analyze(
    source: Source,
    *,
    passes: Sequence[Pass],
    tokenizer: Counter,
    tokenizer_name: str,
    sampler: Sampler | None = None,
    watch: Callable[[int, int, int], None] | None = None,
) -> Analysis:
    """Read every document of a source once, or a sample of them, and ask every pass.

    ``watch`` is told after each batch how many bytes were read, of how many, and how many documents were looked at.

    Raises:
        DataError: nothing could be read, or nothing was in the sample.
    """
    documents = open_documents(source, keep=sampler)
    seen, size = 0, documents.size_bytes
    if watch is not None:
        watch(0, size, 0)
    for batch, tokens in _ahead(iter(documents), tokenizer):
        for one in passes:
            one.add(batch, tokens)
        seen += len(batch)
        if watch is not None:
            watch(documents.bytes_read(), size, seen)
    if not seen:
        raise DataError(
            f"{source.name}: no document is in the sample",
            why=f"it has {documents.read} documents",
            fix="take a larger --sample, or another --seed",
        )
    faults = documents.faults
    return Analysis(
        source=documents.facts(),
        tokenizer=tokenizer_name,
        sample=None if sampler is None or sampler.percent >= 100 else sampler.facts(),
        faults={"count": faults.count, "shown": [{"place": place, "why": why} for place, why in faults.shown]},
        sections=with_shares({one.name: one.result() for one in passes}, 1.0 if sampler is None else sampler.fraction),
    )


def _ahead(batches: Iterator[list[Document]], tokenizer: Counter) -> Iterator[tuple[list[Document], list[int]]]:
    """Yield the batches with their counts, in order, while one thread reads the next and two count tokens.

    The tokenizers library leaves Python to others while it counts, but must wait for it before and behind: with a
    second batch at hand its own threads never stand idle meanwhile.
    """

    def step() -> tuple[list[Document], Future[list[int]]] | None:
        batch = next(batches, None)
        return None if batch is None else (batch, counting.submit(tokenizer.count, [one.text for one in batch]))

    with (
        ThreadPoolExecutor(max_workers=2, thread_name_prefix="emobench-tokens") as counting,
        ThreadPoolExecutor(max_workers=1, thread_name_prefix="emobench-reading") as reading,
    ):
        steps = deque(reading.submit(step) for _ in range(BATCHES_AHEAD))
        try:
            while (found := steps.popleft().result()) is not None:
                batch, counted = found
                tokens = counted.result()
                steps.append(reading.submit(step))
                yield batch, tokens
        finally:
            for left in steps:
                left.cancel()
