"""Documents come from every kind of file alike, and what cannot be read is reported while the rest is."""

from __future__ import annotations

import contextlib
import csv
import gzip
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pyarrow import csv as arrow_csv

from emobench.catalogue.datasets import DATASETS
from emobench.data.document_sources import find_source
from emobench.data.documents import Document, Documents, open_documents
from emobench.data.file_rows import kind_of, rows_of
from emobench.errors import DataError, EmoBenchError, NotOnMachineError, SpecError
from emobench.specs import DatasetSpec

ROWS = [("a fine film", "pos"), ('tedious, "long"\nand dull', "neg"), ("naïve 日本 😀", "pos"), ("NA", "neg")]
KINDS = ["csv", "tsv", "jsonl", "json", "columns.json", "data.json", "lines.json", "parquet", "csv.gz", "jsonl.gz"]


def write(folder: Path, kind: str, rows: list[tuple[str, str]]) -> Path:
    """A file of this kind with columns text and label."""
    path = folder / f"rows.{kind}"
    objects = [{"text": text, "label": label} for text, label in rows]
    if kind.startswith(("csv", "tsv")):
        import io

        out = io.StringIO(newline="")
        writer = csv.writer(out, delimiter="\t" if kind == "tsv" else ",", quoting=csv.QUOTE_ALL)
        writer.writerows([("text", "label"), *rows])
        content = out.getvalue()
    elif kind == "json":
        content = json.dumps(objects)
    elif kind == "columns.json":
        content = json.dumps({"text": [text for text, _ in rows], "label": [label for _, label in rows]})
    elif kind == "data.json":
        content = json.dumps({"version": 1, "data": objects})
    elif kind == "parquet":
        pq.write_table(pa.table({"text": [text for text, _ in rows], "label": [label for _, label in rows]}), path)
        return path
    else:
        content = "".join(json.dumps(item) + "\n" for item in objects)
    data = content.encode()
    path.write_bytes(gzip.compress(data) if kind.endswith(".gz") else data)
    return path


def read(path: Path | str, **options: Any) -> tuple[list[Document], Documents]:
    documents = open_documents(find_source(str(path), DATASETS, **options))
    found = [document for batch in documents for document in batch]
    return found, documents


def test_the_rows_are_the_same_in_every_kind_of_file(tmp_path: Path) -> None:
    """Text, label and order do not depend on the kind of file, and the columns are found without being named."""
    for kind in KINDS:
        found, documents = read(write(tmp_path, kind, ROWS))
        assert [(document.text, document.label) for document in found] == ROWS, kind
        assert documents.faults.count == 0
        assert [document.place for document in found] == [f"rows.{kind}:{number}" for number in (1, 2, 3, 4)]


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(texts, texts.filter(str.strip).map(str.strip)), min_size=1, max_size=8))
@example([("\r", "a"), ("\r\n", "b"), ("\u2028", "c"), (" ", "d"), ("", "e"), ('"', "f"), (",", "g")])
def test_any_text_survives_any_kind_of_file(tmp_path: Path, rows: list[tuple[str, str]]) -> None:
    """What was written is what is read, line breaks, quotes and white space included."""
    for kind in ("csv", "jsonl", "json", "columns.json", "parquet"):
        found, documents = read(write(tmp_path, kind, rows), text=["text"], label="label")
        assert [(document.text, document.label) for document in found] == rows, (kind, documents.faults.shown)


def test_a_batch_is_bounded_in_documents_and_characters(tmp_path: Path) -> None:
    """No batch has more than 1,024 documents, and none goes on after a million characters."""
    many = tmp_path / "many.jsonl"
    many.write_text("".join(json.dumps({"text": f"row {index}"}) + "\n" for index in range(2500)))
    batches = list(open_documents(find_source(str(many), DATASETS)))
    assert [len(batch) for batch in batches] == [1024, 1024, 452]
    long = tmp_path / "long.jsonl"
    long.write_text("".join(json.dumps({"text": "x" * 400_000}) + "\n" for _ in range(7)))
    assert [len(batch) for batch in open_documents(find_source(str(long), DATASETS))] == [3, 3, 1]


