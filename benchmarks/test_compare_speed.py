"""How long compare, gate and rank take on 10,000 cases x 20 runs, from indexes; building those is timed apart.

It is slow and no case of its own: run it with ``pytest benchmarks/test_compare_speed.py --emo-slow``.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from fixtures.say import Say

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.slow

CASES, RUNS, EXAMPLES, ROUNDS = 10_000, 20, 400, 30
SECONDS, BYTES = 3.0, 1e9

WORK = """
import resource, sys, time
from pathlib import Path

start = time.perf_counter()
from emobench.analysis.compare import compare
from emobench.analysis.gates import decide, make_plan
from emobench.analysis.ranking import rankings
from emobench.catalogue.limits import find_limits
from emobench.records.index import read_index

imported = time.perf_counter()
runs = [read_index(Path(name)) for name in sys.argv[2:]]
if sys.argv[1] == "compare":
    rows = sum(len(compare(runs[:1], run).rows) for run in runs[1:])
elif sys.argv[1] == "rank":
    weights = {"accuracy": 2.0, "f1_macro": 1.0}
    rows = sum(len(group.ranked) for run in runs for group in rankings(run, weights))
else:
    limits = find_limits({}, ["accuracy:1pt", "latency_p50_seconds:5%"])
    plan = make_plan(runs[:-1], runs[-1].facts.manifest, limits.of_case)
    rows = len(decide(plan, runs[:-1], runs[-1]))
done = time.perf_counter()
print(rows, imported - start, done - imported, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Half of the cases with predictions, half with rounds; noise and nothing else differs."""
    from tests.records.made_runs import make_run

    folder = tmp_path_factory.mktemp("runs")
    return [
        make_run(folder, cases=CASES, seed=seed, predictions_rows=EXAMPLES, rounds=ROUNDS, packed=True)
        for seed in range(RUNS)
    ]


def test_building_indexes(benchmark: Any, say: Say, runs: list[Path]) -> None:
    """Indexes of all runs: linear in cases, shown and not limited."""
    from emobench.records.index import build_index

    start = time.perf_counter()
    benchmark.pedantic(lambda: [build_index(run) for run in runs], rounds=1)
    say(f"{RUNS} indexes of {CASES:,} cases built in {time.perf_counter() - start:.1f} s")


@pytest.mark.parametrize(
    ("work", "rows"),
    [
        pytest.param("compare", (RUNS - 1) * CASES, id="compare"),
        pytest.param("gate", CASES, id="gate"),
        pytest.param("rank", RUNS * CASES // 2, id="rank"),
    ],
)
def test_from_indexes(benchmark: Any, say: Say, runs: list[Path], work: str, rows: int) -> None:
    """19 runs against one, one against a baseline of 19, the scored half of each of 20 runs ranked: under 3 s and 1 GB.

    In a process of its own, on 2 cores.

    Imports (numpy, scipy, pyarrow) are shown and not counted.
    """
    from emobench.records.index import read_index

    for run in runs:
        read_index(run)

    def call() -> list[float]:
        command = [sys.executable, "-c", WORK, work, *map(str, runs)]
        result = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
        return [float(number) for number in result.stdout.split()]

    found, imports, seconds, peak = benchmark.pedantic(call, rounds=1)
    benchmark.extra_info.update({"seconds": seconds, "peak_bytes": peak})
    say(f"{work}: {seconds:.2f} s (target {SECONDS:g}), imports {imports:.2f} s, peak {peak / 2**20:.0f} MiB")
    assert found >= rows
    assert seconds < SECONDS
    assert peak < BYTES
