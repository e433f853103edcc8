"""Published accuracies: plausible figures on rows that exist, each with its source."""

from __future__ import annotations

import pytest

from emobench.catalogue.datasets import DATASETS
from emobench.catalogue.methods import METHODS
from emobench.catalogue.model_rows import MODELS
from emobench.catalogue.published import PUBLISHED, Published, published_for


@pytest.mark.parametrize("row", PUBLISHED, ids=lambda row: f"{row.model}-{row.dataset}-{row.method}")
def test_every_row_is_whole(row: Published) -> None:
    """Model, whole data set and method are in the tables; the figure is a share above chance and says its source."""
    assert row.model in MODELS
    assert row.dataset in DATASETS
    assert not row.dataset.endswith("-train")
    assert row.method in METHODS
    assert 0.5 < row.low <= row.high < 1
    assert ("arXiv" in row.source) == (row.kind == "paper")
    assert row.text.startswith(f"{row.low:.3f}")
    assert row.source in row.text


def test_what_was_not_published_has_no_row() -> None:
    """A data set with a split of our own, and a pair nobody measured, have none; papers stand before cards."""
    assert published_for("all-minilm-l6-v2", "imdb-train") == ()
    assert published_for("phi-3-mini", "imdb") == ()
    assert [row.method for row in published_for("roberta-base", "sst2")] == ["full", "lora"]