def test_a_faulty_row_is_passed_over_and_named(tmp_path: Path) -> None:
    """Rows with too many fields, another encoding, no JSON or no such key are reported with place and reason."""
    table = tmp_path / "rows.csv"
    table.write_bytes(b"text,label\ngood,1\nbad,1,2\ncaf\xe9,1\nfine,0\n")
    found, documents = read(table)
    assert [(document.text, document.place) for document in found] == [("good", "rows.csv:1"), ("fine", "rows.csv:4")]
    assert documents.faults.shown == [
        ("rows.csv:2", "3 fields where the header has 2"),
        ("rows.csv:3", "byte 0xe9 at position 3 is not utf-8 text"),
    ]
    lines = tmp_path / "rows.jsonl"
    lines.write_bytes(
        b'{"text": "one"}\n{"text": \n\n[1]\n{"txt": "x"}\n{"text": 5}\n{"text": "\\ud800"}\n\xff\n'
        + b"[" * 100_000
        + b'\n{"text": "two"}\n'
    )
    found, documents = read(lines, text=["text"])
    assert [(document.text, document.place) for document in found] == [
        ("one", "rows.jsonl:1"),
        ("two", "rows.jsonl:10"),
    ]
    assert documents.faults.shown == [
        ("rows.jsonl:2", "not JSON: Expecting value: line 2 column 1 (char 10)"),
        ("rows.jsonl:4", "not an object but a list"),
        ("rows.jsonl:5", "no key 'text'; its keys are 'txt'"),
        ("rows.jsonl:6", "the text is a int: '5'"),
        ("rows.jsonl:7", "the text holds half a surrogate pair"),
        ("rows.jsonl:8", "byte 0xff at position 0 is not utf-8 text"),
        ("rows.jsonl:9", "not read: nested too deeply"),
    ]


def test_the_encoding_can_be_named(tmp_path: Path) -> None:
    """A cp1252 table is read as such when asked to be, and refused where the encoding cannot be split into rows."""
    table = tmp_path / "rows.csv"
    table.write_bytes("text,label\ncafé “good”,1\n".encode("cp1252"))
    found, _ = read(table, encoding="cp1252")
    assert found[0].text == "café “good”"
    with pytest.raises(DataError) as caught:
        read(table, encoding="utf-16")
    assert str(caught.value) == (
        "encoding 'utf-16' cannot be read; it is unknown to Python, or its commas and line breaks are not single "
        "bytes; take utf-8, cp1252 or latin-1, or save the file as UTF-8"
    )


