"""The plugin through pytester: what is saved, how cases end, what is refused, what the screen says."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

# Imported here so that pytester, which drops what a run in this process imported, leaves them: numpy and torch cannot
# be imported twice.
import scipy.stats  # noqa: F401
import torch  # noqa: F401

import emobench.cases.case
import emobench.collector
import emobench.measurement.clock
import emobench.measurement.usage
import emobench.models.locate
import emobench.records.store
import emobench.reports.tables
from emobench.cases.names import file_name
from emobench.records.predictions import read_predictions
from tests.strict import LOADED, WORKERS, strict_ini

HEADER = """
import pytest
from emobench.outcomes import metric
pytestmark = pytest.mark.inference
one = pytest.mark.parametrize("model,precision,device,batch_size", [("all-minilm-l6-v2", "fp32", "cpu", 1)])
"""
GOOD = """
@one
def test_good(case, model, precision, device, batch_size):
    case.time(lambda: sum(range(1000)))
    case.add([metric("accuracy", 0.75, ci=(0.7, 0.8), n=400)])
"""
STORAGE = "--benchmark-storage=file://./results"


@pytest.fixture
def suite(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makeini(strict_ini(WORKERS, LOADED))
    return pytester


def run(suite: pytest.Pytester, body: str, *arguments: str) -> pytest.RunResult:
    suite.makepyfile(test_suite=HEADER + body)
    return suite.runpytest_inprocess("--emo-profile=smoke", STORAGE, "-p", "no:xdist", *arguments)


def saved(suite: pytest.Pytester) -> list[Path]:
    return sorted(suite.path.glob("results/*/[0-9]*.json"))


def content(suite: pytest.Pytester) -> Any:
    def refuse(text: str) -> None:
        raise AssertionError(f"{text} is not JSON")

    return json.loads(saved(suite)[-1].read_text(), parse_constant=refuse)


def test_every_run_is_saved_with_its_record(suite: pytest.Pytester) -> None:
    """Without being asked, a run is saved in pytest-benchmark's form: raw rounds, the record, flat mirrors."""
    run(suite, GOOD).assert_outcomes(passed=1)
    (row,) = content(suite)["benchmarks"]
    record = row["extra_info"]["emobench"]
    assert record["schema"] == 1
    assert record["status"] == "ok"
    assert record["case"]["id"] == "inference[all-minilm-l6-v2-fp32-cpu-b1]"
    assert record["metrics"]["accuracy"] == {
        "value": 0.75,
        "unit": "share",
        "better": "higher",
        "ci": [0.7, 0.8],
        "n": 400,
    }
    assert row["extra_info"]["accuracy"] == 0.75
    assert len(row["stats"]["data"]) == row["stats"]["rounds"] >= 10
    assert content(suite)["emobench"]["manifest"] == ["inference[all-minilm-l6-v2-fp32-cpu-b1]"]


