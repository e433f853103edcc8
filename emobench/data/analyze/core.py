"""The analysis: one pass over all documents, counted in tokens and handed to every question asked of them.

Which questions those are is the caller's choice. While they look at one batch, the next is read and tokenized.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

from emobench.data.analyze.passes import Pass
from emobench.data.analyze.sampling import Sampler, with_shares
from emobench.data.document_sources import Source
from emobench.data.documents import Document, open_documents
from emobench.errors import DataError

VERSION = 1
"""Raised when the same documents would give another analysis."""
SAY_SECONDS = 5.0
"""How often progress is said."""


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
    say: Callable[[str], None] | None = None,
) -> Analysis:
    """Read every document of a source once, or a sample of them, and ask every pass.

    Raises:
        DataError: nothing could be read, or nothing was in the sample.
    """
    documents = open_documents(source, keep=sampler)
    started = said = time.monotonic()
    seen = 0
    for batch, tokens in _ahead(_counted(iter(documents), tokenizer)):
        for one in passes:
            one.add(batch, tokens)
        seen += len(batch)
        if say is not None and time.monotonic() - said > SAY_SECONDS:
            said = time.monotonic()
            say(f"{seen:,} documents, {seen / (said - started):,.0f} a second")
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


def _counted(batches: Iterator[list[Document]], tokenizer: Counter) -> Iterator[tuple[list[Document], list[int]]]:
    for batch in batches:
        yield batch, tokenizer.count([document.text for document in batch])


def _ahead(
    batches: Iterator[tuple[list[Document], list[int]]],
) -> Iterator[tuple[list[Document], list[int]]]:
    """Yield the batches while a thread prepares the next one: the tokenizer leaves Python to others."""
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="emobench-tokens") as thread:
        pending = thread.submit(next, batches, None)
        while (found := pending.result()) is not None:
            pending = thread.submit(next, batches, None)
            yield found
