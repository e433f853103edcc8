"""Encoding: texts become token ids, kept on disk under a checksum, and batches padded to their own longest row.

Nothing is padded to ``max_length``. Which rows go into a batch is decided elsewhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from emobench.data.split import Examples
from emobench.errors import DataError, UnsupportedError
from emobench.files import write_bytes

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TEXTS_AT_ONCE = 1024
"""Texts handed to the tokenizer in one call; bounds the memory its intermediate objects take."""


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """Token ids of all rows, one after another without padding."""

    ids: NDArray[np.int32] = field(repr=False)
    """Shape (tokens,)."""
    offsets: NDArray[np.int64] = field(repr=False)
    """Shape (rows + 1,): row i is ``ids[offsets[i]:offsets[i + 1]]``."""
    labels: NDArray[np.int64] = field(repr=False)
    """Shape (rows,)."""
    origin: Literal["made", "cache", "made again"] = "made"
    """Where the ids came from; ``made again`` means that a stored file was broken and has been replaced."""

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each row, special tokens included; shape (rows,)."""
        return np.diff(self.offsets)

    def row(self, index: int) -> NDArray[np.int32]:
        """Token ids of one row; a view."""
        return self.ids[self.offsets[index] : self.offsets[index + 1]]


def first_rows(encoded: Encoded, rows: int) -> Encoded:
    """The first ``rows`` rows, or all where there are fewer; views."""
    count = min(rows, len(encoded))
    offsets = encoded.offsets[: count + 1]
    return Encoded(
        ids=encoded.ids[: offsets[-1]], offsets=offsets, labels=encoded.labels[:count], origin=encoded.origin
    )


def encode(examples: Examples, tokenizer: PreTrainedTokenizerBase, *, max_length: int, cache: Path | None) -> Encoded:
    """Tokenize with special tokens, truncated to ``max_length`` tokens; ``cache`` is a folder for the result.

    Raises:
        UnsupportedError: the tokenizer is not one of the ``tokenizers`` library.
        DataError: a text of which the tokenizer leaves nothing.
    """
    labels = np.asarray(examples.labels, dtype=np.int64)
    path = None if cache is None else cache / f"{cache_key(examples.texts, tokenizer, max_length)}.tokens"
    stored = None if path is None or not path.exists() else _load(path, rows=len(examples))
    if stored is not None:
        return Encoded(ids=stored[0], offsets=stored[1], labels=labels, origin="cache")
    again = path is not None and path.exists()
    ids, offsets = _tokenize(examples.texts, tokenizer, max_length)
    empty = np.flatnonzero(np.diff(offsets) == 0)
    if len(empty):
        raise DataError(
            f"the tokenizer leaves nothing of {len(empty)} texts, the first is {examples.texts[empty[0]][:40]!r}",
            why="a row without tokens cannot be classified",
            fix="drop these rows from the file",
        )
    if path is not None:
        _store(path, ids, offsets)
    return Encoded(ids=ids, offsets=offsets, labels=labels, origin="made again" if again else "made")


def tokenizer_fingerprint(tokenizer: PreTrainedTokenizerBase) -> str:
    """SHA-256 of what decides the ids: the backend's own description and the side that truncation cuts.

    The backend's description also has the truncation and padding of its last call; they are taken out for a moment,
    because a tokenizer would otherwise get another fingerprint by being used.
    """
    import tokenizers

    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise UnsupportedError(
            f"tokenizer {type(tokenizer).__name__} cannot be used",
            why="it is not backed by the tokenizers library",
            fix="take a model that has a tokenizer.json",
        )
    truncation, padding = backend.truncation, backend.padding
    backend.no_truncation()
    backend.no_padding()
    content = backend.to_str()
    if truncation is not None:
        backend.enable_truncation(**truncation)
    if padding is not None:
        backend.enable_padding(**padding)
    parts = f"{tokenizer.truncation_side} {tokenizers.__version__} {content}"
    return hashlib.sha256(parts.encode()).hexdigest()


def cache_key(texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, max_length: int) -> str:
    """Name under which the ids of these texts are stored; 64 hex digits."""
    digest = hashlib.sha256()
    for text in texts:
        data = text.encode()
        digest.update(len(data).to_bytes(8, "little") + data)
    parts = f"{digest.hexdigest()} {tokenizer_fingerprint(tokenizer)} {max_length}"
    return hashlib.sha256(parts.encode()).hexdigest()


def collate(
    encoded: Encoded, indices: Sequence[int], *, pad_id: int, side: Literal["left", "right"]
) -> dict[str, torch.Tensor]:
    """Batch of rows padded to the longest of them.

    Returns:
        ``input_ids`` and ``attention_mask`` of shape (len(indices), longest) and ``labels`` of shape (len(indices),),
        all int64.
    """
    chosen = np.asarray(indices, dtype=np.int64)
    starts, stops = encoded.offsets[chosen], encoded.offsets[chosen + 1]
    lengths = (stops - starts)[:, None]
    longest = int(lengths.max())
    place = np.arange(longest)[None, :]
    mask = place < lengths if side == "right" else place >= longest - lengths
    input_ids = np.full(mask.shape, pad_id, dtype=np.int64)
    # A boolean mask is filled row by row, which is the order of the concatenated rows on either side.
    input_ids[mask] = np.concatenate(
        [encoded.ids[start:stop] for start, stop in zip(starts.tolist(), stops.tolist(), strict=True)]
    )
    return {
        "input_ids": torch.from_numpy(input_ids),
        "attention_mask": torch.from_numpy(mask.astype(np.int64)),
        "labels": torch.from_numpy(encoded.labels[chosen]),
    }


def _tokenize(
    texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, max_length: int
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    blocks: list[NDArray[np.int32]] = []
    lengths: list[int] = []
    for start in range(0, len(texts), TEXTS_AT_ONCE):
        rows = tokenizer(
            list(texts[start : start + TEXTS_AT_ONCE]),
            truncation=True,
            max_length=max_length,
            padding=False,
            return_attention_mask=False,
            return_token_type_ids=False,
        )["input_ids"]
        lengths += [len(row) for row in rows]
        blocks += [np.asarray(row, dtype=np.int32) for row in rows]
    offsets = np.zeros(len(texts) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return np.concatenate(blocks) if blocks else np.zeros(0, dtype=np.int32), offsets


def _store(path: Path, ids: NDArray[np.int32], offsets: NDArray[np.int64]) -> None:
    payload = save_tensors({"ids": ids, "offsets": offsets})
    write_bytes(path, hashlib.sha256(payload).digest() + payload)


def _load(path: Path, *, rows: int) -> tuple[NDArray[np.int32], NDArray[np.int64]] | None:
    """Stored ids and offsets, or None where the file is not exactly what was written."""
    content = path.read_bytes()
    checksum, payload = content[:32], content[32:]
    if hashlib.sha256(payload).digest() != checksum:
        return None
    try:
        tensors = load_tensors(payload)
    except SafetensorError:
        return None
    ids, offsets = tensors.get("ids"), tensors.get("offsets")
    if ids is None or offsets is None or len(offsets) != rows + 1 or offsets[-1] != len(ids):
        return None
    return ids, offsets
