"""Findings of many cases as text."""

from __future__ import annotations

from dataclasses import replace

import pytest

from emobench.preflight.grouped import SHOWN, WIDTH, emobench_form, finding_lines, grouped
from emobench.preflight.planned import Finding, Fix

LINE = "--emo-set " + " ".join(f"a_setting_of_some_length={number}" for number in range(6))
FIX = Fix(text="do this", trade_off="slower", setting=LINE)
LEAK = Finding(check="leaks", level="warn", problem="12 rows leak", why="they were seen", fixes=(FIX,))


def many(finding: Finding, cases: int, start: int = 0) -> list[Finding]:
    return [replace(finding, case_id=f"finetune[{number}]") for number in range(start, start + cases)]


def test_equal_findings_are_one_with_a_count() -> None:
    """What many cases share is one group, and what they call the same check but say otherwise is another."""
    groups = grouped([*many(LEAK, 3), *many(replace(LEAK, problem="9 rows leak"), 5)])
    assert [(group.finding.problem, len(group.cases)) for group in groups] == [("9 rows leak", 5), ("12 rows leak", 3)]


def test_stops_come_first() -> None:
    """However few cases it has, a stop stands above every warning."""
    stop = replace(LEAK, check="disk", level="stop", problem="full")
    note = replace(LEAK, level="note", problem="fine")
    assert [group.finding.level for group in grouped([*many(note, 9), *many(LEAK, 5), *many(stop, 1)])] == [
        "stop",
        "warn",
        "note",
    ]


def test_the_block_has_all_that_is_known() -> None:
    """Level, check, count, problem, reason, fix with its price, the line to copy unbroken, cases, and the switch."""
    lines = finding_lines(many(LEAK, 3))
    assert lines[0] == "warn: leaks (3 cases)"
    assert "  12 rows leak" in lines
    assert "    why: they were seen" in lines
    assert "    fix: do this (slower)" in lines
    assert f"         {LINE.replace('--emo-set', '--set')}" in lines
    assert "    in: finetune[0], finetune[1] and 1 more" in lines
    assert "  silence with --silence leaks" in lines
    assert all(len(line) <= WIDTH for line in lines if "a_setting" not in line)


def test_many_different_problems_are_counted_and_not_listed() -> None:
    """Beyond a few, the problems of one check are a number, and so are their cases."""
    found = [item for number in range(SHOWN + 3) for item in many(replace(LEAK, problem=f"{number} rows"), 2)]
    text = "\n".join(finding_lines(found))
    # Every problem has the same two cases here.
    assert "warn: leaks (2 cases)" in text
    assert "and 3 more of leaks (6 cases)" in text


def test_the_short_form_is_a_line_a_problem() -> None:
    """In a run's summary a problem is one line with its first fix."""
    text = " ".join(" ".join(finding_lines(many(LEAK, 2), full=False)).split())
    assert text == f"warn, leaks, 2 cases: 12 rows leak; do this: {LINE}"


@pytest.mark.parametrize(
    ("setting", "form"),
    [
        ("--emo-set max_length=512", "--set max_length=512"),
        ("--emo-set a=1 --emo-set b=true", "--set a=1 --set b=true"),
        ("--emo-seeds 5", "--seeds 5"),
        ("--emo-silence leaks", "--silence leaks"),
        ("--emo-batch-sizes 8", "-- --emo-batch-sizes 8"),
        ("--emo-gate f1_macro:2pt", "-- --emo-gate f1_macro:2pt"),
        ("--benchmark-storage=file:///x", "-- --benchmark-storage=file:///x"),
        ('-k "minilm and lora"', '-k "minilm and lora"'),
        ('pip install "emobench[quant]"', 'pip install "emobench[quant]"'),
        ("[models.own] config = { num_attention_heads = ... }", "[models.own] config = { num_attention_heads = ... }"),
    ],
)
def test_lines_to_copy_are_of_the_command_that_prints_them(setting: str, form: str) -> None:
    """``emobench check`` prints its own options, and those of pytest behind --, as it passes them on."""
    assert emobench_form(setting) == form
