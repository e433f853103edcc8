"""Preflight in the plugin: what cannot work is skipped with its reason, warnings are kept and told at the end."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

# Imported here so that pytester, which drops what a run in this process imported, leaves them: numpy and torch cannot
# be imported twice.
import pandas  # noqa: F401
import pytest
import scipy.stats  # noqa: F401
import torch  # noqa: F401

import emobench.cases.case
import emobench.cases.checks
import emobench.data.prepare
import emobench.data.splits_profile
import emobench.devices
import emobench.measurement.clock
import emobench.models.load
import emobench.records.store
import emobench.reports.tables
import emobench.session.ending

HEADER = """
import pytest
from emobench.outcomes import metric
AXES = "model,precision,device"
"""
TIMED = """
@pytest.mark.inference
@pytest.mark.parametrize(AXES, [("all-minilm-l6-v2", "fp32", "cpu")])
def test_timed(case, model, precision, device):
    case.time(lambda: sum(range(1000)))
"""
TRAINED = """
@pytest.mark.finetune
@pytest.mark.parametrize(AXES + ",dataset,method", [("all-minilm-l6-v2", "fp32", "cpu", "tickets", "full")])
def test_trained(case, model, precision, device, dataset, method):
    from emobench.recipes.finetune import material

    material(case)
    case.measure(lambda ready, seed: None, prepare=lambda seed: None)
    case.add([metric("accuracy", 0.5, n=10)])
"""
SETTINGS = """
[datasets.tickets]
path = "tickets.csv"
labels = ["billing", "sales"]
"""
ROOM = 10**13


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    # What this machine has free at the moment decides nothing here.
    monkeypatch.setattr(emobench.cases.checks, "free_memory_bytes", lambda kind: ROOM)
    monkeypatch.setattr(emobench.cases.checks, "free_bytes", lambda folder: ROOM)
    pytester.makeini("[pytest]\naddopts = -p no:cacheprovider\n")
    teams = ["billing"] * 200 + ["sales"] * 15
    rows = [f"ticket {n} is about {team} number {n * 7},{team}" for n, team in enumerate(teams)]
    (pytester.path / "tickets.csv").write_text("text,label\n" + "\n".join(rows) + "\n")
    (pytester.path / "emobench.toml").write_text(SETTINGS)
    return pytester


def run(suite: pytest.Pytester, body: str, *arguments: str) -> pytest.RunResult:
    suite.makepyfile(test_suite=HEADER + body)
    given = ["--emo-profile=smoke", "--benchmark-storage=file://./results", "--emo-reruns=0", "-p", "no:xdist"]
    return suite.runpytest_inprocess(*given, "--emo-set=spread_limit=none", *arguments)


def records(suite: pytest.Pytester) -> list[Any]:
    (path,) = sorted(suite.path.glob("results/*/[0-9]*.json"))[-1:]
    content = json.loads(Path(path).read_text())
    timed = [row["extra_info"]["emobench"] for row in content["benchmarks"]]
    return timed + content["emobench"]["unmeasured"]


def test_warnings_are_in_the_record_and_in_the_summary(suite: pytest.Pytester) -> None:
    """A data set with uneven classes: the record keeps the whole finding, the end of the run a line with its count."""
    result = run(suite, TRAINED)
    result.assert_outcomes(passed=1)
    (record,) = records(suite)
    (found,) = [item for item in record["details"]["preflight"] if item["check"] == "imbalance"]
    assert found["level"] == "warn"
    assert found["silence"] == "--emo-silence imbalance"
    assert found["numbers"]["majority_accuracy"] > 0.8
    text = " ".join(result.stdout.str().split())
    assert "checked before each case" in text
    assert "warn, imbalance, 1 case: class 'billing' of tickets has" in text


@pytest.mark.slow
def test_a_case_without_findings_says_nothing(suite: pytest.Pytester) -> None:
    """A latency case with room to spare has an empty list, and the summary no lines of checks."""
    result = run(suite, TIMED)
    result.assert_outcomes(passed=1)
    assert records(suite)[0]["details"]["preflight"] == []
    assert "checked before each case" not in result.stdout.str()


@pytest.mark.slow
@pytest.mark.parametrize("switch", ["option", "file"])
def test_one_switch_silences_a_check(suite: pytest.Pytester, switch: str) -> None:
    """By the option or by the file, a silenced check is neither asked nor told."""
    if switch == "file":
        (suite.path / "emobench.toml").write_text('silence = ["imbalance"]\n' + SETTINGS)
    result = run(suite, TRAINED, *(["--emo-silence=imbalance"] if switch == "option" else []))
    result.assert_outcomes(passed=1)
    assert "imbalance" not in {item["check"] for item in records(suite)[0]["details"]["preflight"]}
    assert "imbalance" not in result.stdout.str().partition("EmoBench =")[2]


def test_a_check_that_there_is_not_is_refused(suite: pytest.Pytester) -> None:
    """A wrong name after --emo-silence ends the session before anything is collected, with the nearest name."""
    result = run(suite, TIMED, "--emo-silence=imbalanced")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*unknown check to silence: 'imbalanced'*did you mean 'imbalance'?"])


@pytest.mark.parametrize("body", [TIMED, TRAINED], ids=["timed", "trained"])
def test_what_will_not_fit_is_a_result_before_anything_is_loaded(
    suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, body: str
) -> None:
    """Too little memory: skipped as does_not_fit with both numbers and the switch, and the case's work is not begun."""
    monkeypatch.setattr(emobench.cases.checks, "free_memory_bytes", lambda kind: 1_000_000)
    result = run(suite, body, "-rs")
    result.assert_outcomes(skipped=1)
    (record,) = records(suite)
    assert record["status"] == "does_not_fit"
    assert "needs about" in record["reasons"][0]
    assert "cpu has 1 MB free" in record["reasons"][0]
    assert "--emo-silence does-not-fit" in record["reasons"][0]
    assert record["details"]["preflight"][0]["numbers"]["free_bytes"] == 1_000_000
    assert "accuracy" not in record["metrics"]


