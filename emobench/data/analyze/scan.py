"""Scan: one look at the bytes of a batch, from which the detectors take words, segments and counts of characters.

Everything is numpy over the UTF-8 bytes of many documents at once: a detector that walks over words in Python would
cost as much as counting tokens does. It judges nothing. What comes out for a document depends on that document alone.

A word is a run of ASCII letters, digits and characters beyond ASCII; general punctuation and the no-break space end
it, and each character from U+3000 to U+9FFF (kana and Chinese characters, which stand without spaces) begins one.
ASCII capitals count as small letters. A segment is a line, or a sentence within one, from its first word to its last.

A span's hash is the polynomial sum(table[byte] * base**position) modulo 2**64 with random odd base and random table
(Karp and Rabin 1987), from prefix sums, then mixed as in splitmix64 (Steele, Lea and Flood 2014). It is fixed from
release to release and from machine to machine, and made for counting, not against an adversary.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from typing import Any

import numpy as np
import numpy.typing as npt

from emobench.data.documents import Document

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Bytes = npt.NDArray[np.uint8]

BLOCK_BYTES = 1 << 18
"""Documents are looked at together up to this many bytes: fewer make numpy's calls, more its memory the larger part."""
PIECE_BYTES = 1 << 20
"""A longer document is cut into pieces of at most this, at white space where there is any."""
_SEED = 20_240_517
_WORD, _SPACE, _SYMBOL, _CONTROL = range(4)


@dataclass(frozen=True, kw_only=True)
class Scan:
    """A batch of D documents with W words and S segments. Offsets have one entry more than what they divide."""

    size_bytes: I64
    """(D,) bytes of each document as UTF-8."""
    digests: U64
    """(D, 2) BLAKE2b of each document without ASCII white space at its ends."""
    empty: Flags
    """(D,) nothing but white space."""
    words: U64
    """(W,) hash of each word in reading order."""
    word_offsets: I64
    """(D + 1,) document i has ``words[word_offsets[i]:word_offsets[i + 1]]``."""
    segments: U64
    """(S,) hash of each segment in reading order."""
    segment_owners: I64
    """(S,) index of each segment's document, ascending."""
    segment_bytes: I64
    """(S,) length of each segment."""
    spaces: I64
    """(D,) ASCII white space."""
    symbols: I64
    """(D,) ASCII punctuation and other printable signs that are neither letters nor digits."""
    controls: I64
    """(D,) ASCII control characters other than white space."""
    longest_run: I64
    """(D,) most bytes between two white spaces."""
    spans: Sequence[tuple[bytes, I64, I64]]
    """Bytes of each block with starts and ends of its segments, in the order of ``segments``."""

    def segment_text(self, index: int) -> str:
        """The segment as its document has it."""
        for block, starts, ends in self.spans:
            if index < len(starts):
                return block[starts[index] : ends[index]].decode("utf-8", "replace")
            index -= len(starts)
        raise IndexError(index)


class Scanner:
    """Scans batches; detectors that share one scan each batch once."""

    def __init__(self) -> None:
        self._batch: tuple[Document, ...] = ()
        self._scan: Scan | None = None

    def of(self, batch: Sequence[Document]) -> Scan:
        """The scan of a batch; of the same documents as the last time, the same scan."""
        documents = tuple(batch)
        if self._scan is None or documents != self._batch:
            self._batch, self._scan = documents, scan([document.text for document in documents])
        return self._scan


