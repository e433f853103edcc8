"""Under xdist cases measure for real: each worker on cores of its own, all of it one run, a death costs one case."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from emobench.records.journal import journal_files
from emobench.records.store import Run, load_run
from emobench.session.workers import switch
from tests.lightly import lightly
from tests.strict import WORKERS, strict_ini

SUITE = """
import os, signal, time
import pytest
from emobench.outcomes import metric

group = pytest.mark.xdist_group("one")

@pytest.mark.inference
@pytest.mark.parametrize("model,precision,device,batch_size", [
    pytest.param("all-minilm-l6-v2", "fp32", "cpu", n, marks=[group] if n > 2 else []) for n in range(1, 5)
])
def test_quick(case, model, precision, device, batch_size):
    if os.environ.get("DIE") == str(batch_size):
        os.kill(os.getpid(), signal.SIGKILL)
    if os.environ.get("WAIT") == str(batch_size):
        open("waiting", "w").close()
        time.sleep(120)
    assert os.environ.get("FAIL") != str(batch_size)
    case.progress.note("a line that would scribble")
    case.benchmark.pedantic(lambda: time.sleep(0.001), rounds=3)
    case.settled = True
    case.add([metric("accuracy", 0.5)])

def test_other(benchmark):
    benchmark(lambda: None)
    assert benchmark.stats is None
