"""Verbs that run cases: what pytest is given, and what becomes of its exit code."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner

from emobench.cli import app
from emobench.commands import run as running
from emobench.commands.run import both

ROOT = Path(__file__).parents[2]
SCRIPT = [sys.executable, "-c", "from emobench.cli import main; main()"]
CASE = "all-minilm-l6-v2-rotten_tomatoes-train"
ALONE = ("--emo-isolate", "--emo-time-limit=14400")
"""What has each case run in a process of its own."""


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """What pytest would have been run with, in this project; it ends with 7."""
    calls: list[tuple[str, ...]] = []

    def record(arguments: Sequence[str], *, cwd: Path) -> int:
        assert cwd == ROOT
        calls.append(tuple(arguments))
        return 7

    monkeypatch.setattr(running, "run_pytest", record)
    monkeypatch.chdir(ROOT / "tests")
    return calls


def test_options_become_the_plugins(given: list[tuple[str, ...]]) -> None:
    """Every option of ``run`` reaches pytest under the plugin's name, and what stands after -- as it is."""
    arguments = ["-k", "lora and imdb", "-m", "cpu", "--profile", "smoke", "--seeds", "3", "--slow"]
    arguments += ["--weights", "random", "--download", "--set", "train=50", "--set", "max_length=32"]
    result = CliRunner().invoke(app, ["run", *arguments, "--", "--co", "-q"])
    assert result.exit_code == 7
    assert given == [
        (
            "benchmarks",
            "-k=lora and imdb",
            "-m=cpu",
            "--emo-profile=smoke",
            "--emo-seeds=3",
            "--emo-weights=random",
            "--emo-slow",
            "--emo-download",
            "--emo-set=train=50",
            "--emo-set=max_length=32",
            *ALONE,
            "--co",
            "-q",
        )
    ]


@pytest.mark.parametrize(
    ("arguments", "mark"),
    [
        (["benchmark"], "-m=evaluation or inference or generation"),
        (["benchmark", "-m", "cpu or mps"], "-m=(evaluation or inference or generation) and (cpu or mps)"),
        (["train-all"], "-m=finetune"),
        (["train-all", "-m", "not slow"], "-m=(finetune) and (not slow)"),
    ],
)
def test_parts_of_the_matrix_are_selected_by_marker(
    given: list[tuple[str, ...]], arguments: list[str], mark: str
) -> None:
    """``benchmark`` and ``train-all`` are ``run`` with markers, inside which the user's own count."""
    CliRunner().invoke(app, arguments)
    assert given == [("benchmarks", mark, *ALONE)]


def test_no_marker_selects_everything(given: list[tuple[str, ...]]) -> None:
    """A bare ``run`` is a bare ``pytest benchmarks``, each case in a process of its own unless ``--no-isolate``."""
    CliRunner().invoke(app, ["run"])
    CliRunner().invoke(app, ["run", "--no-isolate"])
    assert given == [("benchmarks", *ALONE), ("benchmarks",)]
    assert both(None, None) is None


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (
            ["--profile", "quik"],
            "unknown profile 'quik'; known are full, quick, smoke, standard; did you mean 'quick'?",
        ),
        (
            ["--weights", "randm"],
            "unknown kind of weights 'randm'; known are pretrained, random; did you mean 'random'?",
        ),
        (["--seeds", "0"], "--seeds 0; a case needs at least one seed; give 1 or more"),
        (["--set", "max_lenght=3"], "did you mean 'max_length'?"),
        (["--set", "train=many"], "setting train=many cannot be used; train takes a whole number above 0 or none"),
    ],
)
def test_a_wrong_option_value_is_one_line(given: list[tuple[str, ...]], arguments: list[str], text: str) -> None:
    """Names and values are checked before pytest is started."""
    result = CliRunner().invoke(app, ["run", *arguments])
    assert result.exit_code == 2
    assert text in result.stderr
    assert result.stderr.count("\n") == 1
    assert given == []