@pytest.mark.slow
def test_a_row_longer_than_the_limit_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gigantic line is passed over in JSON Lines and text; a table or an array ends there, with what came before."""
    from emobench.data import csv_rows, json_rows

    monkeypatch.setattr(json_rows, "MAX_ROW_BYTES", 1 << 20)
    monkeypatch.setattr(csv_rows, "LONGEST_ROW", 1 << 20)
    giant = "x" * (5 << 20)
    lines = tmp_path / "rows.jsonl"
    lines.write_text(f'{{"text": "one"}}\n{{"text": "{giant}"}}\n{{"text": "two"}}\n')
    found, documents = read(lines)
    assert [document.text for document in found] == ["one", "two"]
    why = "the line is longer than 1 MiB, which is the most that is held in memory"
    assert documents.faults.shown == [("rows.jsonl:2", why)]
    text = tmp_path / "rows.txt"
    text.write_text(f"one\n{giant}\ntwo\n")
    found, documents = read(text)
    assert [document.place for document in found] == ["rows.txt:1", "rows.txt:3"]
    assert documents.faults.shown == [("rows.txt:2", why)]
    array = tmp_path / "rows.json"
    array.write_text(f'[{{"text": "one"}}, {{"text": "{giant}"}}, {{"text": "two"}}]')
    found, documents = read(array, text=["text"])
    assert [document.text for document in found] == ["one"]
    assert documents.faults.shown[0][1] == (
        "cannot be read beyond row 1; the next item is longer than 1 MiB, which is the most that is held in memory"
    )
    table = tmp_path / "rows.csv"
    table.write_text("text,label\n" + "one,1\n" * 300_000 + f'"{giant}",1\ntwo,2\n')
    found, documents = read(table)
    assert 0 < len(found) <= 300_000
    assert documents.faults.shown[0][1].endswith("the next row is longer than 1 MiB")


def test_one_broken_file_among_a_thousand_is_reported_and_the_rest_read(tmp_path: Path) -> None:
    """999 sound files are read though one is no Parquet file; the report names it and says why."""
    for index in range(999):
        (tmp_path / f"part-{index:04}.jsonl").write_text(json.dumps({"text": f"text {index}"}) + "\n")
    (tmp_path / "part-0500.parquet").write_bytes(b"PAR1 and nothing else")
    found, documents = read(tmp_path)
    assert len(found) == 999
    assert documents.broken_files == 1
    [(place, why)] = documents.faults.shown
    assert place == "part-0500.parquet"
    assert why.startswith("is not a whole Parquet file; ")


def broken(folder: Path) -> dict[str, Path]:
    """Files that hold nothing to read, by what is wrong with them."""
    made = {
        "empty": ("a.csv", b""),
        "blank": ("b.jsonl", b" \n\n"),
        "header only": ("c.csv", b"text,label\n"),
        "header without a line break": ("c.csv", b"text,label"),
        "binary": ("d.csv", bytes(range(256)) * 20),
        "utf-16": ("e.txt", "text".encode("utf-16")),
        "truncated gzip": ("f.jsonl.gz", gzip.compress(b'{"text": "x"}\n' * 9999)[:15]),
        "no gzip": ("g.csv.gz", b"text,label\n"),
        "not parquet": ("h.parquet", b"PAR1"),
        "not json": ("i.json", b"{'text': 1}"),
        "a number": ("j.json", b"17"),
        "no rows": ("k.json", b'{"text": "a single text"}'),
        "unequal": ("l.json", b'{"text": ["a", "b"], "label": ["x"]}'),
        "numbers": ("m.csv", b"a,b\n1,2\n"),
        "deep": ("n.json", b"[" * 200_000),
        "other kind": ("o.png", b"\x89PNG"),
        "semicolons": ("p.csv", b"text;label\na;b\n"),
        "cp1252 table": ("q.csv", "text,label\nthe café,1\nnaïve \u2013 dull,0\n".encode("cp1252")),
        "cp1252 lines": ("r.jsonl", '{"text": "the café"}\n'.encode("cp1252")),
        "cp1252 array": ("s.json", '[{"text": "the café"}]'.encode("cp1252")),
        "cp1252 text": ("t.txt", "the café\n".encode("cp1252")),
        "ragged": ("u.csv", b"text,label\na,b,c\n"),
    }
    found = {}
    for name, (file, data) in made.items():
        found[name] = folder / file
        found[name].write_bytes(data)
    return found


EXPECTED = {
    "empty": "a.csv is empty; it has no rows; fill it, or name another file",
    "blank": "b.jsonl is empty; it has no rows; fill it, or name another file",
    "header only": "c.csv is empty; it has no data rows; fill it, or name another file",
    "header without a line break": "c.csv is empty; it has no data rows; fill it, or name another file",
    "binary": "d.csv is a binary file; 20 of its first 5120 bytes are zero, which text does not have; name a file of",
    "utf-16": "e.txt is UTF-16 text; it begins with a UTF-16 byte order mark; save it as UTF-8",
    "truncated gzip": "f.jsonl.gz cannot be read to its end; EOFError: ",
    "no gzip": "g.csv.gz cannot be read to its end; BadGzipFile: Not a gzipped file",
    "not parquet": "h.parquet is not a whole Parquet file; ",
    "not json": "i.json cannot be read; not JSON: ",
    "a number": "j.json holds no rows; it is a single JSON value; write an array of objects, or one object a line",
    "no rows": "k.json holds no rows; it is one JSON object without an array of rows or arrays of cells; write an",
    "unequal": "l.json holds columns of unequal length; 'text' has 2, 'label' has 1; write as many cells for every",
    "numbers": "m.csv has no column of texts; its columns are 'a', 'b', and none of them holds words; name the col",
    "deep": "n.json cannot be read; ",
    "cp1252 table": "q.csv is not utf-8 text; row 1: byte 0xe9 at position 7 is not utf-8 text; name its encoding with "
    "--encoding, such as cp1252 or latin-1, or save it as UTF-8",
    "cp1252 lines": "r.jsonl is not utf-8 text; row 1: byte 0xe9 at position 17 is not utf-8 text; name its encoding",
    "cp1252 array": "s.json cannot be read; not JSON: ",
    "cp1252 text": "t.txt is not utf-8 text; 1 places are faulty, the first is t.txt:1: byte 0xe9 at position 7 is not "
    "utf-8 text; name its encoding with --encoding",
    "ragged": "u.csv: not one row could be read; row 1: 3 fields where the header has 2; write as many fields as",
    "other kind": "o.png: files ending in '.png' cannot be read; the kind is told by the ending, one of .csv, .tsv, .p",
}


def test_files_that_hold_nothing_say_so_in_three_parts(tmp_path: Path) -> None:
    """Problem, why and fix of every file that cannot be read at all."""
    files = broken(tmp_path)
    for name, text in EXPECTED.items():
        with pytest.raises(DataError) as caught:
            read(files[name])
        assert str(caught.value).startswith(text), name
        assert caught.value.why
        assert caught.value.fix
    with pytest.raises(DataError) as caught:
        read(files["semicolons"], text=["text"])
    assert "its columns are 'text;label'" in str(caught.value)


def test_a_folder_of_broken_files_only_is_an_error(tmp_path: Path) -> None:
    """Where nothing can be read the error counts the places and quotes the first."""
    broken(tmp_path)
    for path in tmp_path.iterdir():
        if path.suffix not in (".png", ".gz"):
            path.write_bytes(b"")
    with pytest.raises(
        DataError, match=r"not one document could be read; \d+ places are faulty, the first is a.csv: is empty"
    ):
        read(tmp_path)


def test_a_link_to_nothing_and_a_pipe_are_no_files(tmp_path: Path) -> None:
    """Neither is waited for."""
    (tmp_path / "good.txt").write_text("a text")
    (tmp_path / "gone.txt").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe.txt")
    found, documents = read(tmp_path)
    assert [document.text for document in found] == ["a text"]
    why = "is not a file; it is a device, a pipe or a link to nothing"
    assert documents.faults.shown == [("gone.txt", why), ("pipe.txt", why)]


def test_a_text_file_is_a_document_in_a_folder_and_lines_alone(tmp_path: Path) -> None:
    """The folder's names are labels, unless they name splits; a file alone gives a document a line."""
    for label in ("neg", "pos"):
        (tmp_path / label).mkdir()
        (tmp_path / label / "1.txt").write_text(f"{label} text\nof two lines\n")
    found, documents = read(tmp_path)
    assert [(document.text, document.label, document.place) for document in found] == [
        ("neg text\nof two lines\n", "neg", "neg/1.txt"),
        ("pos text\nof two lines\n", "pos", "pos/1.txt"),
    ]
    assert documents.facts()["label"] == "the name of the folder"
    found, documents = read(tmp_path / "neg" / "1.txt")
    assert [(document.text, document.label) for document in found] == [("neg text", None), ("of two lines", None)]
    assert documents.facts()["units"] == {"line": 2}
    (tmp_path / "neg").rename(tmp_path / "train")
    (tmp_path / "pos").rename(tmp_path / "test")
    assert {document.label for document in read(tmp_path)[0]} == {None}