"""
CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
needs_two_cores = pytest.mark.skipif(len(CORES) < 2, reason="leases cores of a machine with two")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "test_suite.py").write_text(SUITE)
    (tmp_path / "pytest.ini").write_text(strict_ini(WORKERS))
    return tmp_path


def command(*arguments: str) -> list[str]:
    options = ["--emo-profile=smoke", "--benchmark-storage=file://./results"]
    return [sys.executable, "-m", "pytest", *options, *arguments]


def environment(place: Path, **variables: str) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return lightly({**own, "EMOBENCH_LEASES": str(place / "leases"), **variables})


def run(
    place: Path, *arguments: str, cores: Sequence[int] = CORES, **variables: str
) -> subprocess.CompletedProcess[str]:
    own = environment(place, **variables)
    code = f"import os, sys; os.sched_setaffinity(0, {set(cores)}); os.execv(sys.executable, sys.argv[1:])"
    started = [sys.executable, "-c", code, *command(*arguments)]
    return subprocess.run(started, cwd=place, env=own, capture_output=True, text=True, check=False, timeout=170)


def saved(place: Path) -> list[Run]:
    return [load_run(path) for path in sorted(place.glob("results/*/[0-9]*.json"))]


def statuses(run: Run) -> dict[int, str]:
    return {record.case["batch_size"]: record.status.value for record in run.records}


@pytest.mark.slow
@needs_two_cores
def test_workers_measure_and_a_death_costs_one_case(place: Path) -> None:
    """Two workers on disjoint cores make one run with all rounds; a killed one loses its case, a resume has it."""
    result = run(place, "-n", "2", DIE="2")
    assert result.returncode == 1, result.stdout
    assert "4 passed" in result.stdout
    assert "scribble" not in result.stdout + result.stderr
    assert "automatically disabled" not in result.stdout + result.stderr
    (first,) = saved(place)
    assert statuses(first) == {1: "ok", 2: "lost", 3: "ok", 4: "ok"}
    assert all(len(rounds) == 3 for rounds in first.timings.values())
    environments = {item.case["batch_size"]: item.environment for item in first.records if item.environment}
    for found in environments.values():
        assert len(found["cores"]) == len(CORES) // 2
        assert found["lease"]["cores"] == found["cores"]
        assert found["lease"]["threads"] == found["threads"] <= len(found["cores"])
        assert not found["shared"]
    result = run(place, "--emo-resume", "-k", "quick")
    assert result.returncode == 0, result.stdout
    assert "1 passed, 4 deselected" in result.stdout
    assert set(statuses(saved(place)[-1]).values()) == {"ok"}


@pytest.mark.slow
def test_more_workers_than_cores_are_refused_or_marked(place: Path) -> None:
    """Two workers on one core end with exit code 4 and a line that says why; who insists has every record marked."""
    result = run(place, "-n", "2", "-k", "quick", cores=CORES[:1])
    assert result.returncode == pytest.ExitCode.USAGE_ERROR, result.stdout
    # Both workers are refused, and it is said once, besides pytest's own summary, whole where CI is set.
    shown, _, _ = result.stdout.partition("short test summary info")
    assert shown.count("2 workers are too many to measure with; each needs a device of its own") == 1
    assert not saved(place)
    result = run(place, "-n", "2", "-k", "quick", "--emo-share-device", cores=CORES[:1])
    assert result.returncode == 0, result.stdout
    (found,) = saved(place)
    assert set(statuses(found).values()) == {"ok"}
    assert all(item.environment["shared"] for item in found.records)


@pytest.mark.slow
@needs_two_cores
def test_stopping_at_the_first_failure_keeps_what_is_done(place: Path) -> None:
    """``-x`` ends the run as pytest users know it, and what was measured is saved; ``--lf`` then runs what failed."""
    result = run(place, "-n", "2", "-x", "-k", "quick", FAIL="1")
    assert result.returncode == 2, result.stdout
    assert "stopping after 1 failures" in result.stdout
    (first,) = saved(place)
    assert statuses(first)[1] == "failed"
    assert "interrupted" not in first.settings
    result = run(place, "-n", "2", "--lf", "-k", "quick")
    assert result.returncode == 0, result.stdout
    assert statuses(saved(place)[-1]) == {1: "ok"}


@pytest.mark.slow
@needs_two_cores
def test_groups_and_gates(place: Path) -> None:
    """Tests of groups keep their names; the controller, which collects nothing, gates the run."""
    result = run(place, "-n", "2", "--dist", "loadgroup", "-k", "quick", "--emo-gate=accuracy>=0.6")
    assert result.returncode == 10, result.stdout
    (found,) = saved(place)
    assert statuses(found).keys() == {1, 2, 3, 4}
    raw = json.loads(found.path.read_bytes())
    assert all(row["fullname"] == f"test_suite.py::{row['name'].partition('@')[0]}" for row in raw["benchmarks"])


@pytest.mark.slow
@pytest.mark.parametrize("count", [0, 2])
@needs_two_cores
def test_a_termination_keeps_what_is_done(place: Path, count: int) -> None:
    """SIGTERM, with workers or without: what is finished is saved, the run is marked, the exit code is pytest's 2."""
    started = command("-k", "quick", *(["-n", str(count)] if count else []))
    with subprocess.Popen(
        started, cwd=place, env=environment(place, WAIT="4"), stdout=subprocess.PIPE, text=True
    ) as process:
        deadline = time.monotonic() + 100
        done = False
        while not done and time.monotonic() < deadline:
            time.sleep(0.2)
            lines = b"".join(path.read_bytes() for path in journals(place))
            done = (place / "waiting").exists() and lines.count(b'"event": "finished"') == 3
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=100)
    assert process.returncode == 2, output
    (found,) = saved(place)
    assert statuses(found) == {1: "ok", 2: "ok", 3: "ok", 4: "interrupted"}
    assert found.settings["interrupted"] == "SIGTERM"


