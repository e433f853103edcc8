"""Skips: what is left out unless it is asked for."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from emobench.session.skips import asks_for

CONFTEST = str(Path(__file__).parents[2] / "conftest.py")


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
    assert asks_for(SimpleNamespace(getoption=lambda *_: expression), "slow") is asked  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "ran"),
    [
        ([], {"plain"}),
        (["--emo-slow"], {"plain", "slow"}),
        (["-m", "slow"], {"slow"}),
        (["-m", "nightly"], {"night", "both"}),
        (["-m", "slow or nightly"], {"slow", "night", "both"}),
    ],
)
def test_what_is_left_out_runs_where_it_is_asked_for(
    pytester: pytest.Pytester, arguments: list[str], ran: set[str]
) -> None:
    """Slow tests with ``--emo-slow`` or ``-m slow``, those of the night with ``-m nightly`` alone, slow or not."""
    pytester.makeconftest(
        f"import runpy\npytest_runtest_setup = runpy.run_path({CONFTEST!r})['pytest_runtest_setup']\n"
    )
    pytester.makepyfile(
        "import pytest\nslow, night = pytest.mark.slow, pytest.mark.nightly\n"
        "def test_plain(): pass\n@slow\ndef test_slow(): pass\n@night\ndef test_night(): pass\n"
        "@slow\n@night\ndef test_both(): pass\n"
    )
    result = pytester.runpytest_inprocess("-p", "no:xdist", "-p", "no:cacheprovider", "-rA", *arguments)
    passed = {line.split("::test_")[1] for line in result.outlines if line.startswith("PASSED ")}
    assert passed == ran