@pytest.mark.parametrize(
    ("arguments", "passed"),
    [
        (["--time-limit", "60"], ["--emo-isolate", "--emo-time-limit=60"]),
        (["--time-limit", "0"], ["--emo-isolate"]),
        (["--executor", "local"], ["--emo-executor=local", "--emo-time-limit=14400"]),
        (
            ["--executor", "ray", "--address", "auto", "--gpus-per-case", "0.5", "--group-by", "model"],
            [
                *("--emo-executor=ray", "--emo-time-limit=14400", "--emo-address=auto"),
                *("--emo-gpus-per-case=0.5", "--emo-group-by=model"),
            ],
        ),
        (
            ["--executor", "slurm", "--slurm", "slurm_partition=gpu", "--cpus-per-case", "4"],
            [
                *("--emo-executor=slurm", "--emo-time-limit=14400", "--emo-cpus-per-case=4"),
                "--emo-slurm=slurm_partition=gpu",
            ],
        ),
        (["--shard", "2/4", "--no-isolate"], ["--emo-shard=2/4"]),
        (["--group-by", "model", "--no-isolate"], ["--emo-group-by=model"]),
        (["--resume"], [*ALONE, "--emo-resume"]),
    ],
)
def test_where_cases_run(given: list[tuple[str, ...]], arguments: list[str], passed: list[str]) -> None:
    """Executors, limits and shards reach the plugin under its names."""
    result = CliRunner().invoke(app, ["run", *arguments])
    assert result.exit_code == 7, result.output
    assert given == [("benchmarks", *passed)]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--executor", "rai"], "unknown executor 'rai'; known are local, ray, slurm; did you mean 'ray'?"),
        (["--group-by", "models"], "unknown grouping 'models'; known are case, model; did you mean 'model'?"),
        (["--shard", "5/4"], "shard '5/4' cannot be used; a shard is I/N with whole numbers and I from 1 to N; "),
        (["--time-limit", "-1"], "--time-limit -1; it is below 0; give seconds, 0 for no limit"),
        (
            ["--no-isolate", "--executor", "ray"],
            "--no-isolate and --executor ray exclude each other; only a process of its own can be ended, or run ",
        ),
        (["--no-isolate", "--time-limit", "5"], "--no-isolate and --time-limit exclude each other; "),
        (
            ["--group-by", "model", "--time-limit", "5"],
            "--group-by model and a process for each case exclude each other; on this machine a case has a process of "
            "its own unless it is told otherwise; add --no-isolate, or --executor ray or slurm",
        ),
    ],
)
def test_wrong_places_are_one_line(given: list[tuple[str, ...]], arguments: list[str], text: str) -> None:
    """What cannot be is refused before pytest is started."""
    result = CliRunner().invoke(app, ["run", *arguments])
    assert result.exit_code == 2
    assert text in result.stderr
    assert result.stderr.count("\n") == 1
    assert given == []


PACKAGED = (
    *("-p", "emobench.session.suite", "--benchmark-storage=file://./results"),
    *("--benchmark-columns=min,median,max,rounds", "--benchmark-sort=name"),
)
"""What has pytest take the package's benchmarks, as in a clone."""


@pytest.mark.parametrize("settings", [(), ("emobench.toml",), ("sub/emobench.toml", "benchmarks/", "pyproject.toml")])
def test_without_a_project_the_packages_benchmarks_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: tuple[str, ...]
) -> None:
    """In any folder, the nearest one with settings, whose results are kept there; one in a project is no project."""
    calls: list[tuple[tuple[str, ...], Path]] = []
    monkeypatch.setattr(running, "run_pytest", lambda given, *, cwd: calls.append((tuple(given), cwd)) or 0)
    (tmp_path / "sub" / "below").mkdir(parents=True)
    for name in settings:
        (tmp_path / name).mkdir() if name.endswith("/") else (tmp_path / name).touch()
    root = next((tmp_path / name for name in settings), tmp_path / "sub/below/x").parent
    monkeypatch.chdir(tmp_path / "sub" / "below")
    assert CliRunner().invoke(app, ["run", "-k", "lora"]).exit_code == 0
    expected = ("benchmarks", *PACKAGED, f"--rootdir={root}", "-k=lora", *ALONE)
    assert calls == [(expected, root)]


def test_own_benchmarks_are_run_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with settings and benchmarks of its own is a project: nothing of the package's is asked for."""
    calls: list[tuple[tuple[str, ...], Path]] = []
    monkeypatch.setattr(running, "run_pytest", lambda given, *, cwd: calls.append((tuple(given), cwd)) or 0)
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "emobench.toml").touch()
    monkeypatch.chdir(tmp_path / "benchmarks")
    assert CliRunner().invoke(app, ["run"]).exit_code == 0
    assert calls == [(("benchmarks", *ALONE), tmp_path)]


def test_train_runs_one_case(given: list[tuple[str, ...]]) -> None:
    """``train`` names exactly one test, which runs even if it is slow."""
    arguments = ["--data", "rotten_tomatoes-train", "--method", "lora", "--precision", "bf16", "--device", "cpu"]
    result = CliRunner().invoke(app, ["train", "all-minilm-l6-v2", *arguments, "--seeds", "2"])
    assert result.exit_code == 7, result.output
    node = f"benchmarks/test_finetune.py::test_finetune[{CASE}-lora-bf16-cpu]"
    assert given == [(node, "--emo-slow", "--emo-seeds=2")]


@pytest.mark.parametrize(("fast", "precision"), [(True, "bf16"), (False, "fp32")])
def test_the_precision_follows_the_device(
    given: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch, fast: bool, precision: str
) -> None:
    """Without ``--precision`` bf16 is taken only where the CPU is fast at it."""
    monkeypatch.setattr("emobench.devices.cpu_has_fast_bf16", lambda: fast)
    arguments = ["--data", "rotten_tomatoes-train", "--method", "head", "--device", "cpu"]
    CliRunner().invoke(app, ["train", "all-minilm-l6-v2", *arguments])
    assert given[0][0].endswith(f"-head-{precision}-cpu]")


