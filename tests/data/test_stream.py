"""Streams of rows: every usable row exactly once, in order, whatever the sizes of windows and chunks."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emobench.catalogue.datasets import find_dataset
from emobench.catalogue.model_rows import find_model
from emobench.catalogue.profiles import find_profile
from emobench.data.clean import clean_text
from emobench.data.encode import encode
from emobench.data.prepare import load_splits
from emobench.data.split import Examples
from emobench.data.stream import RowStream, TextWindow, ahead, encoded_windows, random_windows, text_digest
from emobench.errors import DataError
from emobench.models.load import load_tokenizer
from emobench.specs import DatasetSpec

WORDS = st.sampled_from(["", " ", "good", "bad", "a  film", "<br />", "good"])
LABELS = st.sampled_from(["negative", "positive", "skip"])


def spec_of(folder: Path, **files: list[tuple[str, str]]) -> DatasetSpec:
    for split, rows in files.items():
        pd.DataFrame(rows, columns=["text", "label"]).to_csv(folder / f"{split}.csv", index=False)
    return find_dataset("imdb").model_copy(
        update={
            "id": "own",
            "source": "file",
            "location": str(folder),
            "files": {split: f"{split}.csv" for split in files},
            "label_map": {"skip": None},
        }
    )


@pytest.mark.slow
@given(
    train=st.lists(st.tuples(WORDS, LABELS), max_size=40),
    test=st.lists(st.tuples(WORDS, LABELS), max_size=15),
    window_rows=st.integers(1, 50),
    chunk_rows=st.integers(1, 50),
    limit=st.none() | st.integers(1, 60),
)
def test_every_usable_row_once_and_in_order(
    tmp_path_factory: pytest.TempPathFactory,
    train: list[tuple[str, str]],
    test: list[tuple[str, str]],
    window_rows: int,
    chunk_rows: int,
    limit: int | None,
) -> None:
    """Texts, labels, splits and positions are those of the files less rows without text or label; counts add up."""
    # Two good rows each: a file of empty texts alone is an error, tested below.
    parts = {"train": [*train, *[("fine", "positive")] * 41], "test": [*test, *[("poor", "negative")] * 16]}
    spec = spec_of(tmp_path_factory.mktemp("stream"), **parts)
    stream = RowStream(spec, window_rows=window_rows, chunk_rows=chunk_rows, limit=limit)
    windows = list(stream)
    wanted = [
        (split, clean_text(text), spec.labels.index(label), position)
        for position, (split, text, label) in enumerate((split, *row) for split, rows in parts.items() for row in rows)
        if label != "skip" and clean_text(text)
    ]
    given = [
        (window.split, text, label, position)
        for window in windows
        for text, label, position in zip(window.texts, window.labels, window.positions, strict=True)
    ]
    assert given == wanted[:limit]
    assert all(1 <= len(window.texts) <= window_rows for window in windows)
    facts = stream.facts()
    assert facts["rows"] == len(given)
    if limit is None:
        assert facts["rows_read"] == facts["rows"] + facts["dropped_by_label"] + facts["empty"] + facts["left_out"]
        assert facts["rows_read"] == sum(map(len, parts.values()))
    again = RowStream(spec, window_rows=7, chunk_rows=5, limit=limit)
    assert [text for window in again for text in window.texts] == [text for _, text, _, _ in given]
    assert again.fingerprint() == stream.fingerprint()
    assert next(iter(stream)).texts == windows[0].texts, "a stream can be read again"


def test_several_files_and_other_data_sets_rows(tmp_path: Path) -> None:
    """Rows of several files are one split; rows that belong to another data set take no position."""
    for number in range(3):
        rows = [(f"text {number} {row}", "negative", ("a", "b")[row % 2]) for row in range(4)]
        pd.DataFrame(rows, columns=["text", "label", "of"]).to_csv(tmp_path / f"part{number}.csv", index=False)
    spec = spec_of(tmp_path).model_copy(update={"files": {"train": "part*.csv"}, "where": {"of": "b"}})
    (window,) = RowStream(spec, chunk_rows=3)
    assert list(window.texts) == [f"text {number} {row}" for number in range(3) for row in (1, 3)]
    assert list(window.positions) == list(range(6))


def test_left_out_texts_do_not_come(tmp_path: Path) -> None:
    """Rows with the text of a digest are passed over, each repetition too, and counted."""
    rows = [("seen <br /> before", "negative"), ("new", "positive"), ("seen  before", "positive")]
    stream = RowStream(spec_of(tmp_path, train=rows), leave_out={text_digest("seen before")})
    (window,) = stream
    assert (list(window.texts), list(window.positions)) == (["new"], [1])
    assert stream.facts() == {"rows_read": 3, "dropped_by_label": 0, "empty": 0, "left_out": 2, "rows": 1}


def test_bad_rows_are_refused(tmp_path: Path) -> None:
    """The errors are those of reading all rows at once: unknown label, texts that are numbers, texts that are empty."""
    with pytest.raises(DataError, match=r"train\.csv, row 3: label 'posi' in column 'label' is not known"):
        list(RowStream(spec_of(tmp_path, train=[("a", "positive")] * 2 + [("b", "posi")]), chunk_rows=1))
    with pytest.raises(DataError, match="column 'text' holds numbers, not texts"):
        list(RowStream(spec_of(tmp_path, train=[("1", "positive"), ("2.5", "negative")])))
    with pytest.raises(DataError, match=r"train\.csv, row 2: 3 of 4 texts are empty"):
        list(RowStream(spec_of(tmp_path, train=[("a", "positive"), *[("", "positive")] * 3]), chunk_rows=1))
    nobody = spec_of(tmp_path, train=[("a", "positive")]).model_copy(update={"where": {"label": "other"}})
    with pytest.raises(DataError, match="no row has label='other'"):
        list(RowStream(nobody))


def test_the_packaged_reviews_are_what_splitting_reads() -> None:
    """Without its repetitions, the stream of Rotten Tomatoes holds the very texts that the splits hold."""
    spec = find_dataset("rotten_tomatoes-train")
    stream = RowStream(spec)
    streamed = {text: label for window in stream for text, label in zip(window.texts, window.labels, strict=True)}
    splits = load_splits(spec, profile=find_profile("full"), seed=0)
    parts = (splits.train, splits.validation, splits.test)
    split = {text: label for part in parts for text, label in zip(part.texts, part.labels, strict=True)}
    cleaning = splits.report.cleaning["train"]
    assert split.items() <= streamed.items()
    assert stream.facts()["rows"] == cleaning.rows_kept + cleaning.duplicates + cleaning.conflicting
    assert len(streamed.keys() - split.keys()) <= cleaning.conflicting


def test_windows_are_tokenized_as_splits_are() -> None:
    """The ids of a window are those that ``encode`` gives, truncated to the same length."""
    tokenizer = load_tokenizer(find_model("all-minilm-l6-v2"))
    texts, labels = ("a long and winding road", "short"), (1, 0)
    window = TextWindow(split="test", texts=texts, labels=labels, positions=(7, 9))
    (found,) = encoded_windows([window], tokenizer, max_length=4)
    wanted = encode(Examples(texts=texts, labels=labels), tokenizer, max_length=4, cache=None)
    assert np.array_equal(found.encoded.ids, wanted.ids)
    assert np.array_equal(found.encoded.offsets, wanted.offsets)
    assert (found.positions.tolist(), found.encoded.labels.tolist(), found.split) == ([7, 9], [1, 0], "test")


def test_random_windows_have_all_rows_at_full_length() -> None:
    """So many rows as asked, each of the profile's length, and no two windows alike."""
    windows = list(random_windows(find_model("all-minilm-l6-v2"), find_profile("smoke"), rows=25, window_rows=10))
    assert np.concatenate([window.positions for window in windows]).tolist() == list(range(25))
    assert [len(window.encoded) for window in windows] == [10, 10, 5]
    assert {int(length) for window in windows for length in window.encoded.lengths} == {64}
    assert not np.array_equal(windows[0].encoded.ids, windows[1].encoded.ids)


