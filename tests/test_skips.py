"""Skips: when slow cases are asked for."""

from __future__ import annotations

import pytest

from emobench.skips import names_slow


@pytest.mark.parametrize(
    ("expression", "asked"),
    [
        ("slow", True),
        ("cpu and slow", True),
        ("slow or not slow", True),
        ("cpu and (slow or finetune)", True),
        ("not (cpu or not slow)", True),
        ("", False),
        ("cpu", False),
        ("slowest", False),
        ("not slow", False),
        ("not (cuda or slow)", False),
        ("cpu and not(slow)", False),
        ("mark(name='slow')", False),
    ],
)
def test_a_mark_expression_asks_for_slow_cases(expression: str, asked: bool) -> None:
    """It does where it names ``slow`` as wanted, however deep; a negated name does not."""
    assert names_slow(expression) is asked
