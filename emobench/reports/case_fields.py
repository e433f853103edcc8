"""Case fields: what of a case goes into a file or to another tool; a record may hold more."""

from __future__ import annotations

AXES = (
    "kind",
    "model",
    "dataset",
    "method",
    "precision",
    "device",
    "batch_size",
    "length",
    "backend",
    "launch",
    "profile",
    "weights",
    "seeds",
    "key",
    "data_fingerprint",
    "model_revision",
)
"""Axes and identity of a case, without its id."""
CASE_FIELDS = ("id", *AXES)
