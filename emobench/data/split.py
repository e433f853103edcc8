"""Splits: train, validation and test examples chosen by a seeded hash of each text. Reads no files.

Which split a text lands in depends on the seed, the text and the class sizes, never on the order of the rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from emobench.data.clean import Cleaned, CleaningReport
from emobench.errors import DataError, unknown_name

HELD_OUT_SHARE = 0.1
"""Share of the rows that a size of None holds out for validation or test, where there is no official split."""

SPLITS = ("test", "validation", "train")
"""Order in which ranked rows are given out, so that the test split does not move when the others change size."""


@dataclass(frozen=True, kw_only=True)
class Examples:
    """Texts and their class indices, of equal length, in the order of their hash."""

    texts: tuple[str, ...] = field(repr=False)
    labels: tuple[int, ...] = field(repr=False)

    def __len__(self) -> int:
        return len(self.texts)


@dataclass(frozen=True, kw_only=True)
class SplitReport:
    """What happened to the rows between file and splits."""

    cleaning: Mapping[str, CleaningReport]
    """One entry an official split."""
    overlap_with_test: int
    """Rows dropped from train and validation because an official test split has the same text."""
    overlap_with_validation: int
    """Rows dropped from train because an official validation split has the same text."""
    notes: tuple[str, ...] = ()
    """Sizes that could not be had, and what was taken instead."""

    def as_dict(self) -> dict[str, Any]:
        """The report as plain values for a record."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Splits:
    """Three disjoint sets of examples and what identifies them."""

    train: Examples
    validation: Examples
    test: Examples
    class_names: tuple[str, ...]
    fingerprint: str
    """32 hex digits over class names, texts, labels and their order in all three splits."""
    report: SplitReport


def make_splits(
    cleaned: Mapping[str, Cleaned],
    *,
    class_names: Sequence[str],
    train: int | None,
    validation: int | None,
    test: int | None,
    seed: int,
) -> Splits:
    """Choose stratified splits out of the official ones; what is not official is held out from ``train``.

    A size of None takes all rows of an official split, all that is left for ``train``, and
    :data:`HELD_OUT_SHARE` of the rows for a split that is held out. Class proportions are kept to within one row of the
    exact share, except that every split has at least one row of every class.

    Raises:
        SpecError: an official split that is none of train, validation and test.
        DataError: no official train split, or too few rows of a class for one in every split.
    """
    for name in cleaned:
        if name not in SPLITS:
            raise unknown_name("split", name, SPLITS)
    if "train" not in cleaned:
        raise DataError(
            f"no train split among {', '.join(sorted(cleaned)) or 'no files'}",
            why="validation and test rows are held out from it where they have no file of their own",
            fix="name a train file in the data set's row",
        )
    sizes = {"train": train, "validation": validation, "test": test}
    pools = {name: dict(zip(part.texts, part.labels, strict=True)) for name, part in cleaned.items()}
    overlap_test = sum(_remove(pools, name, pools.get("test", {})) for name in ("train", "validation"))
    overlap_validation = _remove(pools, "train", pools.get("validation", {}))
    notes: list[str] = []
    chosen: dict[str, Examples] = {}
    for name, pool in pools.items():
        members = [split for split in SPLITS if split == name or (name == "train" and split not in pools)]
        wanted = _wanted(name, {split: sizes[split] for split in members}, len(pool), len(class_names), notes)
        chosen |= _choose(pool, wanted, class_names, seed)
    return Splits(
        train=chosen["train"],
        validation=chosen["validation"],
        test=chosen["test"],
        class_names=tuple(class_names),
        fingerprint=fingerprint([chosen[name] for name in ("train", "validation", "test")], class_names),
        report=SplitReport(
            cleaning={name: part.report for name, part in cleaned.items()},
            overlap_with_test=overlap_test,
            overlap_with_validation=overlap_validation,
            notes=tuple(notes),
        ),
    )


def fingerprint(parts: Sequence[Examples], class_names: Sequence[str]) -> str:
    """SHA-256 (32 hex digits) of class names, labels, texts and their order; every item carries its length."""
    digest = hashlib.sha256()

    def add(data: bytes) -> None:
        digest.update(len(data).to_bytes(8, "little") + data)

    for group in (class_names, *(part.texts for part in parts)):
        digest.update(len(group).to_bytes(8, "little"))
        for text in group:
            add(text.encode())
    for part in parts:
        add(b"".join(label.to_bytes(4, "little") for label in part.labels))
    return digest.hexdigest()[:32]


def _remove(pools: dict[str, dict[str, int]], name: str, taken: Mapping[str, int]) -> int:
    """Remove ``taken`` texts from a pool; returns how many there were."""
    pool = pools.get(name, {})
    both = pool.keys() & taken.keys()
    for text in both:
        del pool[text]
    return len(both)