def scan(texts: Sequence[str]) -> Scan:
    """Look at the texts of a batch."""
    # Half a surrogate pair has no UTF-8: it is kept as it is, so that nothing fails on it.
    encoded = [text.encode("utf-8", "surrogatepass") for text in texts]
    blocks = list(_blocks(encoded))
    scratch = np.empty(max((sum(map(len, pieces)) + len(pieces) + 1 for pieces, _ in blocks), default=0), np.uint64)
    parts = [_scan_block(pieces, owners, scratch) for pieces, owners in blocks]
    count = len(texts)
    owners = _joined([part["word_owners"] for part in parts], np.int64)
    # Each document has a piece at least, and its pieces follow each other.
    firsts = np.searchsorted(_joined([part["owners"] for part in parts], np.int64), np.arange(count))
    totals = {
        name: combine.reduceat(_joined([part[name] for part in parts], np.int64), firsts) if count else _NONE
        for name, combine in _PER_PIECE.items()
    }
    stripped = [data.strip() for data in encoded]
    bare = np.fromiter(map(len, stripped), np.int64, count) == 0
    digests = b"".join(blake2b(data, digest_size=16).digest() for data in stripped)
    return Scan(
        digests=np.frombuffer(digests, "<u8").reshape(-1, 2),
        empty=bare | np.fromiter(map(str.isspace, texts), np.bool_, count),
        size_bytes=np.fromiter(map(len, encoded), np.int64, count),
        words=_joined([part["words"] for part in parts], np.uint64),
        word_offsets=np.searchsorted(owners, np.arange(count + 1)).astype(np.int64),
        segments=_joined([part["segments"] for part in parts], np.uint64),
        segment_owners=_joined([part["segment_owners"] for part in parts], np.int64),
        segment_bytes=_joined([part["ends"] - part["starts"] for part in parts], np.int64),
        spans=[(part["block"], part["starts"], part["ends"]) for part in parts],
        **totals,
    )


def _joined(arrays: Sequence[npt.NDArray[Any]], kind: type[Any]) -> npt.NDArray[Any]:
    return np.concatenate(arrays) if arrays else np.empty(0, kind)


_NONE = np.empty(0, np.int64)
_PER_PIECE: Mapping[str, np.ufunc] = {
    "spaces": np.add,
    "symbols": np.add,
    "controls": np.add,
    "longest_run": np.maximum,
}
"""How the counts of a document's pieces become its own."""


def _blocks(encoded: Sequence[bytes]) -> Iterator[tuple[list[bytes], list[int]]]:
    pieces: list[bytes] = []
    owners: list[int] = []
    size = 0
    for owner, data in enumerate(encoded):
        for piece in (data,) if len(data) <= PIECE_BYTES else _pieces(data):
            if pieces and size + len(piece) > BLOCK_BYTES:
                yield pieces, owners
                pieces, owners, size = [], [], 0
            pieces.append(piece)
            owners.append(owner)
            size += len(piece) + 1
    if pieces:
        yield pieces, owners


