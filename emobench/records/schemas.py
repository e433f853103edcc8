"""Schemas: what to do about a file whose schema is not the one that is read. It reads no file."""

from __future__ import annotations

NEWER = "update EmoBench: a newer version wrote it"


def schema_fix(found: object, known: int, otherwise: str) -> str:
    """The way on: an update for a file of a newer schema, which is whole and not to be deleted; else ``otherwise``."""
    newer = isinstance(found, int) and not isinstance(found, bool) and found > known
    return NEWER if newer else otherwise