@given(st.lists(st.integers(), max_size=20))
def test_ahead_gives_all_in_order(items: list[int]) -> None:
    """The background thread changes nothing: same items, same order, None among them too."""
    assert list(ahead(items)) == items
    assert list(ahead([None, 1, None])) == [None, 1, None]


def test_ahead_works_while_the_consumer_does() -> None:
    """The next item is made in another thread while the last one is being used, and never more than one ahead."""
    made: list[int] = []
    places: set[int] = set()

    def items() -> Iterator[int]:
        for number in range(5):
            places.add(threading.get_ident())
            made.append(number)
            yield number

    for number in ahead(items()):
        wait_for(lambda number=number: len(made) >= min(5, number + 2))
        assert len(made) <= number + 2
    assert made == list(range(5))
    assert threading.get_ident() not in places


def wait_for(condition: object) -> None:
    assert callable(condition)
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, "the next item was not made meanwhile"
        time.sleep(0.001)


def test_ahead_raises_what_the_source_raises() -> None:
    """An error comes in its turn, after the items before it, and no thread is left behind."""

    def items() -> Iterator[int]:
        yield 1
        raise DataError("row 2", why="it is bad", fix="mend it")

    found = ahead(items())
    assert next(found) == 1
    with pytest.raises(DataError, match="row 2; it is bad; mend it"):
        next(found)
    stopped = ahead(iter(range(10)))
    assert next(stopped) == 0
    stopped.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("emobench-ahead")]
