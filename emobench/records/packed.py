"""Packed predictions: per case what paired tests of accuracy and F1 need, a bit and a class code an example and seed.

Probabilities stay in the run's own files. It tests nothing.

Shapes: n examples, S seeds.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from emobench.errors import BrokenFileError
from emobench.files import writing
from emobench.records.buffers import blobs, lists, numbers, present, texts, whole
from emobench.records.schemas import schema_fix

if TYPE_CHECKING:
    import pyarrow as pa

    from emobench.records.predictions import Classes

SCHEMA = 1
"""Version of the packed columns; a reader refuses one it does not know."""

ARTIFACT = re.compile(r"predictions_seed(\d{1,18})")
"""Name of the artifact that holds a seed's predictions; those of a variant's original have another."""

_META = b"emobench_packed"
_CODES = (np.uint8, np.uint16)


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Packed:
    """One case's predictions in the order of the split; equal ``examples`` means that two cases can be paired."""

    examples: str
    """Digest of the texts, the row numbers, the labels and the names of the classes."""
    class_names: tuple[str, ...]
    seeds: tuple[int, ...]
    labels: npt.NDArray[np.integer[Any]]
    """(n,) class indices, uint8 up to 256 classes, else uint16."""
    predicted: npt.NDArray[np.integer[Any]]
    """(S, n), as the labels."""

    @cached_property
    def correct(self) -> npt.NDArray[np.bool_]:
        """(S, n): whether the predicted class is the label."""
        return np.asarray(self.predicted == self.labels)


def pack(by_seed: Mapping[int, Classes]) -> Packed:
    """Pack the seeds of a case, at least one, in the order given.

    Raises:
        ValueError: the seeds were not scored on the same examples, or a row or a class is impossible; says which.
    """
    digests: dict[int, str] = {}
    labels: npt.NDArray[np.integer[Any]] | None = None
    predicted = []
    for seed, found in by_seed.items():
        order = np.argsort(found.rows, kind="stable")
        rows = found.rows[order]
        if len(rows) and (rows[0] < 0 or (np.diff(rows) == 0).any()):
            raise ValueError(f"seed {seed} holds a row twice or below 0")
        truth = _codes(found.labels[order], len(found.class_names), f"label of seed {seed}")
        predicted.append(_codes(found.predicted[order], len(found.class_names), f"prediction of seed {seed}"))
        digests[seed] = _digest(found, rows, truth)
        labels = truth if labels is None else labels
    if len(set(digests.values())) > 1:
        raise ValueError(f"seeds {', '.join(map(str, digests))} were not scored on the same examples")
    first = next(iter(by_seed.values()))
    assert labels is not None
    return Packed(
        examples=next(iter(digests.values())),
        class_names=first.class_names,
        seeds=tuple(by_seed),
        labels=labels,
        predicted=np.stack(predicted),
    )


def _codes(values: npt.NDArray[np.int32], classes: int, what: str) -> npt.NDArray[np.integer[Any]]:
    if len(values) and (values.min() < 0 or values.max() >= classes):
        raise ValueError(f"a {what} is {int(values.min())} or {int(values.max())}, and there are {classes} classes")
    if classes > 1 << 16:
        raise ValueError(f"{classes} classes are more than are kept")
    return values.astype(_CODES[classes > 256])


def _digest(found: Classes, rows: npt.NDArray[np.int64], labels: npt.NDArray[np.integer[Any]]) -> str:
    digest = hashlib.sha256(json.dumps([found.texts_digest, list(found.class_names), len(rows)]).encode())
    digest.update(rows.astype("<i8").tobytes())
    digest.update(labels.astype("<u2").tobytes())
    return digest.hexdigest()[:32]


def to_table(cases: Sequence[Packed | None]) -> pa.Table:
    """A row a case; the examples' labels and class names stand in the first row that has them."""
    import pyarrow as pa

    known: set[str] = set()
    first = []
    for case in cases:
        first.append(case is not None and case.examples not in known)
        if case is not None:
            known.add(case.examples)
    pairs = list(zip(cases, first, strict=True))
    columns = {
        "examples": pa.array([None if case is None else case.examples for case in cases], pa.string()),
        "seeds": pa.array([[] if case is None else list(case.seeds) for case in cases], pa.list_(pa.int64())),
        "n": pa.array([0 if case is None else len(case.labels) for case in cases], pa.int64()),
        "correct": pa.array(
            [b"" if case is None else np.packbits(case.correct, axis=1).tobytes() for case in cases], pa.large_binary()
        ),
        "predicted": pa.array(
            [b"" if case is None else _little(case.predicted).tobytes() for case in cases], pa.large_binary()
        ),
        "labels": pa.array(
            [_little(case.labels).tobytes() if case is not None and new else None for case, new in pairs],
            pa.large_binary(),
        ),
        "class_names": pa.array(
            [list(case.class_names) if case is not None and new else None for case, new in pairs],
            pa.list_(pa.string()),
        ),
    }
    return pa.table(columns)


def _little(values: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.integer[Any]]:
    return values.astype(values.dtype.newbyteorder("<"), copy=False)


