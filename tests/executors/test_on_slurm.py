"""Slurm's executor, through submitit on this machine: what comes back, what gets lost, what jobs ask for."""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from emobench.errors import SpecError, UnsupportedError
from emobench.executors import slurm
from emobench.executors.jobs import Job
from emobench.executors.remote import _parameter
from emobench.executors.slurm import SlurmExecutor
from emobench.files import write_bytes
from emobench.processes.fresh import End, Ending
from tests.strict import strict_ini

SUITE = """
import os, signal, sys, time
import pytest
from emobench.outcomes import metric
pytestmark = pytest.mark.inference

if "emobench.executors.child" in sys.modules and "test_worker" in sys.argv[-1]:
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(100)

def axes(*sizes):
    rows = [("all-minilm-l6-v2", "fp32", "cpu", size) for size in sizes]
    return pytest.mark.parametrize("model,precision,device,batch_size", rows)

@axes(1)
def test_worker(case, model, precision, device, batch_size): pass
@axes(2)
def test_good(case, model, precision, device, batch_size):
    case.time(lambda: sum(range(1000)))
    case.add([metric("accuracy", 0.75, ci=(0.7, 0.8), n=400)])
@axes(3)
def test_training(case, model, precision, device, batch_size):
    from emobench.training.checkpoint import mark_complete
    from emobench.training.plan import FitPlan

    plan = case.with_checkpoints(FitPlan(device=device, precision=precision, seed=0, epochs=1, learning_rate=1e-3))
    if not plan.resume:
        kept = plan.folder / "checkpoint-1"
        kept.mkdir(parents=True)
        (kept / "weights").write_bytes(b"w")
        mark_complete(kept, {})
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(100)
    case.time(lambda: sum(range(1000)))
"""


def jobs(count: int, **options: Any) -> list[Job]:
    return [Job(name=f"job{n}", nodes=("t",), arguments=(), cwd=".", **options) for n in range(count)]


class Handle:
    """A job that Slurm says ended well."""

    job_id, state = "1", "COMPLETED"

    def done(self) -> bool:
        return True

    def stderr(self) -> str:
        return "slurmstepd: error\nlast line"


