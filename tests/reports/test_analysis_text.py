"""The text of an analysis stays within its width, shows what is unknown as unknown, and obeys nothing the data says."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from emobench.reports.analysis_text import analysis_text, duration, percent, share, size

ANALYSIS: dict[str, Any] = {
    "source": {
        "name": "data.csv",
        "dataset": None,
        "files": 1,
        "bytes": 1234,
        "passed_over": {},
        "columns": ["text"],
        "text": ["text"],
        "label": None,
        "guessed": ["text"],
        "encoding": "utf-8",
        "kinds": {"CSV": 1},
        "units": {"row": 3},
        "documents": 3,
        "dropped_by_label": 0,
        "broken_files": 0,
    },
    "tokenizer": "all-minilm-l6-v2",
    "sample": None,
    "faults": {"count": 0, "shown": []},
    "sections": {
        "labels": {
            "labeled": {"count": 3, "of": 3, "share": 1.0},
            "distinct": 2,
            "classes": [
                {"label": "[bold]good[/bold]", "count": 2, "of": 3, "share": 2 / 3},
                {"label": "\x1b[31mbad\n", "count": 1, "of": 3, "share": 1 / 3},
            ],
            "not_shown": 0,
            "largest_over_smallest": 2.0,
            "evenness": 0.918,
            "reason": None,
        },
    },
}


def test_markup_and_escapes_in_the_data_are_shown_as_they_are() -> None:
    """A label can neither color the report nor break its lines."""
    text = analysis_text(ANALYSIS, color=True)
    assert "[bold]good[/bold]" in text
    assert "?[31mbad?" in text
    plain = analysis_text(ANALYSIS)
    assert "\x1b" not in plain
    assert "[bold]good[/bold]" in plain


@pytest.mark.parametrize("width", [60, 80, 120])
def test_no_line_is_wider_than_asked_for(width: int) -> None:
    """Also with long names, places and reasons."""
    analysis = deepcopy(ANALYSIS)
    analysis["source"]["name"] = "a/" * 100
    analysis["source"]["text"] = ["column_" * 30]
    analysis["faults"] = {"count": 40, "shown": [{"place": "f" * 150, "why": "because " * 40}] * 12}
    analysis["sections"]["labels"]["classes"][0]["label"] = "l" * 300
    text = analysis_text(analysis, width=width)
    assert max(map(len, text.splitlines())) <= width
    assert "and 30 more places" in text


def test_what_is_unknown_says_so() -> None:
    """A section without classes gives its reason; a value of None is the word unknown; a share of nothing too."""
    analysis = deepcopy(ANALYSIS)
    analysis["sections"] = {
        "labels": {"classes": None, "reason": "no label"},
        "something_new": {"figure": None, "part": {"count": 1, "of": 4, "share": 0.25, "interval": [0.1, 0.5]}},
    }
    text = analysis_text(analysis)
    assert "none to balance: no label" in text
    assert "Something new" in text
    assert "figure  unknown" in text
    assert "1 of 4 (25.0 % [10.0-50.0])" in text
    assert share({"share": None}) == "unknown"


def test_a_share_that_is_not_nothing_is_not_shown_as_nothing() -> None:
    """Rounding never turns a few into none, or most into all."""
    assert [percent(value) for value in (0.0, 0.0004, 0.12345, 0.9996, 1.0)] == [
        "0.0",
        "<0.1",
        "12.3",
        ">99.9",
        "100.0",
    ]


def test_sizes_and_times_are_short() -> None:
    """Two digits of the largest unit that fits."""
    assert [size(999), size(1000), size(2_000_000_000)] == ["999 bytes", "1.0 kB", "2.0 GB"]
    assert [duration(value) for value in (0.0123, 119, 121, 7200, 200_000)] == [
        "0.012 seconds",
        "120 seconds",
        "2 minutes",
        "2 hours",
        "2.3 days",
    ]
