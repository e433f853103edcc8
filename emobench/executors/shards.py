"""Shards: which cases of a matrix are whose, so that machines that know nothing of one another run it together.

It runs nothing and collects nothing.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from emobench.errors import SpecError


@dataclass(frozen=True, kw_only=True)
class Shard:
    """Part ``index`` of ``count``, both from 1."""

    index: int
    count: int

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


def parse_shard(text: str) -> Shard:
    """Read ``I/N``.

    Raises:
        SpecError: it is no pair of whole numbers with 1 <= I <= N.
    """
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text.strip())
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise SpecError(
            f"shard {text!r} cannot be used",
            why="a shard is I/N with whole numbers and I from 1 to N",
            fix="give 1/4, 2/4, 3/4 and 4/4 to four machines",
        )
    return Shard(index=int(match[1]), count=int(match[2]))


def ids_of(shard: Shard, case_ids: Iterable[str]) -> frozenset[str]:
    """The ids of a shard: every ``count``-th of all distinct ids, in the order of their hashes.

    The shards of one set of ids are disjoint, complete, and differ by at most one in size. The order of the hashes
    spreads cases of one model or length, which stand together in a matrix. Every machine must give the same ids.
    """
    ordered = sorted(set(case_ids), key=lambda name: (hashlib.sha256(name.encode()).digest(), name))
    return frozenset(ordered[shard.index - 1 :: shard.count])
