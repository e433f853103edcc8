"""Kept analyses: found again by the content of the files and everything else that decides an analysis.

A stored analysis carries its own checksum; one that is not exactly what was written is never used.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from emobench.data.analyze.core import VERSION, Analysis
from emobench.files import write_bytes

_BLOCK_BYTES = 1 << 20


def content_digest(files: Sequence[Path], names: Sequence[str]) -> str:
    """SHA-256 of the files' names and bytes, 64 hex digits; a file that cannot be read counts by what the system says.

    Reading 2 GB for it takes a few seconds, a hundredth of what tokenizing them does.
    """
    whole = hashlib.sha256()
    for path, name in zip(files, names, strict=True):
        digest = hashlib.sha256()
        try:
            if path.is_file():
                with path.open("rb") as stream:
                    while block := stream.read(_BLOCK_BYTES):
                        digest.update(block)
            else:
                digest.update(b"not a file")
        except OSError as error:
            digest.update(type(error).__name__.encode())
        whole.update(json.dumps([name, digest.hexdigest()]).encode())
    return whole.hexdigest()


def cache_key(content: str, options: Mapping[str, Any]) -> str:
    """Name of an analysis: of the files' content, the options, and the version of this code; 64 hex digits."""
    parts = json.dumps([VERSION, content, options], sort_keys=True)
    return hashlib.sha256(parts.encode()).hexdigest()


def kept_path(folder: Path, key: str) -> Path:
    """Where the analysis of a key is kept: a line with its checksum, then JSON."""
    return folder / f"{key}.analysis"


def store(folder: Path, key: str, analysis: Analysis) -> None:
    """Keep an analysis under its key."""
    payload = json.dumps(analysis.to_json(), allow_nan=False).encode()
    write_bytes(kept_path(folder, key), hashlib.sha256(payload).hexdigest().encode() + b"\n" + payload)


def load(folder: Path, key: str) -> Analysis | None:
    """The analysis kept under a key, or None where there is none that is whole."""
    try:
        checksum, _, payload = kept_path(folder, key).read_bytes().partition(b"\n")
    except FileNotFoundError:
        return None
    if hashlib.sha256(payload).hexdigest().encode() != checksum:
        return None
    return Analysis.from_json(json.loads(payload))