def test_columns_are_guessed_and_called_so(tmp_path: Path) -> None:
    """A known name, else the longest strings; labels need a known name and values that repeat."""
    table = tmp_path / "t.csv"
    table.write_text("id,Review_Text,stars\n" + "".join(f"{n},a review number {n},{n % 5}\n" for n in range(20)))
    source = find_source(str(table), DATASETS)
    assert (source.text, source.label, source.guessed) == (("Review_Text",), "stars", ("text", "label"))
    source = find_source(str(table), DATASETS, text=["Review_Text"], label="id")
    assert (source.label, source.guessed) == ("id", ())
    with pytest.raises(DataError) as caught:
        find_source(str(table), DATASETS, text=["review"])
    assert str(caught.value) == (
        "t.csv has no column 'review'; its columns are 'id', 'Review_Text', 'stars'; did you mean 'Review_Text'?"
    )
    pairs = tmp_path / "p.jsonl"
    pairs.write_text('{"question": "Why?", "answer": "So.", "id": "q1"}\n')
    assert [document.text for document in read(pairs)[0]] == ["Why?\nSo."]
    chat = tmp_path / "c.jsonl"
    chat.write_text('{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]}\n')
    assert [document.text for document in read(chat)[0]] == ["Hi\nHo"]


def test_a_data_set_of_the_table_is_read_with_its_own_columns(tmp_path: Path) -> None:
    """Columns, chosen rows and label names come from the row; a label sent to nothing drops its rows."""
    (tmp_path / "r.csv").write_text("body,stars,of\ngood,5,a\nbad,1,a\nso so,3,a\nother,5,b\n")
    spec = DatasetSpec(
        id="mine",
        title="",
        license="",
        source="file",
        location=str(tmp_path / "r.csv"),
        text="body",
        label="stars",
        label_map={"1": "negative", "5": "positive", "3": None},
        where={"of": "a"},
    )
    documents = open_documents(find_source("mine", {"mine": spec}))
    found = [(document.text, document.label) for batch in documents for document in batch]
    assert found == [("good", "positive"), ("bad", "negative")]
    assert documents.facts()["dropped_by_label"] == 1


