"""Language: which language each document is in, told by lingua, offline. The package is an optional extra.

Telling a language takes longer than everything else, so it is told for a bounded number of documents, drawn evenly by
their number, and from the beginning of each. A document is "unknown" where no language reaches the confidence that is
asked for. Without the package nothing is told, and the result says so.

lingua reads texts of fewer than 120 characters with larger models: with one such text it takes about 12 s of processor
time to load them and 1.4 GB of memory in all, else 2 s and 0.5 GB. They are worth it: of 300 English sentences none
was told to be in another language, and 10 were without them.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from emobench.data.analyze.sample import share_interval
from emobench.data.analyze.scan import mixed
from emobench.data.documents import Document
from emobench.errors import MissingExtraError
from emobench.extras import require

MOST_DOCUMENTS = 1_000
CHARACTERS = 500
"""Of each document that are looked at."""
CONFIDENCE = 0.5
"""Least confidence of a language; those of all languages sum to 1."""
MOST_PLACES = 3
UNKNOWN = "unknown"
_SEED = 20_240_519


class Language:
    """The detector; see the module."""

    name = "language"

    def __init__(
        self, *, most: int = MOST_DOCUMENTS, confidence: float = CONFIDENCE, characters: int = CHARACTERS
    ) -> None:
        self._most, self._confidence, self._characters = most, confidence, characters
        self._count = 0
        self._drawn: list[tuple[int, int, str, str]] = []
        """A heap of (minus rank, number, text, place): the documents with the lowest ranks."""

    def add(self, batch: Sequence[Document], tokens: Sequence[int]) -> None:
        """Take a batch; the token counts are not used."""
        ranks = mixed(np.arange(self._count, self._count + len(batch), dtype=np.uint64) + np.uint64(_SEED))
        for place, document in enumerate(batch):
            rank = int(ranks[place])
            if len(self._drawn) == self._most and -rank < self._drawn[0][0]:
                continue
            text = " ".join(document.text[: 2 * self._characters].split())[: self._characters]
            if not any(map(str.isalpha, text)):
                text = ""
            entry = (-rank, self._count + place, text, document.place)
            if len(self._drawn) < self._most:
                heapq.heappush(self._drawn, entry)
            else:
                heapq.heapreplace(self._drawn, entry)
        self._count += len(batch)

    def result(self) -> Mapping[str, Any]:
        """Count by language, most first, with a few places of all but the first."""
        drawn = sorted(self._drawn, key=lambda entry: entry[1])
        base = {
            "documents": self._count,
            "looked_at": len(drawn),
            "sampled": len(drawn) < self._count,
            "confidence": self._confidence,
        }
        try:
            names = detect([text for _, _, text, _ in drawn], confidence=self._confidence)
        except MissingExtraError as error:
            return base | {"languages": None, "why": f"{UNKNOWN}: {error.problem}", "fix": error.fix}
        places: dict[str, list[str]] = {}
        for name, (_, _, _, place) in zip(names, drawn, strict=True):
            shown = places.setdefault(name, [])
            if len(shown) < MOST_PLACES:
                shown.append(place)
        languages = {
            name: _share(count, len(drawn), self._count) | {"places": places[name]}
            for name, count in Counter(names).most_common()
        }
        return base | {"languages": languages, "why": None, "fix": None}


def _share(count: int, of: int, documents: int) -> dict[str, Any]:
    """A share of all documents; where some of them were drawn here, with the interval of that draw."""
    if of == documents:
        return {"count": count, "of": of}
    interval = share_interval(count, of)
    return {"count": count, "looked_at": of, "share": count / of, "interval": None if interval is None else [*interval]}


def detect(texts: Sequence[str], *, confidence: float = CONFIDENCE) -> list[str]:
    """English name of each text's language, in small letters, or "unknown".

    Raises:
        MissingExtraError: lingua is not installed.
    """
    lingua = require("lingua", feature="telling languages", extra="lang")
    filled = [text for text in texts if text]
    detector = lingua.LanguageDetectorBuilder.from_all_languages().build()
    values = detector.compute_language_confidence_values_in_parallel(filled) if filled else []
    found = iter(values)
    names = []
    for text in texts:
        best = next(found)[0] if text else None
        sure = best is not None and best.value >= confidence
        names.append(best.language.name.casefold() if best is not None and sure else UNKNOWN)
    return names