KILLS = """
import os, signal
def pytest_runtest_logfinish():
    if os.environ.get("KILL") and "PYTEST_XDIST_WORKER" not in os.environ:
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
@needs_two_cores
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux' kernel ends a process with its parent")
@pytest.mark.parametrize("isolated", [False, True])
def test_nothing_of_a_killed_session_runs_on(place: Path, isolated: bool) -> None:
    """SIGKILL of a session in mid-case ends its workers, and their cases' processes, before a resume could begin."""
    options = ("-k", "quick", "-n", "2", *(["--emo-isolate"] if isolated else []))
    started = command(*options)
    own = environment(place, WAIT="4")
    with subprocess.Popen(started, cwd=place, env=own, stdout=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 120
        while not (place / "waiting").exists() and time.monotonic() < deadline:
            time.sleep(0.2)
        family = psutil.Process(process.pid).children(recursive=True)
        process.kill()
    assert len(family) >= 2 + isolated
    _, alive = psutil.wait_procs(family, timeout=2)
    assert [found for found in alive if found.status() != psutil.STATUS_ZOMBIE] == []


@pytest.mark.slow
@needs_two_cores
def test_a_killed_controller_can_be_gone_on_with(place: Path) -> None:
    """What its workers finished stays; the rest is run, and all is one run. What others are to write is named."""
    (place / "conftest.py").write_text(KILLS)
    killed = run(place, "-k", "quick", "-n", "2", KILL="1", WAIT="4")
    assert killed.returncode == -signal.SIGKILL
    assert not saved(place)
    done = run(place, "-k", "quick", "-n", "2", "--emo-resume", "--benchmark-json=out.json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "not heeded" in done.stdout
    assert "--benchmark-json" in done.stdout
    (found,) = saved(place)
    assert statuses(found) == {1: "ok", 2: "ok", 3: "ok", 4: "ok"}
    assert found.settings["sessions"] == 2


def journals(place: Path) -> list[Path]:
    return [path for folder in place.glob("results/runs/*") for path in journal_files(folder)]


def test_a_change_in_pytest_benchmark_is_said() -> None:
    """Where its state is kept elsewhere, cases do not run unmeasured: the reason is returned."""

    def item(theirs: Any) -> Any:
        config = SimpleNamespace(_benchmarksession=theirs, getoption=lambda name, default=None: default)
        return SimpleNamespace(config=config)

    theirs = SimpleNamespace(disabled=True, benchmarks=["row"])
    assert switch(item(theirs), on=True) is None
    assert not theirs.disabled
    assert theirs.benchmarks == []
    assert switch(item(theirs), on=False) is None
    assert theirs.disabled
    for broken in (None, SimpleNamespace(enabled=False)):
        found = switch(item(broken), on=True)
        assert found is not None
        assert "cannot be switched on under xdist" in found


TWICE = """
import time
from dataclasses import dataclass
from pathlib import Path
import pytest

@dataclass(frozen=True)
class Plan:
    seed: int = 0
    folder: Path | None = None
    checkpoint_seconds: float | None = None
    resume: bool = False

row = pytest.mark.parametrize("model,precision,device,batch_size", [("all-minilm-l6-v2", "fp32", "cpu", 1)])

def train(case, name, other):
    plan = case.with_checkpoints(Plan())
    plan.folder.mkdir(parents=True)
    (plan.folder / name).touch()
    Path(f"trains-{name}").touch()
    started = time.monotonic()
    while not Path(f"trains-{other}").exists():
        assert time.monotonic() - started < 60, "the other does not run at the same time"
        time.sleep(0.01)
    assert [path.name for path in plan.folder.iterdir()] == [name]
    if name == "second":
        # The first ends, with all that it removes, while this one still trains.
        while not any(b'"finished"' in path.read_bytes() for path in case.folder.glob("journal*.jsonl")):
            assert time.monotonic() - started < 60, "the first does not end"
            time.sleep(0.01)
        time.sleep(0.5)
        assert (plan.folder / name).exists()
    case.benchmark.pedantic(lambda: None, rounds=3)
    case.settled = True

@pytest.mark.inference
@pytest.mark.xdist_group("one")
@row
def test_first(case, model, precision, device, batch_size):
    train(case, "first", "second")

@pytest.mark.inference
@pytest.mark.xdist_group("two")
@row
def test_second(case, model, precision, device, batch_size):
    train(case, "second", "first")
"""


@pytest.mark.slow
@needs_two_cores
def test_two_tests_of_one_case_train_at_the_same_time(place: Path) -> None:
    """In two workers, each with checkpoints of its own: what one removes when it ends is not the other's."""
    (place / "test_suite.py").write_text(TWICE)
    result = run(place, "-n", "2", "--dist", "loadgroup")
    assert result.returncode == 0, result.stdout
    assert "2 passed" in result.stdout
    assert not list(place.glob("results/runs/*/checkpoints/*"))
