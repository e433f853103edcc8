"""Streams: a data set's rows in windows of a few thousand, cleaned and tokenized on the way, never all in memory.

Only rows without a label or a text are dropped here: finding repetitions would need all texts at once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from emobench.data.clean import Usable, too_many_empty, usable_rows
from emobench.data.encode import Encoded, encode
from emobench.data.material import random_material
from emobench.data.sources import RawRows, check_rows, find_files, origin_of, read_parts
from emobench.data.split import Examples
from emobench.data.tables import CHUNK_ROWS
from emobench.specs import DatasetSpec, ModelSpec, Profile

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

WINDOW_ROWS = 4096
"""Rows sorted by length together: enough that batches hold rows of one length, few enough to stay small in memory."""

Item = TypeVar("Item")


@dataclass(frozen=True, kw_only=True)
class TextWindow:
    """Rows next to each other in one official split; the three are of equal length."""

    split: str
    texts: Sequence[str] = field(repr=False)
    labels: Sequence[int] = field(repr=False)
    positions: Sequence[int] = field(repr=False)
    """Place of each row among all rows of the data set as its files have them, from 0."""


@dataclass(frozen=True, kw_only=True)
class Window:
    """The same with tokens for texts."""

    split: str
    encoded: Encoded
    positions: NDArray[np.int64] = field(repr=False)
    """Shape (rows,)."""


class RowStream:
    """The rows of a data set in the order of its files: iterating reads them, and what was read is counted.

    Official splits come one after another, and a window holds rows of one. ``leave_out`` holds digests
    (:func:`text_digest`) of texts that are passed over; ``limit`` ends the stream after so many rows.
    """

    def __init__(
        self,
        spec: DatasetSpec,
        *,
        leave_out: AbstractSet[bytes] = frozenset(),
        window_rows: int = WINDOW_ROWS,
        chunk_rows: int = CHUNK_ROWS,
        limit: int | None = None,
    ) -> None:
        self.spec = spec
        self.leave_out = leave_out
        self.window_rows = window_rows
        self.chunk_rows = chunk_rows
        self.limit = limit
        self._start()

    def _start(self) -> None:
        self.counts = {"rows_read": 0, "dropped_by_label": 0, "empty": 0, "left_out": 0, "rows": 0}
        self._digest = hashlib.sha256("\0".join(self.spec.labels).encode())

    def __iter__(self) -> Iterator[TextWindow]:
        """Read the rows from the beginning.

        Raises:
            NotOnMachineError, SpecError, DataError: as :func:`emobench.data.prepare.load_splits`, when the row at
                fault is reached; a text column that is mostly empty is known at the end of its split.
        """
        self._start()
        for split, files in find_files(self.spec).items():
            yield from self._windows(split, files)
            if self._full():
                return

    def facts(self) -> Mapping[str, int]:
        """Rows read, dropped by label or for want of a text, left out, and given, up to now."""
        return dict(self.counts)

    def fingerprint(self) -> str:
        """SHA-256 (32 hex digits) of class names and of the texts and labels given up to now, in their order."""
        return self._digest.hexdigest()[:32]

    def _full(self) -> bool:
        return self.limit is not None and self.counts["rows"] >= self.limit

    def _windows(self, split: str, files: Sequence[Path]) -> Iterator[TextWindow]:
        texts: list[str] = []
        labels: list[int] = []
        positions: list[int] = []
        for part_texts, part_labels, part_positions in self._parts(files):
            texts += part_texts
            labels += part_labels
            positions += part_positions
            while len(texts) >= self.window_rows:
                size = self.window_rows
                yield self._given(split, texts[:size], labels[:size], positions[:size])
                if self._full():
                    return
                del texts[:size], labels[:size], positions[:size]
        if texts:
            yield self._given(split, texts, labels, positions)

    def _given(self, split: str, texts: list[str], labels: list[int], positions: list[int]) -> TextWindow:
        room = len(texts) if self.limit is None else min(len(texts), self.limit - self.counts["rows"])
        window = TextWindow(split=split, texts=texts[:room], labels=labels[:room], positions=positions[:room])
        self.counts["rows"] += room
        for text, label in zip(window.texts, window.labels, strict=True):
            data = text.encode()
            self._digest.update(len(data).to_bytes(8, "little") + data + label.to_bytes(4, "little"))
        return window

    def _parts(self, files: Sequence[Path]) -> Iterator[tuple[list[str], list[int], list[int]]]:
        """Texts, labels and positions chunk by chunk."""
        filled, number_of_empty, seen = 0, 0, False
        empty_rows: list[int] = []
        for raw in read_parts(files, self.spec, rows=self.chunk_rows):
            if raw.texts and not seen:
                check_rows(raw, self.spec)
                seen = True
            usable = usable_rows(raw, self.spec)
            filled += len(usable.texts)
            number_of_empty += len(usable.empty_rows)
            empty_rows = empty_rows or usable.empty_rows
            yield self._not_left_out(raw, usable)
        if not seen:
            check_rows(RawRows(texts=[], labels=[], row_numbers=[], origin=origin_of(files)), self.spec)
        if number_of_empty > filled:
            raise too_many_empty(origin_of(files), empty_rows[0], number_of_empty, filled, self.spec)

    def _not_left_out(self, raw: RawRows, usable: Usable) -> tuple[list[str], list[int], list[int]]:
        # Both lists of row numbers rise, and the usable rows are among the raw ones.
        places = np.searchsorted(np.asarray(raw.row_numbers), np.asarray(usable.row_numbers, dtype=np.int64))
        positions = (places + self.counts["rows_read"]).tolist()
        self.counts["rows_read"] += len(raw.texts)
        self.counts["dropped_by_label"] += usable.dropped
        self.counts["empty"] += len(usable.empty_rows)
        if not self.leave_out:
            return usable.texts, usable.labels, positions
        kept = [index for index, text in enumerate(usable.texts) if text_digest(text) not in self.leave_out]
        self.counts["left_out"] += len(usable.texts) - len(kept)
        return (
            [usable.texts[index] for index in kept],
            [usable.labels[index] for index in kept],
            [positions[index] for index in kept],
        )


def text_digest(text: str) -> bytes:
    """What :class:`RowStream` knows a cleaned text by; 16 bytes."""
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def encoded_windows(
    windows: Iterable[TextWindow], tokenizer: PreTrainedTokenizerBase, *, max_length: int
) -> Iterator[Window]:
    """Tokenize each window, truncated to ``max_length`` tokens; errors as :func:`emobench.data.encode.encode`."""
    for window in windows:
        examples = Examples(texts=tuple(window.texts), labels=tuple(window.labels))
        yield Window(
            split=window.split,
            encoded=encode(examples, tokenizer, max_length=max_length, cache=None),
            positions=np.asarray(window.positions, dtype=np.int64),
        )


def random_windows(
    model: ModelSpec, profile: Profile, *, rows: int, window_rows: int = WINDOW_ROWS
) -> Iterator[Window]:
    """Windows of random tokens of the profile's full length, ``rows`` in all: for speed and memory only."""
    for start in range(0, rows, window_rows):
        size = min(window_rows, rows - start)
        sizes: dict[str, Any] = {"train": 0, "validation": 0, "test": size}
        material = random_material(model, profile.model_copy(update=sizes), seed=start)
        yield Window(split="test", encoded=material.test, positions=np.arange(start, start + size, dtype=np.int64))


def ahead(items: Iterable[Item]) -> Iterator[Item]:
    """Yield ``items`` while a background thread makes the next one; what it raises is raised here, in its turn."""
    source = iter(items)
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="emobench-ahead") as thread:
        pending = thread.submit(_next_or_end, source)
        while (found := pending.result()) is not _END:
            pending = thread.submit(_next_or_end, source)
            yield found  # type: ignore[misc]  # the end marker is excluded above


_END = object()


def _next_or_end(source: Iterator[Item]) -> Item | object:
    # A StopIteration cannot travel through a future.
    return next(source, _END)