def _wanted(
    pool_name: str, sizes: Mapping[str, int | None], rows: int, classes: int, notes: list[str]
) -> dict[str, int]:
    """Turn sizes with None into numbers that ``rows`` can give, scaled down together where they are too many."""
    wanted: dict[str, int] = {}
    for split, size in sizes.items():
        if size is not None:
            wanted[split] = size
        elif split != pool_name:
            wanted[split] = round(HELD_OUT_SHARE * rows)
            notes.append(f"{split}: held out {wanted[split]} of {rows} rows of the {pool_name} file")
    if pool_name not in wanted:
        held_out = sum(wanted.values())
        # All that is left; where the others already ask for everything, as much as the largest of them.
        wanted[pool_name] = rows - held_out if rows > held_out else max(wanted.values())
    for split in wanted:
        if wanted[split] < classes:
            notes.append(f"{split}: {wanted[split]} rows cannot hold {classes} classes, took one of each")
            wanted[split] = classes
    asked = sum(wanted.values())
    if asked <= rows:
        return wanted
    scaled = {split: max(classes, size * rows // asked) for split, size in wanted.items()}
    left = max(0, rows - sum(scaled.values()))
    for split in sorted(wanted, key=lambda split: -(wanted[split] * rows % asked))[:left]:
        scaled[split] += 1
    while sum(scaled.values()) > rows:
        scaled[max(scaled, key=lambda split: scaled[split])] -= 1
    notes += [
        f"{split}: took {scaled[split]} of {size} rows, the {pool_name} file has {rows} for {', '.join(wanted)}"
        for split, size in wanted.items()
    ]
    return scaled


def _choose(
    pool: Mapping[str, int], wanted: Mapping[str, int], class_names: Sequence[str], seed: int
) -> dict[str, Examples]:
    """Give each split its rows of every class, lowest hash first."""
    ranked: list[list[tuple[bytes, str]]] = [[] for _ in class_names]
    for text, label in pool.items():
        ranked[label].append((_rank(seed, text), text))
    counts = [len(rows) for rows in ranked]
    for name, count in zip(class_names, counts, strict=True):
        if count < len(wanted):
            raise DataError(
                f"class {name!r} has {count} rows",
                why=f"{', '.join(wanted)} need one each",
                fix="add rows of that class, or give it to another class in label_map of the data set's row",
            )
    shares = apportion(list(wanted.values()), counts)
    picked: dict[str, list[tuple[bytes, str, int]]] = {split: [] for split in wanted}
    for label, rows in enumerate(ranked):
        rows.sort()
        start = 0
        for row, split in enumerate(wanted):
            stop = start + shares[row][label]
            picked[split] += [(rank, text, label) for rank, text in rows[start:stop]]
            start = stop
    return {split: _in_order(rows) for split, rows in picked.items()}


def _in_order(rows: list[tuple[bytes, str, int]]) -> Examples:
    rows.sort()
    return Examples(texts=tuple(text for _, text, _ in rows), labels=tuple(label for _, _, label in rows))


def _rank(seed: int, text: str) -> bytes:
    return hashlib.blake2b(f"{seed}\0{text}".encode(), digest_size=16).digest()


def apportion(sizes: Sequence[int], counts: Sequence[int]) -> list[list[int]]:
    """Rows of every class for every split: ``result[split][class]``, shape (len(sizes), len(counts)).

    Split sums equal ``sizes``, class sums stay within ``counts``, and each entry is the exact share rounded down or up,
    by largest remainder where the class sums allow it (controlled rounding: Cox, JASA 82, 1987, shows that one always
    exists). Where a share rounds to nothing, one row moves there from the split's largest class.
    """
    total = sum(counts)
    spare = total - sum(sizes)
    shares = [[size * count // total for count in counts] for size in (*sizes, spare)]
    missing = [count - sum(column) for count, column in zip(counts, zip(*shares, strict=True), strict=True)]
    for row, column in _round_up((*sizes, spare), counts, missing):
        shares[row][column] += 1
    _fill_empty(shares)
    return shares[:-1]


def _round_up(sizes: Sequence[int], counts: Sequence[int], room: Sequence[int]) -> list[tuple[int, int]]:
    """Cells to round up so that rows and columns reach their sums: a bipartite matching by augmenting paths."""
    cells = [_by_remainder(size, counts) for size in sizes]
    held: list[list[int]] = [[] for _ in counts]

    def place(row: int, seen: set[int]) -> bool:
        for column in cells[row]:
            if column in seen or row in held[column]:
                continue
            seen.add(column)
            if len(held[column]) < room[column]:
                held[column].append(row)
                return True
            for other in held[column]:
                if place(other, seen):
                    held[column][held[column].index(other)] = row
                    return True
        return False

    for row, size in enumerate(sizes):
        for _ in range(size - sum(size * count // sum(counts) for count in counts)):
            found = place(row, set())
            assert found, "a controlled rounding always exists"
    return [(row, column) for column, rows in enumerate(held) for row in rows]


def _by_remainder(size: int, counts: Sequence[int]) -> list[int]:
    """Classes whose share of ``size`` is no whole number, the largest remainder first."""
    remainders = [size * count % sum(counts) for count in counts]
    return sorted((c for c, part in enumerate(remainders) if part), key=lambda c: (-remainders[c], c))


def _fill_empty(shares: list[list[int]]) -> None:
    """Give every split (the last row is the unused rest) one row of each class, by swaps that keep all sums."""
    splits = range(len(shares) - 1)
    for row in splits:
        for column, share in enumerate(shares[row]):
            if share:
                continue
            # The rest gives first; a split gives only what leaves it one.
            giver = max(range(len(shares)), key=lambda other: (shares[other][column] - (other in splits) > 0, other))
            given = max(range(len(shares[row])), key=lambda other: shares[row][other])
            shares[giver][column] -= 1
            shares[row][column] += 1
            shares[row][given] -= 1
            shares[giver][given] += 1
