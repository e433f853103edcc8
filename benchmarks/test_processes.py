"""What a process of its own costs a case, and what two workers on two cores are to each other.

These are slow and no cases of their own: run them with ``pytest benchmarks/test_processes.py --emo-slow -s``.
"""

from __future__ import annotations

import itertools
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fixtures.say import Say

pytestmark = pytest.mark.slow

EQUAL_CASES = 12
"""Of the matrix that one and two workers run in turn."""
LONG, LONG_REPEATS = 3.5, 3
"""Seconds of a case where the whole matrix is timed: so long that starting pytest is a small part."""
SHORT, SHORT_REPEATS = 0.5, 9
"""Seconds of a case where medians are compared: so short that what is compared is measured within half a minute, and
often enough that the median of the differences stands above the machine's own drift."""
SHARE_LIMIT, MEDIAN_LIMIT = 0.6, 0.1

SUITE = """
import sys
import pytest
pytestmark = pytest.mark.inference

@pytest.mark.parametrize("model,precision,device,batch_size", [("all-minilm-l6-v2", "fp32", "cpu", 1)])
def test_case(case, model, precision, device, batch_size):
    case.details["modules"] = list(sys.modules)
"""


def cpu_and_wall(call: Any) -> tuple[float, float]:
    """CPU seconds of child processes, and wall seconds, that a call takes."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    call()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, time.perf_counter() - start


def test_cost_of_isolation(benchmark: Any, tmp_path: Path, say: Say) -> None:
    """A case that does nothing, in a process of its own, against a Python that only imports the same packages."""
    from emobench.executors.jobs import Job, run_job
    from emobench.records.journal import read

    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_suite.py").write_text(SUITE)
    arguments = ("--emo-profile=smoke", "--emo-reruns=0", "-p", "no:cacheprovider", f"--rootdir={tmp_path}")

    def isolated(number: int) -> Path:
        folder = tmp_path / ".benchmarks" / "runs" / f"run{number}"
        node = f"{tmp_path}/test_suite.py::test_case[all-minilm-l6-v2-fp32-cpu-1]"
        job = Job(name=f"job{number}", nodes=(node,), arguments=arguments, cwd=str(tmp_path))
        run_job(job, folder)
        return folder

    (record,) = read(isolated(0)).records.values()
    names = [
        name for name in record.details["modules"] if name.isidentifier() and name not in ("__main__", "test_suite")
    ]
    lines = "\n".join(f"try: import {name}\nexcept Exception: pass" for name in names)
    (tmp_path / "imports.py").write_text(lines)
    plain: list[tuple[float, float]] = []
    alone: list[tuple[float, float]] = []

    def both(number: int) -> None:
        plain.append(cpu_and_wall(lambda: subprocess.run([sys.executable, "imports.py"], cwd=tmp_path, check=True)))
        alone.append(cpu_and_wall(lambda: isolated(number)))

    numbers = iter(range(1, 100))
    benchmark.pedantic(both, setup=lambda: ((next(numbers),), {}), rounds=5)
    cpu = statistics.median(a[0] - b[0] for a, b in zip(alone, plain, strict=True))
    wall = statistics.median(a[1] - b[1] for a, b in zip(alone, plain, strict=True))
    base = statistics.median(value for value, _ in plain)
    benchmark.extra_info.update({"cpu_seconds": base, "cpu_seconds_more": cpu, "wall_seconds_more": wall})
    say(
        f"isolation: interpreter and imports {base:.2f} s of CPU, collecting, running and recording a case that does "
        f"nothing {cpu:+.2f} s of CPU, {wall:+.2f} s of wall time more",
    )


EQUAL = """
import pytest
import torch
pytestmark = pytest.mark.inference
rows = [("all-minilm-l6-v2", "fp32", "cpu", size) for size in range(1, {cases} + 1)]

@pytest.mark.parametrize("model,precision,device,batch_size", rows)
def test_case(case, model, precision, device, batch_size):
    matrix = torch.ones(256, 256)
    case.benchmark.pedantic(lambda: [torch.mm(matrix, matrix) for _ in range(20)], rounds={rounds}, warmup_rounds=5)
    case.settled = True
"""


def rounds_of(seconds: float) -> int:
    """Rounds of the equal cases' work that take so long on one thread of this machine."""
    code = "import time, torch; torch.set_num_threads(1); m = torch.ones(256, 256); work = lambda: [torch.mm(m, m) "
    code += "for _ in range(20)]; work(); t = time.perf_counter(); [work() for _ in range(50)]; "
    code += "print((time.perf_counter() - t) / 50)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return max(3, int(seconds / float(done.stdout)))


