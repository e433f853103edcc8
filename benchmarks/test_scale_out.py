"""What 10,000 cases on 500 GPUs would come to.

Dispatch, delivery and merge are measured; the hours of the cluster are simulated from them. These are slow and no cases
of their own: run them with ``pytest benchmarks/test_scale_out.py --emo-slow -s``.
"""

from __future__ import annotations

import heapq
import importlib.util
import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fixtures.say import Say

pytestmark = pytest.mark.slow

CASES, GPUS = 10_000, 500
ROUNDS = 200
"""Raw rounds of a made case."""


def made_result(number: int, folder: Path, *, head: Mapping[str, Any]) -> None:
    """What the process of a made case leaves: a journal with one timed record, and what it printed."""
    from emobench.executors.jobs import ENDING, OUTPUTS
    from emobench.outcomes import metric
    from emobench.processes.fresh import End, Ending
    from emobench.records.journal import Journal
    from emobench.records.record import Record

    case = f"inference[made-{number:05}-fp32-cuda-b1]"
    random.seed(number)
    seconds = [0.01 + random.random() / 1000 for _ in range(ROUNDS)]
    metrics = tuple(metric(name, 0.01) for name in ("latency_p50_seconds", "samples_per_second", "load_seconds"))
    record = Record(case={"id": case, "kind": "inference", "key": f"{number:032x}"}, metrics=metrics)
    folder.mkdir(parents=True, exist_ok=True)
    journal = Journal(folder, f"job-{number:05}")
    journal.head({**head, "manifest": [case]}, role="worker")
    journal.started(case)
    row = {"group": None, "name": case, "fullname": case, "params": {}, "extra_info": {}, "options": {}}
    journal.append(record.to_json(), benchmark={**row, "stats": {"data": seconds, "median": 0.01, "rounds": ROUNDS}})
    journal.ended({"skipped": []})
    own = folder / OUTPUTS / f"job-{number:05}"
    own.mkdir(parents=True)
    (own / "stdout.txt").write_text("printed\n" * 40)
    (own / "stderr.txt").write_text("")
    (own / ENDING).write_text(json.dumps(Ending(end=End.EXITED, code=0).to_json()))


def made_head(version: str) -> dict[str, Any]:
    cpu = {"brand_raw": "Made CPU", "count": 64, "flags": [f"flag{n}" for n in range(100)]}
    return {
        "machine_info": {"node": "made", "machine": "x86_64", "cpu": cpu},
        "commit_info": {"id": "abc", "dirty": False},
        "machine_id": "Linux",
        "version": "5",
        "run": {"version": version, "profile": "quick", "seeds": [0], "weights": "pretrained"},
    }


def nothing(job: Mapping[str, Any]) -> bytes:
    """A task that does nothing and returns as much as a case does."""
    return bytes(8_000)


def test_dispatch_on_a_real_cluster(benchmark: Any, say: Say) -> None:
    """Tasks that do nothing, through Ray on this machine: seconds a task."""
    if importlib.util.find_spec("ray") is None:
        pytest.skip("the extra ray is not installed")
    from emobench.executors.jobs import Job
    from emobench.executors.ray import RayExecutor, Tasks, connected

    jobs = [Job(name=f"job{n}", nodes=("t",), arguments=(), cwd=".") for n in range(1000)]
    with connected(RayExecutor(cpus=os.cpu_count())) as ray:
        list(Tasks(ray, patience=60, function=nothing).run(jobs[:20]))
        cpu = time.process_time()
        benchmark.pedantic(lambda: list(Tasks(ray, patience=60, function=nothing).run(jobs)), rounds=1)
        cpu = time.process_time() - cpu
    wall = benchmark.stats.stats.data[0]
    benchmark.extra_info.update({"seconds_per_task": wall / len(jobs), "driver_cpu_seconds_per_task": cpu / len(jobs)})
    say(
        f"dispatch: {1e3 * wall / len(jobs):.2f} ms a task on {os.cpu_count()} slots, of which the session "
        f"{1e3 * cpu / len(jobs):.2f} ms of CPU; {CASES} tasks: {CASES * cpu / len(jobs):.0f} s of CPU in all",
    )


def test_delivery(benchmark: Any, tmp_path: Path, say: Say) -> None:
    """Taking a case's results into the run: checksum, commit, and every file on the disk; seconds a case."""
    from emobench import __version__
    from emobench.executors.jobs import Job
    from emobench.executors.manifest import Manifest, Planned
    from emobench.executors.parcel import pack
    from emobench.executors.remote import accepted

    count = 60
    cases = tuple(Planned(id=f"inference[made-{n:05}-fp32-cuda-b1]", node=f"t.py::c{n}", key="k") for n in range(count))
    manifest = Manifest(cases=cases, arguments=(), commit={"id": "abc", "dirty": False})
    packed = []
    for number in range(count):
        made_result(number, tmp_path / f"sent{number}", head=made_head(__version__))
        packed.append(pack(tmp_path / f"sent{number}"))
    jobs = [Job(name=f"job-{n:05}", nodes=(f"/p/t.py::c{n}",), arguments=(), cwd=".") for n in range(count)]

    def deliver() -> None:
        for job, data in zip(jobs, packed, strict=True):
            assert accepted(data, job, tmp_path / "run", manifest).code == 0

    benchmark.pedantic(deliver, rounds=1)
    each = benchmark.stats.stats.data[0] / count
    size = statistics.mean(map(len, packed))
    benchmark.extra_info.update({"seconds_per_case": each, "bytes_per_case": size})
    say(f"delivery: {1e3 * each:.1f} ms and {size / 1000:.1f} kB a case; {CASES} cases: {CASES * each:.0f} s")


