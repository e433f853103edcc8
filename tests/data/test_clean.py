"""Cleaning: label maps, text normalization, and the count of everything that is dropped."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emobench.data.clean import CleaningReport, clean, clean_text
from emobench.data.sources import RawRows
from emobench.errors import DataError, SpecError
from emobench.specs import DatasetSpec

RATINGS = DatasetSpec(
    id="parks",
    title="Parks",
    license="own",
    source="file",
    location="parks.csv",
    label_map={"1": "negative", "2": "negative", "3": None, "4": "positive", "5": "positive"},
)


def rows(*pairs: tuple[str | None, str]) -> RawRows:
    """Raw rows of a file, numbered from 1."""
    return RawRows(
        texts=[text for text, _ in pairs],
        labels=[label for _, label in pairs],
        row_numbers=list(range(1, len(pairs) + 1)),
        origin="parks.csv",
    )


def test_ratings_become_two_classes_and_drops_are_counted() -> None:
    """Ratings 1-2 and 4-5 are the classes, 3 goes; empty, repeated and contradicting rows are dropped and counted."""
    cleaned = clean(
        rows(
            ("Lovely", "5"),
            ("So so", "3"),
            ("Awful", "1"),
            ("  Lovely<br />", "4"),
            ("<br/> <BR>", "2"),
            (None, "4"),
            ("Crowded", "2"),
            ("Crowded", "5"),
            ("Crowded", "2"),
        ),
        RATINGS,
    )
    assert cleaned.texts == ("Lovely", "Awful")
    assert cleaned.labels == (1, 0)
    assert cleaned.report == CleaningReport(
        rows_read=9, dropped_by_label=1, empty=2, duplicates=1, conflicting=3, rows_kept=2
    )


def test_class_names_need_no_map() -> None:
    """A raw value that is a class name is that class."""
    assert clean(rows(("a", "positive"), ("b", "negative")), RATINGS).labels == (1, 0)


def test_text_normalization() -> None:
    """Line breaks of HTML and every kind of white space become one space; composed letters are one code point."""
    assert clean_text("One.<br /><br />Two\u00a0\t\nthree ") == "One. Two three"
    assert clean_text("cafe\u0301") == "caf\u00e9"
    assert clean_text("a < b <b>bold</b>") == "a < b <b>bold</b>"


@given(st.text())
def test_cleaning_twice_changes_nothing_more(text: str) -> None:
    """Cleaned text is a fixed point, in NFC, and has no white space but single spaces inside."""
    cleaned = clean_text(text)
    assert clean_text(cleaned) == cleaned
    assert unicodedata.is_normalized("NFC", cleaned)
    assert cleaned.split() == (cleaned.split(" ") if cleaned else [])


_LABELS = st.sampled_from(["1", "2", "3", "4", "5"])


@given(st.lists(st.tuples(st.sampled_from(["", "a", "b", " a", "c"]), _LABELS), max_size=20))
def test_every_row_is_accounted_for(pairs: list[tuple[str, str]]) -> None:
    """Rows read are rows kept plus rows dropped, and no kept text repeats, whatever the rows are."""
    fixed = [("one", "1"), ("five", "5"), ("six", "5"), *((f"{n}", "4") for n in range(30))]
    cleaned = clean(rows(*fixed, *pairs), RATINGS)
    report = cleaned.report
    dropped = report.dropped_by_label + report.empty + report.duplicates + report.conflicting
    assert report.rows_read == len(fixed) + len(pairs) == dropped + report.rows_kept
    assert len(set(cleaned.texts)) == len(cleaned.texts) == len(cleaned.labels) == report.rows_kept
    kept = dict(zip(cleaned.texts, cleaned.labels, strict=True))
    for text in ("a", "b", "c"):
        given_labels = {label > "3" for raw, label in pairs if raw.strip() == text and label != "3"}
        assert (text in kept) == (len(given_labels) == 1)


def test_an_unknown_label_names_row_and_known_labels() -> None:
    """A value outside the map is an error with the value, its row, the known values and the nearest one."""
    with pytest.raises(DataError) as caught:
        clean(rows(("a", "4"), ("b", "postive")), RATINGS)
    assert str(caught.value) == (
        "parks.csv, row 2: label 'postive' in column 'label' is not known; "
        "known are '1', '2', '3', '4', '5', 'negative', 'positive'; did you mean 'positive'? "
        "Add the value to label_map of the data set's row (null drops its rows), or correct the row"
    )
    with pytest.raises(DataError, match="row 1: an empty label in column 'label' is not known"):
        clean(rows(("a", "")), RATINGS)


def test_mostly_empty_texts_are_an_error() -> None:
    """More than half of the texts empty is a wrong column, not dirt; half is dirt."""
    with pytest.raises(DataError, match=r"parks.csv, row 2: 3 of 5 texts are empty; column 'text' has no text there"):
        clean(rows(("a", "1"), ("", "1"), (" ", "5"), (None, "5"), ("b", "5")), RATINGS)
    assert clean(rows(("a", "1"), ("", "1"), (None, "5"), ("b", "5")), RATINGS).report.empty == 2


def test_one_class_is_an_error() -> None:
    """Data with one class left cannot train a classifier; the missing class is named."""
    with pytest.raises(DataError, match=r"parks.csv has no row of class 'negative' .*holds 1 of 2 classes; add rows"):
        clean(rows(("a", "4"), ("b", "5"), ("c", "3")), RATINGS)


def test_a_map_to_no_class_is_an_error() -> None:
    """A label map that names a class the data set does not have is a mistake of the row."""
    with pytest.raises(SpecError, match=r"unknown class in the label map of data set 'parks': 'postive'; .*'positive'"):
        clean(rows(("a", "1")), RATINGS.model_copy(update={"label_map": {"1": "postive"}}))
