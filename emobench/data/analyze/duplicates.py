"""Duplicates: the same document again, nearly the same, and the same text under different labels.

Exact means the same text but for white space at its ends. Nearly the same means a Jaccard similarity of the 5-word
shingle sets of at least 0.5, counted on the sets themselves: MinHash only proposes pairs. A document is counted where
an earlier one is like it, so the count is what removing repetitions would remove, and does not depend on how the
documents came in batches or how the disk is partitioned. What it keeps of each document lies on disk.

Of a sample these are counts within the sample: of two like documents both must be drawn.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any
from zlib import crc32

import numpy as np

from emobench.data.analyze.minhash import band_keys, jaccard, meeting_probability, shingles, signatures
from emobench.data.analyze.scan import I64, Scan, Scanner
from emobench.data.analyze.spill import PARTS, Column, Marks, Partitions, Records, Shelf
from emobench.data.documents import Document

SIMILAR = 0.5
"""Least Jaccard similarity of a near duplicate; 7 % of the words changed one by one leave about that."""
MOST_EXAMPLES = 10
NEIGHBORS = 8
"""In a group that shares a band, each document is compared with the first and this many before it."""
MOST_COMPARED = 2
"""Comparisons of sets a document, on average, after which the search ends: it keeps text made from one template, where
everything is a little like everything, from taking hours."""
FEW_COMPARED = 20_000
"""Comparisons that are made in any case."""
_EXCERPT = 160
_MARK = "\x1f"

_TEXT = np.dtype([("key", "<u8"), ("rest", "<u8"), ("document", "<u4"), ("label", "<u4")])
_BAND = np.dtype([("key", "<u8"), ("document", "<u4")])


class Duplicates:
    """The detector; see the module."""

    name = "duplicates"

    def __init__(self, *, scanner: Scanner | None = None, similar: float = SIMILAR, parts: int = PARTS) -> None:
        self._scanner = scanner or Scanner()
        self._similar = similar
        self._texts = Partitions(_TEXT, parts=parts)
        self._bands = Partitions(_BAND, parts=parts)
        self._shingles = Shelf()
        self._notes = Shelf()
        self._label_of = Column()
        self._count = 0
        self._labeled = 0
        self._first_label = 0
        self._labels_differ = False

    def add(self, batch: Sequence[Document], tokens: Sequence[int]) -> None:
        """Take a batch; the token counts are not used."""
        numbers = np.arange(self._count, self._count + len(batch), dtype=np.uint32)
        self._count += len(batch)
        labels = np.fromiter((_label_number(document.label) for document in batch), np.uint32, len(batch))
        given = labels[labels > 0]
        self._labeled += len(given)
        self._first_label = self._first_label or int(given[0] if len(given) else 0)
        self._labels_differ = self._labels_differ or bool((given != self._first_label).any())
        scan = self._scanner.of(batch)
        self._texts.add(_text_records(scan, numbers, labels))
        found = shingles(scan.words, scan.word_offsets)
        sizes = found.sizes
        keys = band_keys(signatures(found))[sizes > 0]
        records = np.empty(keys.size, _BAND)
        records["key"] = keys.ravel()
        records["document"] = np.repeat(numbers[sizes > 0], keys.shape[1])
        self._bands.add(records)
        self._shingles.add(found.hashes.astype("<u4").tobytes(), sizes * 4)
        self._label_of.add(labels)
        notes = [_note(document) for document in batch]
        self._notes.add(b"".join(notes), np.fromiter(map(len, notes), np.int64, len(notes)))

    def result(self) -> Mapping[str, Any]:
        """Counts with examples; documents without a word are in no count but that of all."""
        repeats = Marks(self._count)
        exact, conflicts = self._exact(repeats)
        near, near_conflicts = self._near(repeats)
        for store in (self._texts, self._bands, self._shingles, self._notes, self._label_of):
            store.close()
        return {
            "documents": self._count,
            "labeled": self._labeled,
            "exact": exact,
            "near": near,
            "conflicts": conflicts,
            "near_conflicts": near_conflicts,
            "found_probability": {f"{at:g}": round(meeting_probability(at), 4) for at in (0.5, 0.6, 0.7, 0.8, 0.9)},
            "within": "the documents read; of a sample, both of two like documents must be drawn",
        }

    def _exact(self, repeats: Marks) -> tuple[dict[str, Any], dict[str, Any]]:
        """Mark every document whose text stands earlier; count texts with several labels."""
        groups = largest = conflicting_groups = conflicting = 0
        examples: _Lowest = _Lowest()
        clashes: _Lowest = _Lowest()
        for records in self._texts.repeated():
            # Texts with the same first half of their digest are told apart by the second.
            records = records[np.lexsort((records["document"], records["rest"], records["key"]))]
            for group in _groups(records, ("key", "rest")):
                documents = group["document"].astype(np.int64)
                repeats.set(documents[1:])
                groups += 1
                largest = max(largest, len(group))
                examples.offer(int(documents[0]), (documents, 1.0))
                labels = np.unique(group["label"][group["label"] > 0])
                if len(labels) > 1:
                    conflicting_groups += 1
                    conflicting += int(np.count_nonzero(group["label"]))
                    clashes.offer(int(documents[0]), (documents[group["label"] > 0], 1.0))
        exact = {"count": repeats.count(), "of": self._count, "groups": groups, "largest": largest}
        conflicts = {"count": conflicting, "of": self._labeled, "groups": conflicting_groups}
        return exact | {"examples": self._shown(examples)}, conflicts | {"examples": self._shown(clashes)}

    def _near(self, repeats: Marks) -> tuple[dict[str, Any], dict[str, Any]]:
        """Count documents with an earlier one that is like them; repetitions stand for their first only."""
        marked, clashing = Marks(self._count), Marks(self._count)
        examples, clashes = _Lowest(), _Lowest()
        most, compared = max(FEW_COMPARED, MOST_COMPARED * self._count), 0
        for earlier, later in self._pairs(repeats):
            known = marked.has(later)
            differ = not (known and clashing.has(later)) and self._differ(earlier, later)
            if known and not differ:
                continue
            if compared == most:
                break
            compared += 1
            similarity = jaccard(self._set(earlier), self._set(later))
            if similarity < self._similar:
                continue
            pair = (np.array([earlier, later]), similarity)
            if not known:
                marked.set(pair[0][1:])
                examples.offer(later, pair)
            if differ:
                clashing.set(pair[0][1:])
                clashes.offer(later, pair)
        complete = compared < most
        near = {"count": marked.count(), "of": self._count, "similarity_at_least": self._similar, "complete": complete}
        conflicts = {"count": clashing.count(), "of": self._labeled, "complete": complete}
        return near | {"examples": self._shown(examples)}, conflicts | {"examples": self._shown(clashes)}

    def _pairs(self, repeats: Marks) -> Iterator[tuple[int, int]]:
        """Documents that share a band's key, the earlier first, in the order of the keys."""
        for records in self._bands.repeated():
            records = records[~repeats.among(records["document"])]
            for group in _groups(records, ("key",)):
                # Records of a key come in the order of the documents.
                documents = group["document"].tolist()
                for place in range(1, len(documents)):
                    start = max(0, place - NEIGHBORS)
                    if start:
                        yield documents[0], documents[place]
                    for earlier in documents[start:place]:
                        yield earlier, documents[place]

    def _differ(self, first: int, second: int) -> bool:
        if not self._labels_differ:
            return False
        one, other = self._label_of[first], self._label_of[second]
        return one != other and bool(one) and bool(other)

    def _set(self, document: int) -> Any:
        return np.frombuffer(self._shingles[document], "<u4")

    def _shown(self, examples: _Lowest) -> list[dict[str, Any]]:
        found = []
        for documents, similarity in examples.items():
            notes = [self._notes[document].decode("utf-8", "replace").split(_MARK, 2) for document in documents[:3]]
            found.append(
                {
                    "places": [place for place, _, _ in notes],
                    "labels": [label for _, label, _ in notes],
                    "text": notes[0][2],
                    "similarity": round(similarity, 3),
                }
            )
        return found


