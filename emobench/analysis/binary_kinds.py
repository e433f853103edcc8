"""Kinds of examples of two classes for many pairs of predictors at once, from bits. It scores nothing.

For two classes a prediction is known from the label and whether it is right, so that eight examples cost one byte a
side.

Shapes: C pairs of predictors, n examples.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from emobench.analysis.class_scores import Kinds

Ints = npt.NDArray[np.int64]
Bits = npt.NDArray[np.uint8]

_ONES = np.array([bin(byte).count("1") for byte in range(256)], np.uint8)


def class_bits(labels: npt.NDArray[np.integer[Any]]) -> Bits:
    """Bits, as ``np.packbits`` makes them, of the examples of class 1."""
    return np.packbits(np.asarray(labels) == 1)


def binary_kinds(bits: Bits, labels: npt.NDArray[np.integer[Any]], base: Bits, new: Bits) -> Kinds:
    """Count from packed bits of right predictions, shape (C, ceil(n / 8)), padded with zeros.

    Examples that are not of class 1 count as of class 0: who is right of them is counted, whatever the classes are.
    """
    ones = int((np.asarray(labels) == 1).sum())
    columns, kinds = [], []
    for base_right, new_right in ((True, True), (True, False), (False, True)):
        both = (base if base_right else ~base) & (new if new_right else ~new)
        of_one, total = _count(both & bits), _count(both)
        columns += [total - of_one, of_one]
        kinds += [_kind(label, base_right, new_right) for label in (0, 1)]
    # The padding would count among what neither has right.
    columns += [len(labels) - ones - np.sum(columns[::2], axis=0), ones - np.sum(columns[1::2], axis=0)]
    kinds += [_kind(label, False, False) for label in (0, 1)]
    table = np.array(kinds, np.int64)
    return Kinds(labels=table[:, 0], base=table[:, 1], new=table[:, 2], counts=np.stack(columns, axis=1))


def _kind(label: int, base_right: bool, new_right: bool) -> tuple[int, int, int]:
    return label, label if base_right else 1 - label, label if new_right else 1 - label


def _count(bits: Bits) -> Ints:
    ones = np.bitwise_count(bits) if hasattr(np, "bitwise_count") else _ONES[bits]
    return np.asarray(ones.sum(axis=1, dtype=np.int64))