def _pieces(data: bytes) -> Iterator[bytes]:
    """The document whole, or cut where a cut does least harm."""
    while len(data) > PIECE_BYTES:
        window = data[PIECE_BYTES // 2 : PIECE_BYTES]
        cut = max(window.rfind(b"\n"), window.rfind(b" "))
        end = PIECE_BYTES // 2 + cut if cut >= 0 else PIECE_BYTES
        while cut < 0 and end > PIECE_BYTES - 4 and data[end] & 0xC0 == 0x80:
            end -= 1
        yield data[:end]
        data = data[end:]
    yield data


def _scan_block(pieces: list[bytes], owners: list[int], scratch: U64) -> dict[str, Any]:
    """Everything about one block; each piece stands between two line ends. ``scratch`` has room for a value a byte."""
    block = b"\n" + b"\n".join(pieces) + b"\n"
    data = np.frombuffer(block, np.uint8)
    tables = _tables()
    kinds = np.take(tables.kind, data)
    sizes = np.fromiter(map(len, pieces), np.int64, len(pieces))
    bounds = np.concatenate(([1], 1 + np.cumsum(sizes + 1)))
    owner_of = np.asarray(owners, np.int64)
    gaps = np.flatnonzero(kinds == _SPACE)
    edges = np.searchsorted(gaps, bounds)
    starts, ends = _words(data, kinds == _WORD)
    # Memory that is asked for anew for each block costs more than what is done in it.
    prefix = np.take(tables.value, data, out=scratch[: len(data)], mode="clip")
    prefix *= _powers(len(data))[0]
    np.cumsum(prefix, out=prefix)
    first, last = _segments(data, starts)
    word_owners = np.repeat(owner_of, np.diff(np.searchsorted(starts, bounds)))
    return {
        "block": block,
        "owners": owner_of,
        "spaces": np.diff(edges) - 1,
        "symbols": np.diff(np.searchsorted(np.flatnonzero(kinds == _SYMBOL), bounds)),
        "controls": np.diff(np.searchsorted(np.flatnonzero(kinds == _CONTROL), bounds)),
        "longest_run": np.maximum.reduceat(np.diff(gaps, prepend=0) - 1, edges[:-1]),
        "words": _hashes(prefix, starts, ends),
        "word_owners": word_owners,
        "segments": _hashes(prefix, starts[first], ends[last]),
        "segment_owners": word_owners[first],
        "starts": starts[first],
        "ends": ends[last],
    }


@dataclass(frozen=True, kw_only=True)
class _Tables:
    kind: Bytes
    value: U64
    base: int
    inverse: int


@cache
def _tables() -> _Tables:
    random = np.random.default_rng(_SEED)
    value = random.integers(1, 2**64, 256, dtype=np.uint64)
    value[ord("A") : ord("Z") + 1] = value[ord("a") : ord("z") + 1]
    kind = np.full(256, _SYMBOL, np.uint8)
    kind[:32] = kind[127] = _CONTROL
    kind[list(b" \t\n\r\f\v")] = _SPACE
    for low, high in (("0", "9"), ("A", "Z"), ("a", "z")):
        kind[ord(low) : ord(high) + 1] = _WORD
    kind[128:] = _WORD
    # 5 modulo 8: its powers have the longest period there is modulo 2**64.
    base = (int(random.integers(2**61)) << 3) | 5
    return _Tables(kind=kind, value=value, base=base, inverse=pow(base, -1, 2**64))


_POWERS: list[tuple[U64, U64]] = []


def _powers(length: int) -> tuple[U64, U64]:
    """Powers of the base and of its inverse, at least ``length`` of each."""
    if not _POWERS or len(_POWERS[0][0]) < length:
        size = max(length, BLOCK_BYTES + 64)
        made = []
        for base in (_tables().base, _tables().inverse):
            steps = np.full(size, base, np.uint64)
            steps[0] = 1
            made.append(np.cumprod(steps))
        _POWERS[:] = [(made[0], made[1])]
    up, down = _POWERS[0]
    return up[:length], down[:length]


def _hashes(prefix: U64, starts: I64, ends: I64) -> U64:
    """Hash of each span [start, end); no span begins at 0."""
    _, down = _powers(len(prefix))
    return mixed((prefix[ends - 1] - prefix[starts - 1]) * down[starts])


def mixed(values: U64) -> U64:
    """Every bit of the result depends on every bit of the value (the finalizer of splitmix64)."""
    found = values >> np.uint64(30)
    found ^= values
    found *= np.uint64(0xBF58476D1CE4E5B9)
    found ^= found >> np.uint64(27)
    found *= np.uint64(0x94D049BB133111EB)
    found ^= found >> np.uint64(31)
    return found


def _words(data: Bytes, inside: Flags) -> tuple[I64, I64]:
    """Starts and ends of the words."""
    highest = data.max()
    if highest >= 0xC2:
        _split_at_punctuation(data, inside)
    edges = np.flatnonzero(inside[1:] != inside[:-1]) + 1
    starts, ends = edges[0::2], edges[1::2]
    if highest >= 0xE3:
        leads = np.flatnonzero((data >= 0xE3) & (data <= 0xE9) & inside)
        if len(leads):
            starts = np.union1d(starts, leads)
            ends = np.minimum(ends[np.searchsorted(ends, starts, side="right")], np.append(starts[1:], len(data)))
    return starts, ends


def _split_at_punctuation(data: Bytes, inside: Flags) -> None:
    """General punctuation (U+2000 to U+203F), the no-break space and CJK punctuation (U+3000 to U+303F) end words."""
    for lead, second, last in ((0xE2, 0x80, None), (0xC2, 0xA0, 1), (0xE3, 0x80, None)):
        found = np.flatnonzero(data[:-2] == lead)
        found = found[data[found + 1] == second]
        for step in range(2 if last else 3):
            inside[found + step] = False


def _segments(data: Bytes, starts: I64) -> tuple[I64, I64]:
    """Indices of each segment's first and last word."""
    if not len(starts):
        return starts, starts
    line_end = data == ord("\n")
    stops = np.zeros(len(data), np.bool_)
    for sign in b".!?":
        stops |= data == sign
    follows = data == ord(" ")
    line_end[:-1] |= stops[:-1] & follows[1:]
    number = np.cumsum(line_end, dtype=np.int32)[starts]
    changes = np.flatnonzero(number[1:] != number[:-1])
    return np.concatenate(([0], changes + 1)), np.concatenate((changes, [len(starts) - 1]))
