"""Predictions: labels and class probabilities per test example, as Parquet; what a paired test between runs needs."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from emobench.errors import BrokenFileError, DataError
from emobench.files import write_bytes, writing
from emobench.records.schemas import schema_fix

SCHEMA = 1
_META = b"emobench"


def write_predictions(
    path: Path,
    *,
    texts_digest: str,
    labels: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    seed: int,
    class_names: Sequence[str],
    rows: Sequence[int] | None = None,
) -> None:
    """Write one seed's predictions; labels of shape (n,), probabilities (n, K).

    Columns: seed, row (of the split; 0 to n-1 unless ``rows`` names them), label and prediction (class indices, int32),
    and ``p_<class>`` (float32) for each class. ``texts_digest`` identifies the examples: only files with the same one
    can be paired.

    Raises:
        DataError: the shapes do not fit together, or a class name stands twice.
    """
    import pyarrow.parquet as pq

    arrow = _table(labels, probabilities, rows, seed=seed, class_names=class_names)
    buffer = io.BytesIO()
    pq.write_table(
        arrow.replace_schema_metadata(_meta(texts_digest, class_names)),
        buffer,
        compression="zstd",
        write_page_checksum=True,
    )
    write_bytes(path, buffer.getvalue())


Append = Callable[[npt.ArrayLike, npt.ArrayLike, Sequence[int]], None]
"""Takes labels of shape (n,), probabilities (n, K) and row numbers (n,), n at least 1."""


@contextlib.contextmanager
def streamed_predictions(
    path: Path, *, texts_digest: Callable[[], str], seed: int, class_names: Sequence[str]
) -> Iterator[Append]:
    """Yield a function that appends predictions as a row group; the file is there when the block ends, or not at all.

    The file is that of :func:`write_predictions`. ``texts_digest`` is asked at the end: only then all texts are known.
    """
    import pyarrow.parquet as pq

    schema = _table([], np.zeros((0, len(class_names))), None, seed=seed, class_names=class_names).schema
    # A stored Arrow schema would hide metadata that is added at the end.
    settings = {"compression": "zstd", "store_schema": False, "write_page_checksum": True}
    with writing(path) as stream, pq.ParquetWriter(stream, schema, **settings) as parquet:

        def append(labels: npt.ArrayLike, probabilities: npt.ArrayLike, rows: Sequence[int]) -> None:
            parquet.write_table(_table(labels, probabilities, rows, seed=seed, class_names=class_names))

        yield append
        parquet.add_key_value_metadata(_meta(texts_digest(), class_names))


def _meta(texts_digest: str, class_names: Sequence[str]) -> dict[bytes, bytes]:
    content = {"schema": SCHEMA, "texts_digest": texts_digest, "class_names": list(class_names)}
    return {_META: json.dumps(content).encode()}


def _table(
    labels: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    rows: Sequence[int] | None,
    *,
    seed: int,
    class_names: Sequence[str],
) -> Any:
    """The columns as an Arrow table."""
    import pyarrow as pa

    truth = np.asarray(labels, dtype=np.int32)
    table = np.asarray(probabilities, dtype=np.float32)
    if (
        truth.ndim != 1
        or table.shape != (len(truth), len(class_names))
        or (rows is not None and len(rows) != len(truth))
    ):
        raise DataError(
            f"labels of shape {truth.shape} and probabilities of shape {table.shape} do not fit together",
            why=f"{len(class_names)} classes need one column each, and every row a label",
            fix="write what one evaluation returned",
        )
    if len(set(class_names)) < len(class_names):
        raise DataError(
            f"class names {', '.join(class_names)} are not distinct",
            why="each class gets a column",
            fix="rename one of them in the data set's labels",
        )
    columns = {
        "seed": np.full(len(truth), seed, dtype=np.int64),
        "row": np.arange(len(truth), dtype=np.int64) if rows is None else np.asarray(rows, dtype=np.int64),
        "label": truth,
        "prediction": table.argmax(axis=1).astype(np.int32) if len(truth) else truth,
        **{f"p_{name}": table[:, index] for index, name in enumerate(class_names)},
    }
    return pa.table(columns)


def read_predictions(path: Path) -> pd.DataFrame:
    """Read predictions back; ``frame.attrs`` holds ``texts_digest`` and ``class_names``.

    Raises:
        BrokenFileError: the file is missing, incomplete, or not one that :func:`write_predictions` wrote.
    """
    arrow, meta = _read(path, None)
    frame: pd.DataFrame = arrow.to_pandas()
    frame.attrs = {"texts_digest": meta["texts_digest"], "class_names": tuple(meta["class_names"])}
    return frame


@dataclass(frozen=True, kw_only=True)
class Classes:
    """One seed's classes without its probabilities: what a paired test needs. Arrays of shape (n,), as in the file."""

    texts_digest: str
    class_names: tuple[str, ...]
    rows: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int32]
    predicted: npt.NDArray[np.int32]


def read_classes(path: Path) -> Classes:
    """Read labels and predicted classes only: 16 bytes an example, however many classes there are.

    Raises:
        BrokenFileError: as in :func:`read_predictions`.
    """
    arrow, meta = _read(path, ["row", "label", "prediction"])
    columns = [arrow.column(name).to_numpy() for name in ("row", "label", "prediction")]
    return Classes(
        texts_digest=str(meta["texts_digest"]),
        class_names=tuple(meta["class_names"]),
        rows=columns[0].astype(np.int64, copy=False),
        labels=columns[1].astype(np.int32, copy=False),
        predicted=columns[2].astype(np.int32, copy=False),
    )


def _read(path: Path, columns: list[str] | None) -> tuple[Any, dict[str, Any]]:
    """The columns (None: all) as an Arrow table, and our metadata."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with path.open("rb") as stream:
            arrow = pq.read_table(stream, columns=columns, page_checksum_verification=True)
    except FileNotFoundError:
        raise _broken(path, "there is no such file") from None
    except (OSError, pa.ArrowException) as error:
        raise _broken(path, f"it is no complete Parquet file ({error})") from error
    raw = (arrow.schema.metadata or {}).get(_META)
    if raw is None:
        raise _broken(path, "it was not written by EmoBench")
    try:
        meta = json.loads(raw)
    except ValueError:
        meta = None
    if not isinstance(meta, dict) or "schema" not in meta:
        raise _broken(path, "what it says of itself is unreadable")
    if meta.get("schema") != SCHEMA:
        fix = schema_fix(meta["schema"], SCHEMA, _RESTORE)
        raise _broken(path, f"its schema is {meta['schema']!r} and this EmoBench reads {SCHEMA}", fix=fix)
    lacking = [name for name in ("row", "label", "prediction") if name not in arrow.column_names]
    lacking += [name for name in ("texts_digest", "class_names") if name not in meta]
    if lacking:
        raise _broken(path, f"its {lacking[0]} is missing")
    return arrow, meta


_RESTORE = "restore it from a copy, or run the case again"


def _broken(path: Path, why: str, *, fix: str = _RESTORE) -> BrokenFileError:
    return BrokenFileError(f"{path} holds no readable predictions", why=why, fix=fix)
