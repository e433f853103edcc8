"""Recommendations: arithmetic and sources, and unknown where a section is missing."""

from __future__ import annotations

from typing import Any

import pytest

from emobench.catalogue.model_rows import MODELS
from emobench.data.analyze.recommend import advice, from_scratch, model_rows, recommendations, tasks
from emobench.data.analyze.sample import with_shares

LENGTHS: dict[str, Any] = {
    "tokens": {"counted": 10**8, "value": 10**8},
    "largest": 3_000,
    "percentiles": [{"level": 0.5, "value": 200}, {"level": 0.95, "value": 800}],
    "contexts": [
        {"context": 512, "truncated": {"count": 20, "of": 100}},
        {"context": 2048, "truncated": {"count": 5, "of": 100}},
    ],
}


def labels(*counts: int, **more: Any) -> dict[str, Any]:
    classes = [{"label": f"c{place}", "count": count} for place, count in enumerate(counts)]
    of = sum(counts)
    ratio = counts[0] / counts[-1]
    return {
        "labeled": {"count": of, "of": of},
        "distinct": len(counts),
        "classes": classes,
        "not_shown": 0,
        "largest_over_smallest": ratio,
        "reason": None,
        **more,
    }


def test_sizes_follow_twenty_tokens_a_parameter() -> None:
    """100 million tokens are compute-optimal for 5 million parameters, seen four times for 20 million."""
    found = from_scratch(10**8)
    assert (found["parameters"], found["parameters_repeated"]) == (5_000_000, 20_000_000)
    assert "Hoffmann" in found["sources"][0]
    assert "Muennighoff" in found["sources"][1]


def test_little_text_is_not_for_training_from_scratch() -> None:
    """Below a million parameters even with repetition there is none; between, only with repetition."""
    assert from_scratch(4 * 10**6)["parameters_repeated"] is None
    assert "fine-tune" in from_scratch(4 * 10**6)["why"]
    assert (from_scratch(10**7)["parameters"], from_scratch(10**7)["parameters_repeated"]) == (None, 2_000_000)
    assert from_scratch(None)["why"] == "tokens were not counted"


def test_models_whose_context_takes_the_documents_come_first() -> None:
    """A context of 512 does not take documents of 800 tokens; the share it cuts off is the counted one."""
    rows = model_rows(LENGTHS, models=MODELS)
    fits = [row["fits"] for row in rows]
    assert fits == sorted(fits, reverse=True)
    assert {row["context"] for row in rows if not row["fits"]} == {512}
    sizes = [row["parameters"] for row in rows if row["fits"]]
    assert sizes == sorted(sizes)
    by_id = {row["id"]: row for row in rows}
    assert by_id["all-minilm-l6-v2"]["truncated"] == {"share": 0.2, "at_most": False}
    assert by_id["tinyllama-1.1b"]["truncated"] == {"share": 0.05, "at_most": False}
    assert by_id["smollm2-1.7b"]["truncated"] == {"share": 0.0, "at_most": False}
    assert "intent-qwen2-0.5b" not in by_id


def test_a_context_between_counted_ones_gets_a_bound() -> None:
    """It cuts off at most what the next shorter one does."""
    rows = model_rows({**LENGTHS, "largest": 10_000}, models=MODELS)
    assert next(row for row in rows if row["context"] == 4096)["truncated"] == {"share": 0.05, "at_most": True}


@pytest.mark.parametrize(
    ("section", "fits", "why"),
    [
        (labels(50, 40), True, "2 classes, the smallest with 40 documents"),
        (labels(50), False, "all labels are 'c0'"),
        (labels(50, 9), False, "'c1' has 9 documents, too few"),
        (labels(50, 40, not_shown=3, distinct=5), None, "the smallest are not listed"),
        ({"classes": None, "reason": "over 1,000 values"}, False, "no classes: over 1,000 values"),
        (None, None, "labels were not counted"),
    ],
)
def test_classification_needs_classes(section: dict[str, Any] | None, fits: bool | None, why: str) -> None:
    """Two or more, each with enough documents."""
    found = tasks({} if section is None else {"labels": section})[0]
    assert (found["task"], found["fits"]) == ("text classification", fits)
    assert why in found["why"]


@pytest.mark.parametrize(
    ("percent", "count", "fits", "why"),
    [
        (20, 40, True, "the smallest with 163 to 236 documents, 40 of them in the sample"),
        (
            20,
            4,
            None,
            "a class needs 10, and 'b' has 9 to 45 documents, 4 of them in the sample: read more with --sample",
        ),
        (5, 0, None, "all labels of the sample are 'a': read more with --sample"),
        (50, 1, False, "'b' has 1 to 7 documents, 1 of them in the sample, too few"),
        (100, 4, False, "'b' has 4 documents, too few"),
    ],
)
def test_a_sample_is_not_taken_for_all(percent: int, count: int, fits: bool | None, why: str) -> None:
    """Whether a class is large enough is judged by what the sample says of all documents, and may stay unknown."""
    read = 73
    found = labels(read - count, count) if count else labels(read)
    for entry, name in zip(found["classes"], "ab", strict=False):
        entry |= {"label": name, "of": read}
    sections = with_shares({"labels": found}, percent / 100)
    sample = None if percent == 100 else {"documents": read, "of": read * 100 // percent}
    content = recommendations(sections, tokenizer="none", sample=sample)
    told = content["tasks"][0]
    assert told["fits"] is fits
    assert why in told["why"]
    few = [item["text"] for item in content["advice"] if "labeled documents" in item["text"]]
    expected = {20: ["about 365"], 50: ["about 146"], 100: ["73"]}
    assert [text.partition(" labeled")[0] for text in few] == expected.get(percent, [])


@pytest.mark.parametrize(
    ("kind", "fits"), [("instruction", True), ("question answering", True), ("plain text", False), ("unknown", None)]
)
def test_generation_needs_answers(kind: str, fits: bool | None) -> None:
    """Questions or instructions; where the kind is not known, neither is this."""
    assert tasks({"kind": {"kind": kind}})[2]["fits"] is fits


def test_advice_names_numbers_and_sources() -> None:
    """Conflicts first; few rows with the paper that says so; nothing for faultless data."""
    pair = {"count": 3, "of": 100}
    found = advice(
        {
            "duplicates": {"conflicts": pair, "exact": pair, "near": pair},
            "quality": {
                "findings": {"mojibake": {"count": 1, "of": 100}, "short": pair, "empty": {"count": 0, "of": 100}}
            },
            "labels": labels(300, 60),
        }
    )
    texts = [item["text"] for item in found]
    assert texts[0] == "3 documents with a text that has several labels: correct the labels or drop the text"
    assert texts[3] == "1 document in UTF-8 that was read as cp1252: read the file as UTF-8, or repair the texts"
    assert not any("without text" in text for text in texts)
    assert any(item["source"] is not None and "Zhang" in item["source"] for item in found)
    assert "5.0 times" in texts[-1]
    assert advice({"labels": labels(1_000, 900)}) == []


def test_without_sections_everything_is_unknown() -> None:
    """No figure is invented."""
    found = recommendations({}, tokenizer="none")
    assert found["from_scratch"]["parameters"] is None
    assert found["tokenizer"] is None
    assert {row["fits"] for row in found["models"]} == {None}
    assert {row["truncated"] for row in found["models"]} == {None}
    assert [task["fits"] for task in found["tasks"]] == [None, True, None, True]
