"""SIGKILL at random moments, many runs at once, a full disk and one that cannot be written: what finished is there."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from emobench.records.fold import fold, standing
from emobench.records.journal import create
from emobench.records.store import list_runs, load_run, run_files
from tests.lightly import lightly

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")]

FAST_CASES = 20
AT_ONCE = 8

WRITER = """
import os, random, signal, sys, time
from pathlib import Path
from emobench.outcomes import metric
from emobench.records.journal import create
from emobench.records.predictions import write_predictions
from emobench.records.record import Record

base, count = Path(sys.argv[1]), int(sys.argv[2])

def work(folder, told):
    folder.mkdir()
    journal = create(folder)
    journal.head({"manifest": [], "run": {}, "machine_id": "m", "machine_info": {}, "commit_info": {}})
    for number in range(10_000):
        name = f"case{number}"
        journal.started(name, key=f"k{number}", node=name, case={"id": name})
        write_predictions(folder / "predictions" / f"{name}.parquet", texts_digest="d", labels=[0, 1],
                          probabilities=[[0.5, 0.5], [0.1, 0.9]], seed=0, class_names=("x", "y"))
        record = Record(case={"id": name}, metrics=(metric("accuracy", number / 10_000),))
        journal.append(record.to_json(), benchmark={"name": name, "stats": {"data": [0.1] * (number % 50)}}, node=name)
        os.write(told, b"%d\\n" % number)

moments = random.Random(0)
for number in range(count):
    reading, told = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        work(base / f"run{number}", told)
    os.close(told)
    acknowledged, wanted = b"", moments.randrange(10)
    while acknowledged.count(b"\\n") < wanted:
        acknowledged += os.read(reading, 1 << 16)
    time.sleep(moments.uniform(0, 0.01))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    while piece := os.read(reading, 1 << 16):
        acknowledged += piece
    os.close(reading)
    print(acknowledged.count(b"\\n"), flush=True)
