"""Disturbed cases are measured again, then invalid; targets, prices and lists of axes reach record and screen."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

import emobench.measurement.machine
import emobench.measurement.rounds  # noqa: F401
from tests.test_plugin import GOOD, content, run, saved, suite  # noqa: F401

DISTURBED = """
import emobench.measurement.machine as machine

found = iter({reasons!r})

@pytest.fixture(autouse=True)
def disturbed(monkeypatch):
    monkeypatch.setattr(machine, "disturbances", lambda before, after, device: next(found))
"""
LIMIT = "--emo-set=spread_limit=1000"


def records(suite: pytest.Pytester) -> list[dict[str, Any]]:  # noqa: F811
    return [row["extra_info"]["emobench"] for row in content(suite)["benchmarks"]]


def test_a_disturbed_case_is_measured_again(suite: pytest.Pytester) -> None:  # noqa: F811
    """One disturbed attempt and a clean one: the case passes once, its row is the clean one, the record tells both."""
    body = DISTURBED.format(reasons=[["a foreign process"], []]) + GOOD
    result = run(suite, body, LIMIT)
    result.assert_outcomes(passed=1)
    (record,) = records(suite)
    assert record["status"] == "ok"
    assert record["details"]["disturbed_attempts"] == ["a foreign process"]
    assert len(content(suite)["benchmarks"]) == 1
    assert str(result.stdout).count("test_good[") == 1


def test_a_case_that_stays_disturbed_is_invalid(suite: pytest.Pytester) -> None:  # noqa: F811
    """After the attempts allowed the case fails as invalid with its reason, and keeps its row."""
    body = DISTURBED.format(reasons=[["noise 1"], ["noise 2"], ["noise 3"], []]) + GOOD
    result = run(suite, body, LIMIT)
    result.assert_outcomes(failed=1)
    (record,) = records(suite)
    assert record["status"] == "invalid"
    assert record["reasons"] == ["noise 3"]
    assert record["details"]["disturbed_attempts"] == ["noise 1", "noise 2"]
    result.stdout.fnmatch_lines(["*is invalid: noise 3*"])


def test_no_reruns_fail_at_once(suite: pytest.Pytester) -> None:  # noqa: F811
    """``--emo-reruns 0`` takes the first attempt."""
    body = DISTURBED.format(reasons=[["noise 1"], []]) + GOOD
    run(suite, body, LIMIT, "--emo-reruns=0").assert_outcomes(failed=1)


def test_rounds_that_spread_are_a_disturbance(suite: pytest.Pytester) -> None:  # noqa: F811
    """A spread beyond the limit needs no counter: it is invalid by itself, and the limit stands in the message."""
    body = (
        DISTURBED.format(reasons=[[]] * 9)
        + """
import itertools, time
pauses = itertools.cycle([0.001, 0.02])

@one
def test_uneven(case, model, precision, device, batch_size):
    case.time(lambda: time.sleep(next(pauses)))
"""
    )
    settings = ["--emo-set=spread_limit=0.5", "--emo-set=latency_cap_seconds=0.3", "--emo-reruns=1"]
    result = run(suite, body, *settings)
    result.assert_outcomes(failed=1)
    (record,) = records(suite)
    assert "of the median (limit 50 %)" in record["reasons"][0]


def test_a_smoke_run_is_never_invalid(suite: pytest.Pytester) -> None:  # noqa: F811
    """Smoke proves the path in a fraction of a second, which says nothing of a machine's quiet."""
    body = DISTURBED.format(reasons=[["noise"]] * 9) + GOOD
    run(suite, body).assert_outcomes(passed=1)


def test_the_record_says_how_it_was_timed(suite: pytest.Pytester) -> None:  # noqa: F811
    """What decided the rounds, the warm-up and the machine's counters stand in the details; usage was a pass apart."""
    run(suite, GOOD).assert_outcomes(passed=1)
    (record,) = records(suite)
    timing = record["details"]["timing"]
    assert timing["rounds"] >= 10
    assert timing["decided_by"] in {"fewest rounds", "shortest time", "interval", "most rounds", "longest time"}
    assert timing["warmup_rounds"] >= 3
    assert 0 < record["metrics"]["cpu_utilization"]["value"] <= 1.5


