"""Predictions as Parquet: every probability comes back as it was, and half a file is refused."""

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emobench.errors import BrokenFileError, DataError
from emobench.records.predictions import read_predictions, streamed_predictions, write_predictions


@given(
    n=st.integers(0, 30),
    names=st.lists(st.text(st.characters(codec="utf-8"), min_size=1), min_size=2, max_size=4, unique=True),
    seed=st.integers(0, 2**31),
    entropy=st.integers(0, 2**32 - 1),
)
def test_round_trip(
    tmp_path_factory: pytest.TempPathFactory, n: int, names: list[str], seed: int, entropy: int
) -> None:
    """Whatever the class names, the float32 probabilities, labels, rows and the digest come back exactly."""
    path = tmp_path_factory.mktemp("predictions") / "a.parquet"
    rng = np.random.default_rng(entropy)
    probabilities = rng.dirichlet(np.ones(len(names)), size=n).astype(np.float32)
    labels = rng.integers(0, len(names), n)
    rows = rng.permutation(n)
    write_predictions(
        path,
        texts_digest="d1",
        labels=labels,
        probabilities=probabilities,
        seed=seed,
        class_names=names,
        rows=rows.tolist(),
    )
    frame = read_predictions(path)
    assert list(frame.columns) == ["seed", "row", "label", "prediction", *(f"p_{name}" for name in names)]
    assert np.array_equal(frame[[f"p_{name}" for name in names]].to_numpy(), probabilities)
    assert {str(frame[f"p_{name}"].dtype) for name in names} == {"float32"}
    assert np.array_equal(frame["label"], labels)
    assert np.array_equal(frame["prediction"], probabilities.argmax(axis=1) if n else [])
    assert np.array_equal(frame["row"], rows)
    assert (frame["seed"] == seed).all()
    assert frame.attrs == {"texts_digest": "d1", "class_names": tuple(names)}


def write(path: Path) -> None:
    write_predictions(
        path,
        texts_digest="d",
        labels=[0, 1],
        probabilities=[[0.75, 0.25], [0.5, 0.5]],
        seed=3,
        class_names=["negative", "positive"],
    )


def test_rows_are_counted_where_none_are_named(tmp_path: Path) -> None:
    """Without row numbers the rows are those of the split; the file is compressed with zstd."""
    write(tmp_path / "a.parquet")
    assert read_predictions(tmp_path / "a.parquet")["row"].tolist() == [0, 1]
    column = pq.ParquetFile(tmp_path / "a.parquet").metadata.row_group(0).column(0)
    assert column.compression == "ZSTD"


def test_every_cut_is_refused(tmp_path: Path) -> None:
    """No part of a file is read as fewer predictions."""
    path = tmp_path / "a.parquet"
    write(path)
    whole = path.read_bytes()
    for length in range(0, len(whole), 97):
        path.write_bytes(whole[:length])
        with pytest.raises(BrokenFileError, match=re.escape(f"{path} holds no readable predictions")):
            read_predictions(path)


def test_foreign_and_absent_files_are_named(tmp_path: Path) -> None:
    """A Parquet file that is not ours and a missing file are errors that say so."""
    path = tmp_path / "a.parquet"
    with pytest.raises(BrokenFileError, match="there is no such file; restore it from a copy, or run the case again"):
        read_predictions(path)
    pq.write_table(pa.table({"x": [1]}), path)
    with pytest.raises(BrokenFileError, match="it was not written by EmoBench"):
        read_predictions(path)


@pytest.mark.parametrize(
    ("labels", "names", "problem"),
    [
        ([0], ["a", "b"], "labels of shape (1,) and probabilities of shape (2, 2) do not fit together"),
        ([0, 1], ["a", "b", "c"], "labels of shape (2,) and probabilities of shape (2, 2) do not fit together"),
        ([0, 1], ["a", "a"], "class names a, a are not distinct"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, labels: list[int], names: list[str], problem: str) -> None:
    """Wrong shapes and repeated class names are errors, and no file is left."""
    path = tmp_path / "a.parquet"
    with pytest.raises(DataError) as caught:
        write_predictions(
            path, texts_digest="", labels=labels, probabilities=np.full((2, 2), 0.5), seed=0, class_names=names
        )
    assert caught.value.problem == problem
    assert not path.exists()


@pytest.mark.slow
@given(n=st.integers(1, 30), cut=st.integers(1, 30), entropy=st.integers(0, 2**32 - 1))
def test_a_streamed_file_reads_as_a_whole_one(
    tmp_path_factory: pytest.TempPathFactory, n: int, cut: int, entropy: int
) -> None:
    """However the rows are cut into groups, values, types and the digest known at the end are those of one write."""
    folder, rng = tmp_path_factory.mktemp("predictions"), np.random.default_rng(entropy)
    labels, probabilities = rng.integers(0, 3, n), rng.dirichlet(np.ones(3), size=n)
    rows, names = rng.permutation(n).tolist(), ["a", "b", "c"]
    write_predictions(
        folder / "whole",
        texts_digest="d",
        labels=labels,
        probabilities=probabilities,
        seed=4,
        class_names=names,
        rows=rows,
    )
    digests = iter(["d"])
    with streamed_predictions(
        folder / "parts", texts_digest=lambda: next(digests), seed=4, class_names=names
    ) as append:
        for start in range(0, n, cut):
            append(labels[start : start + cut], probabilities[start : start + cut], rows[start : start + cut])
    whole, parts = read_predictions(folder / "whole"), read_predictions(folder / "parts")
    assert parts.equals(whole)
    assert parts.attrs == whole.attrs
    assert pq.ParquetFile(folder / "parts").num_row_groups == -(-n // cut)


def test_a_stream_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    """An error on the way leaves no half file, and an older one as it was."""
    path = tmp_path / "a.parquet"
    write(path)
    before = path.read_bytes()

    def break_off() -> None:
        with streamed_predictions(path, texts_digest=str, seed=0, class_names=["a", "b"]) as append:
            append([0], [[0.5, 0.5]], [0])
            raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        break_off()
    assert path.read_bytes() == before
    assert [found.name for found in tmp_path.iterdir()] == ["a.parquet"]