"""


@pytest.mark.parametrize("kills", [40, pytest.param(200, marks=pytest.mark.nightly)])
def test_a_killed_journal_keeps_all_that_was_acknowledged(tmp_path: Path, kills: int) -> None:
    """Writers are killed within a case's time after some were done: every case that was told as done is there."""
    command = [sys.executable, "-c", WRITER, str(tmp_path), str(kills)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    counts = [int(line) for line in done.stdout.split()]
    assert len(counts) == kills
    # The kills came at different moments, or nothing was tried.
    assert len(set(counts)) > 5
    for number, acknowledged in enumerate(counts):
        check_journal(tmp_path / f"run{number}", acknowledged)


def check_journal(folder: Path, acknowledged: int) -> None:
    ended = standing(folder, before=99) if folder.exists() else {}
    done = [name for (name, _), (_, status) in ended.items() if status == "ok"]
    assert done == [f"case{number}" for number in range(len(done))]
    # A line may be on the disk without its writer having been able to tell.
    assert len(done) in (acknowledged, acknowledged + 1)
    if not acknowledged:
        return
    folded = fold(folder.parent, [folder])
    found = {record.id: record for record in folded.records if record.status.value == "ok"}
    assert list(found) == done
    for number in range(acknowledged):
        accuracy = found[f"case{number}"].metric("accuracy")
        assert accuracy is not None
        assert accuracy.value == number / 10_000
        assert (folder / "predictions" / f"case{number}.parquet").stat().st_size > 0
    again = create(folder, "again")
    again.head({"manifest": [], "run": {}, "machine_id": "m"}, generation=2)
    assert set(standing(folder, before=99)) == set(ended)


SUITE = """
import time
import pytest
from emobench.outcomes import metric

@pytest.mark.inference
@pytest.mark.parametrize("model,precision,device", [("all-minilm-l6-v2", "fp32", "cpu")])
@pytest.mark.parametrize("batch_size", range(1, {cases} + 1))
def test_fast(case, model, precision, device, batch_size):
    case.benchmark.pedantic(lambda: time.sleep({pause}), rounds=3)
    case.settled = True
    case.add([metric("accuracy", batch_size / 100)])
"""


def suite(folder: Path, *, cases: int = FAST_CASES, pause: float = 0.005) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pytest.ini").write_text("[pytest]\n")
    (folder / "test_suite.py").write_text(SUITE.format(cases=cases, pause=pause))


def session(folder: Path, storage: Path, *arguments: str) -> subprocess.Popen[str]:
    """One pytest of the suite in a process group of its own, without what this session's pytest set."""
    usual = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "COV_"))}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--emo-profile=smoke"]
    return subprocess.Popen(
        [*command, f"--benchmark-storage=file://{storage}", *arguments],
        cwd=folder,
        env=lightly({**usual, "OMP_NUM_THREADS": "1"}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def statuses(path: Path) -> dict[int, str]:
    return {int(record.case["batch_size"]): record.status.value for record in load_run(path).records}


def finished(storage: Path) -> dict[str, int]:
    """Run folder to how many cases finished in it."""
    return {
        folder.name: sum(status == "ok" for _, status in standing(folder).values())
        for folder in (storage / "runs").glob("*")
    }


@pytest.mark.parametrize("kills", [3, pytest.param(10, marks=pytest.mark.nightly)])
def test_killed_sessions_are_gone_on_with_to_the_last_case(tmp_path: Path, kills: int) -> None:
    """Several times: killed at a random moment, what finished is there, and a resume makes it exactly 20, each once."""
    suite(tmp_path)
    moments = random.Random(1)
    cut = 0
    for number in range(kills):
        storage = tmp_path / f"results{number}"
        process = session(tmp_path, storage)
        # The last time when all have finished and the run is being saved.
        wanted = moments.randrange(FAST_CASES) if number < kills - 1 else FAST_CASES
        deadline = time.monotonic() + 300
        while sum(finished(storage).values()) < wanted and process.poll() is None:
            assert time.monotonic() < deadline, f"{wanted} cases did not finish in 300 s"
            time.sleep(0.02)
        time.sleep(moments.uniform(0, 0.15))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        before = finished(storage)
        # One that was killed before anything had begun is begun anew by the same command.
        count = sum(before.values())
        cut += 0 < count < FAST_CASES
        again = session(tmp_path, storage, "--emo-resume")
        text, _ = again.communicate(timeout=300)
        assert again.returncode == 0, text
        path = run_files(storage)[-1]
        assert statuses(path) == dict.fromkeys(range(1, FAST_CASES + 1), "ok")
        raw = json.loads(path.read_bytes())
        names = [bench["extra_info"]["emobench"]["case"]["id"] for bench in raw["benchmarks"]]
        assert len(names) == len(set(names)) == FAST_CASES
        # What had finished was not run once more.
        if count < FAST_CASES:
            assert f"{FAST_CASES - count} passed" in text
    assert cut >= kills // 2, f"{cut} sessions of {kills} were killed among their cases"


def test_many_runs_into_one_storage(tmp_path: Path) -> None:
    """Eight sessions at once: eight runs, each with its own number and all its cases; nothing overwritten or lost."""
    suite(tmp_path, cases=4, pause=0.001)
    storage = tmp_path / "results"
    running = [session(tmp_path, storage, "--emo-set", f"prompt_tokens={number + 10}") for number in range(AT_ONCE)]
    for process in running:
        text, _ = process.communicate(timeout=600)
        assert process.returncode == 0, text
    headers = list_runs(storage)
    assert [header.problem for header in headers] == [None] * AT_ONCE
    assert sorted(int(header.number) for header in headers) == list(range(1, AT_ONCE + 1))
    sizes = set()
    for header in headers:
        run = load_run(header.path)
        assert [record.status.value for record in run.records] == ["ok"] * 4
        sizes |= {record.details["spec"]["profile"]["prompt_tokens"] for record in run.records}
    assert sizes == set(range(10, 10 + AT_ONCE))
    assert len({load_run(header.path).settings["folder"] for header in headers}) == AT_ONCE


@contextmanager
def small_disk(folder: Path, *, size: int) -> Iterator[Path]:
    """A file system in memory of so many bytes; skipped where this user may not mount one."""
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if done.returncode != 0:
        pytest.skip("no file system may be mounted here; tests/faults/test_sweep.py fails every write instead")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_told_and_what_finished_is_there(tmp_path: Path) -> None:
    """The disk fills up among the cases: an error that says so, exit code not 0, all that was told is readable."""
    suite(tmp_path, cases=8, pause=0.001)
    with small_disk(tmp_path / "disk", size=256 << 10) as disk:
        storage = disk / "results"
        (disk / "ballast").write_bytes(b"\0" * (224 << 10))
        process = session(tmp_path, storage)
        text, _ = process.communicate(timeout=300)
        assert process.returncode != 0, text
        assert "No space left on device" in text
        assert all(header.problem is None for header in list_runs(storage)) if storage.exists() else True
        count = sum(finished(storage).values()) if (storage / "runs").exists() else 0
        (disk / "ballast").unlink()
        again = session(tmp_path, storage, *(["--emo-resume"] if count else []))
        text, _ = again.communicate(timeout=300)
        assert again.returncode == 0, text
        assert set(statuses(run_files(storage)[-1]).values()) == {"ok"}
        assert len(statuses(run_files(storage)[-1])) == 8


def test_a_storage_that_cannot_be_written(tmp_path: Path) -> None:
    """A read-only file system: said in one line before anything is measured; the exit code is not 0."""
    suite(tmp_path, cases=2, pause=0.001)
    with small_disk(tmp_path / "disk", size=1 << 20) as disk:
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        process = session(tmp_path, disk / "results")
        text, _ = process.communicate(timeout=300)
    assert process.returncode != 0
    assert "Read-only file system" in text
    assert "passed" not in text
    assert "Traceback" not in text
