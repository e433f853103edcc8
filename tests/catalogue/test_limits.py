"""Limits of gates: units, directions, which line counts for a case, and what is refused in which words."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emobench.catalogue.limits import find_limits
from emobench.catalogue.project import load_project
from emobench.errors import SpecError

LORA = "finetune[tiny-reviews-lora-fp32-cpu]"


def test_units_follow_the_metric() -> None:
    """A share loses points, everything else a ratio; a bound is in the metric's unit."""
    found = find_limits({}, ["accuracy:1.5pt", "latency_p50_seconds: 10 %", "accuracy >= 0.80"]).of_case("c")
    assert found["accuracy"].loss == pytest.approx(0.015)
    assert found["accuracy"].bound == 0.8
    assert found["accuracy"].text == "1.5pt and >=0.8"
    assert found["latency_p50_seconds"].loss == pytest.approx(0.1)
    assert found["latency_p50_seconds"].bound is None


def test_the_most_specific_line_counts() -> None:
    """Case before marker before metric; ``off`` takes a case out; brackets in a pattern are plain."""
    table = {
        "accuracy": "1pt",
        "train_seconds": ["20%", "<=60"],
        "markers": {"cuda": {"accuracy": "0.5pt"}, "slow": {"accuracy": "3pt"}},
        "cases": {"finetune[*-lora-*]": {"accuracy": "2pt", "train_seconds": "off"}},
    }
    limits = find_limits(table)
    assert limits.of_case("finetune[tiny-reviews-full-fp32-cpu]")["accuracy"].loss == pytest.approx(0.01)
    assert limits.of_case("inference[x]", {"cuda"})["accuracy"].loss == pytest.approx(0.005)
    assert limits.of_case("inference[x]", {"slow", "cuda"})["accuracy"].loss == pytest.approx(0.03)
    lora = limits.of_case(LORA, {"cuda"})
    assert lora["accuracy"].loss == pytest.approx(0.02)
    assert "train_seconds" not in lora
    assert "finetune" not in str(limits.of_case("f[tiny-lora-x]").get("accuracy"))


def test_an_option_stands_in_place_of_the_general_line() -> None:
    """As a whole, its bound included; lines for cases stay."""
    table = {"accuracy": ["1pt", ">=0.9"], "cases": {"special": {"accuracy": "5pt"}}}
    limits = find_limits(table, ["accuracy:2pt"])
    assert (limits.of_case("c")["accuracy"].loss, limits.of_case("c")["accuracy"].bound) == (0.02, None)
    assert limits.of_case("special")["accuracy"].loss == 0.05


def test_none_is_none() -> None:
    """No limit, or only ones that are off, is no gate."""
    assert not find_limits({})
    assert not find_limits({"accuracy": "off"})
    assert find_limits({"markers": {"cuda": {"accuracy": "1pt"}}})
    assert not find_limits({}, ["accuracy>=0.8"]).compares
    assert find_limits({}, ["accuracy:1pt"]).compares


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("acuracy:1pt", "unknown metric in a limit: 'acuracy'"),
        ("parameters:1%", "neither more nor less of it is better"),
        ("accuracy:1", "a number of at least 0 and a unit, pt (points) or %"),
        ("accuracy:-1pt", "a number of at least 0"),
        ("accuracy:nanpt", "a number of at least 0"),
        ("accuracy:infpt", "a number of at least 0"),
        ("accuracy:1%", "did you mean accuracy:1pt?"),
        ("train_seconds:1pt", "did you mean train_seconds:1%?"),
        ("accuracy<=0.8", "did you mean accuracy>=0.8?"),
        ("train_seconds>=5", "did you mean train_seconds<=5?"),
        ("accuracy>=nan", "after >= stands a number"),
        ("accuracy", "the form is METRIC:LIMIT"),
        ("", "the form is METRIC:LIMIT"),
    ],
)
def test_what_is_no_limit_is_refused(text: str, message: str) -> None:
    """In one line that says what is wrong and what to write."""
    with pytest.raises(SpecError) as caught:
        find_limits({}, [text])
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"accuracy": 0.01}, "a limit is a text with a unit"),
        ({"accuracy": []}, "a limit is a text with a unit"),
        ({"accuracy": ["1pt", "2pt"]}, "two limits of one kind for accuracy"),
        ({"accuracy": ["off", "2pt"]}, "off stands alone"),
        ({"speed": "1%"}, "unknown metric in [gates]: 'speed'"),
        ({"markers": "cuda"}, "write [gates.markers.NAME]"),
        ({"markers": {"cuda": "1pt"}}, "is a table of limits"),
        ({"cases": {"a*": {"acc": "1pt"}}}, "unknown metric in [gates.cases.'a*']"),
    ],
)
def test_a_wrong_table_is_refused(table: dict[str, Any], message: str) -> None:
    """The line names the table and the key."""
    with pytest.raises(SpecError) as caught:
        find_limits(table)
    assert message in str(caught.value)


@given(st.text(max_size=30))
def test_no_text_crashes(text: str) -> None:
    """Any text is a limit or an error in one line."""
    for given_text in (text, f"accuracy:{text}", f"accuracy>={text}"):
        with contextlib.suppress(SpecError):
            assert find_limits({}, [given_text])


def test_the_project_file_has_the_table(tmp_path: Path) -> None:
    """``[gates]`` of emobench.toml reaches the limits as it stands."""
    (tmp_path / "emobench.toml").write_text('[gates]\naccuracy = "1pt"\n[gates.cases."*lora*"]\naccuracy = "2pt"\n')
    limits = find_limits(load_project(tmp_path).settings["gates"])
    assert limits.of_case(LORA)["accuracy"].loss == 0.02