def test_a_name_that_is_nothing_names_the_nearest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a path nor a data set; an absent data set names the command that fetches it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EMOBENCH_CACHE", str(tmp_path))
    with pytest.raises(
        SpecError, match=r"'imbd' is neither a file, nor a folder, nor a data set; .*; did you mean 'imdb'"
    ):
        find_source("imbd", DATASETS)
    with pytest.raises(NotOnMachineError, match="run: emobench fetch imdb"):
        find_source("imdb", DATASETS)
    with pytest.raises(NotOnMachineError, match="run: emobench fetch imdb"):
        find_source(DATASETS["imdb"].location, DATASETS)
    with pytest.raises(NotOnMachineError, match="'some/thing' is neither a file nor a data set of the table"):
        find_source("some/thing", DATASETS)
    with pytest.raises(SpecError, match="has no texts; its rows are random tokens"):
        find_source("random-tokens", {"random-tokens": DATASETS["random-tokens"]})


SUFFIXES = ["csv", "tsv", "json", "jsonl", "parquet", "txt", "csv.gz", "json.gz"]
TOKENS = [b"{", b"}", b"[", b"]", b'"', b",", b":", b"\n", b"\r", b"\\", b"\\u", b"text", b"label", b"1e999", b"null"]
noise = st.binary(max_size=200) | st.lists(st.sampled_from(TOKENS) | st.binary(max_size=3), max_size=60).map(b"".join)


