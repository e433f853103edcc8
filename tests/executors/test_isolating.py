"""Cases in processes of their own, through pytest: how they end, what is kept, what pytest's options do."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

# Imported here so that pytester, which drops what a run in this process imported, leaves them.
import scipy.stats  # noqa: F401

from emobench.executors.verdicts import last_words, without_record
from emobench.outcomes import Status
from emobench.processes.fresh import End, Ending
from tests.strict import WORKERS, strict_ini

SUITE = """
import faulthandler, os, resource, signal, sys, time
import pytest
from emobench.outcomes import metric
pytestmark = pytest.mark.inference

def ends():
    # In a case's own process while it collects: before anything heavy is imported.
    name = sys.argv[-1]
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if "test_segv" in name:
        os.kill(os.getpid(), signal.SIGSEGV)
    if "test_killed" in name:
        os.kill(os.getpid(), signal.SIGKILL)
    if "test_exits" in name:
        os._exit(0)
    if "test_hangs" in name:
        time.sleep(100)

if "emobench.executors.child" in sys.modules:
    ends()

def axes(size, device="cpu"):
    return pytest.mark.parametrize("model,precision,device,batch_size", [("all-minilm-l6-v2", "fp32", device, size)])

@axes(1)
def test_good(case, model, precision, device, batch_size):
    case.time(lambda: sum(range(1000)))
    case.add([metric("accuracy", 0.75, ci=(0.7, 0.8), n=400)])
    assert os.getpid() == os.getpgid(0)
@axes(2)
def test_segv(case, model, precision, device, batch_size): pass
@axes(3)
def test_killed(case, model, precision, device, batch_size): pass
@axes(4)
def test_exits(case, model, precision, device, batch_size): pass
@axes(5)
def test_hangs(case, model, precision, device, batch_size): pass
@axes(6)
def test_broken(case, model, precision, device, batch_size): raise ValueError("broken")
@axes(7, device="mps")
def test_absent(case, model, precision, device, batch_size): pass
def test_other():
    assert "torch" not in sys.modules