class _Lowest:
    """The items offered with the lowest numbers."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, tuple[I64, float]]] = []

    def offer(self, number: int, item: tuple[I64, float]) -> None:
        if len(self._heap) < MOST_EXAMPLES:
            heapq.heappush(self._heap, (-number, item))
        elif -self._heap[0][0] > number:
            heapq.heapreplace(self._heap, (-number, item))

    def items(self) -> list[tuple[list[int], float]]:
        ordered = sorted(self._heap, key=lambda entry: -entry[0])
        return [(documents.tolist(), similarity) for _, (documents, similarity) in ordered]


@lru_cache(maxsize=1024)
def _label_number(label: str | None) -> int:
    """A number for the label, by which two labels are told apart but for one chance in 2**32; 0 is none."""
    return 0 if label is None else crc32(label.encode("utf-8", "surrogatepass")) or 1


def _note(document: Document) -> bytes:
    place, label = document.place, (document.label or "")[:_EXCERPT]
    if _MARK in place or _MARK in label:
        place, label = place.replace(_MARK, " "), label.replace(_MARK, " ")
    return f"{place}{_MARK}{label}{_MARK}{document.text[:_EXCERPT]}".encode("utf-8", "replace")


def _text_records(scan: Scan, numbers: Records, labels: Records) -> Records:
    records = np.empty(len(numbers), _TEXT)
    records["key"], records["rest"] = scan.digests.T
    records["document"], records["label"] = numbers, labels
    return records[~scan.empty]


def _groups(records: Records, fields: Sequence[str]) -> Iterator[Records]:
    """Runs of two or more records that are equal in these fields; ``records`` are sorted by them."""
    if len(records) < 2:
        return
    same = np.ones(len(records) - 1, np.bool_)
    for field in fields:
        same &= records[field][1:] == records[field][:-1]
    edges = np.flatnonzero(np.diff(np.concatenate(([False], same, [False])).astype(np.int8)))
    for start, end in zip(edges[0::2], edges[1::2], strict=True):
        yield records[start : end + 1]