@settings(max_examples=200)
@given(noise, st.sampled_from(SUFFIXES), st.booleans(), st.booleans())
@example(b'{"a": {"b": [1]}, "a": [2]}', "json", True, False)
@example(b"\xef\xbb\xbf", "csv", True, False)
@example(b'"\n', "csv", True, False)
@example(b'[{"text": 1e999}]', "json", True, True)
@example(b'{"text": [{}, "a"]}', "json", True, False)
def test_any_bytes_give_documents_faults_or_an_error_of_ours(
    data: bytes, suffix: str, named: bool, folder: bool
) -> None:
    """No file makes a reader raise anything but an EmoBenchError."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name, f"file.{suffix}")
        path.write_bytes(gzip.compress(data) if suffix.endswith(".gz") else data)
        try:
            found, documents = read(name if folder else path, text=["text"] if named else [])
        except EmoBenchError as error:
            empty = [part for part in (error.problem, error.why, error.fix) if not part]
            found = []
        else:
            empty = [] if found else ["no document and no error"]
            assert documents.read == len(found)
        assert not empty
        assert all(isinstance(document.text.encode(), bytes) for document in found)


@settings(max_examples=40)
@given(st.binary(max_size=40), st.integers(0, 2000), st.sampled_from(["parquet", "csv.gz", "jsonl.gz"]))
def test_a_damaged_file_gives_documents_faults_or_an_error_of_ours(patch: bytes, place: int, suffix: str) -> None:
    """Bytes overwritten anywhere in a sound Parquet or gzip file raise nothing but an EmoBenchError."""
    with tempfile.TemporaryDirectory() as name:
        path = write(Path(name), suffix, ROWS * 20)
        data = bytearray(path.read_bytes())
        place %= len(data)
        data[place : place + len(patch)] = patch
        path.write_bytes(bytes(data))
        with contextlib.suppress(EmoBenchError):
            found, _ = read(path)
            assert found


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_how_far_the_reading_is(tmp_path: Path, kind: str) -> None:
    """Bytes on disk, rising from below all of them to all; files that were read count whole."""
    folder = tmp_path / "files"
    folder.mkdir()
    rows = [(f"{number} {text}", label) for number in range(3000) for text, label in ROWS]
    first = write(folder, kind, rows)
    (folder / "a.txt").write_text("a text")
    documents = open_documents(find_source(str(folder), {}, text=["text"], label="label"))
    size = documents.size_bytes
    assert size == first.stat().st_size + 6
    assert documents.bytes_read() == 0
    seen = [documents.bytes_read() for _ in documents]
    assert seen == sorted(seen)
    assert all(0 < found <= size for found in seen)
    if kind in ("jsonl", "json", "lines.json", "data.json", "parquet"):  # others are read twice, or a megabyte at once
        assert seen[0] < size
    assert documents.bytes_read() == size


def test_kinds_are_told_by_the_ending() -> None:
    """Also before .gz, and in any case of letters."""
    assert kind_of(Path("a.CSV.gz")) == "CSV"
    assert kind_of(Path("a.md")) == "text"
    assert kind_of(Path("a.bin")) is None


GIGANTIC = """
import resource, sys
from pathlib import Path
import pyarrow.csv, ijson
from emobench.data.document_sources import find_source
from emobench.data.documents import open_documents
from emobench.errors import DataError
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1024 if sys.platform != "darwin" else 1 << 20)
before = peak()
try:
    documents = open_documents(find_source(sys.argv[1], {}, text=["text"]))
    found = [document.text for batch in documents for document in batch]
    why = documents.faults.shown[0][1]
except DataError as error:
    found, why = [], f"{error.problem}; {error.why}"
