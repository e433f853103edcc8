"""Files in parts: the parts together are what pandas and Arrow read of the whole, and errors name the row at fault."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from emobench.data.tables import Table, read_tables
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


@pytest.mark.parametrize("suffix", WRITERS)
@given(rows=ROWS, size=st.integers(1, 30))
def test_parts_are_the_whole(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, rows: list[tuple[str, str]], size: int
) -> None:
    """Values and row numbers of all parts, one after another, are those written; no part is larger than asked.

    Parquet has row groups smaller than some parts and larger than others; JSON Lines have a blank line between rows.
    """
    path = tmp_path_factory.mktemp("tables") / f"rows{suffix}"
    WRITERS[suffix](path, rows)
    parts = list(read_tables(path, ["text", "label"], rows=size))
    texts, labels, numbers = joined(parts)
    assert list(zip(texts, labels, strict=True)) == rows
    assert numbers == list(range(1, len(rows) + 1) if suffix != ".jsonl" else range(1, 2 * len(rows), 2))
    assert all(1 <= len(part.row_numbers) <= size for part in parts)


PIECES = [
    *('"', '""', ",", "\n", "\r\n", "\n\n", "\n \t\n", " a", "a ", "\0", "é", "\ufeff", ",1\n", "\n,\n"),
    '"x, ""y""\nz",0\r\n',
]
"""No white space that could be alone in quotation marks: that is a blank line here, and a row for pandas."""
TABLES = st.lists(st.sampled_from(PIECES), max_size=25).map("".join)


def pandas_reads(path: Path, encoding: str) -> tuple[list[str], list[str]] | str:
    """Columns text and label as pandas reads them, or what it complains of."""
    try:
        frame = pd.read_csv(path, dtype=str, na_filter=False, encoding=encoding)
    except pd.errors.ParserError as error:
        return str(error).strip().removeprefix("Error tokenizing data. C error: ")
    if not isinstance(frame.index, pd.RangeIndex):
        return "its rows have more fields than the 2 of its header"
    return frame["text"].tolist(), frame["label"].tolist()


@settings(max_examples=300)
@given(body=TABLES, line_break=st.sampled_from(["\n", "\r\n"]), mark=st.booleans(), size=st.integers(1, 4))
@example(body='a,1\n"b,0', line_break="\n", mark=False, size=1)
@example(body="a,1\nb,0,2\n", line_break="\n", mark=False, size=1)
@example(body="a\n\0,1\n", line_break="\r\n", mark=True, size=3)
def test_any_table_is_what_pandas_reads(
    tmp_path_factory: pytest.TempPathFactory, body: str, line_break: str, mark: bool, size: int
) -> None:
    """Quotes, line breaks in fields, empty and absent fields, too many of them, blank lines, null bytes: values, and
    what is wrong with a table, are pandas' own.
    """
    path = tmp_path_factory.mktemp("tables") / "rows.csv"
    path.write_bytes(f"{chr(0xFEFF) if mark else ''}text,label{line_break}{body}".encode())
    expected = pandas_reads(path, "utf-8-sig")
    if isinstance(expected, str):
        with pytest.raises(DataError) as caught:
            list(read_tables(path, ["text", "label"], rows=size))
        # Of two faults the first in the file is told, and pandas tells the one that it comes upon first.
        assert caught.value.why == expected or "more fields" in caught.value.why
        return
    if expected == ([], []):
        with pytest.raises(DataError, match=r"^rows\.csv is empty"):
            list(read_tables(path, ["text", "label"], rows=size))
        return
    texts, labels, numbers = joined(list(read_tables(path, ["text", "label"], rows=size)))
    assert (texts, labels) == expected
    assert numbers == list(range(1, len(texts) + 1))


BROKEN: dict[str, tuple[str, bytes, str]] = {
    "unknown suffix": (
        "rows.txt",
        b"text,label\na,0\n",
        "rows.txt: files ending in '.txt' cannot be read; the kind is told by the ending, one of .csv, .tsv, .jsonl, "
        ".ndjson, .parquet; save the rows as CSV, JSON Lines or Parquet and name the file so",
    ),
    "empty": ("rows.csv", b"", "rows.csv is empty; it has no data rows; fill it, or name another file"),
    "header alone": (
        "rows.csv",
        b"text,label\n",
        "rows.csv is empty; it has no data rows; fill it, or name another file",
    ),
    "missing column": (
        "rows.csv",
        b"text,lable\na,0\n",
        "rows.csv has no column 'label'; its columns are 'text', 'lable'; name it in the data set's row: did you "
        "mean 'lable'?",
    ),
    "wrong separator": (
        "rows.csv",
        b"text;label\na;0\n",
        "rows.csv has no column 'text'; its header 'text;label' is not separated by ','; name it in the data set's "
        "row: did you mean 'text;label'?",
    ),
    "too many fields": (
        "rows.csv",
        b"text,label\na,0\nb,1\nc,d,1\n",
        "rows.csv is not a well-formed table; Expected 2 fields in line 4, saw 3; quote texts that hold "
        "separators, quotes or line breaks",
    ),
    "all rows longer than the header": (
        "rows.csv",
        b"text,label\na,0,1\nb,1,1\n",
        "rows.csv is not a well-formed table; its rows have more fields than the 2 of its header; quote texts that "
        "hold separators, or name all columns in the header",
    ),
    "open quotation mark": (
        "rows.csv",
        b'text,label\na,0\n\n"b,1\n',
        "rows.csv is not a well-formed table; EOF inside string starting at row 3; quote texts that hold "
        "separators, quotes or line breaks",
    ),
    "names that pandas makes": (
        "rows.csv",
        b",a,a\n1,2,3\n",
        "rows.csv has no column 'text'; its columns are 'Unnamed: 0', 'a', 'a.1'; name one of these in the row",
    ),
    "not UTF-8": (
        "rows.csv",
        b"text,label\nfine,0\ngood,1\nna\xefve,0\n",
        "rows.csv, line 4 (row 3): text that is not utf-8 text; byte 0xef at position 27: invalid continuation "
        "byte; set the row's encoding to the file's (often \"cp1252\"), or save the file as UTF-8",
    ),
    "not UTF-8, and too many fields before": (
        "rows.csv",
        b"text,label\nfine,0\ngood,d,1\nna\xefve,0\n",
        "rows.csv, line 4 (row 3): text that is not utf-8 text; byte 0xef at position 29: invalid continuation "
        "byte; set the row's encoding to the file's (often \"cp1252\"), or save the file as UTF-8",
    ),
    "not JSON": (
        "rows.jsonl",
        b'{"text": "a", "label": 0}\n{"text": \n',
        "rows.jsonl, line 2: not JSON; Expecting value: line 1 column 10 (char 9); write one JSON object a line",
    ),
    "no object": (
        "rows.jsonl",
        b'{"text": "a", "label": 0}\n[1]\n',
        "rows.jsonl, line 2: not an object; it is a list; write one JSON object a line, with 'text' and 'label'",
    ),
    "null": (
        "rows.jsonl",
        b'{"text": "a", "label": 0}\nnull\n',
        "rows.jsonl, line 2: not an object; it is a NoneType; write one JSON object a line, with 'text' and 'label'",
    ),
    "missing key": (
        "rows.jsonl",
        b'{"text": "a", "label": 0}\n{"text": "b"}\n',
        "rows.jsonl, line 2: no key 'label'; its keys are 'text'; name one of these in the row",
    ),
    "not UTF-8 in JSON": (
        "rows.jsonl",
        b'{"text": "a", "label": 0}\n{"text": "\xef"}\n',
        "rows.jsonl, line 2: text that is not utf-8 text; byte 0xef at position 36: invalid continuation byte; set "
        "the row's encoding to the file's (often \"cp1252\"), or save the file as UTF-8",
    ),
    "blank lines alone": (
        "rows.jsonl",
        b"\n\n",
        "rows.jsonl is empty; it has no data rows; fill it, or name another file",
    ),
    "half a Parquet file": (
        "rows.parquet",
        b"PAR1 and no more",
        "rows.parquet is not a whole Parquet file; Parquet magic bytes not found in footer. Either the file is "
        "corrupted or this is not a parquet file.; write or fetch the file again",
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_errors_name_the_row_and_the_remedy(tmp_path: Path, kind: str) -> None:
    """Whatever is wrong, the message is the same word by word however many rows are read at a time."""
    name, content, text = BROKEN[kind]
    path = tmp_path / name
    path.write_bytes(content)
    for rows in (1, 2, 4096):
        with pytest.raises(DataError) as caught:
            list(read_tables(path, ["text", "label"], rows=rows))
        assert str(caught.value) == text


def test_an_unknown_encoding_is_named(tmp_path: Path) -> None:
    """A slip in the row's encoding is the same error as for the whole file."""
    path = tmp_path / "rows.csv"
    path.write_text("text,label\na,0\n")
    with pytest.raises(DataError, match="no encoding is called 'utf-88'"):
        list(read_tables(path, ["text", "label"], encoding="utf-88"))


def test_other_encodings_are_read(tmp_path: Path) -> None:
    """A byte order mark is dropped, and cp1252 is decoded as such."""
    path = tmp_path / "rows.csv"
    path.write_bytes(b"\xef\xbb\xbftext,label\nplain,0\n")
    assert joined(list(read_tables(path, ["text", "label"]))) == (["plain"], ["0"], [1])
    path.write_bytes("text,label\nnaïve,0\n".encode("cp1252"))
    assert joined(list(read_tables(path, ["text", "label"], encoding="cp1252")))[0] == ["naïve"]


def test_rows_before_the_fault_are_given(tmp_path: Path) -> None:
    """A fault is raised when it is reached, not before: earlier parts have been read by then."""
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"text": "a", "label": 0}\n{"text": "b", "label": 1}\nnothing\n')
    parts = read_tables(path, ["text", "label"], rows=1)
    assert next(parts).columns["text"] == ["a"]
    assert next(parts).columns["text"] == ["b"]
    with pytest.raises(DataError, match=r"rows\.jsonl, line 3: not JSON"):
        next(parts)
