"""Resuming: what is done stays, what is not is run, and it is one run in the end, also when nothing was left to do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

# Imported here so that pytester leaves them: numpy and torch cannot be imported twice.
import scipy.stats  # noqa: F401
import torch  # noqa: F401

import emobench.cases.keys
import emobench.records.fold
import emobench.reports.tables  # noqa: F401
from emobench.records.journal import journal_files
from emobench.records.store import load_run
from emobench.session import folder as run_folder
from tests.strict import LOADED, WORKERS, strict_ini

SUITE = """
import os
import pytest
from emobench.outcomes import metric

FIRST = {first}

@pytest.mark.inference
@pytest.mark.parametrize("model,precision,device,batch_size", [("all-minilm-l6-v2", "fp32", "cpu", n) for n in {sizes}])
def test_quick(case, model, precision, device, batch_size):
    {body}
    case.benchmark.pedantic(lambda: None, rounds=3)
    case.settled = True
    case.add([metric("accuracy", batch_size / 100)])
"""
STORAGE = "--benchmark-storage=file://./results"


@pytest.fixture
def suite(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makeini(strict_ini(WORKERS, LOADED))
    return pytester


def run(suite: pytest.Pytester, body: str, *arguments: str, sizes: str = "(1, 2, 3)") -> pytest.RunResult:
    suite.makepyfile(test_suite=SUITE.format(first=True, body=body, sizes=sizes))
    options = ("--emo-profile=smoke", STORAGE, "-p", "no:xdist", *arguments)
    return suite.runpytest_inprocess(*options, no_reraise_ctrlc=True)


def saved(suite: pytest.Pytester) -> list[Any]:
    return [load_run(path) for path in sorted(suite.path.glob("results/*/[0-9]*.json"))]


def values(item: Any) -> dict[int, tuple[str, float | None]]:
    found = {record.case["batch_size"]: (record.status.value, record.metric("accuracy")) for record in item.records}
    return {size: (status, accuracy.value if accuracy else None) for size, (status, accuracy) in found.items()}


BREAKS = "assert batch_size != 2"


def test_the_rest_is_run_and_all_is_one_run(suite: pytest.Pytester) -> None:
    """The failed case is run again, the others are not; the new run has all three, in one folder."""
    run(suite, BREAKS).assert_outcomes(passed=2, failed=1)
    result = run(suite, "assert batch_size == 2", "--emo-resume")
    result.assert_outcomes(passed=1, deselected=2)
    first, second = saved(suite)
    assert values(first) == {1: ("ok", 0.01), 2: ("failed", None), 3: ("ok", 0.03)}
    assert values(second) == {1: ("ok", 0.01), 2: ("ok", 0.02), 3: ("ok", 0.03)}
    assert second.settings["folder"] == first.settings["folder"]
    assert second.settings["sessions"] == 2
    assert "deselected" not in second.settings
    assert second.timings.keys() == {item.id for item in second.records}
    assert [second.timings[name] for name in first.timings] == list(first.timings.values())
    result.stdout.fnmatch_lines(
        [f"going on with run {name_of(first)}: 2 of 3 cases are done", "*saved: results/*/0002_*"]
    )


def name_of(item: Any) -> str:
    """Name of a saved run's folder."""
    return Path(item.settings["folder"]).name


def test_nothing_left_to_do_is_a_run_too(suite: pytest.Pytester) -> None:
    """All cases are done: none runs, the run is saved whole, and the exit code is 0."""
    run(suite, "pass").assert_outcomes(passed=3)
    result = run(suite, "assert False", "--emo-resume")
    assert result.ret == 0
    result.assert_outcomes(deselected=3)
    first, second = saved(suite)
    assert values(second) == values(first)


def test_what_changed_is_run_again(suite: pytest.Pytester) -> None:
    """Another setting that decides the result gives another key: done before is not done now."""
    run(suite, "pass")
    run(suite, "pass", "--emo-resume", "--emo-set=prompt_tokens=17").assert_outcomes(passed=3)
    run(suite, "pass", "--emo-resume", "--emo-set=prompt_tokens=17", "--emo-set=epochs=2").assert_outcomes(deselected=3)


