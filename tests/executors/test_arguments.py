"""What a process that runs one case is given of the session's arguments."""

from __future__ import annotations

import pytest

from emobench.executors.arguments import case_arguments

TESTS = ["benchmarks", "benchmarks/test_a.py::test_x"]


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (
            ["benchmarks", "--emo-profile=smoke", "--emo-set", "train=50"],
            ["--emo-profile=smoke", "--emo-set", "train=50"],
        ),
        (["-k", "lora and imdb", "benchmarks", "-m=cpu", "-kb32", "-q"], ["-q"]),
        (["-x", "--lf", "--maxfail=2", "--maxfail", "3", "-n", "4", "-n2", "--dist", "loadgroup"], []),
        (["--junitxml", "a.xml", "--junitxml=b.xml", "--benchmark-json", "x.json", "--benchmark-save=run"], []),
        (["--emo-isolate", "--emo-time-limit", "5", "--emo-executor=ray", "--emo-shard", "1/2", "--emo-resume"], []),
        (
            ["-p", "no:cacheprovider", "benchmarks", "-W", "error", "-o", "a=b"],
            ["-p", "no:cacheprovider", "-W", "error", "-o", "a=b"],
        ),
        (["--benchmark-min-rounds", "5", "benchmarks/test_a.py::test_x"], ["--benchmark-min-rounds", "5"]),
        (["--cov=emobench", "--cov-report", "term", "--my-option", "value"], ["--my-option", "value"]),
        (["-c", "benchmarks"], ["-c", "benchmarks"]),
    ],
)
def test_what_is_kept(given: list[str], kept: list[str]) -> None:
    """Settings of a case stay; selection, files of a whole session and other processes go, in every way of writing."""
    assert case_arguments(given, TESTS, elsewhere=False) == kept


def test_gates_stay_at_home() -> None:
    """A case here is gated where it runs; elsewhere there may be no baseline, and the whole run is gated in the end."""
    given = ["--emo-baseline", "main", "--emo-gate=accuracy:1pt", "--emo-profile=smoke"]
    assert case_arguments(given, [], elsewhere=False) == given
    assert case_arguments(given, [], elsewhere=True) == ["--emo-profile=smoke"]
