"""Boilerplate: the same long line or sentence in many documents, such as a footer or a notice.

Counted exactly, on disk: which segments of at least 40 bytes stand in how many different documents. Documents with the
same text count once. The texts that are shown come from a list of bounded length; where it was full, the place of the
first document stands alone. It judges no single document.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from emobench.data.analyze.scan import U64, Scan, Scanner
from emobench.data.analyze.spill import PARTS, Marks, Partitions, Records, Shelf
from emobench.data.documents import Document

LEAST_BYTES = 40
"""Of a segment that counts: shorter ones are phrases people write."""
LEAST_DOCUMENTS = 5
LEAST_SHARE = 0.001
"""A segment is boilerplate where it stands in at least this many documents and this share of them."""
MOST_SHOWN = 10
_KEPT_TEXTS = 20_000
_KEPT_CHARACTERS = 200
_SEEN_BITS = 27
_KIND = np.dtype([("key", "<u8"), ("document", "<u4"), ("text", "<u4")])


class Boilerplate:
    """The detector; see the module."""

    name = "boilerplate"

    def __init__(self, *, scanner: Scanner | None = None, parts: int = PARTS) -> None:
        self._scanner = scanner or Scanner()
        self._records = Partitions(_KIND, parts=parts)
        self._seen = Marks(1 << _SEEN_BITS)
        self._texts: dict[int, str] = {}
        self._places = Shelf()
        self._count = 0

    def add(self, batch: Sequence[Document], tokens: Sequence[int]) -> None:
        """Take a batch; the token counts are not used."""
        scan = self._scanner.of(batch)
        long = np.flatnonzero(scan.segment_bytes >= LEAST_BYTES)
        owners, keys = scan.segment_owners[long], scan.segments[long]
        records = np.empty(len(long), _KIND)
        records["key"] = keys
        records["document"] = self._count + owners
        records["text"] = (scan.digests[:, 0] & np.uint64(0xFFFFFFFF))[owners]
        self._records.add(records)
        self._keep(scan, long, keys)
        places = [document.place.encode("utf-8", "replace") for document in batch]
        self._places.add(b"".join(places), np.fromiter(map(len, places), np.int64, len(places)))
        self._count += len(batch)

    def _keep(self, scan: Scan, long: npt.NDArray[np.int64], keys: U64) -> None:
        """Keep the text of segments that came before, while there is room."""
        if len(self._texts) >= _KEPT_TEXTS or not len(keys):
            return
        bits = (keys >> np.uint64(64 - _SEEN_BITS)).astype(np.int64)
        again = self._seen.among(bits)
        repeated = np.ones(len(keys), np.bool_)
        repeated[np.unique(bits, return_index=True)[1]] = False
        for place in np.flatnonzero(again | repeated).tolist():
            key = int(keys[place])
            if key not in self._texts and len(self._texts) < _KEPT_TEXTS:
                self._texts[key] = scan.segment_text(int(long[place]))[:_KEPT_CHARACTERS]
        self._seen.set(bits)

    def result(self) -> Mapping[str, Any]:
        """How many documents hold boilerplate, and the segments that stand in most."""
        least = max(LEAST_DOCUMENTS, int(np.ceil(LEAST_SHARE * self._count)))
        holding = Marks(self._count)
        found: list[tuple[int, int, int]] = []
        number = 0
        for records in self._records.repeated():
            for group in _many(records, least):
                documents = np.unique(group["document"]).astype(np.int64)
                holding.set(documents)
                found.append((-len(documents), int(documents[0]), int(group["key"][0])))
                number += 1
            found = sorted(found)[:MOST_SHOWN]
        shown = [self._shown(-count, first, key) for count, first, key in found]
        self._records.close()
        self._places.close()
        return {
            "documents": self._count,
            "holding": {"count": holding.count(), "of": self._count},
            "segments": number,
            "rule": f"a line or sentence of at least {LEAST_BYTES} bytes in at least {least} documents",
            "examples": shown,
        }

    def _shown(self, count: int, first: int, key: int) -> dict[str, Any]:
        place = self._places[first].decode("utf-8", "replace")
        return {"text": self._texts.get(key), "place": place, "documents": {"count": count, "of": self._count}}


def _many(records: Records, least: int) -> Iterator[Records]:
    """Groups of one key from at least this many different texts; ``records`` are sorted by key."""
    if not len(records):
        return
    starts = np.flatnonzero(np.concatenate(([True], records["key"][1:] != records["key"][:-1])))
    ends = np.append(starts[1:], len(records))
    for index in np.flatnonzero(ends - starts >= least):
        group = records[starts[index] : ends[index]]
        if len(np.unique(group["text"])) >= least:
            yield group
