"""Parts of a matrix: shards that are merged, groups that share a process, workers of xdist with isolated cases."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from emobench.commands.merge import merge_runs
from emobench.commands.project_place import find_place
from tests.strict import WORKERS, strict_ini

SUITE = """
import os
import pytest
from emobench.outcomes import metric
pytestmark = pytest.mark.inference
rows = [("all-minilm-l6-v2", "fp32", "cpu", size) for size in (1, 2, 3, 4)]

@pytest.mark.parametrize("model,precision,device,batch_size", rows)
def test_case(case, model, precision, device, batch_size):
    if os.environ.get("CRASH_AT") == str(batch_size):
        os.kill(os.getpid(), 9)
    case.time(lambda: sum(range(1000)))
    case.details["process"] = os.getpid()

def test_other():
    pass
"""
ARGUMENTS = ("--emo-profile=smoke", "--emo-reruns=0", "-p", "no:cacheprovider")
pytestmark = pytest.mark.slow


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, light: None) -> pytest.Pytester:
    monkeypatch.setenv("EMOBENCH_LEASES", str(pytester.path / "leases"))
    pytester.makeini(strict_ini(WORKERS))
    pytester.makepyfile(test_suite=SUITE)
    return pytester


def records(storage: Path) -> dict[str, dict[str, Any]]:
    (path,) = storage.glob("*/[0-9]*.json")
    content = json.loads(path.read_text())
    timed = [bench["extra_info"]["emobench"] for bench in content["benchmarks"]]
    found = (*timed, *content["emobench"]["unmeasured"])
    return {record["case"]["id"][-2:-1]: record for record in found}


def test_shards_run_and_merge(suite: pytest.Pytester) -> None:
    """Two shards run every case and every other test once; merged they are the whole run; one alone is incomplete."""
    passed = 0
    for index in (1, 2):
        result = suite.runpytest_subprocess(
            *ARGUMENTS, f"--benchmark-storage=file://./machine{index}", f"--emo-shard={index}/2"
        )
        assert result.ret in (0, 5)
        passed += result.parseoutcomes().get("passed", 0)
    assert passed == 5
    parts = [records(suite.path / f"machine{index}") for index in (1, 2)]
    assert sorted([*parts[0], *parts[1]]) == ["1", "2", "3", "4"]
    folders = [str(next((suite.path / f"machine{index}" / "runs").iterdir())) for index in (1, 2)]
    place = find_place(suite.path)
    assert merge_runs(folders, place, to=suite.path / "whole").exit_code == 0
    assert {record["status"] for record in records(suite.path / "whole").values()} == {"ok"}
    thirds = suite.runpytest_subprocess(*ARGUMENTS, "--benchmark-storage=file://./other", "--emo-shard=1/3")
    assert thirds.ret == 0
    (folder,) = (suite.path / "other" / "runs").iterdir()
    cut = suite.runpytest_subprocess(*ARGUMENTS, "--benchmark-storage=file://./another", "--emo-shard=2/3")
    assert cut.ret in (0, 5)
    (second,) = (suite.path / "another" / "runs").iterdir()
    found = merge_runs([str(folder), str(second)], place, to=suite.path / "partly")
    assert found.exit_code == 11
    assert "lost" in {record["status"] for record in records(suite.path / "partly").values()}


def test_a_group_shares_a_process(suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """With ``--emo-group-by model`` what ran before a crash stays, the crashed case and those behind it are lost."""
    pytest.importorskip("submitit", reason="the extra slurm is not installed")
    monkeypatch.setenv("CRASH_AT", "3")
    result = suite.runpytest_subprocess(
        *(*ARGUMENTS, "--benchmark-storage=file://./results", "--emo-executor=slurm", "--emo-address=local"),
        *("--emo-group-by=model", "--emo-time-limit=60"),
    )
    assert result.ret == 11
    result.assert_outcomes(passed=3, failed=2)
    found = records(suite.path / "results")
    assert {name: record["status"] for name, record in found.items()} == {
        "1": "ok",
        "2": "ok",
        "3": "lost",
        "4": "lost",
    }
    assert found["1"]["details"]["process"] == found["2"]["details"]["process"]
    assert found["3"]["reasons"] == ["it was killed by signal 9 (SIGKILL)"]
    assert found["4"]["reasons"] == ["its group's process ended before it began: it was killed by signal 9 (SIGKILL)"]


def test_isolated_under_xdist(suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each worker's cases run in processes of their own, on the cores that the worker leased; a lost one is exit 11."""
    monkeypatch.setenv("CRASH_AT", "3")
    result = suite.runpytest_subprocess(
        *(*ARGUMENTS, "--benchmark-storage=file://./results", "-n2", "--emo-isolate", "--emo-time-limit=90")
    )
    assert result.ret == 11
    found = records(suite.path / "results")
    assert {name: record["status"] for name, record in found.items()} == {"1": "ok", "2": "ok", "3": "lost", "4": "ok"}
    good = [found[name] for name in "124"]
    assert len({record["details"]["process"] for record in good}) == 3
    assert all(record["environment"]["lease"]["threads"] == 1 for record in good)