print(peak() - before, len(found), why)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "before", "after", "documents"),
    [
        ("a.jsonl", '{"text": "one"}\n{"text": "', '"}\n{"text": "two"}\n', 2),
        ("a.txt", "one\n", "\ntwo\n", 2),
        ("a.json", '[{"text": "one"}, {"text": "', '"}]', 1),
        ("a.csv", "text\none\n", "\ntwo\n", 1),
        ("b.csv", 'text\none\n"', '"\ntwo\n', 1),
        ("b.jsonl", "", "", 0),
    ],
)
def test_a_line_of_300_megabytes_is_not_held(
    tmp_path: Path, name: str, before: str, after: str, documents: int
) -> None:
    """Whatever the kind of file, the peak grows by less than 120 MB, and the line is reported as too long."""
    path = tmp_path / name
    with path.open("w") as stream:
        stream.write(before)
        for _ in range(300):
            stream.write("x" * 1_000_000)
        stream.write(after)
    command = [sys.executable, "-c", GIGANTIC, str(path)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    path.unlink()
    assert result.returncode == 0, result.stderr
    growth, found, why = result.stdout.split(maxsplit=2)
    assert "longer than" in why
    assert int(found) == documents
    assert int(growth) < 120


BUFFER_BYTES = 8192


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.lists(st.sampled_from(['"', "\n", ",", "a", "é", "\r\n"]), max_size=12).map("".join), min_size=3),
    st.integers(0, 80),
)
def test_a_table_is_the_same_however_it_is_cut_into_blocks(tmp_path: Path, texts: list[str], size: int) -> None:
    """Rows, numbers and faults do not depend on where what is read at once ends, be it inside quotation marks."""
    path = write(tmp_path, "csv", [("x" * (BUFFER_BYTES - size), "x"), *((text, "x") for text in texts)])
    path.write_bytes(path.read_bytes() + b"one,two,three\nlast,x\n")
    found, documents = read(path, text=["text"])
    assert [document.text for document in found[1:]] == [*texts, "last"]
    assert [document.place for document in found][-1] == f"rows.csv:{len(texts) + 3}"
    assert documents.faults.shown == [(f"rows.csv:{len(texts) + 2}", "3 fields where the header has 2")]


PIECES = ['"', '""', ",", "\n", "\r", "\r\n", "\n\n", " ", "a", "é", ",1\n", '"x, ""y""\nz",0\r\n', "\n,\n"]


def arrow_reads(path: Path) -> tuple[list[tuple[str, str]], list[str]]:
    """Rows of two fields as Arrow reads them, and what it complains of the others."""
    faults: list[str] = []

    def refuse(row: Any) -> str:
        faults.append(f"{row.actual_columns} fields where the header has {row.expected_columns}")
        return "skip"

    table = arrow_csv.read_csv(
        path,
        read_options=arrow_csv.ReadOptions(use_threads=False, column_names=["text", "label"], skip_rows_after_names=1),
        parse_options=arrow_csv.ParseOptions(newlines_in_values=True, invalid_row_handler=refuse),
        convert_options=arrow_csv.ConvertOptions(column_types={"text": pa.string(), "label": pa.string()}),
    )
    return list(zip(table.column("text").to_pylist(), table.column("label").to_pylist(), strict=True)), faults


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(PIECES), max_size=25).map("".join), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_any_table_is_what_arrow_reads(tmp_path: Path, body: str, line_break: str, mark: bool) -> None:
    """Quotes, line breaks in fields, empty fields, too many and too few of them, blank lines, a byte order mark: the
    rows are Arrow's, and a row is a fault for the same reason.
    """
    path = tmp_path / "rows.csv"
    path.write_bytes(f"{chr(0xFEFF) if mark else ''}text,label{line_break}last,1{line_break}{body}".encode())
    faults: list[str] = []
    rows = rows_of(path, ["text", "label"], encoding="utf-8", fault=lambda _, why: faults.append(why))
    numbered = {number: tuple(cells) for number, cells in rows}
    assert (list(numbered.values()), faults) == arrow_reads(path)
    assert all(1 <= number <= len(numbered) + len(faults) for number in numbered)


def test_how_far_the_reading_is_never_goes_back(tmp_path: Path) -> None:
    """Asked just when a file was closed and does not yet count as passed."""
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a text"}\n' * 100)
    documents = open_documents(find_source(str(path), {}))
    with path.open("rb") as stream:
        stream.read(1000)
        documents._position.stream = stream
        assert documents.bytes_read() == 1000
    assert stream.closed
    assert documents.bytes_read() == 1000