def test_more_cases_join_the_run(suite: pytest.Pytester) -> None:
    """Cases that were not there before are run and stand beside the others."""
    run(suite, "pass", sizes="(1, 2)")
    run(suite, "pass", "--emo-resume", sizes="(2, 3)").assert_outcomes(passed=1, deselected=1)
    assert values(saved(suite)[-1]).keys() == {1, 2, 3}


@pytest.mark.slow
def test_a_killed_session_is_gone_on_with(suite: pytest.Pytester) -> None:
    """Its folder has journals and no saved run; the case it ran is retried, the newest unfinished run is taken."""
    body = "os.environ.get('DIE') and batch_size == 2 and os.kill(os.getpid(), 9)"
    suite.makepyfile(test_suite=SUITE.format(first=True, body=body, sizes="(1, 2, 3)"))
    suite._monkeypatch.setenv("DIE", "1")
    suite.runpytest_subprocess("--emo-profile=smoke", STORAGE, "-p", "no:xdist")
    assert not saved(suite)
    suite._monkeypatch.delenv("DIE")
    run(suite, "pass", sizes="(7,)").assert_outcomes(passed=1)  # a later run that ended well
    run(suite, "pass", "--emo-resume").assert_outcomes(passed=2, deselected=1)
    assert {size: status for size, (status, _) in values(saved(suite)[-1]).items()} == {1: "ok", 2: "ok", 3: "ok"}


@pytest.mark.slow
def test_an_interrupt_before_the_first_case_is_no_broken_run(suite: pytest.Pytester) -> None:
    """Finding out what the machine is takes a second: SIGTERM then leaves no run that does not say what it is."""
    suite.makeconftest(
        "def pytest_benchmark_update_machine_info(config, machine_info):\n"
        "    if not hasattr(config, 'told'):\n"
        "        config.told = True\n"
        "        raise KeyboardInterrupt('SIGTERM')\n"
    )
    result = run(suite, "pass")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.no_fnmatch_line("*holds no run*")
    for folder in suite.path.glob("results/runs/*"):
        assert run_folder.newest_head(folder) is not None
    suite.makeconftest("")
    run(suite, "pass", "--emo-resume").assert_outcomes(passed=3)


@pytest.mark.slow
def test_a_termination_while_a_run_begins_is_one(suite: pytest.Pytester, light: None) -> None:
    """Within a class body, where Python makes another error of an interrupt: exit code 2, and a run to go on with."""
    suite.makeconftest(
        "import os, signal\n"
        "class Descriptor:\n"
        "    def __set_name__(self, owner, name):\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "def pytest_benchmark_update_machine_info(config, machine_info):\n"
        "    if not hasattr(config, 'told'):\n"
        "        config.told = type('Owner', (), {'text': Descriptor()})\n"
    )
    suite.makepyfile(test_suite=SUITE.format(first=True, body="pass", sizes="(1, 2, 3)"))
    result = suite.runpytest_subprocess("--emo-profile=smoke", STORAGE, "-p", "no:xdist")
    assert result.ret == pytest.ExitCode.INTERRUPTED, result.stdout.str()
    assert [run_folder.newest_head(folder) is not None for folder in suite.path.glob("results/runs/*")] == [True]
    suite.makeconftest("")
    run(suite, "pass", "--emo-resume").assert_outcomes(passed=3)


@pytest.mark.slow
def test_a_named_run_is_gone_on_with(suite: pytest.Pytester) -> None:
    """``--emo-resume=FOLDER`` takes that run, by its name or its path."""
    run(suite, BREAKS)
    (name,) = (folder.name for folder in suite.path.glob("results/runs/*"))
    run(suite, "pass", sizes="(9,)")
    run(suite, "pass", f"--emo-resume={name}").assert_outcomes(passed=1, deselected=2)
    run(suite, "pass", f"--emo-resume=results/runs/{name}").assert_outcomes(deselected=3)


def test_a_run_that_is_named_must_be_there(suite: pytest.Pytester) -> None:
    """Without a run of that name there is nothing to resume: exit code 4 and one line."""
    result = run(suite, "pass", "--emo-resume=gone")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--emo-resume=gone names no run; no folder of that name*"])