GOOD = {"--data": "rotten_tomatoes-train", "--method": "lora", "--precision": "fp32", "--device": "cpu"}


@pytest.mark.parametrize(
    ("model", "changed", "code", "text"),
    [
        ("all-minilm", {}, 2, "unknown model 'all-minilm'; known are all-minilm-l6-v2,"),
        ("all-minilm-l6-v2", {"--data": "rotten"}, 2, "did you mean 'rotten_tomatoes'?"),
        ("all-minilm-l6-v2", {"--method": "lara"}, 2, "unknown method 'lara'; known are full, head, lora; did you"),
        ("all-minilm-l6-v2", {"--precision": "fp23"}, 2, "did you mean 'fp32'?"),
        ("all-minilm-l6-v2", {"--device": "gpu"}, 2, "unknown device 'gpu'; known are cpu, cuda, mps"),
        ("all-minilm-l6-v2", {"--precision": "nf4"}, 2, "method 'lora' at precision 'nf4' on device 'cpu' is not run"),
        ("intent-qwen2-0.5b", {}, 2, "run: emobench evaluate intent-qwen2-0.5b --data rotten_tomatoes-train"),
        ("distilbert-base", {}, 1, "run: emobench fetch distilbert-base"),
        ("all-minilm-l6-v2", {"--data": "imdb"}, 1, "run: emobench fetch imdb"),
        ("all-minilm-l6-v2", {"--device": "cuda"}, 1, "CUDA_VISIBLE_DEVICES hides all of them"),
    ],
)
def test_a_case_that_cannot_be_trained_is_refused(
    given: list[tuple[str, ...]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    model: str,
    changed: dict[str, str],
    code: int,
    text: str,
) -> None:
    """Names, combination, weights, data and device are checked: a lone case that is skipped would look finished."""
    monkeypatch.setenv("EMOBENCH_CACHE", str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    arguments = [word for pair in (GOOD | changed).items() for word in pair]
    result = CliRunner().invoke(app, ["train", model, *arguments])
    assert result.exit_code == code, result.output
    assert text in result.stderr
    assert result.stderr.count("\n") == 1
    assert given == []


@pytest.mark.slow
def test_the_node_exists() -> None:
    """The test that ``train`` names is one that pytest collects, and the only one."""
    arguments = ["--data", "rotten_tomatoes-train", "--method", "full", "--precision", "fp32", "--device", "cpu"]
    command = [*SCRIPT, "train", "all-minilm-l6-v2", *arguments, "--", "--collect-only", "-q", "-p", "no:cacheprovider"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    nodes = [line for line in result.stdout.splitlines() if "::" in line]
    assert nodes == [f"benchmarks/test_finetune.py::test_finetune[{CASE}-full-fp32-cpu]"]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project whose benchmarks pass, fail and wait."""
    (tmp_path / "pyproject.toml").write_text("[tool.pytest.ini_options]\naddopts = ['-p', 'no:cacheprovider']\n")
    folder = tmp_path / "benchmarks"
    folder.mkdir()
    (folder / "test_some.py").write_text(
        "import pathlib, time\n"
        "def test_good(): pass\n"
        "def test_bad(): assert False\n"
        "def test_wait():\n"
        "    pathlib.Path('started').touch()\n"
        "    time.sleep(60)\n"
    )
    (folder / "conftest.py").write_text(
        "import pathlib\ndef pytest_sessionfinish(exitstatus): pathlib.Path('finished').write_text(str(exitstatus))\n"
    )
    return tmp_path


@pytest.mark.slow
def test_pytests_exit_code_is_passed_on(project: Path) -> None:
    """1 for a failed case, 4 for wrong usage, 5 for nothing selected; none becomes another."""
    wanted = {"test_bad": 1, "(": 4, "nothing": 5}
    running = {
        name: subprocess.Popen(
            [*SCRIPT, "run", "-k", name], cwd=project, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for name in wanted
    }
    assert {name: process.wait(60) for name, process in running.items()} == wanted


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals are sent as POSIX has them")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_lets_pytest_finish(project: Path, number: signal.Signals, code: int) -> None:
    """An interrupted run ends with 130 and a terminated one with 143; pytest's session is finished in both.

    Also where the shell started it with SIGINT ignored, as it does with background jobs.
    """
    command = ["sh", "-c", 'trap "" INT; exec "$@"', "sh", *SCRIPT, "run", "-k", "test_wait"]
    with subprocess.Popen(command, cwd=project, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 30
        while not (project / "started").exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(number)
        assert process.wait(30) == code
    assert (project / "finished").read_text() == "2"
