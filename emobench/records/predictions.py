"""Predictions: labels and class probabilities per test example, as Parquet; what a paired test between runs needs."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from emobench.errors import BrokenFileError, DataError
from emobench.files import write_bytes

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
    import pyarrow as pa
    import pyarrow.parquet as pq

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
    meta = {"schema": SCHEMA, "texts_digest": texts_digest, "class_names": list(class_names)}
    arrow = pa.table(columns).replace_schema_metadata({_META: json.dumps(meta).encode()})
    buffer = io.BytesIO()
    pq.write_table(arrow, buffer, compression="zstd")
    write_bytes(path, buffer.getvalue())


def read_predictions(path: Path) -> pd.DataFrame:
    """Read predictions back; ``frame.attrs`` holds ``texts_digest`` and ``class_names``.

    Raises:
        BrokenFileError: the file is missing, incomplete, or not one that :func:`write_predictions` wrote.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        arrow = pq.read_table(io.BytesIO(path.read_bytes()))
    except FileNotFoundError:
        raise _broken(path, "there is no such file") from None
    except (OSError, pa.ArrowException) as error:
        raise _broken(path, f"it is no complete Parquet file ({error})") from error
    raw = (arrow.schema.metadata or {}).get(_META)
    if raw is None:
        raise _broken(path, "it was not written by EmoBench")
    meta = json.loads(raw)
    if meta.get("schema") != SCHEMA:
        raise _broken(path, f"its schema is {meta.get('schema')!r} and this EmoBench reads {SCHEMA}")
    frame: pd.DataFrame = arrow.to_pandas()
    frame.attrs = {"texts_digest": meta["texts_digest"], "class_names": tuple(meta["class_names"])}
    return frame


def _broken(path: Path, why: str) -> BrokenFileError:
    return BrokenFileError(
        f"{path} holds no readable predictions", why=why, fix="restore it from a copy, or run the case again"
    )
