"""The analysis page: it needs no network, runs nothing, escapes what data holds, and says what is not known."""

from __future__ import annotations

import base64
import copy
import hashlib
import json
import re
import sys
from typing import Any

import pytest

from emobench.errors import MissingExtraError
from emobench.reports.analysis_blocks import growth, histogram, large, percent, share_text
from emobench.reports.analysis_page import FINDINGS, analysis_page
from tests.reports.hostile import NAMES, PWNED
from tests.reports.test_page import parsed

BOUND = {"share": 0.1, "at_most": True}


def entry(count: int, of: int, **more: Any) -> dict[str, Any]:
    return {"count": count, "of": of, "share": count / of if of else None, **more}


def made(name: str = "reviews.csv") -> dict[str, Any]:
    """An analysis as ``emobench analyze --json`` writes it; every text that data can set is ``name``."""
    example = {"place": name, "text": name}
    pair = {"places": [name, "b:2"], "labels": [name, "1"], "text": name, "similarity": 0.75}
    rules = {key: entry(3, 100, rule="a rule", examples=[example]) for key in FINDINGS}
    repetition = {**entry(5, 100), "examples": [pair]}
    return {
        "source": {
            "name": name,
            "documents": 100,
            "files": 1,
            "bytes": 1_234_567,
            "text": [name],
            "label": name,
            "guessed": ["text"],
        },
        "tokenizer": "all-minilm-l6-v2",
        "sample": None,
        "faults": {"count": 2, "shown": [{"place": name, "why": name}]},
        "sections": {
            "lengths": {
                "tokens": {"counted": 5000, "value": 5000},
                "tokens_per_document": {"mean": 50.0, "deviation": 5.0, "of": 100},
                "smallest": 2,
                "largest": 700,
                "characters_per_token": 4.2,
                "percentiles": [{"level": 0.5, "value": 40}, {"level": 0.95, "value": 300}],
                "contexts": [{"context": 512, "truncated": entry(4, 100), "tokens_kept_share": 0.97}],
                "histogram": [{"from": 2, "to": 9, "documents": 80}, {"from": 10, "to": 700, "documents": 20}],
            },
            "labels": {
                "labeled": entry(100, 100),
                "distinct": 2,
                "classes": [entry(60, 100, label=name), entry(40, 100, label="1")],
                "largest_over_smallest": 1.5,
                "evenness": 0.971,
                "reason": None,
            },
            "kind": {"kind": "classification", "why": "a reason", "texts": {"plain text": entry(100, 100)}},
            "language": {
                "documents": 100,
                "looked_at": 100,
                "sampled": False,
                "confidence": 0.5,
                "languages": {name: entry(97, 100), "unknown": entry(3, 100)},
            },
            "quality": {"flagged": entry(10, 100), "findings": rules},
            "duplicates": {
                "exact": repetition,
                "near": {**repetition, "similarity_at_least": 0.5, "complete": True},
                "conflicts": repetition,
                "near_conflicts": {**entry(0, 0), "examples": []},
                "found_probability": {"0.5": 0.93},
            },
            "vocabulary": {
                "words": 4000,
                "distinct_words": 900,
                "distinct_standard_error": 0.0,
                "once": entry(400, 900),
                "growth": [{"words": 1024, "distinct": 400}, {"words": 4000, "distinct": 900}],
                "heaps": {"k": 6.0, "beta": 0.6, "r_squared": 0.99},
                "tokenizer": {"size": None, "why": "too few", "source": "a paper"},
            },
        },
        "recommendations": {
            "from_scratch": {"parameters": 5_000_000, "parameters_repeated": 20_000_000, "why": "w", "sources": ["s"]},
            "models": [
                {"id": name, "parameters": 22_713_216, "context": 512, "fits": True, "truncated": None},
                {
                    "id": "m",
                    "parameters": 10**9,
                    "context": 512,
                    "fits": None,
                    "truncated": {"share": 0.1, "at_most": True},
                },
            ],
            "models_note": "a note",
            "tasks": [{"task": "text classification", "fits": True, "why": name, "cases": ["finetune"]}],
            "advice": [{"text": name, "source": None}],
        },
        "training_time": {
            "model": name,
            "device": "cpu",
            "epoch_seconds": {"full": 7_200.0, "head": 30.0},
            "flops_per_second": 1e11,
            "rate": "assumed, not measured",
            "uncertainty_factor": 10.0,
        },
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_what_data_holds_is_text(name: str) -> None:
    """No name becomes an element, an attribute or a script: the page has the elements of one with innocent names."""
    hostile, innocent = parsed(analysis_page(made(name)).encode()), parsed(analysis_page(made("innocent")).encode())
    assert hostile.elements == innocent.elements
    assert not hostile.raw[1:]
    own = [value for _, attribute, value in innocent.values if attribute != "aria-label"]
    assert [value for _, attribute, value in hostile.values if attribute != "aria-label"] == own


def test_names_are_shown_as_they_are() -> None:
    """Escaped, but whole."""
    page = analysis_page(made(NAMES[0]))
    assert f"&lt;script&gt;{PWNED.replace(chr(39), '&#39;')}&lt;/script&gt;" in page
    assert NAMES[0] in "".join(parsed(page.encode()).texts)


def test_the_policy_allows_the_style_sheet_and_nothing_else() -> None:
    """No script, no style attribute, nothing from elsewhere; the sheet's hash is the one that is named."""
    parts = parsed(analysis_page(made()).encode())
    ((tag, _, css),) = parts.raw
    assert tag == "style"
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    policy = next(value for _, _, value in parts.values if value.startswith("default-src 'none'"))
    assert f"'sha256-{digest}'" in policy
    assert re.search(r"script-src\s*;", policy)
    assert not {"style", "src", "onclick", "onload"} & {name for _, names in parts.elements for name in names}
    assert not re.search(r"https?://", analysis_page(made()))


def test_figures_stand_in_the_page() -> None:
    """Counts with shares, the models, what is truncated, how long it takes."""
    text = " ".join("".join(parsed(analysis_page(made()).encode()).texts).split())
    for expected in (
        "reviews.csv: 100 documents",
        "5,000 of all-minilm-l6-v2",
        "60 (60.0 %)",
        "22.7 million",
        "at most 10.0 %",
        "5 million to 20 million parameters",
        "full 2 hours, head 30 seconds",
        "right within a factor of about 10",
        "UTF-8 read as cp1252",
        "nearly the same text under a different label",
    ):
        assert expected in text, expected


def test_small_texts_are_not_smaller_than_eight_points() -> None:
    """No rule of the sheet sets less than 11 pixels, which is 8.25 points."""
    ((_, _, css),) = parsed(analysis_page(made()).encode()).raw
    sizes = [float(size) for size in re.findall(r"font(?:-size)?:\s*([\d.]+)px", css)]
    assert len(sizes) > 5
    assert min(sizes) >= 11


def test_missing_sections_are_left_out_and_unknown_is_said() -> None:
    """A page of lengths alone has no other section; without the package the language is unknown."""
    alone = made()
    alone["sections"] = {"lengths": alone["sections"]["lengths"]}
    del alone["recommendations"]
    alone["faults"]["count"] = 0
    page = analysis_page(alone)
    assert re.findall(r'<section id="(\w+)"', page) == ["summary", "lengths"]
    without = made()
    without["sections"]["language"] = {
        "languages": None,
        "why": "unknown: lingua is not installed",
        "fix": "pip install it",
        "sampled": False,
    }
    assert "unknown: lingua is not installed. pip install it" in analysis_page(without)


def test_a_sample_says_so_everywhere() -> None:
    """In the title, with intervals, and where intervals mean nothing."""
    sampled = made()
    sampled["sample"] = {"documents": 100, "of": 2_000, "seed": 7, "percent": 5.0}
    sections = sampled["sections"]
    sections["quality"]["findings"]["empty"]["interval"] = [0.01, 0.08]
    sections["lengths"]["percentiles"][0]["interval"] = [35, 45]
    sections["lengths"]["percentiles"][1]["interval"] = None
    sections["lengths"]["tokens"]["interval"] = [4000.0, 6000.0]
    sections["duplicates"]["within_sample"] = True
    text = "".join(parsed(analysis_page(sampled).encode()).texts)
    for expected in (
        "a sample of 100 of 2,000 documents",
        "seed 7, 5 %",
        "3 (3.0 % [1.0 % to 8.0 %])",
        "35 to 45",
        "too few",
        "[4,000 to 6,000]",
        "Within the sample only",
    ):
        assert expected in text, expected


def test_the_page_is_the_same_after_storing() -> None:
    """What was written as JSON and read again gives the same page, and the values are left as they were."""
    content = made()
    before = copy.deepcopy(content)
    assert analysis_page(json.loads(json.dumps(content))) == analysis_page(content)
    assert content == before


def test_without_jinja_the_command_to_install_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra is called report."""
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(
        MissingExtraError, match=r"HTML page of an analysis needs the package 'jinja2'.*emobench\[report\]"
    ):
        analysis_page(made())


def test_pictures_stay_inside_their_frames() -> None:
    """Columns and points lie within the drawing, whatever the figures; what is not empty can be seen."""
    bins = [{"from": at, "to": at, "documents": count} for at, count in enumerate((10**6, 0, 1))]
    block = histogram("", bins, caption="")
    assert [column["height"] for column in block["columns"]] == [150.0, 0.0, 2.0]
    assert all(column["left"] >= 4 and column["left"] + column["width"] <= 98 for column in block["columns"])
    for points in ([(5, 5)], [(1, 1), (10**9, 10**6)], [(3, 0), (4, 0)]):
        block = growth("", points, {"k": 1.0, "beta": 0.5, "r_squared": 1.0}, caption="")
        assert all(9 <= point["x"] <= 98 and 14 <= point["y"] <= 200 for point in block["points"])


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0.0 %"), (0.0001, "< 0.1 %"), (0.5, "50.0 %"), (0.9999, "> 99.9 %"), (None, "unknown")]
)
def test_shares_in_words(value: float | None, text: str) -> None:
    """One that is neither nothing nor all is never shown as such."""
    assert percent(value) == text
    assert share_text({"share": value, "interval": None}) == text


def test_large_numbers_in_words() -> None:
    """Three digits and a unit."""
    assert [large(value) for value in (None, 0, 999, 1_000, 22_713_216, 1.5e9)] == [
        "unknown",
        "0",
        "999",
        "1 thousand",
        "22.7 million",
        "1.5 billion",
    ]
