"""Shards: disjoint, complete, even, and the same on every machine."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emobench.errors import SpecError
from emobench.executors.shards import Shard, ids_of, parse_shard

IDS = st.lists(st.text(min_size=1, max_size=20), max_size=60)


@given(IDS, st.integers(1, 12), st.randoms())
def test_shards_are_disjoint_complete_and_even(names: list[str], count: int, random: object) -> None:
    """Every id is in exactly one shard, whatever order it is given in; sizes differ by one at most."""
    shards = [ids_of(Shard(index=index, count=count), names) for index in range(1, count + 1)]
    assert sum(map(len, shards)) == len(set(names))
    assert frozenset().union(*shards) == set(names)
    assert max(map(len, shards)) - min(map(len, shards)) <= 1
    random.shuffle(names)  # type: ignore[attr-defined]
    assert [ids_of(Shard(index=index, count=count), names * 2) for index in range(1, count + 1)] == shards


def test_cases_of_one_model_are_spread() -> None:
    """Cases that stand together in a matrix do not all go to one machine."""
    names = [f"inference[{model}-b{size}]" for model in ("small", "large") for size in range(50)]
    for index in (1, 2):
        large = sum("large" in name for name in ids_of(Shard(index=index, count=2), names))
        assert 10 < large < 40


@pytest.mark.parametrize("text", ["1/4", " 4/4 "])
def test_a_shard_is_read(text: str) -> None:
    """``I/N`` is read, and written as it was."""
    assert str(parse_shard(text)) == text.strip()


@pytest.mark.parametrize("text", ["0/4", "5/4", "1", "a/b", "1/0", "-1/2", "1/2/3", ""])
def test_a_wrong_shard_is_refused(text: str) -> None:
    """What is no shard is named, with what one is."""
    with pytest.raises(SpecError) as caught:
        parse_shard(text)
    assert str(caught.value) == (
        f"shard {text!r} cannot be used; a shard is I/N with whole numbers and I from 1 to N; "
        "give 1/4, 2/4, 3/4 and 4/4 to four machines"
    )