def run_on(cores: Sequence[int], folder: Path, repeat: int) -> tuple[float, dict[str, tuple[int, float]]]:
    """Seconds of a run with one worker on each of these cores, and each case's core and median seconds."""
    storage = folder / f"results-{'-'.join(map(str, cores))}-{repeat}"
    code = f"import os, sys; os.sched_setaffinity(0, {set(cores)}); os.execv(sys.executable, sys.argv[1:])"
    options = ["-q", "-n", str(len(cores)), "--emo-profile=smoke", "--emo-reruns=0", "-p", "no:cacheprovider"]
    own = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    own |= {"EMOBENCH_LEASES": str(folder / "leases"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code, sys.executable, "-m", "pytest", *options]
    began = time.perf_counter()
    command.append(f"--benchmark-storage=file://{storage}")
    done = subprocess.run(command, cwd=folder, env=own, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - began
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = storage.glob("*/[0-9]*.json")
    found = {}
    for bench in json.loads(path.read_text())["benchmarks"]:
        (core,) = bench["extra_info"]["emobench"]["environment"]["lease"]["cores"]
        found[bench["name"]] = (core, bench["stats"]["median"])
    return seconds, found


@dataclass(frozen=True, kw_only=True)
class Shared:
    """Two workers beside one."""

    share: float
    """Seconds of two workers over those of one, medians of the repeats."""
    largest: float
    """Largest difference of a case's median from its median alone on the same core, as a part of that: of each case the
    median of the repeats."""
    itself: float
    """The same of cases that ran alone both times, a repeat apart: what the machine does by itself."""
    table: str


Runs = list[tuple[float, dict[str, tuple[int, float]]]]


def largest_difference(pairs: Sequence[tuple[str, float, float]]) -> float:
    """Of (case, seconds, seconds alone): the difference furthest from none, of each case the median of its pairs."""
    changes: dict[str, list[float]] = {}
    for name, seconds, alone in pairs:
        changes.setdefault(name, []).append(seconds / alone - 1)
    return max((statistics.median(found) for found in changes.values()), key=abs)


def two_beside_one(folder: Path, *, cases: int, seconds: float, repeats: int) -> Shared:
    """Run equal cases with one worker on a core, with two workers at once, and with one on the other core, in turn."""
    (folder / "pytest.ini").write_text("[pytest]\n")
    (folder / "test_suite.py").write_text(EQUAL.format(cases=cases, rounds=rounds_of(seconds)))
    first, second = sorted(os.sched_getaffinity(0))[:2]
    alone: dict[int, Runs] = {first: [], second: []}
    both: Runs = []
    for repeat in range(repeats):
        alone[first].append(run_on([first], folder, repeat))
        both.append(run_on([first, second], folder, repeat))
        alone[second].append(run_on([second], folder, repeat))
    assert all(len(found) == cases for _, found in both)
    largest = largest_difference(
        [
            (name, median, alone[core][repeat][1][name][1])
            for repeat, (_, found) in enumerate(both)
            for name, (core, median) in found.items()
        ]
    )
    itself = largest_difference(
        [
            (f"{name} on {core}", after[1][name][1], before[1][name][1])
            for core, runs in alone.items()
            for before, after in itertools.pairwise(runs)
            for name in before[1]
        ]
    )
    one, two = (statistics.median(taken for taken, _ in runs) for runs in ((*alone[first], *alone[second]), both))
    rows = [("workers", "cores", "seconds", "of one worker", "median of a case", "largest difference")]
    for core, runs in alone.items():
        taken = f"{statistics.median(taken for taken, _ in runs):.1f}"
        rows.append(("1", str(core), taken, "1", middle(runs), f"{100 * itself:+.1f} % of itself"))
    share = f"{two / one:.2f}"
    rows.append(("2", f"{first},{second}", f"{two:.1f}", share, middle(both), f"{100 * largest:+.1f} %"))
    table = "\n  ".join("  ".join(cell.rjust(18) for cell in row) for row in rows)
    return Shared(share=two / one, largest=abs(largest), itself=abs(itself), table=table)


def middle(runs: Runs) -> str:
    """The median case of some runs, for the screen."""
    return f"{1e3 * statistics.median(median for _, found in runs for _, median in found.values()):.3f} ms"


two_cores = pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2, reason="leases two cores"
)


def two_workers(benchmark: Any, tmp_path: Path, say: Say, *, seconds: float, repeats: int) -> Shared:
    """What two workers come to, measured in one round, kept with the benchmark and shown."""
    found: list[Shared] = []

    def run() -> None:
        found.append(two_beside_one(tmp_path, cases=EQUAL_CASES, seconds=seconds, repeats=repeats))

    benchmark.pedantic(run, rounds=1)
    (shared,) = found
    benchmark.extra_info.update({"share": shared.share, "largest_difference": shared.largest, "itself": shared.itself})
    say(f"{EQUAL_CASES} equal cases of about {seconds:g} s, {repeats} times in turn\n  {shared.table}")
    return shared


@two_cores
def test_two_workers_share_the_time(benchmark: Any, tmp_path: Path, say: Say) -> None:
    """Two workers with a core each finish equal cases in at most 0.6 of one's time."""
    shared = two_workers(benchmark, tmp_path, say, seconds=LONG, repeats=LONG_REPEATS)
    assert shared.share <= SHARE_LIMIT


@two_cores
def test_two_workers_measure_alike(benchmark: Any, tmp_path: Path, say: Say) -> None:
    """Beside another worker each case's median is within 10 % of the one it has alone on the same core."""
    shared = two_workers(benchmark, tmp_path, say, seconds=SHORT, repeats=SHORT_REPEATS)
    assert shared.largest <= MEDIAN_LIMIT