FOLD = """
import json, resource, sys, time
from pathlib import Path
from emobench.records.fold import fold, save
storage = Path(sys.argv[1])
base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
start = time.perf_counter()
folded = fold(storage, [storage / "runs" / "made"], missing="lost")
middle = time.perf_counter()
path = save(storage, folded)
end = time.perf_counter()
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
found = {"fold": middle - start, "save": end - middle, "records": len(folded.records)}
print(json.dumps({**found, "peak": peak * 1024, "base": base * 1024, "file": path.stat().st_size}))
"""


def test_merge_of_ten_thousand(benchmark: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, say: Say) -> None:
    """Ten thousand journals become one saved run: seconds and memory, in a process of its own."""
    from emobench import __version__
    from emobench.records.journal import Journal

    # Made without waiting for the disk ten thousand times; what is measured reads them.
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    folder = tmp_path / "runs" / "made"
    head = made_head(__version__)
    for number in range(CASES - 10):
        made_result(number, folder, head=head)
    main = Journal(folder)
    main.head({**head, "manifest": [f"inference[made-{n:05}-fp32-cuda-b1]" for n in range(CASES)]})
    main.ended({"skipped": []})
    monkeypatch.undo()
    found: list[dict[str, Any]] = []

    def merge() -> None:
        done = subprocess.run([sys.executable, "-c", FOLD, str(tmp_path)], capture_output=True, text=True, check=True)
        found.append(json.loads(done.stdout))

    benchmark.pedantic(merge, rounds=1)
    (figures,) = found
    assert figures["records"] == CASES
    benchmark.extra_info.update(figures)
    say(
        f"merge of {CASES} cases of {ROUNDS} rounds: fold {figures['fold']:.1f} s, save {figures['save']:.1f} s, peak "
        f"{figures['peak'] / 1e6:.0f} MB ({figures['base'] / 1e6:.0f} MB before), file {figures['file'] / 1e6:.0f} MB",
    )


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a simulated run comes to."""

    hours: float
    busy: float
    """Share of the GPUs' time in which a case ran."""
    driver: float
    """Share of the session's time in which it handed out or took in results."""
    waiting: float
    """Seconds that a finished case waited for the session, in the mean."""


def simulated(seconds: Sequence[float], *, slots: int, start: float, hand_out: float, take_in: float) -> Plan:
    """Cases of these durations on equal slots, longest unknown: handed out in order, taken in one after another.

    A slot is free as soon as its case has ended; the session does one thing at a time: ``hand_out`` seconds for each
    task, ``take_in`` for each result. ``start`` is what a fresh process takes before its case begins.
    """
    free = [0.0] * slots
    ends: list[float] = []
    given = 0.0
    for duration in seconds:
        at = heapq.heappop(free)
        # Handed out ahead of time, so a slot waits for the session only where the session cannot keep up.
        given = max(given + hand_out, 0.0)
        begin = max(at, given)
        ends.append(begin + start + duration)
        heapq.heappush(free, ends[-1])
    done, waited = 0.0, 0.0
    for end in sorted(ends):
        waited += max(0.0, done - end)
        done = max(done, end) + take_in
    work = sum(seconds)
    return Plan(
        hours=done / 3600,
        busy=work / (slots * max(ends)),
        driver=len(seconds) * (hand_out + take_in) / done,
        waiting=waited / len(seconds),
    )


@pytest.mark.parametrize("median", [10, 60, 300, 1800])
def test_ten_thousand_cases_on_500_gpus(benchmark: Any, median: float, say: Say) -> None:
    """Hours, idle GPUs and the session's load for cases of a median of so many seconds.

    Durations are lognormal with a standard deviation of one in their logarithm, expected ones are off by a factor with
    half of that; a fresh process takes 15 s to start on a shared file system; the session needs 5 ms to hand a task out
    and 65 ms to take a result in, which was measured on a busy disk.
    """
    generator = random.Random(0)
    seconds = [median * generator.lognormvariate(0, 1) for _ in range(CASES)]
    expected = {value: value * generator.lognormvariate(0, 0.5) for value in seconds}
    found: dict[str, Plan] = {}

    def both() -> None:
        costs = {"slots": GPUS, "start": 15, "hand_out": 0.005, "take_in": 0.065}
        found["as collected"] = simulated(seconds, **costs)
        found["longest first"] = simulated(sorted(seconds, key=lambda value: -expected[value]), **costs)

    benchmark.pedantic(both, rounds=1)
    say(f"{CASES} cases of {median:g} s (median, longest {max(seconds) / 60:.0f} min) on {GPUS} GPUs")
    for order, plan in found.items():
        benchmark.extra_info[order] = {"hours": plan.hours, "busy": plan.busy, "driver": plan.driver}
        say(
            f"  {order}: {plan.hours:.2f} h, GPUs measure {100 * plan.busy:.0f} % of it, the session is busy "
            f"{100 * plan.driver:.0f} %, a result waits {plan.waiting:.1f} s",
        )
        assert plan.driver <= 1
        # Nothing is faster than the work itself, nor than its longest case.
        assert plan.hours * 3600 >= max(sum(seconds) / GPUS, max(seconds))