@pytest.mark.slow
def test_the_memory_check_can_be_silenced(suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever knows better runs the case all the same."""
    monkeypatch.setattr(emobench.cases.checks, "free_memory_bytes", lambda kind: 1_000_000)
    run(suite, TIMED, "--emo-silence=does-not-fit").assert_outcomes(passed=1)


@pytest.mark.parametrize(("fast", "taken"), [(True, "bf16"), (False, "fp32")])
def test_what_cannot_work_is_skipped_with_its_reason(
    suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, fast: bool, taken: str
) -> None:
    """A combination that is not run is skipped before it starts, grouped with its fix, and leaves no record."""
    found = emobench.devices.find_device("cpu")
    assert found is not None
    monkeypatch.setattr(emobench.cases.checks, "find_device", lambda kind: replace(found, fast_bf16=fast))
    result = run(suite, TIMED.replace('"fp32"', '"fp16"'))
    result.assert_outcomes(skipped=1)
    text = " ".join(result.stdout.str().split())
    assert (
        "1 skipped: precision fp16 on cpu is not run (fp16 has no fast kernels on the cpu; take bf16 or fp32)" in text
    )
    assert f'take precision {taken}: -k "{taken}"' in text
    assert not list(suite.path.glob("results/*/[0-9]*.json"))


def test_a_full_disk_is_told_before_the_run(suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where less is free than the case writes, it does not start: a full disk would lose the run."""
    monkeypatch.setattr(emobench.cases.checks, "free_bytes", lambda folder: 10)
    result = run(suite, TRAINED)
    result.assert_outcomes(skipped=1)
    assert "a full disk loses the run" in " ".join(result.stdout.str().split())


@pytest.mark.parametrize("count", ["0", "1001", "1000000000"])
def test_impossible_numbers_of_seeds_are_refused(suite: pytest.Pytester, count: str) -> None:
    """No seed, and more than anybody could run, are one line before anything is collected."""
    result = run(suite, TIMED, f"--emo-seeds={count}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*--emo-seeds {count}; *; give 1 or more, up to 1000"])
