"""Does noise fail a gate? The same code, run again and again as the workflow for pull requests runs it, and gated.

Slow and no case of its own: run it with ``pytest benchmarks/test_repeats.py --emo-slow`` on a machine that does nothing
else; it takes about as long as twelve smoke runs.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fixtures.say import Say

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
BASES, REPEATS = 2, 10
SELECT = "minilm and rotten_tomatoes-train or test_inference and minilm"
"""The cases that the workflow selects."""
LIMITS = ("accuracy:2pt", "host_memory_peak_bytes:10%", "latency_p50_seconds:15%")


def command(*arguments: str, storage: Path) -> subprocess.CompletedProcess[str]:
    code = "import sys; from emobench.cli import main; main()"
    line = [sys.executable, "-c", code, *arguments]
    return subprocess.run(line, cwd=storage.parent, capture_output=True, text=True, check=False)


def one_run(storage: Path) -> None:
    line = [sys.executable, "-m", "pytest", "benchmarks", "-k", SELECT, "--emo-profile=smoke", "-q"]
    done = subprocess.run(
        [*line, f"--benchmark-storage=file://{storage}"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:]


def test_no_gate_fails_when_nothing_changed(benchmark: Any, tmp_path: Path, say: Say) -> None:
    """Two runs are the baseline, ten more of the same code are gated one by one: not one verdict is worse."""
    storage = tmp_path / "results"
    benchmark.pedantic(lambda: one_run(storage), rounds=BASES + REPEATS)
    files = sorted(storage.glob("*/[0-9]*.json"))
    assert len(files) == BASES + REPEATS
    blessed = command("bless", *map(str, files[:BASES]), "--as", "main", storage=storage)
    assert blessed.returncode == 0, blessed.stderr
    verdicts: dict[str, int] = {}
    failed = []
    for file in files[BASES:]:
        limits = [part for limit in LIMITS for part in ("--limit", limit)]
        done = command("gate", "main", str(file), *limits, storage=storage)
        gated = re.search(r"Gated (\d+) of \1 against main: (.*)", done.stdout)
        assert gated is not None, done.stdout + done.stderr
        for count, name in re.findall(r"(\d+) (\w+)", gated[2]):
            verdicts[name] = verdicts.get(name, 0) + int(count)
        if done.returncode != 0:
            failed.append(f"{file.name}: exit code {done.returncode}\n{done.stdout}")
    benchmark.extra_info.update({"verdicts": verdicts, "failed_runs": len(failed)})
    shown = ", ".join(f"{count} {name}" for name, count in sorted(verdicts.items()))
    say(f"{REPEATS} repeats against {BASES}: {shown}; {len(failed)} runs fail the gate")
    assert not failed, "\n".join(failed)
    assert verdicts.get("same", 0) > 0
