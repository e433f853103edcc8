"""Disturbed cases are measured again, then invalid; targets, prices and lists of axes reach record and screen."""

from __future__ import annotations

import json
from typing import Any

import pytest

from emobench.session.ending import is_out_of_memory
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_discarded_attempt_is_in_no_file(suite: pytest.Pytester) -> None:  # noqa: F811
    """pytest-benchmark's own file of a run with a rerun holds the attempt that counts, and is written."""
    body = DISTURBED.format(reasons=[["a foreign process"], []]) + GOOD
    run(suite, body, LIMIT, "--benchmark-json=own.json").assert_outcomes(passed=1)
    (row,) = json.loads((suite.path / "own.json").read_text())["benchmarks"]
    assert row["extra_info"]["emobench"]["status"] == "ok"


@pytest.mark.slow
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


MEASURED = """
@one
def test_measured(case, model, precision, device, batch_size):
    case.measure(lambda ready, seed: ready + 1, prepare=lambda seed: seed)
"""


@pytest.mark.slow
def test_training_and_whole_passes_are_judged_too(suite: pytest.Pytester) -> None:  # noqa: F811
    """What ``measure`` times, a round a seed, is measured again where disturbed, and the record keeps the counters."""
    body = DISTURBED.format(reasons=[["a foreign process"], []]) + MEASURED
    run(suite, body, LIMIT).assert_outcomes(passed=1)
    (record,) = records(suite)
    assert record["details"]["disturbed_attempts"] == ["a foreign process"]
    (machine,) = record["details"]["machine"]
    assert machine["seed"] == 0
    assert machine["wall_seconds"] > 0
    body = DISTURBED.format(reasons=[["noise"]] * 3) + MEASURED
    run(suite, body, LIMIT).assert_outcomes(failed=1)
    (record,) = records(suite)
    assert (record["status"], record["reasons"]) == ("invalid", ["noise"])


@pytest.mark.slow
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


@pytest.mark.slow
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
    fitted = record["metrics"]["largest_batch_fitted"]
    assert (fitted["value"], fitted["unit"], fitted["better"]) == (8, "examples", "higher")


@pytest.mark.slow
def test_a_trace_lies_in_the_runs_folder(suite: pytest.Pytester) -> None:  # noqa: F811
    """``--emo-trace`` leaves files that are not empty and a verdict; without it nothing is profiled."""
    body = """
@one
def test_traced(case, model, precision, device, batch_size):
    import torch
    factor = torch.ones(256, 256)
    case.time(lambda: factor @ factor)
    case.trace(lambda: factor @ factor, label="inference")
"""
    run(suite, body, "--emo-trace").assert_outcomes(passed=1)
    (record,) = records(suite)
    assert record["details"]["trace"]["verdict"] in {"compute-bound", "memory-bound", "input-bound", "overhead-bound"}
    folder = suite.path / "results" / content(suite)["emobench"]["run"]["folder"]
    assert len(record["artifacts"]) == 5
    assert all((folder / path).stat().st_size > 0 for path in record["artifacts"].values())


def test_a_device_the_profiler_cannot_see_keeps_its_times(suite: pytest.Pytester) -> None:  # noqa: F811
    """A trace that cannot be made is a note in the record, not a failure of the case that was timed."""
    body = """
import emobench.measurement.trace as trace
from emobench.errors import UnsupportedError

def refuse(*arguments, **keywords):
    raise UnsupportedError("inference cannot be traced", why="made so", fix="none")

@one
def test_untraced(case, model, precision, device, batch_size, monkeypatch):
    monkeypatch.setattr(trace, "trace_case", refuse)
    case.time(lambda: 1)
    case.trace(lambda: 1, label="inference")
"""
    run(suite, body, "--emo-trace").assert_outcomes(passed=1)
    (record,) = records(suite)
    assert any(text.startswith("not traced: inference cannot be traced") for text in record["details"]["notes"])


def test_no_secret_of_the_command_line_is_saved(suite: pytest.Pytester) -> None:  # noqa: F811
    """An option's value and an exception's text may hold a token; the saved run does not."""
    token = "hf_" + "A" * 30
    body = f"""
@one
def test_leaky(case, model, precision, device, batch_size):
    case.time(lambda: 1)
    raise RuntimeError("refused for {token}")
"""
    run(suite, body, f"--override-ini=junit_suite_name={token}").assert_outcomes(failed=1)
    assert token not in saved(suite)[-1].read_text()


@pytest.mark.parametrize(
    ("error", "memory"),
    [
        (RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("onnxruntime: BFCArena::AllocateRawInternal Failed to allocate memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("shapes differ"), False),
        (ValueError("Failed to allocate memory is what the text says"), False),
    ],
)
def test_memory_that_ran_out_is_told_by_its_words(error: Exception, memory: bool) -> None:
    """Libraries say it in a plain exception; a test's own error that quotes them is another matter."""
    assert is_out_of_memory(error) is memory


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


@pytest.mark.slow
def test_axes_asked_for_select_cases(
    pytester: pytest.Pytester, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lists and the wide sweep are what is collected: ids carry batch, length and backend, and eager is not named."""
    monkeypatch.chdir(request.config.rootpath)

    def ids(*options: str) -> list[str]:
        command = ["benchmarks/test_inference.py", "--collect-only", "-q", "-p", "no:cacheprovider", *options]
        found = pytester.runpytest_inprocess(*command, "-k", "minilm and fp32 and cpu")
        assert found.ret == pytest.ExitCode.OK
        return [line.partition("[")[2].rstrip("]") for line in found.outlines if "[" in line]

    start = "all-minilm-l6-v2-fp32-cpu"
    assert ids("--emo-batch-sizes=2,1") == [f"{start}-b1", f"{start}-b2"]
    asked = ids("--emo-batch-sizes=2", "--emo-lengths=16", "--emo-backends=eager,compile")
    assert asked == [f"{start}-b2-t16", f"{start}-b2-t16-compile"]
    assert len(ids("--emo-sweep")) == 6 * 3 * 3
    # The model takes 512 tokens: what would be cut is not offered under another name.
    assert ids("--emo-batch-sizes=1", "--emo-lengths=512,513") == [f"{start}-b1-t512"]
