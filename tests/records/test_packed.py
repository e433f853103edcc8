"""Packed predictions: what paired tests need, in the order of the split, and nothing that cannot be paired."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emobench.errors import BrokenFileError
from emobench.records.packed import (
    Packed,
    PackedColumns,
    disagreements,
    pack,
    read_packed,
    to_table,
    write_packed,
)
from emobench.records.predictions import Classes


def scored(
    labels: list[int], predicted: list[int], *, rows: list[int] | None = None, texts: str = "t", classes: int = 2
) -> Classes:
    return Classes(
        texts_digest=texts,
        class_names=tuple(f"c{index}" for index in range(classes)),
        rows=np.array(range(len(labels)) if rows is None else rows, np.int64),
        labels=np.array(labels, np.int32),
        predicted=np.array(predicted, np.int32),
    )


def test_rows_are_put_into_the_order_of_the_split() -> None:
    """Files whose rows stand in another order are the same examples, example by example."""
    straight = pack({0: scored([0, 1, 1], [0, 0, 1])})
    turned = pack({0: scored([1, 0, 1], [1, 0, 0], rows=[2, 0, 1])})
    assert straight.examples == turned.examples
    assert straight.predicted.tolist() == turned.predicted.tolist() == [[0, 0, 1]]
    assert straight.correct.tolist() == [[True, False, True]]


@pytest.mark.parametrize(
    "other",
    [
        scored([0, 1, 1], [0, 0, 1], texts="u"),
        scored([0, 1, 0], [0, 0, 1]),
        scored([0, 1, 1], [0, 0, 1], rows=[0, 1, 3]),
        scored([0, 1, 1], [0, 0, 1], classes=3),
        scored([0, 1], [0, 0]),
    ],
)
def test_other_examples_have_another_digest(other: Classes) -> None:
    """Other texts, labels, rows, classes or fewer examples: such cases are not paired."""
    assert pack({0: other}).examples != pack({0: scored([0, 1, 1], [0, 0, 1])}).examples


@pytest.mark.parametrize(
    ("by_seed", "text"),
    [
        ({0: scored([0, 1], [0, 1]), 1: scored([0, 0], [0, 1])}, "seeds 0, 1 were not scored on the same examples"),
        ({0: scored([0, 2], [0, 1])}, "there are 2 classes"),
        ({0: scored([0, 1], [0, -1])}, "a prediction of seed 0 is -1"),
        ({0: scored([0, 1], [0, 1], rows=[1, 1])}, "a row twice"),
    ],
)
def test_impossible_predictions_are_refused(by_seed: dict[int, Classes], text: str) -> None:
    """What cannot be one case's predictions is named, not packed."""
    with pytest.raises(ValueError, match=text):
        pack(by_seed)


@st.composite
def cases(draw: st.DrawFn) -> Packed | None:
    if draw(st.booleans()):
        return None
    classes = draw(st.sampled_from([2, 3, 256, 257, 1000]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    n = draw(st.integers(0, 40))
    labels = rng.integers(0, classes, n).tolist()
    seeds = draw(st.lists(st.integers(0, 2**40), min_size=1, max_size=3, unique=True))
    return pack(
        {seed: scored(labels, rng.integers(0, classes, n).tolist(), texts=str(n), classes=classes) for seed in seeds}
    )


@given(st.lists(cases(), max_size=6))
def test_columns_give_back_what_was_packed(found: list[Packed | None]) -> None:
    """Labels, predictions, seeds and class names of every case come back, however many share their examples."""
    columns = PackedColumns(to_table(found))
    columns.check()
    assert len(columns) == len(found)
    for row, wanted in enumerate(found):
        got = columns.case(row)
        if wanted is None:
            assert got is None
            continue
        assert got is not None
        assert (got.examples, got.class_names, got.seeds) == (wanted.examples, wanted.class_names, wanted.seeds)
        assert np.array_equal(got.labels, wanted.labels)
        assert np.array_equal(got.predicted, wanted.predicted)
        if len(wanted.labels):
            bits = columns.correct_bits(np.array([row]))[0]
            assert np.array_equal(np.unpackbits(bits, axis=1, count=len(wanted.labels)).astype(bool), wanted.correct)


def test_disagreements_are_counted_example_by_example() -> None:
    """The counts are those of the unpacked answers, and pairs that cannot be paired have n = 0."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 1001).tolist()
    base, new = rng.integers(0, 2, (2, 1001))
    one = pack({0: scored(labels, base.tolist())})
    other = pack({0: scored(labels, new.tolist())})
    seeds = pack({seed: scored(labels, new.tolist()) for seed in (0, 1)})
    short = pack({0: scored([1, 0], [0, 0])})
    left = PackedColumns(to_table([one, one, None, one, short]))
    right = PackedColumns(to_table([other, seeds, None, short, short]))
    found = disagreements(left, right, np.arange(5), np.arange(5))
    truth = np.array(labels)
    assert found.n.tolist() == [1001, 0, 0, 0, 2]
    assert found.base_only.tolist() == [int(((base == truth) & (new != truth)).sum()), 0, 0, 0, 0]
    assert found.new_only.tolist() == [int(((base != truth) & (new == truth)).sum()), 0, 0, 0, 0]


def test_a_file_of_packed_predictions(tmp_path: Path) -> None:
    """By case id and whole; cut, flipped or foreign it is refused with its name."""
    path = tmp_path / "a.parquet"
    wanted = pack({3: scored([0, 1, 1], [0, 0, 1])})
    write_packed(path, {"x": wanted, "y": wanted})
    assert {name: case.predicted.tolist() for name, case in read_packed(path).items()} == {
        "x": [[0, 0, 1]],
        "y": [[0, 0, 1]],
    }
    data = path.read_bytes()
    for broken in (b"", data[:-10], data[: len(data) // 2], b"PAR1" * 10):
        path.write_bytes(broken)
        with pytest.raises(BrokenFileError, match=r"a\.parquet holds no readable packed predictions"):
            read_packed(path)
    with pytest.raises(BrokenFileError, match="there is no such file"):
        read_packed(tmp_path / "b.parquet")