@pytest.mark.slow
def test_imports_are_kept_out_of_collections_while_cases_run(
    suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once, before the first case, until the session ends: what a case itself leaves is collected."""
    done: list[str] = []
    monkeypatch.setattr(gc, "freeze", lambda: done.append("freeze"))
    monkeypatch.setattr(gc, "unfreeze", lambda: done.append("unfreeze"))
    monkeypatch.setattr(gc, "get_freeze_count", lambda: emobench.collector._AT_START + len(done))
    body = GOOD + "\n@one\ndef test_better(case, model, precision, device, batch_size): case.time(lambda: None)\n"
    run(suite, body).assert_outcomes(passed=2)
    assert done == ["freeze", "unfreeze"]


TWO_OF_ONE = """
from types import SimpleNamespace
import numpy as np

def predict(case, first):
    case.time(lambda: None)
    case.encoded = SimpleNamespace(fingerprint="d", class_names=("a", "b"), train=())
    probabilities = np.array([[first, 1 - first], [0.1, 0.9]])
    case.predictions.append((0, SimpleNamespace(labels=np.array([0, 1]), probabilities=probabilities)))

@one
def test_one(case, model, precision, device, batch_size): predict(case, 0.25)
@one
def test_other(case, model, precision, device, batch_size): predict(case, 0.75)
"""


def test_two_tests_of_one_case_keep_their_own_files(suite: pytest.Pytester) -> None:
    """Predictions of one test are not those of another that measures the same case."""
    run(suite, TWO_OF_ONE).assert_outcomes(passed=2)
    (folder,) = suite.path.glob("results/runs/*")
    found = {}
    for row in content(suite)["benchmarks"]:
        name = row["extra_info"]["emobench"]["artifacts"]["predictions_seed0"]
        found[row["name"].partition("[")[0]] = read_predictions(folder / name)["p_a"][0]
    assert found == {"test_one": pytest.approx(0.25), "test_other": pytest.approx(0.75)}


def test_files_of_the_shipped_benchmarks_have_the_case_as_their_name() -> None:
    """Six digits more tell what another test left, the same ones each time."""
    case = "finetune[tiny-lora-fp32-cpu]"
    shipped = file_name(case, "benchmarks/test_finetune.py::test_finetune[tiny-lora-fp32-cpu]")
    assert shipped == file_name(case) == "finetune__tiny-lora-fp32-cpu"
    own = file_name(case, "benchmarks/test_own.py::test_finetune[tiny-lora-fp32-cpu]")
    assert own == file_name(case, "benchmarks/test_own.py::test_finetune[tiny-lora-fp32-cpu]")
    assert own.startswith(f"{shipped}-")
    assert own != file_name(case, "benchmarks/test_own.py::test_other[tiny-lora-fp32-cpu]")


def test_a_user_who_froze_is_left_alone(suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where something is kept out of collections already, nothing is added and nothing taken away."""
    monkeypatch.setattr(gc, "freeze", lambda: pytest.fail("frozen once more"))
    monkeypatch.setattr(gc, "unfreeze", lambda: pytest.fail("unfrozen"))
    monkeypatch.setattr(gc, "get_freeze_count", lambda: emobench.collector._AT_START + 1)
    run(suite, GOOD).assert_outcomes(passed=1)


@pytest.mark.slow
def test_a_second_run_compares_with_the_first(suite: pytest.Pytester) -> None:
    """``--benchmark-compare=0001`` and ``pytest-benchmark compare`` read what we saved; nothing is overwritten."""
    run(suite, GOOD)
    result = run(suite, GOOD, "--benchmark-compare=0001")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        ["*test_good*(0001*", "*saved: results/*/0002_*.json (compare with --benchmark-compare=0002)"]
    )
    assert [path.name[:4] for path in saved(suite)] == ["0001", "0002"]
    compare = subprocess.run(
        [sys.executable, "-m", "pytest_benchmark", "--storage", "file://./results", "compare", "0001", "0002"],
        capture_output=True,
        text=True,
        cwd=suite.path,
        check=True,
    )
    assert compare.stdout.count("test_good") == 2


@pytest.mark.slow
def test_comparing_with_nothing_saved_is_no_crash(suite: pytest.Pytester) -> None:
    """A first ``--benchmark-compare`` warns and runs, though warnings are errors."""
    result = run(suite, GOOD, "--benchmark-compare")
    result.assert_outcomes(passed=1)
    assert saved(suite)


@pytest.mark.slow
def test_a_broken_case_leaves_a_record_and_the_run_goes_on(suite: pytest.Pytester) -> None:
    """An exception inside the timed call: FAILED, a record that says so and holds no time, and the next case runs."""
    body = (
        """
@one
def test_bad(case, model, precision, device, batch_size):
    case.time(lambda: 1 / 0)
"""
        + GOOD
    )
    result = run(suite, body)
    result.assert_outcomes(passed=1, failed=1)
    (row,) = content(suite)["benchmarks"]
    assert row["name"].startswith("test_good")
    (record,) = content(suite)["emobench"]["unmeasured"]
    assert record["status"] == "failed"
    assert record["reasons"] == ["ZeroDivisionError: division by zero"]