"""
ARGUMENTS = ("--emo-profile=smoke", "--emo-reruns=0", "--benchmark-storage=file://./results", "-p", "no:cacheprovider")


@pytest.fixture
def suite(pytester: pytest.Pytester, light: None) -> pytest.Pytester:
    pytester.makeini(strict_ini(WORKERS))
    pytester.makepyfile(test_suite=SUITE)
    return pytester


def run(suite: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    return suite.runpytest_subprocess(*ARGUMENTS, *arguments)


def saved(suite: pytest.Pytester) -> dict[str, Any]:
    (path,) = suite.path.glob("results/*/[0-9]*.json")
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def records(suite: pytest.Pytester) -> dict[str, dict[str, Any]]:
    content = saved(suite)
    timed = [bench["extra_info"]["emobench"] for bench in content["benchmarks"]]
    return {
        item["case"]["id"].rpartition("-b")[2].rstrip("]"): item
        for item in (*timed, *content["emobench"]["unmeasured"])
    }


@pytest.mark.slow
def test_every_end_is_told_apart(suite: pytest.Pytester) -> None:
    """One run, every end: each is a report and a record with its status, and the session itself imports no torch."""
    # A process must have the time to begin, on a busy machine too.
    limit = max(4, math.ceil(3 * run(suite, "--collect-only").duration))
    result = run(suite, "--emo-isolate", f"--emo-time-limit={limit}", "-k", "not good and not broken")
    result.assert_outcomes(passed=1, failed=4, skipped=1, deselected=2)
    assert result.ret == 11
    found = {name: (item["status"], item["reasons"]) for name, item in records(suite).items()}
    assert found == {
        "2": ("failed", ["it was killed by signal 11 (SIGSEGV)"]),
        "3": ("lost", ["it was killed by signal 9 (SIGKILL)"]),
        "4": ("lost", ["it exited with code 0"]),
        "5": ("timed_out", [f"it was still running after {limit} s"]),
    }
    result.stdout.fnmatch_lines(
        [
            "failed: it was killed by signal 11 (SIGSEGV)",
            "*test_suite.py*in ends*",
            f"timed_out: it was still running after {limit} s",
            "*test_suite.py*in ends*",
        ]
    )
    hung = records(suite)["5"]
    folder = suite.path / "results" / saved(suite)["emobench"]["run"]["folder"]
    assert "in ends" in (folder / hung["artifacts"]["stderr"]).read_text()
    assert hung["details"]["process"]["end"] == "timed_out"
    assert [group["reason"] for group in saved(suite)["emobench"]["skipped"]] == [
        "no Apple GPU: mps needs an Apple Silicon Mac"
    ]
    # A case that cannot run here starts no process.
    assert len(list(folder.glob("outputs/*"))) == 4


@pytest.mark.slow
def test_a_measured_case_is_as_without_isolation(suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """The record, the rounds and the mirrors of a case in its own process are those of one that ran in this one."""
    # With torch as it is.
    monkeypatch.setenv("PYTHONPATH", os.environ["PYTHONPATH"].partition(os.pathsep)[2])
    run(suite, "--emo-isolate", "-k", "good").assert_outcomes(passed=1, deselected=7)
    alone = saved(suite)
    for path in suite.path.glob("results/*/*.json"):
        path.unlink()
    run(suite, "-k", "good").assert_outcomes(failed=1, deselected=7)  # it asserts that it leads a process group
    shared = saved(suite)
    (mine,), (theirs,) = alone["benchmarks"], shared["benchmarks"]
    assert mine["fullname"] == theirs["fullname"]
    assert set(mine) == set(theirs)
    assert set(mine["stats"]) == set(theirs["stats"])
    assert len(mine["stats"]["data"]) == mine["stats"]["rounds"] >= 10
    record, other = mine["extra_info"]["emobench"], theirs["extra_info"]["emobench"]
    assert record["case"] == other["case"]
    assert record["environment"] == other["environment"]
    assert record["status"] == "ok"
    assert set(record["metrics"]) == set(other["metrics"])
    assert alone["machine_info"] == shared["machine_info"]


@pytest.mark.slow
def test_the_first_failure_ends_the_session(suite: pytest.Pytester) -> None:
    """``-x`` means of isolated cases what it always means."""
    result = run(suite, "--emo-isolate", "-x", "-k", "segv or killed or exits")
    result.assert_outcomes(failed=1, deselected=5)
    assert list(records(suite)) == ["2"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--emo-time-limit=5"], "*--emo-time-limit needs --emo-isolate: a case in this process cannot be ended*"),
        (["--emo-isolate", "--emo-time-limit=0"], "*--emo-time-limit 0: no case can end in that; give *"),
        (["--emo-isolate", "--emo-group-by=model"], "*--emo-group-by model and isolation on this machine exclude *"),
        (["--emo-shard=3/2"], "*--emo-shard: shard '3/2' cannot be used; a shard is I/N *"),
        (["--emo-executor=ray", "-n2"], "*--emo-executor ray and -n exclude each other: it runs cases elsewhere*"),
        (["-p", "emobench.executors.child"], "*-p emobench.executors.child belongs to a process that runs one case*"),
    ],
)
def test_wrong_options_are_refused(suite: pytest.Pytester, arguments: list[str], text: str) -> None:
    """Options that mean nothing are one line and exit code 4, before anything is collected."""
    result = run(suite, *arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([text])


@pytest.mark.slow
def test_settings_that_isolate_do_not_isolate_the_isolated(suite: pytest.Pytester) -> None:
    """``--emo-isolate`` in ``addopts`` reaches the case's process too, which runs its case all the same."""
    suite.makeini("[pytest]\naddopts = --emo-isolate --emo-time-limit=60\n")
    result = run(suite, "-k", "broken")
    result.assert_outcomes(failed=1, deselected=7)
    result.stdout.fnmatch_lines(["*ValueError: broken*"])
    assert records(suite)["6"]["status"] == "failed"