def test_targets_and_prices_are_shown(suite: pytest.Pytester) -> None:  # noqa: F811
    """A target met and one missed, with the case that misses it; a price gives costs from measured rates."""
    body = GOOD.replace("n=400)", "n=400), metric('samples_per_second', 50.0)")
    options = ["--emo-target=accuracy:0.7", "--emo-target=samples_per_second:100", "--emo-price=3.6"]
    result = run(suite, body, *options)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        [
            "*target accuracy >= 0.700 share: 1 of 1 met",
            "*target samples_per_second >= 100 samples/s: 0 of 1 met; missed: inference*b1* (50.0)",
        ]
    )
    (record,) = records(suite)
    assert record["metrics"]["cost_per_thousand_samples"]["value"] == pytest.approx(0.02)
    assert record["details"]["targets"]["accuracy"] == {"target": 0.7, "value": 0.75, "met": True}


def test_the_largest_batch_that_fitted_is_named(suite: pytest.Pytester) -> None:  # noqa: F811
    """A batch that does not fit tells how far one can go: the largest of the otherwise equal cases that ran."""
    body = """
@pytest.mark.parametrize("model,precision,device", [("all-minilm-l6-v2", "fp32", "cpu")])
@pytest.mark.parametrize("batch_size", [4, 8, 16])
def test_sizes(case, model, precision, device, batch_size):
    def call():
        if batch_size == 16:
            raise MemoryError("no more")
    case.time(call)
"""
    result = run(suite, body)
    result.assert_outcomes(passed=2, skipped=1)
    (record,) = content(suite)["emobench"]["unmeasured"]
    assert record["status"] == "does_not_fit"
    assert record["reasons"] == ["MemoryError: no more", "largest batch that fitted: 8"]


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--emo-batch-sizes=1,zero", "'zero' is no whole number above 0"),
        ("--emo-batch-sizes=0", "'0' is no whole number above 0"),
        ("--emo-lengths=12.5", "'12.5' is no whole number above 0"),
        ("--emo-backends=tensorrt", "unknown backend 'tensorrt'"),
        ("--emo-target=speed:3", "unknown metric in a target: 'speed'"),
        ("--emo-price=-1", "price of cpu is -1.0"),
    ],
)
def test_a_bad_list_is_one_line(suite: pytest.Pytester, option: str, message: str) -> None:  # noqa: F811
    """A list that cannot be read ends the session with one line that names the part."""
    result = run(suite, GOOD, option)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert message in str(result.stderr)
    assert not saved(suite)


def test_axes_asked_for_select_cases(request: pytest.FixtureRequest) -> None:
    """Lists and the wide sweep are what is collected: ids carry batch, length and backend, and eager is not named."""

    def ids(*options: str) -> list[str]:
        command = [sys.executable, "-m", "pytest", "benchmarks/test_inference.py", "--collect-only", "-q", *options]
        found = subprocess.run(
            [*command, "-k", "minilm and fp32 and cpu"],
            capture_output=True,
            text=True,
            cwd=request.config.rootpath,
            check=True,
        )
        return [line.partition("[")[2].rstrip("]") for line in found.stdout.splitlines() if "[" in line]

    start = "all-minilm-l6-v2-fp32-cpu"
    assert ids("--emo-batch-sizes=2,1") == [f"{start}-b1", f"{start}-b2"]
    asked = ids("--emo-batch-sizes=2", "--emo-lengths=16", "--emo-backends=eager,compile")
    assert asked == [f"{start}-b2-t16", f"{start}-b2-t16-compile"]
    assert len(ids("--emo-sweep")) == 6 * 3 * 3
