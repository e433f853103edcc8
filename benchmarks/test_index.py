"""What the columnar index saves: 20 runs of 10,000 cases read and joined, against building each index once.

These are slow and no cases of their own: run them with ``pytest benchmarks/test_index.py --emo-slow``.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import timeit
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from emobench.records.index import align, build_index, read_index
from emobench.records.packed import disagreements
from fixtures.say import Say

pytestmark = pytest.mark.slow

CASES, RUNS, ROWS = 10_000, 20, 1_000
SECONDS, BYTES = 3.0, 10**9
"""What comparing, gating and ranking together may take: reading the indexes must leave most of it."""

READ_ALL = """
import resource, sys, time
from pathlib import Path
start = time.perf_counter()
import numpy as np
from emobench.records.index import align, read_index
from emobench.records.packed import disagreements
base, *others = [read_index(Path(name)) for name in sys.argv[1:]]
changed = 0
for new in others:
    rows = align(base, new)
    at = np.flatnonzero(rows >= 0)
    found = disagreements(base.predictions, new.predictions, at, rows[at])
    changed += int((found.base_only + found.new_only).sum())
    changed += int((new.rounds.median[rows[at]] != base.rounds.median[at]).sum())
    changed += int((new.value[rows[at]] != base.value[at]).sum())
print(time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, changed)
"""


def made(folder: Path, cases: int, seed: int, *, losses: int = 0) -> Path:
    from tests.records.made_runs import make_run

    return make_run(folder, cases=cases, seed=seed, predictions_rows=ROWS, losses=losses, packed=True)


def test_building_is_linear(benchmark: Any, tmp_path: Path, say: Say) -> None:
    """Four times the cases take at most five times the processor time; the larger run's wall time is the figure."""
    small = made(tmp_path / "small", CASES // 4, 0, losses=300)
    large = made(tmp_path / "large", CASES, 0, losses=300)
    build_index(small)  # imports
    smaller, larger = (
        min(timeit.repeat(partial(build_index, path), time.process_time, number=1, repeat=3)) for path in (small, large)
    )
    benchmark.pedantic(build_index, args=(large,), rounds=3)
    size = os.path.getsize(large) / 1e6
    say(
        f"index of {CASES:,} cases ({size:.0f} MB): {larger:.1f} s, {larger / smaller:.1f} times a quarter of it",
    )
    assert larger / smaller < 5


def test_reading_twenty_runs(benchmark: Any, tmp_path: Path, say: Say) -> None:
    """20 indexes of 10,000 cases read, joined and their paired answers counted, imports included, in a new process."""
    paths = [made(tmp_path, CASES, seed) for seed in range(RUNS)]
    for path in paths:
        build_index(path)
    found: list[list[float]] = []

    def read() -> None:
        command = [sys.executable, "-c", READ_ALL, *map(str, paths)]
        result = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1])
        found.append([float(word) for word in result.stdout.split()])

    benchmark.pedantic(read, rounds=3)
    seconds, size, changed = sorted(found)[len(found) // 2]
    say(f"{RUNS} runs of {CASES:,} cases: {seconds:.2f} s and {size / 1e6:.0f} MB (limits {SECONDS} s, 1 GB)")
    benchmark.extra_info.update({"read_seconds": seconds, "host_memory_peak_bytes": size})
    assert changed > 0
    assert seconds < SECONDS
    assert size < BYTES


def test_one_case_of_many(benchmark: Any, tmp_path: Path) -> None:
    """A gate decides a case as soon as it ended: its rows are found and compared without touching the others."""
    base, new = (read_index(made(tmp_path, CASES // 10, seed)) for seed in (0, 1))
    rows = align(base, new)

    def one() -> int:
        return int(disagreements(base.predictions, new.predictions, [500], [rows[500]]).n[0])

    assert benchmark(one) == ROWS
