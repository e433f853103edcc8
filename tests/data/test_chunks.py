"""Files in parts: the parts together are what the whole file's reader gives, and errors are its errors."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emobench.data.chunks import read_chunks
from emobench.data.tables import Table, read_table
from emobench.errors import DataError

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\r\0"), max_size=12)
ROWS = st.lists(st.tuples(TEXTS, st.sampled_from(["0", "1", "NA"])), min_size=1, max_size=25)


def write_csv(path: Path, rows: list[tuple[str, str]]) -> None:
    pd.DataFrame(rows, columns=["text", "label"]).to_csv(path, index=False)


def write_json_lines(path: Path, rows: list[tuple[str, str]]) -> None:
    lines = [json.dumps({"text": text, "label": label}, ensure_ascii=False) for text, label in rows]
    path.write_bytes("\n\n".join(lines).encode())


def write_parquet(path: Path, rows: list[tuple[str, str]]) -> None:
    texts, labels = zip(*rows, strict=True)
    pq.write_table(pa.table({"text": list(texts), "label": list(labels)}), path, row_group_size=7)


WRITERS: dict[str, Callable[[Path, list[tuple[str, str]]], None]] = {
    ".csv": write_csv,
    ".jsonl": write_json_lines,
    ".parquet": write_parquet,
}


def joined(parts: list[Table]) -> tuple[list[object], list[object], list[int]]:
    texts = [value for part in parts for value in part.columns["text"]]
    labels = [value for part in parts for value in part.columns["label"]]
    return texts, labels, [number for part in parts for number in part.row_numbers]


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
@given(rows=ROWS, size=st.integers(1, 30))
def test_parts_are_the_whole(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, rows: list[tuple[str, str]], size: int
) -> None:
    """Values and row numbers of all parts, one after another, are the whole file's; no part is larger than asked."""
    path = tmp_path_factory.mktemp("chunks") / f"rows{suffix}"
    WRITERS[suffix](path, rows)
    parts = list(read_chunks(path, ["text", "label"], rows=size))
    assert joined(parts) == joined([read_table(path, ["text", "label"])])
    assert all(1 <= len(part.row_numbers) <= size for part in parts)


@given(rows=ROWS, size=st.integers(1, 30))
def test_parts_of_parquet(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], size: int) -> None:
    """The same for Parquet, whose row groups are smaller than some parts and larger than others."""
    path = tmp_path_factory.mktemp("chunks") / "rows.parquet"
    write_parquet(path, rows)
    parts = list(read_chunks(path, ["text", "label"], rows=size))
    texts, labels, numbers = joined(parts)
    assert list(zip(texts, labels, strict=True)) == rows
    assert numbers == list(range(1, len(rows) + 1))
    assert all(1 <= len(part.row_numbers) <= size for part in parts)


BROKEN: dict[str, tuple[str, bytes]] = {
    "unknown suffix": ("rows.txt", b"text,label\na,0\n"),
    "empty": ("rows.csv", b""),
    "header alone": ("rows.csv", b"text,label\n"),
    "missing column": ("rows.csv", b"text,lable\na,0\n"),
    "wrong separator": ("rows.csv", b"text;label\na;0\n"),
    "too many fields": ("rows.csv", b"text,label\na,0\nb,1\nc,d,1\n"),
    "all rows longer than the header": ("rows.csv", b"text,label\na,0,1\nb,1,1\n"),
    "not UTF-8": ("rows.csv", b"text,label\nfine,0\ngood,1\nna\xefve,0\n"),
    "not JSON": ("rows.jsonl", b'{"text": "a", "label": 0}\n{"text": \n'),
    "no object": ("rows.jsonl", b'{"text": "a", "label": 0}\n[1]\n'),
    "null": ("rows.jsonl", b'{"text": "a", "label": 0}\nnull\n'),
    "missing key": ("rows.jsonl", b'{"text": "a", "label": 0}\n{"text": "b"}\n'),
    "blank lines alone": ("rows.jsonl", b"\n\n"),
    "half a Parquet file": ("rows.parquet", b"PAR1 and no more"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_errors_are_those_of_the_whole_file(tmp_path: Path, kind: str) -> None:
    """Whatever is wrong, the message is the one that names file, row and remedy."""
    name, content = BROKEN[kind]
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError) as whole:
        read_table(path, ["text", "label"])
    with pytest.raises(DataError) as parts:
        list(read_chunks(path, ["text", "label"], rows=2))
    assert str(parts.value) == str(whole.value)


def test_an_unknown_encoding_is_named(tmp_path: Path) -> None:
    """A slip in the row's encoding is the same error as for the whole file."""
    path = tmp_path / "rows.csv"
    path.write_text("text,label\na,0\n")
    with pytest.raises(DataError, match="no encoding is called 'utf-88'"):
        list(read_chunks(path, ["text", "label"], encoding="utf-88"))


def test_other_encodings_are_read(tmp_path: Path) -> None:
    """A byte order mark is dropped, and cp1252 is decoded as such."""
    path = tmp_path / "rows.csv"
    path.write_bytes(b"\xef\xbb\xbftext,label\nplain,0\n")
    assert joined(list(read_chunks(path, ["text", "label"]))) == (["plain"], ["0"], [1])
    path.write_bytes("text,label\nnaïve,0\n".encode("cp1252"))
    assert joined(list(read_chunks(path, ["text", "label"], encoding="cp1252")))[0] == ["naïve"]


def test_rows_before_the_fault_are_given(tmp_path: Path) -> None:
    """A fault is raised when it is reached, not before: earlier parts have been read by then."""
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"text": "a", "label": 0}\n{"text": "b", "label": 1}\nnothing\n')
    parts = read_chunks(path, ["text", "label"], rows=1)
    assert next(parts).columns["text"] == ["a"]
    assert next(parts).columns["text"] == ["b"]
    with pytest.raises(DataError, match=r"rows\.jsonl, line 3: not JSON"):
        next(parts)