@pytest.mark.slow
@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_an_interrupted_run_keeps_what_is_finished(suite: pytest.Pytester, name: str, code: int) -> None:
    """A signal to ``emobench run``: exit code 130 or 143, a saved run marked interrupted, and no process left."""
    script = f"""
import os, signal, subprocess, sys, threading, time
from pathlib import Path
from emobench.commands.run import run_pytest
def stop():
    while not list(Path('results').glob('runs/*/outputs/*b5')):
        time.sleep(0.1)
    time.sleep(3)
    os.kill(os.getpid(), signal.{name})
threading.Thread(target=stop, daemon=True).start()
sys.exit(run_pytest({[*ARGUMENTS, "--emo-isolate", "-k", "segv or hangs"]!r}, cwd=Path.cwd()))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=suite.path, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == code, done.stdout + done.stderr
    found = {key: item["status"] for key, item in records(suite).items()}
    assert found["2"] == "failed"
    assert found.get("5", "interrupted") == "interrupted"
    assert saved(suite)["emobench"]["run"]["interrupted"]


ENDS_ITS_SESSION = """
import os, signal, sys
def pytest_runtest_logfinish():
    if "emobench.executors.child" not in sys.modules and os.environ.get("END"):
        os.kill(os.getpid(), getattr(signal, os.environ["END"]))
"""


@pytest.mark.parametrize("name", ["SIGKILL", pytest.param("SIGTERM", marks=pytest.mark.slow)])
def test_an_ended_session_can_be_gone_on_with(
    suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The session that hands cases out ends after the first, which made its own record: that one is not run again."""
    suite.makeconftest(ENDS_ITS_SESSION)
    monkeypatch.setenv("END", name)
    run(suite, "--emo-isolate", "-k", "good or segv")
    assert len(list(suite.path.glob("results/*/[0-9]*.json"))) == (name == "SIGTERM")
    monkeypatch.delenv("END")
    for path in suite.path.glob("results/*/[0-9]*.json"):
        assert json.loads(path.read_text())["emobench"]["run"]["interrupted"] == "SIGTERM"
        path.unlink()
    run(suite, "--emo-isolate", "--emo-resume", "-k", "good or segv").assert_outcomes(failed=1, deselected=7)
    assert {key: item["status"] for key, item in records(suite).items()} == {"1": "ok", "2": "failed"}


@pytest.mark.slow
def test_two_tests_of_one_case_keep_their_own_ends(suite: pytest.Pytester) -> None:
    """The end of a process that left no record stands in no other test's place."""
    good = SUITE.partition("@axes(1)")[0]
    suite.makepyfile(
        test_suite=good
        + """
@axes(1)
def test_a(case, model, precision, device, batch_size):
    os._exit(3)

@axes(1)
def test_b(case, model, precision, device, batch_size):
    case.benchmark.pedantic(lambda: None, rounds=3)
    case.settled = True
    case.add([metric("accuracy", 0.5)])
"""
    )
    run(suite, "--emo-isolate").assert_outcomes(passed=1, failed=1)
    content = saved(suite)
    assert [item["status"] for item in content["emobench"]["unmeasured"]] == ["lost"]
    assert [row["extra_info"]["emobench"]["status"] for row in content["benchmarks"]] == ["ok"]


@pytest.mark.parametrize(
    ("end", "signal", "status"),
    [
        (End.TIMED_OUT, None, Status.TIMED_OUT),
        (End.OUT_OF_MEMORY, "SIGKILL", Status.DOES_NOT_FIT),
        (End.KILLED, "SIGABRT", Status.FAILED),
        (End.KILLED, "SIGKILL", Status.LOST),
        (End.EXITED, None, Status.LOST),
        (End.LOST, None, Status.LOST),
    ],
)
def test_verdicts(end: End, signal: str | None, status: Status) -> None:
    """What a case without a record is, by the end of its process; one whose group never reached it is lost."""
    ending = Ending(end=end, signal=signal, detail="why")
    assert without_record(ending, started=True).status is status
    assert without_record(ending, started=False).status is status
    behind = without_record(ending, started=False, others=["another"])
    assert (behind.status, behind.reason) == (Status.LOST, "its group's process ended before it began: why")
    assert without_record(ending, started=True, others=["another"]).status is status


def test_last_words(tmp_path: Path) -> None:
    """Of a stack the innermost calls are shown, which come first; without one the last lines are."""
    assert last_words(tmp_path) == ""
    (tmp_path / "stderr.txt").write_text("\n".join(f"line {n}" for n in range(30)))
    assert last_words(tmp_path, lines=2) == "line 28\nline 29"
    (tmp_path / "stderr.txt").write_text(
        "noise\nCurrent thread 0x1 (most recent call first):\n  inner\n  middle\n  outer"
    )
    assert last_words(tmp_path, lines=2) == "Current thread 0x1 (most recent call first):\n  inner"
