"""Rankings on paper: the four forms, and names that hold markup, formulas or credentials."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest

from emobench.analysis.ranking import Ranking, rankings
from emobench.reports.ranking import FORMATS, MOST_LISTED, ranking_text
from tests.analysis.columns_for_ranking import columns

NASTY = "finetune[<b>|`x`\n*y*\x07]"
TOKEN = "hf_" + "a1B2" * 8


def some(*more: dict[str, Any]) -> list[Ranking]:
    run = columns(
        {"id": "finetune[a]", "model": "a", "accuracy": (0.8, 0.75, 0.85), "train_seconds": 2.0},
        {"id": "finetune[b]", "model": "b", "accuracy": 0.6, "train_seconds": 1.0},
        {"id": "finetune[c]", "model": "c", "accuracy": 0.7},
        {"kind": "inference", "model": "a", "batch": 1, "latency_p50_seconds": 0.01, "id": "inference[a-b1]"},
        *more,
    )
    return rankings(run, {"accuracy": 2, "train_seconds": 1})


def test_text_is_within_120_columns_and_says_what_it_means() -> None:
    """Weights, order, figures, batch of the latency, what is unranked and why."""
    text = ranking_text(some(), preset=None, by="case", form="text")
    assert max(map(len, text.splitlines())) <= 120
    assert text.startswith("Ranking by case, reviews, profile quick; accuracy 67%, train_seconds 33%")
    first, second = (line.split() for line in text.splitlines() if "finetune[a]" in line or "finetune[b]" in line)
    assert first[:4] == ["1", "finetune[a]", "0.667", "±0.167"]
    assert second[:2] == ["1", "finetune[b]"] or second[:2] == ["2", "finetune[b]"]
    assert "unranked, it has no train_seconds: finetune[c]" in text
    assert "it timed the catalogue's model, not the trained weights" in text
    assert "share of 1000 draws (seed 0)" in text


def test_wide_names_get_a_line_of_their_own() -> None:
    """Figures stay in their columns, however long the ids are."""
    text = ranking_text(
        some({"id": "x" * 110, "accuracy": 0.9, "train_seconds": 9.0}), preset=None, by="case", form="text"
    )
    assert max(map(len, text.splitlines())) <= 120
    lines = text.splitlines()
    at = lines.index("x" * 110)
    assert "0.900" in lines[at + 1]


def test_by_model_counts_its_cases() -> None:
    """One line a model, with the number of its ranked cases."""
    text = ranking_text(
        some({"id": "a2", "model": "a", "accuracy": 0.1, "train_seconds": 3.0}), preset=None, by="model", form="text"
    )
    (line,) = (line for line in text.splitlines() if line.split()[1:2] == ["a"])
    assert line.split()[:3] == ["1", "a", "2"]
    assert "a model stands with its best case" in text


def test_many_unranked_cases_are_counted_in_text_and_named_in_csv() -> None:
    """Text stays readable; nothing is lost."""
    more = [{"id": f"lacking-{i}", "accuracy": 0.5} for i in range(MOST_LISTED + 5)]
    assert "and 6 more" in ranking_text(some(*more), preset=None, by="case", form="text")
    assert (
        ranking_text(some(*more), preset=None, by="case", form="csv").count("it has no train_seconds")
        == MOST_LISTED + 6
    )


def test_csv_holds_full_figures_in_equal_rows() -> None:
    """Every row has the header's length; values are not rounded."""
    rows = list(csv.DictReader(io.StringIO(ranking_text(some(), preset=None, by="case", form="csv"))))
    assert [row["case"] for row in rows] == ["finetune[a]", "finetune[b]", "finetune[c]"]
    assert (rows[0]["accuracy"], rows[0]["accuracy_low"], rows[0]["latency_p50_seconds"]) == ("0.8", "0.75", "0.01")
    assert float(rows[0]["score"]) == pytest.approx(2 / 3)
    assert (rows[0]["timed_case"], rows[0]["timed_batch"]) == ("inference[a-b1]", "1")
    assert (rows[2]["rank"], rows[2]["unranked"]) == ("", "it has no train_seconds")
    assert all(None not in row and None not in row.values() for row in rows)


def test_json_is_the_whole_ranking() -> None:
    """Weights, directions, order, normalized values, intervals and what is unranked."""
    content = json.loads(ranking_text(some(), preset="quality", by="case", form="json"))
    assert content["preset"] == "quality"
    (found,) = content["rankings"]
    assert found["better"] == {"accuracy": "higher", "train_seconds": "lower"}
    assert found["ranked"][0]["metrics"]["accuracy"] == {"value": 0.8, "ci": [0.75, 0.85]}
    assert found["ranked"][0]["normalized"] == {"accuracy": 1.0, "train_seconds": 0.0}
    assert found["unranked"] == [{"case": "finetune[c]", "reason": "it has no train_seconds"}]


@pytest.mark.parametrize("form", FORMATS)
def test_no_form_carries_credentials_or_control_characters(form: str) -> None:
    """Names are a saved file's, and may hold anything."""
    text = ranking_text(
        some({"id": f"{NASTY}{TOKEN}", "accuracy": 0.5, "train_seconds": 1.0}), preset=None, by="case", form=form
    )
    assert TOKEN not in text
    assert "\x07" not in text
    assert "\\u0007" not in text


def test_markdown_has_no_markup_of_a_name() -> None:
    """Pipes, HTML, code and emphasis in a name are text, and each row has as many cells as the head."""
    text = ranking_text(
        some({"id": NASTY, "accuracy": 0.5, "train_seconds": 1.0}), preset=None, by="case", form="markdown"
    )
    assert "\\<b\\>\\|\\`x\\`" in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.replace("\\|", "").count("|") for line in rows}) == 1


@pytest.mark.parametrize("start", ["=", "+", "-", "@"])
def test_csv_starts_no_formula(start: str) -> None:
    """A cell that a spreadsheet would compute begins with an apostrophe."""
    text = ranking_text(
        some({"id": f"{start}1+1", "accuracy": 0.5, "train_seconds": 1.0}), preset=None, by="case", form="csv"
    )
    cells = [row[2] for row in csv.reader(io.StringIO(text))]
    assert f"'{start}1+1" in cells