# submitit's debug executor leaves its log files to the garbage collector.
@pytest.mark.filterwarnings("ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_results_come_back_as_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each job gives its bytes once, and no result file is left."""
    pytest.importorskip("submitit", reason="the extra slurm is not installed")
    monkeypatch.setattr(slurm, "run_and_pack", lambda job: job["name"].encode())
    executor = SlurmExecutor(folder=tmp_path, cluster="debug", seconds_between_looks=0.01)
    assert {job.name: answer for job, answer in executor.run(jobs(3))} == {
        name: name.encode() for name in ("job0", "job1", "job2")
    }
    assert list((tmp_path / "returned").iterdir()) == []


def test_what_jobs_ask_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs that need the same are one array; the limit leaves the job time to end its case itself; none is requeued."""
    asked: list[tuple[dict[str, Any], int]] = []

    class Executor:
        def __init__(self, folder: Path, cluster: str) -> None:
            self.cluster = cluster

        def update_parameters(self, **given: Any) -> None:
            asked.append((given, 0))

        def map_array(self, function: Any, *inputs: Any) -> list[Handle]:
            asked[-1] = (asked[-1][0], len(inputs[0]))
            return [Handle() for _ in inputs[0]]

    monkeypatch.setitem(sys.modules, "submitit", type(sys)("submitit"))
    sys.modules["submitit"].AutoExecutor = Executor  # type: ignore[attr-defined]
    monkeypatch.setattr(slurm, "SECONDS_FOR_FILES", 0)
    given = [*jobs(2, time_limit=90.0, gpus=1), *jobs(1, cpus=4)]
    executor = SlurmExecutor(folder=tmp_path, parameters={"slurm_partition": "gpu"})
    found = list(executor.run(given))
    assert [count for _, count in asked] == [2, 1]
    first, second = asked[0][0], asked[1][0]
    assert (first["timeout_min"], first["gpus_per_node"], first["cpus_per_task"]) == (7, 1, 1)
    assert (second["timeout_min"], second["gpus_per_node"], second["cpus_per_task"]) == (7 * 24 * 60, 0, 4)
    assert first["slurm_additional_parameters"] == {"no-requeue": True}
    assert first["slurm_partition"] == "gpu"
    endings = [answer for _, answer in found if isinstance(answer, Ending)]
    assert [ending.detail for ending in endings] == ["Slurm's job 1 ended as COMPLETED: last line"] * 3


def test_files_that_never_come_are_waited_for_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs that ended well without a file: the wait is one for all, and one whose file comes late is not lost."""
    pytest.importorskip("submitit", reason="the extra slurm is not installed")
    monkeypatch.setattr(slurm, "SECONDS_FOR_FILES", 1.0)
    executor = SlurmExecutor(folder=tmp_path, seconds_between_looks=0.05)
    began = time.monotonic()

    monkeypatch.setattr(SlurmExecutor, "_submit", lambda self, submitit, given: {n: Handle() for n in given})
    late = threading.Timer(0.3, write_bytes, (tmp_path / "returned" / "job7.packed", b"late"))
    late.start()
    answers = {job.name: answer for job, answer in executor.run(jobs(8))}
    late.join()
    assert time.monotonic() - began < 4.0
    assert answers.pop("job7") == b"late"
    assert all(isinstance(answer, Ending) and answer.end is End.LOST for answer in answers.values())
    assert len(answers) == 7


def test_without_slurm_the_error_says_so(tmp_path: Path) -> None:
    """On a machine without Slurm's commands nothing is submitted."""
    pytest.importorskip("submitit", reason="the extra slurm is not installed")
    with pytest.raises(
        UnsupportedError, match=r"submitit cannot use 'slurm' here; .*; run it where sbatch and srun are"
    ):
        list(SlurmExecutor(folder=tmp_path).run(jobs(1)))


@pytest.mark.parametrize("text", ["slurm_partition", "=gpu", "a b=c"])
def test_parameters(text: str) -> None:
    """``KEY=VALUE`` with whole numbers as numbers; anything else is refused."""
    assert _parameter("slurm_partition=gpu") == ("slurm_partition", "gpu")
    assert _parameter("mem_gb=16") == ("mem_gb", 16)
    with pytest.raises(SpecError, match="cannot be read; it is not KEY=VALUE"):
        _parameter(text)


@pytest.mark.slow
def test_a_session_through_submitit(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """A whole session on submitit's local processes: one case measured, one whose job was killed lost, exit code 11."""
    pytest.importorskip("submitit", reason="the extra slurm is not installed")
    pytester.makeini(strict_ini())
    pytester.makepyfile(test_suite=SUITE)
    arguments = [
        "--emo-profile=smoke",
        "--emo-reruns=0",
        "--benchmark-storage=file://./results",
        "--emo-time-limit=120",
    ]
    arguments += ["--emo-executor=slurm", "--emo-address=local"]
    result = pytester.runpytest_subprocess(*arguments)
    result.assert_outcomes(passed=1, failed=2)
    assert result.ret == 11
    (path,) = pytester.path.glob("results/*/[0-9]*.json")
    content = json.loads(path.read_text())
    (bench,) = content["benchmarks"]
    assert bench["extra_info"]["emobench"]["status"] == "ok"
    lost = content["emobench"]["unmeasured"]
    assert [record["status"] for record in lost] == ["lost", "lost"]
    assert all(record["reasons"][0].startswith("Slurm's job ") for record in lost)
    # On a machine that shares the run's folder a training goes on from the last complete checkpoint.
    assert len(list(pytester.path.glob("results/runs/*/checkpoints/*/seed0/checkpoint-1/weights"))) == 1
    again = pytester.runpytest_subprocess(*arguments, "--emo-resume", "-k", "training or good")
    assert again.ret == 0, again.stdout.str()
    newest = max(pytester.path.glob("results/*/[0-9]*.json"))
    assert len(json.loads(newest.read_text())["benchmarks"]) == 2
    assert not list(pytester.path.glob("results/runs/*/checkpoints/*/seed0"))