@pytest.mark.slow
def test_running_out_of_memory_is_a_result(suite: pytest.Pytester) -> None:
    """Out of memory, in the timed call or before it: skipped, recorded as does_not_fit, and the run goes on."""
    body = (
        """
@one
def test_large(case, model, precision, device, batch_size):
    def call():
        import torch
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 4 GiB")
    case.time(call)

@one
def test_larger(case, model, precision, device, batch_size):
    import torch
    torch.empty(1 << 55, dtype=torch.uint8)
"""
        + GOOD
    )
    result = run(suite, body, "-rs")
    result.assert_outcomes(passed=1, skipped=2)
    result.stdout.fnmatch_lines(["SKIPPED*does not fit: OutOfMemoryError: CUDA out of memory*"])
    assert [record["status"] for record in content(suite)["emobench"]["unmeasured"]] == ["does_not_fit"] * 2


def test_a_metric_that_is_not_finite_fails_the_case(suite: pytest.Pytester) -> None:
    """NaN never reaches the file: the status is invalid, the reason names the metric, the test fails."""
    body = """
@one
def test_nan(case, model, precision, device, batch_size):
    case.time(lambda: None)
    case.add([metric("accuracy", float("nan"))])
"""
    result = run(suite, body)
    result.assert_outcomes(failed=1)
    record = content(suite)["benchmarks"][0]["extra_info"]["emobench"]
    assert record["status"] == "invalid"
    assert "accuracy" in record["reasons"][0]
    assert "accuracy" not in record["metrics"]


def test_a_bad_loss_is_invalid(suite: pytest.Pytester) -> None:
    """A NaN loss stops the case as invalid, with the step named, and leaves no time behind."""
    body = """
from emobench.errors import NonFiniteLossError
@one
def test_loss(case, model, precision, device, batch_size):
    def call():
        raise NonFiniteLossError("the training loss is nan at step 5", why="w", fix="f")
    case.time(call)
"""
    run(suite, body).assert_outcomes(failed=1)
    (record,) = content(suite)["emobench"]["unmeasured"]
    assert record["status"] == "invalid"
    assert record["reasons"] == ["the training loss is nan at step 5; w; f"]
    assert content(suite)["benchmarks"] == []


@pytest.mark.slow
def test_an_assertion_after_the_timed_call_keeps_the_row(suite: pytest.Pytester) -> None:
    """A check that fails after the measurement leaves the measured row, with status failed."""
    body = GOOD.replace("test_good", "test_check") + "    assert 1 == 2\n"
    run(suite, body).assert_outcomes(failed=1)
    (row,) = content(suite)["benchmarks"]
    assert row["extra_info"]["emobench"]["status"] == "failed"


