"""The seam: a project adds a kind of case by a row, a recipe, a benchmark and a test, and the whole suite knows it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from emobench.records.journal import read
from tests.lightly import lightly

ROW = """
from emobench.kinds import LATENCY, Kind, Work

KINDS = (
    Kind(
        name="plain-count",
        meaning="the case counts on its fingers",
        title="Counting",
        work=(Work(does="forward"),),
        profile_fields=LATENCY,
        headline="latency_p50_seconds",
        default_batches=(2, 3),
    ),
)
"""
RECIPE = """
import os
from emobench.measurement.clock import latency_metrics
from emobench.outcomes import metric


def count(case):
    rows = case.spec.batch_size
    if os.environ.get("BREAK") == str(rows):
        raise RuntimeError("out of fingers")
    seconds = case.time(lambda: sum(range(1000 * rows * int(os.environ.get("SLOWER", 1)))))
    case.add(latency_metrics(seconds, samples=rows, tokens=rows))
"""
BENCHMARK = """
import pytest
from counting import count


@pytest.mark.plain_count
def test_plain_count(case, model, precision, device, batch_size):
    count(case)
"""
TEST = """
from my_rows import KINDS


def test_the_row():
    assert [row.marker for row in KINDS] == ["plain_count"]
"""
SELECTED = ("-m", "plain_count", "-k", "minilm and fp32 and cpu")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the four files, the settings that name the row, and nothing else of its own."""
    folder = tmp_path_factory.mktemp("project")
    for name, text in {
        "my_rows.py": ROW,
        "counting.py": RECIPE,
        "benchmarks/test_plain_count.py": BENCHMARK,
        "tests/test_row.py": TEST,
        "emobench.toml": '[extend]\nmodules = ["my_rows"]\n',
        "pytest.ini": "[pytest]\npythonpath = .\naddopts = --strict-markers -p no:cacheprovider\n",
    }.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    return folder


PYTEST = ("-m", "pytest")
COMMAND = ("-c", "from emobench.cli import main; main()")


def run(project: Path, *command: str, code: int = 0, light: bool = True, **variables: str) -> str:
    """What Python printed; no case computes anything of torch."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment = lightly({**own, **variables}) if light else {**own, **variables}
    done = subprocess.run([sys.executable, *command], cwd=project, env=environment, capture_output=True, text=True)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def bench(project: Path, *arguments: str, **keywords: Any) -> str:
    return run(project, *PYTEST, "benchmarks", "--emo-profile=smoke", *arguments, **keywords)


def emobench(project: Path, *arguments: str, **keywords: Any) -> str:
    return run(project, *COMMAND, *arguments, **keywords)


def runs(project: Path) -> list[Path]:
    return sorted(project.glob("results/*/[0-9]*.json"))


@pytest.mark.slow
def test_the_whole_suite_knows_a_kind_of_ones_own(project: Path) -> None:
    """Collected, skipped, estimated, timed, journaled, resumed, isolated, tabled, compared, gated and reported."""
    ids = [f"plain-count[all-minilm-l6-v2-fp32-cpu-b{size}]" for size in (2, 3)]
    collected = bench(project, *SELECTED, "--collect-only", "-q")
    assert [line.rpartition("[")[2] for line in collected.splitlines() if "::" in line] == [
        name.rpartition("[")[2] for name in ids
    ]
    assert "no CUDA device" in bench(project, "-m", "plain_count and cuda", "-k", "minilm and fp32")

    # A case that breaks is kept; a resume runs it alone.
    broken = bench(project, *SELECTED, code=1, BREAK="3")
    assert "plain-count" in broken
    resumed = bench(project, *SELECTED, "--emo-resume")
    assert "1 of 2 cases are done" in resumed
    content = json.loads(runs(project)[-1].read_text())
    records = [row["extra_info"]["emobench"] for row in content["benchmarks"]]
    assert sorted(record["case"]["id"] for record in records) == ids
    for record in records:
        assert record["case"]["kind"] == "plain-count"
        assert record["details"]["estimate"]["total_bytes"] > 1e7
        assert record["metrics"]["latency_p50_seconds"]["value"] > 0
    (folder,) = (project / "results" / "runs").iterdir()
    assert set(read(folder).records) == set(ids)

    isolated = bench(project, *SELECTED, "--emo-isolate")
    assert "2 passed" in isolated
    assert "plain-count" in isolated
    bench(project, *SELECTED, SLOWER="500")

    first, second, slower = (path.name.partition("_")[0] for path in runs(project)[-3:])
    assert ids[0] in emobench(project, "compare", first, second)
    emobench(project, "bless", first, second, "--as", "main")
    limit = ("--limit", "latency_p50_seconds:900%")
    assert "2 same" in emobench(project, "gate", "main", second, *limit)
    assert "worse" in emobench(project, "gate", "main", slower, *limit, code=10)
    emobench(project, "report", slower, "--to", "report")
    page = next((project / "report").glob("*.html")).read_text()
    assert "plain-count" in page


@pytest.mark.slow
def test_it_is_checked_and_its_test_runs(project: Path) -> None:
    """``emobench check`` says what its cases are expected to take; the project's own test of the row runs."""
    said = emobench(project, "check", *SELECTED, "--profile", "smoke", light=False)
    assert "2 cases" in said
    assert "1 passed" in run(project, *PYTEST, "tests")


def test_a_marker_without_a_row_is_unknown(tmp_path: Path) -> None:
    """Where no row adds the kind, its marker is none: a kind exists by its row alone."""
    (tmp_path / "test_a.py").write_text("import pytest\n@pytest.mark.plain_count\ndef test_a(): pass\n")
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --strict-markers -p no:cacheprovider\n")
    assert "'plain_count' not found" in run(tmp_path, *PYTEST, code=2)