@pytest.mark.slow
@pytest.mark.parametrize("begun", [None, b"", b'{"event": "head", "generation": 1, "ro'])
def test_a_loop_that_resumes_may_begin_with_nothing(suite: pytest.Pytester, begun: bytes | None) -> None:
    """Killed before its head was written, or never begun: a new run, which says so on the screen and in its facts."""
    if begun is not None:
        folder = run_folder.make(suite.path / "results")
        (folder / "journal.jsonl").write_bytes(begun)
    result = run(suite, BREAKS, "--emo-resume")
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["--emo-resume: no run has begun in results/runs, so this is a new one"])
    (first,) = saved(suite)
    assert first.settings["resume"] == "no run had begun"
    run(suite, "pass", "--emo-resume").assert_outcomes(passed=1, deselected=2)
    assert "resume" not in saved(suite)[-1].settings


@pytest.mark.slow
def test_a_run_that_was_made_up_for_is_left_behind(suite: pytest.Pytester) -> None:
    """An unfinished run counts no more where a later one finished all of its cases; one at other sizes did not."""
    storage = suite.path / "results"
    run(suite, "batch_size == 2 and pytest.exit('enough')", sizes="(1, 2)")
    (old,) = storage.glob("runs/*")
    run(suite, "pass", "--emo-set=prompt_tokens=17", sizes="(1, 2, 3)")
    assert run_folder.find_unfinished(storage, run_folder.LATEST) == old
    run(suite, "pass", sizes="(2, 3)")
    assert run_folder.find_unfinished(storage, run_folder.LATEST) == old
    run(suite, "pass", sizes="(1, 2, 3)")
    assert run_folder.find_unfinished(storage, run_folder.LATEST) == storage / saved(suite)[-1].settings["folder"]


def test_a_running_run_is_left_alone(suite: pytest.Pytester) -> None:
    """A run that a process still holds is not resumed; it is free when that process lets go."""
    run(suite, BREAKS)
    (folder,) = suite.path.glob("results/runs/*")
    lock = run_folder.hold(folder)
    assert lock is not None
    result = run(suite, "pass", f"--emo-resume={folder.name}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*is still running; a process holds *"])
    # The only run there is: another one beside it is not what was asked for.
    result = run(suite, "pass", "--emo-resume")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*is still running; a process holds *"])
    lock.release()
    run(suite, "pass", f"--emo-resume={folder.name}").assert_outcomes(passed=1, deselected=2)


def test_a_case_that_skips_itself_is_not_lost(suite: pytest.Pytester) -> None:
    """A skip inside a case leaves no record, and no lost one either."""
    run(suite, "batch_size == 2 and pytest.skip('not today')").assert_outcomes(passed=2, skipped=1)
    assert values(saved(suite)[-1]).keys() == {1, 3}


def test_a_gate_sees_the_whole_run(suite: pytest.Pytester) -> None:
    """What was done before is gated with the rest: a bound that an earlier case breaks fails the resumed run."""
    run(suite, BREAKS)
    result = run(suite, "pass", "--emo-resume", "--emo-gate=accuracy>=0.015")
    result.assert_outcomes(passed=1, deselected=2)
    assert result.ret == 10


def test_a_storage_that_cannot_be_written_ends_the_session(suite: pytest.Pytester) -> None:
    """One clear line before any case has cost time, and an exit code that is not 0."""
    suite.path.joinpath("results").write_text("a file where the storage should be")
    result = run(suite, "raise AssertionError('ran')")
    assert result.ret == pytest.ExitCode.INTERNAL_ERROR
    result.stdout.fnmatch_lines(["*no case can be kept in *; give a --benchmark-storage to write to*"])
    result.assert_outcomes()


def test_run_folders_never_meet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where two runs draw the same name, the second one gets another."""
    names = iter(["same", "same", "other"])
    monkeypatch.setattr(run_folder, "new_name", lambda: next(names))
    assert [run_folder.make(tmp_path).name for _ in range(2)] == ["same", "other"]
    assert journal_files(tmp_path / "runs" / "same") == []


def test_the_journal_holds_the_plan_key(suite: pytest.Pytester) -> None:
    """Each record names the key that the next resume compares with."""
    run(suite, "pass", sizes="(1,)")
    (path,) = suite.path.glob("results/*/[0-9]*.json")
    (row,) = json.loads(path.read_bytes())["benchmarks"]
    assert len(row["extra_info"]["emobench"]["case"]["plan_key"]) == 32