@pytest.mark.slow
def test_an_interrupt_keeps_what_is_finished(suite: pytest.Pytester) -> None:
    """Ctrl-C: the finished case is saved, the running one is there as interrupted."""
    body = (
        GOOD
        + """
@one
def test_stop(case, model, precision, device, batch_size):
    def call():
        raise KeyboardInterrupt
    case.time(call)
"""
    )
    suite.makepyfile(test_suite=HEADER + body)
    result = suite.runpytest_subprocess("--emo-profile=smoke", STORAGE)
    assert result.ret == 2
    assert len(content(suite)["benchmarks"]) == 1
    assert [record["status"] for record in content(suite)["emobench"]["unmeasured"]] == ["interrupted"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--emo-profile=quik"], "*unknown profile 'quik'*did you mean 'quick'?*"),
        (["--emo-set", "max_lenght=3"], "*max_lenght*max_length*"),
        (["--emo-seeds", "0"], "*--emo-seeds 0; a case needs at least one seed; give 1 or more*"),
    ],
)
def test_a_bad_option_is_one_line(suite: pytest.Pytester, arguments: list[str], message: str) -> None:
    """An unknown value ends pytest with exit code 4 and one line naming the nearest known one."""
    suite.makepyfile(test_suite=HEADER + GOOD)
    result = suite.runpytest_inprocess(STORAGE, "-p", "no:xdist", *arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([message])


def test_what_cannot_run_is_skipped_with_its_reason(suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """No MPS off a Mac, no weights that are not here: skipped, grouped in a line each; no run is saved."""
    body = """
@pytest.mark.parametrize("model", ["all-minilm-l6-v2", "distilbert-base", "roberta-base"])
@pytest.mark.parametrize("precision,device,batch_size", [("fp32", "cuda", 1), ("nf4", "cuda", 1)])
def test_cuda(case, model, precision, device, batch_size):
    assert False

@pytest.mark.parametrize("model", ["distilbert-base", "roberta-base", "tinyllama-1.1b"])
@pytest.mark.parametrize("precision,device,batch_size", [("fp32", "cpu", 1)])
def test_absent(case, model, precision, device, batch_size):
    assert False
"""
    suite.makepyfile(test_suite=HEADER + body)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    result = suite.runpytest_inprocess(STORAGE, "-p", "no:xdist")
    result.assert_outcomes(skipped=9)
    result.stdout.fnmatch_lines(
        [
            "*6 skipped: no CUDA device: CUDA_VISIBLE_DEVICES hides all of them",
            "*3 skipped: weights of * not on this machine; run: emobench fetch",
            "*distilbert-base (or roberta-base, ...)",
        ]
    )
    assert not saved(suite)


@pytest.mark.slow
def test_slow_cases_are_left_out_unless_asked_for(suite: pytest.Pytester) -> None:
    """A slow case is skipped with the way to run it; ``--emo-slow`` and ``-m slow`` run it."""
    body = """
@pytest.mark.slow
@pytest.mark.parametrize("model,precision,device,batch_size", [("gemma-2-2b", "fp32", "cpu", 64)])
def test_large(case, model, precision, device, batch_size):
    case.time(lambda: None)
"""
    # The case only says what it is: whether that would fit into this machine's memory is another question.
    options = ("--emo-weights=random", "--emo-set=prompt_tokens=512", "--emo-silence=does-not-fit")
    result = run(suite, body, *options)
    result.assert_outcomes(skipped=1)
    reason = "slow on the cpu: over 10 s at the assumed rate; add --emo-slow or -m slow"
    result.stdout.fnmatch_lines([f"*1 skipped: {reason}"])
    run(suite, body, *options, "--emo-slow").assert_outcomes(passed=1)
    run(suite, body, *options, "-m", "slow").assert_outcomes(passed=1)


def test_a_parameter_called_case_is_left_alone(suite: pytest.Pytester) -> None:
    """Any suite may have a parameter of that name; it is no benchmark case."""
    suite.makepyfile("import pytest\n@pytest.mark.parametrize('case', [1, 2])\ndef test_mine(case):\n    assert case")
    suite.runpytest_inprocess("-p", "no:xdist").assert_outcomes(passed=2)


@pytest.mark.slow
def test_a_failed_save_fails_the_session(suite: pytest.Pytester) -> None:
    """A run that cannot be saved is said so, and the exit code is not 0; the journal has the record."""
    suite.path.joinpath("results").mkdir()
    machine = suite.path / "results"
    body = (
        GOOD
        + f"""
@one
def test_block(case, model, precision, device, batch_size):
    from pytest_benchmark.utils import get_machine_id
    import pathlib
    case.time(lambda: None)
    pathlib.Path({str(machine)!r}, get_machine_id()).write_text("a file where the folder should be")
"""
    )
    result = run(suite, body)
    assert result.ret == pytest.ExitCode.INTERNAL_ERROR
    result.stdout.fnmatch_lines(["*the run could not be saved: *its records are in *"])
    (journal,) = machine.glob("runs/*/journal.jsonl")
    assert journal.read_text().count('"finished"') == 2


@pytest.mark.slow
@pytest.mark.usefixtures("cpu_read_anew")
def test_the_machine_looks_the_same_at_every_look(suite: pytest.Pytester) -> None:
    """The CPU's momentary clock is not saved: it would make every comparison warn of another machine."""
    run(suite, GOOD)
    assert not [name for name in content(suite)["machine_info"]["cpu"] if name.startswith("hz_actual")]
    result = run(suite, GOOD, "--benchmark-compare=0001")
    result.stdout.no_fnmatch_line("*machine_info is different*")


def test_seeds_are_rounds_of_one_case(suite: pytest.Pytester) -> None:
    """Three seeds: three rounds, metrics averaged over them and kept per seed; preparing is not timed."""
    body = """
import time
AXES = "model,precision,device,dataset,method"
@pytest.mark.parametrize(AXES, [("all-minilm-l6-v2", "fp32", "cpu", "rotten_tomatoes-train", "head")])
@pytest.mark.finetune
def test_seeds(case, model, precision, device, dataset, method):
    def work(prepared, seed):
        assert prepared == seed * 10
        case.add([metric("accuracy", 0.5 + seed / 10)], seed=seed)
    case.measure(work, prepare=lambda seed: time.sleep(0.05) or seed * 10)
"""
    suite.makepyfile(test_suite="import pytest\nfrom emobench.outcomes import metric\n" + body)
    result = suite.runpytest_inprocess("--emo-profile=smoke", "--emo-seeds=3", STORAGE, "-p", "no:xdist")
    result.assert_outcomes(passed=1)
    (row,) = content(suite)["benchmarks"]
    assert row["stats"]["rounds"] == 3
    assert row["stats"]["max"] < 0.05
    record = row["extra_info"]["emobench"]
    assert record["metrics"]["accuracy"]["value"] == pytest.approx(0.6)
    assert [seed["accuracy"] for seed in record["details"]["per_seed"]] == pytest.approx([0.5, 0.6, 0.7])


def test_disabled_benchmarks_run_once_and_save_nothing(suite: pytest.Pytester) -> None:
    """``--benchmark-disable`` is the user's word that nothing is measured: the case runs, no run is saved."""
    body = """
@one
def test_off(case, model, precision, device, batch_size):
    from emobench.measurement.clock import latency_metrics
    assert case.time(lambda: None) == []
    assert latency_metrics([], samples=1, tokens=1) == []
"""
    result = run(suite, body, "--benchmark-disable")
    result.assert_outcomes(passed=1)
    assert not saved(suite)


def test_sizes_asked_for_hold_with_random_weights(suite: pytest.Pytester) -> None:
    """``--emo-set`` wins over the sizes that random weights bring."""
    body = """
def test_sizes(request):
    from emobench.session.lookup import session_of
    profile = session_of(request.config).settings.profile
    assert (profile.train, profile.test) == (40, 64)
"""
    run(suite, body, "--emo-weights=random", "--emo-set=train=40").assert_outcomes(passed=1)


def test_a_wrong_path_is_told_as_such(suite: pytest.Pytester) -> None:
    """A data file that is not where the settings say is skipped with its path, not with a command that cannot help."""
    suite.path.joinpath("emobench.toml").write_text('[datasets.tickets]\npath = "tikets.csv"\nlabels = ["a", "b"]\n')
    body = """
AXES = "model,precision,device,dataset,method"
@pytest.mark.parametrize(AXES, [("all-minilm-l6-v2", "fp32", "cpu", "tickets", "head")])
@pytest.mark.finetune
def test_own(case, model, precision, device, dataset, method):
    assert False
"""
    suite.makepyfile(test_suite="import pytest\n" + body)
    result = suite.runpytest_inprocess(STORAGE, "-p", "no:xdist")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["*tikets.csv*"])
    result.stdout.no_fnmatch_line("*emobench fetch*")