class PackedColumns:
    """Packed predictions of many cases over an Arrow table, of which only what is asked for is touched."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table.combine_chunks()
        self.examples: npt.NDArray[np.object_] = texts(self._whole("examples"))
        self.n: npt.NDArray[np.int64] = numbers(self._whole("n"))
        self.num_seeds: npt.NDArray[np.int64] = np.diff(lists(self._whole("seeds"))[1])

    def _whole(self, name: str) -> Any:
        return whole(self._table.column(name))

    def __len__(self) -> int:
        return len(self.n)

    @cached_property
    def _first_row(self) -> dict[str, int]:
        """Examples to the row that holds their labels."""
        held = np.flatnonzero(present(self._whole("labels")))
        return {self.examples[row]: int(row) for row in held}

    @cached_property
    def _correct(self) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
        return blobs(self._whole("correct"))

    @cached_property
    def _predicted(self) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
        return blobs(self._whole("predicted"))

    def case(self, row: int) -> Packed | None:
        """The predictions of a row; None where the case has none."""
        if not self.examples[row]:
            return None
        holder = self._first_row[self.examples[row]]
        names = tuple(self._table.column("class_names")[holder].as_py())
        kind = np.dtype(_CODES[len(names) > 256]).newbyteorder("<")
        values, starts = self._predicted
        predicted = values[starts[row] : starts[row + 1]].view(kind)
        return Packed(
            examples=self.examples[row],
            class_names=names,
            seeds=tuple(self._table.column("seeds")[row].as_py()),
            labels=np.frombuffer(self._table.column("labels")[holder].as_py(), kind),
            predicted=predicted.reshape(int(self.num_seeds[row]), int(self.n[row])),
        )

    def correct_bits(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        """Bits of ``np.packbits`` of rows with the same n and S; shape (rows, S, ceil(n / 8)), padded with zeros."""
        seeds, width = int(self.num_seeds[rows[0]]), -(-int(self.n[rows[0]]) // 8)
        values, starts = self._correct
        found = values[starts[rows][:, None] + np.arange(seeds * width)]
        return np.asarray(found.reshape(len(rows), seeds, width))

    def check(self) -> None:
        """See that offsets and lengths fit together, so that every row can be read.

        Raises:
            ValueError: they do not.
        """
        self._table.validate(full=True)
        for row in range(len(self)):
            case = self.case(row)
            if case is None:
                continue
            width = case.predicted.shape[0] * (-(-len(case.labels) // 8))
            if (
                case.predicted.shape[1] != len(case.labels)
                or self._correct[1][row + 1] - self._correct[1][row] != width
            ):
                raise ValueError(f"row {row} does not hold a bit and a class for each example")


_POPCOUNT = np.array([bin(byte).count("1") for byte in range(256)], np.uint8)


@dataclass(frozen=True, kw_only=True, eq=False)
class Disagreements:
    """Counts of the pairs of McNemar's test, one entry a pair of rows; n is 0 where the two cannot be paired so."""

    base_only: npt.NDArray[np.int64]
    """Examples that only the base has right."""
    new_only: npt.NDArray[np.int64]
    n: npt.NDArray[np.int64]


def disagreements(
    base: PackedColumns, new: PackedColumns, base_rows: npt.ArrayLike, new_rows: npt.ArrayLike
) -> Disagreements:
    """Count on which examples two cases of one seed each differ, for many pairs of rows at once.

    Pairs with several seeds, other examples or no predictions get n = 0: seeds are not independent examples.
    """
    first, second = np.asarray(base_rows, np.int64), np.asarray(new_rows, np.int64)
    paired = (base.num_seeds[first] == 1) & (new.num_seeds[second] == 1) & (base.examples[first] != "")
    paired &= np.asarray(base.examples[first] == new.examples[second], bool)
    counts = {"base_only": np.zeros(len(first), np.int64), "new_only": np.zeros(len(first), np.int64)}
    n = np.where(paired, base.n[first], 0)
    for size in np.unique(n[n > 0]):
        at = np.flatnonzero(n == size)
        # Blocks bound the memory where the examples are a million.
        for part in np.array_split(at, max(1, len(at) * int(size) // (1 << 25))):
            left, right = base.correct_bits(first[part])[:, 0], new.correct_bits(second[part])[:, 0]
            counts["base_only"][part] = _POPCOUNT[left & ~right].sum(axis=1, dtype=np.int64)
            counts["new_only"][part] = _POPCOUNT[right & ~left].sum(axis=1, dtype=np.int64)
    return Disagreements(n=n, **counts)


def write_packed(path: Path, cases: Mapping[str, Packed]) -> None:
    """Write packed predictions by case id as one Parquet file, whole or not at all."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = to_table(list(cases.values())).append_column("case", pa.array(list(cases), pa.string()))
    with writing(path) as stream:
        pq.write_table(
            table.replace_schema_metadata({_META: json.dumps({"schema": SCHEMA}).encode()}),
            stream,
            compression="zstd",
            write_page_checksum=True,
        )


def read_packed(path: Path) -> dict[str, Packed]:
    """Read packed predictions back, by case id.

    Raises:
        BrokenFileError: the file is missing, incomplete, changed, or of another schema; names it.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with path.open("rb") as stream:
            table = pq.read_table(stream, page_checksum_verification=True)
        meta = json.loads((table.schema.metadata or {}).get(_META, b"{}"))
        if meta.get("schema") != SCHEMA:
            why = f"its schema is {meta.get('schema')!r} and this EmoBench reads {SCHEMA}"
            raise _broken(path, why, fix=schema_fix(meta.get("schema"), SCHEMA, _RESTORE))
        columns = PackedColumns(table)
        columns.check()
        found = {name: columns.case(row) for row, name in enumerate(table.column("case").to_pylist())}
    except BrokenFileError:
        raise
    except FileNotFoundError:
        raise _broken(path, "there is no such file") from None
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        raise _broken(path, str(error)) from error
    return {name: case for name, case in found.items() if case is not None}


_RESTORE = "bless the baseline again, or restore it from a copy"


def _broken(path: Path, why: str, *, fix: str = _RESTORE) -> BrokenFileError:
    return BrokenFileError(f"{path} holds no readable packed predictions", why=why, fix=fix)
