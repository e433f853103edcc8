"""Splits: disjoint, stratified, and a function of seed and texts alone."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emobench.data.clean import Cleaned, CleaningReport
from emobench.data.split import Splits, apportion, make_splits
from emobench.errors import DataError, SpecError


def cleaned(pairs: dict[str, int]) -> Cleaned:
    """Cleaned rows as the cleaning gives them."""
    report = CleaningReport(
        rows_read=len(pairs), dropped_by_label=0, empty=0, duplicates=0, conflicting=0, rows_kept=len(pairs)
    )
    return Cleaned(texts=tuple(pairs), labels=tuple(pairs.values()), report=report)


def rows(*counts: int, prefix: str = "row") -> dict[str, int]:
    """Text to label, ``counts[c]`` rows of class c."""
    return {f"{prefix} {label} {n}": label for label, count in enumerate(counts) for n in range(count)}


def split(
    pools: dict[str, dict[str, int]], sizes: tuple[int | None, int | None, int | None], seed: int = 0, classes: int = 2
) -> Splits:
    """Splits of the sizes train, validation and test."""
    names = [f"class {label}" for label in range(classes)]
    parts = {name: cleaned(pool) for name, pool in pools.items()}
    return make_splits(parts, class_names=names, train=sizes[0], validation=sizes[1], test=sizes[2], seed=seed)


COUNTS = st.lists(st.integers(3, 60), min_size=2, max_size=7)


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[int], list[int]]:
    """Class counts, and three split sizes that fit into them."""
    counts = draw(COUNTS)
    total = sum(counts)
    smallest = len(counts)
    test = draw(st.integers(smallest, total - 2 * smallest))
    validation = draw(st.integers(smallest, total - smallest - test))
    return counts, [test, validation, draw(st.integers(smallest, total - test - validation))]


@given(tables())
@settings(max_examples=300, deadline=None)
def test_every_split_has_its_size_and_its_share_of_each_class(table: tuple[list[int], list[int]]) -> None:
    """Sums are exact, no class gives more than it has, each entry is within one row of its exact share."""
    counts, sizes = table
    shares = apportion(sizes, counts)
    assert [sum(row) for row in shares] == sizes
    assert all(sum(column) <= count for column, count in zip(zip(*shares, strict=True), counts, strict=True))
    assert all(share >= 1 for row in shares for share in row)
    total = sum(counts)
    if all(size * count >= total for size in sizes for count in counts):
        for size, row in zip(sizes, shares, strict=True):
            for count, share in zip(counts, row, strict=True):
                assert abs(share - size * count / total) < 1


@given(tables(), st.integers(0, 2**32), st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_splits_are_disjoint_and_ignore_the_order_of_rows(
    table: tuple[list[int], list[int]], seed: int, generator: random.Random
) -> None:
    """No text is in two splits, labels stay with their texts, and shuffled rows give the very same splits."""
    counts, (test, validation, train) = table
    pool = rows(*counts)
    first = split({"train": pool}, (train, validation, test), seed, len(counts))
    shuffled = list(pool.items())
    generator.shuffle(shuffled)
    second = split({"train": dict(shuffled)}, (train, validation, test), seed, len(counts))
    assert first == second
    parts = [first.train, first.validation, first.test]
    assert [len(part) for part in parts] == [train, validation, test]
    texts = [text for part in parts for text in part.texts]
    assert len(set(texts)) == len(texts)
    assert all(pool[text] == label for part in parts for text, label in zip(part.texts, part.labels, strict=True))


def test_another_seed_is_another_split() -> None:
    """The seed changes which rows are chosen and the fingerprint, not the class counts."""
    pool = {"train": rows(300, 100)}
    first, again, other = (split(pool, (100, 20, 40), seed) for seed in (1, 1, 2))
    assert first.fingerprint == again.fingerprint != other.fingerprint
    assert set(first.test.texts) != set(other.test.texts)
    assert Counter(first.test.labels) == Counter(other.test.labels) == {0: 30, 1: 10}
    assert len(first.fingerprint) == 32


def test_rows_of_a_split_are_mixed() -> None:
    """Classes do not stand in blocks, so that a cut-off front part has both."""
    labels = split({"train": rows(500, 500)}, (200, 50, 50)).train.labels
    assert 30 < sum(labels[:100]) < 70


def test_the_test_split_does_not_move_with_the_others() -> None:
    """Examples stay paired between profiles that differ in training size only."""
    pool = {"train": rows(500, 400)}
    assert split(pool, (100, 20, 90)).test == split(pool, (700, 60, 90)).test


def test_the_fingerprint_sees_every_change() -> None:
    """One changed label, text or class name is another fingerprint; so is a row in another split."""
    pool = rows(20, 20)
    base = split({"train": pool}, (20, 10, 10))
    text = base.train.texts[0]
    relabeled = {name: (1 - label if name == text else label) for name, label in pool.items()}
    renamed = make_splits({"train": cleaned(pool)}, class_names=["x", "y"], train=20, validation=10, test=10, seed=0)
    smaller = split({"train": pool}, (19, 10, 10))
    found = {base.fingerprint, split({"train": relabeled}, (20, 10, 10)).fingerprint}
    assert len(found | {renamed.fingerprint, smaller.fingerprint}) == 4


def test_official_test_rows_never_train() -> None:
    """Texts of the whole official test file leave train and validation, also those that were not subsampled."""
    official = rows(30, 30, prefix="test")
    train = rows(100, 100) | dict(list(official.items())[:7])
    validation = rows(20, 20, prefix="validation") | dict(list(official.items())[-2:]) | {"row 0 5": 0}
    splits = split({"train": train, "validation": validation, "test": official}, (None, None, 20))
    assert set(splits.test.texts) <= set(official)
    assert not set(official) & {*splits.train.texts, *splits.validation.texts}
    assert "row 0 5" in splits.validation.texts
    assert "row 0 5" not in splits.train.texts
    assert (splits.report.overlap_with_test, splits.report.overlap_with_validation) == (9, 1)
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (199, 41, 20)


def test_none_takes_all_and_holds_out_a_tenth() -> None:
    """Without sizes a tenth each is held out for validation and test, and the report says so."""
    splits = split({"train": rows(100, 100)}, (None, None, None))
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (160, 20, 20)
    assert splits.report.notes == (
        "test: held out 20 of 200 rows of the train file",
        "validation: held out 20 of 200 rows of the train file",
    )


def test_too_few_rows_are_scaled_and_noted() -> None:
    """Sizes that the file cannot give shrink together, classes stay whole, and each change is in the report."""
    splits = split({"train": rows(30, 10)}, (2000, 500, 1000))
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (23, 6, 11)
    assert all(set(part.labels) == {0, 1} for part in (splits.train, splits.validation, splits.test))
    assert splits.report.notes == (
        "test: took 11 of 1000 rows, the train file has 40 for test, validation, train",
        "validation: took 6 of 500 rows, the train file has 40 for test, validation, train",
        "train: took 23 of 2000 rows, the train file has 40 for test, validation, train",
    )
    assert split({"train": rows(30, 10)}, (20, 10, 10)).report.notes == ()


@given(COUNTS, st.tuples(*[st.none() | st.integers(0, 400)] * 3))
@settings(max_examples=100, deadline=None)
def test_any_sizes_give_every_class_to_every_split(
    counts: list[int], sizes: tuple[int | None, int | None, int | None]
) -> None:
    """Whatever is asked for, each split has all classes and none more rows than asked unless a note says so."""
    splits = split({"train": rows(*counts)}, sizes, classes=len(counts))
    parts = [splits.train, splits.validation, splits.test]
    assert all(set(part.labels) == set(range(len(counts))) for part in parts)
    assert sum(map(len, parts)) <= sum(counts)
    for name, part, size in zip(("train", "validation", "test"), parts, sizes, strict=True):
        assert size is None or len(part) == size or any(note.startswith(name) for note in splits.report.notes)


def test_what_cannot_be_split_is_an_error() -> None:
    """A class too small for three splits, no train file, and an unknown split name are named."""
    with pytest.raises(DataError, match="class 'class 1' has 2 rows; test, validation, train need one each; add rows"):
        split({"train": rows(50, 2)}, (10, 5, 5))
    with pytest.raises(DataError, match="no train split among test; validation and test rows are held out from it"):
        split({"test": rows(5, 5)}, (10, 5, 5))
    with pytest.raises(SpecError, match=r"unknown split 'trian'; .* did you mean 'train'"):
        split({"trian": rows(5, 5)}, (10, 5, 5))
