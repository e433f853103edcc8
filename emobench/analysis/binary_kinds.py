"""Kinds of examples of two classes for many pairs of predictors at once, from bits. It scores nothing.

For two classes a prediction is known from the label and whether it is right, so that eight examples cost one byte a
side.

Shapes: C pairs of predictors, n examples.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from emobench.analysis.class_scores import Classes, Kinds
from emobench.analysis.columns import Ints

Bits = npt.NDArray[np.uint8]

_KINDS = {
    "labels": np.array([0, 1, 0, 1, 0, 1, 0, 1]),
    "base": np.array([0, 1, 0, 1, 1, 0, 1, 0]),
    "new": np.array([0, 1, 1, 0, 0, 1, 1, 0]),
}
"""A label of each class with both sides right, only base, only new, and neither."""

_ONES = np.array([bin(byte).count("1") for byte in range(256)], np.uint8)


def class_bits(labels: Classes) -> Bits:
    """Bits, as ``np.packbits`` makes them, of the examples of class 1."""
    return np.packbits(np.asarray(labels) == 1)


def binary_kinds(bits: Bits, labels: Classes, base: Bits, new: Bits) -> Kinds:
    """Count from packed bits of right predictions, shape (C, ceil(n / 8)), padded with zeros.

    Examples that are not of class 1 count as of class 0: who is right of them is counted, whatever the classes are.
    """
    ones = int((np.asarray(labels) == 1).sum())
    columns: list[Any] = []
    for both in (base & new, base & ~new, new & ~base):
        of_one, total = _count(both & bits), _count(both)
        columns += [total - of_one, of_one]
    # Counting what neither has right would count the padding.
    columns += [support - sum(columns[label::2]) for label, support in enumerate((len(labels) - ones, ones))]
    return Kinds(**_KINDS, counts=np.stack(columns, axis=1))


def _count(bits: Bits) -> Ints:
    ones = np.bitwise_count(bits) if hasattr(np, "bitwise_count") else _ONES[bits]
    return np.asarray(ones.sum(axis=1, dtype=np.int64))
