"""The workflows that users copy: their commands are real, and their steps do what they say."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from emobench.catalogue.limits import find_limits
from emobench.catalogue.profiles import find_profile
from emobench.cli import app
from tests.lightly import lightly

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
BENCHMARK = ROOT / ".github" / "workflows" / "benchmark.yml"


def workflow(path: Path) -> dict[str, Any]:
    found = yaml.safe_load(path.read_text())
    assert isinstance(found, dict)
    return found


def steps(path: Path) -> list[dict[str, Any]]:
    return [step for job in workflow(path)["jobs"].values() for step in job["steps"]]


def emobench_calls(script: str) -> list[list[str]]:
    """Arguments of every ``emobench`` in a script, as far as they are literal; variables stay as they are."""
    joined = re.sub(r"\\\n\s*", " ", script)
    found = []
    for text in re.findall(r"(?:\.venv/bin/)?\bemobench ((?:[^|>&;()\n]|\"[^\"]*\"|\([^)]*\))*)", joined):
        found.append(shlex.split(text.replace("$(", "").rstrip(")")))
    return found


CALLS = [
    pytest.param(call, id=f"{path.stem}-{call[0]}-{number}")
    for path in WORKFLOWS
    for number, call in enumerate(
        call for step in steps(path) if "run" in step for call in emobench_calls(step["run"]) if call
    )
]


def test_there_are_workflows_with_commands() -> None:
    """The tests below have something to look at."""
    assert [path.name for path in WORKFLOWS] == ["benchmark.yml", "ci.yml", "nightly.yml"]
    verbs = {call.values[0][0] for call in CALLS}
    assert {"run", "bless", "compare", "gate"} <= verbs


@pytest.mark.parametrize("call", CALLS)
def test_every_command_is_one_the_command_line_takes(call: list[str]) -> None:
    """The verb exists, and its options and arguments parse."""
    group: Any = get_command(app)
    assert call[0] in group.commands, f"emobench has no verb {call[0]}"
    expanded: list[str] = []
    for argument in call[1:]:
        if argument == "${limits[@]}":
            env = workflow(BENCHMARK)["env"]
            expanded += [*shlex.split(env["LIMITS"]), *shlex.split(env["LATENCY_LIMIT"]), "--no-times"]
        elif argument == "${across[@]}":
            expanded.append("--across")
        else:
            expanded.append(argument)
    with group.commands[call[0]].make_context(call[0], expanded) as context:
        assert context.params


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_read_only_and_need_no_secret(path: Path) -> None:
    """Contents may be read and nothing else, no secret is named, credentials do not stay, and forks are served."""
    found = workflow(path)
    assert found["permissions"] == {"contents": "read"}
    assert all("permissions" not in job for job in found["jobs"].values())
    text = path.read_text()
    assert "secrets." not in text
    assert "pull_request_target" not in text
    for step in steps(path):
        if str(step.get("uses", "")).startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_actions_are_pinned_to_a_major_version(path: Path) -> None:
    """Every action names one; all are GitHub's own."""
    for step in steps(path):
        if "uses" in step:
            assert re.fullmatch(r"actions/[a-z-]+@v\d+", step["uses"])


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_scripts_take_no_text_of_the_event(path: Path) -> None:
    """A title or a branch name that is pasted into a script would run as code; values come by environment."""
    for step in steps(path):
        assert "${{" not in step.get("run", "")


def test_the_settings_mean_something() -> None:
    """The profile is one, and every limit can be read and has a direction."""
    env = workflow(BENCHMARK)["env"]
    assert find_profile(env["PROFILE"]).id == "smoke"
    assert int(env["REPEATS"]) >= 2
    limits = [text for text in shlex.split(f"{env['LIMITS']} {env['LATENCY_LIMIT']}") if text != "--limit"]
    find_limits({}, limits)
    assert "latency" not in env["LIMITS"]


def test_ci_runs_what_the_repository_says() -> None:
    """One script for both."""
    assert [step["run"] for step in steps(ROOT / ".github/workflows/ci.yml") if "run" in step] == [".ci/run"]
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


PROJECT = """
[project]
name = "tiny"
version = "0"
[tool.pytest.ini_options]
addopts = ["--benchmark-storage=file://./results"]
"""
MATRIX = """
import time
import pytest
from emobench.outcomes import metric
pytestmark = pytest.mark.inference

@pytest.mark.parametrize("model,precision,device,batch_size", [("all-minilm-l6-v2", "fp32", "cpu", 1)])
def test_inference(case, model, precision, device, batch_size):
    from emobench.measurement.clock import latency_metrics

    seconds = case.time(lambda: time.sleep({seconds}))
    case.add(latency_metrics(seconds, samples=1, tokens=1))
    case.add([metric("accuracy", {accuracy}, ci=({accuracy} - 0.001, {accuracy} + 0.001), n=400)])
"""


class Runner:
    """A folder as a GitHub runner has it after checkout; runs the steps of the workflow in their order."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.outputs: dict[str, dict[str, str]] = {}
        self.codes: dict[str, int] = {}
        self.log = ""

    def check_out(self, side: str, matrix: str | None) -> None:
        place = self.folder / side
        (place / ".venv").mkdir(parents=True)
        (place / ".venv" / "bin").symlink_to(Path(sys.executable).parent)
        (place / "pyproject.toml").write_text(PROJECT)
        if matrix is not None:
            (place / "benchmarks").mkdir()
            (place / "benchmarks" / "test_tiny.py").write_text(matrix)
        merged = [["commit", "-qm", "what it was merged into"], ["commit", "-qm", side, "--allow-empty"]]
        for command in (["init", "-q"], ["add", "pyproject.toml"], *merged):
            identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
            subprocess.run(["git", *identity, *command], cwd=place, check=True)

    def run(self, *, repeats: int = 2) -> int:
        """The exit code of the first step that fails; 0 where none does. Nothing is installed: it is there already."""
        found = workflow(BENCHMARK)
        own = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "COV_"))}
        own |= {name: str(value) for name, value in found["env"].items()} | {"SELECT": "inference"}
        own = lightly({**own, "REPEATS": str(repeats)})
        for step in steps(BENCHMARK):
            name = step.get("name", "")
            if "run" not in step or name == "Install both" or not self._wanted(step.get("if", "")):
                continue
            output = self.folder / f"output-{len(self.codes)}"
            output.touch()
            given = {key: self._filled(str(value)) for key, value in step.get("env", {}).items()}
            done = subprocess.run(
                ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
                cwd=self.folder / step.get("working-directory", "."),
                env={**own, **given, "GITHUB_OUTPUT": str(output), "GITHUB_STEP_SUMMARY": str(self.summary_file)},
                capture_output=True,
                text=True,
            )
            self.codes[name] = done.returncode
            self.log += f"== {name}\n{done.stdout}{done.stderr}"
            pairs = (line.split("=", 1) for line in output.read_text().splitlines())
            self.outputs[step.get("id", "")] = dict(pairs)
            if done.returncode:
                return done.returncode
        return 0

    @property
    def summary_file(self) -> Path:
        return self.folder / "summary.md"

    @property
    def summary(self) -> str:
        return self.summary_file.read_text() if self.summary_file.exists() else ""

    def _filled(self, text: str) -> str:
        return re.sub(r"\$\{\{ steps\.(\w+)\.outputs\.(\w+) \}\}", lambda m: self._output(m[1], m[2]), text)

    def _output(self, step: str, name: str) -> str:
        return self.outputs.get(step, {}).get(name, "")

    def _wanted(self, condition: str) -> bool:
        if not condition:
            return True
        match = re.fullmatch(r"steps\.(\w+)\.outputs\.(\w+) != ''", condition)
        assert match, f"the test does not know the condition {condition!r}"
        return self._output(match[1], match[2]) != ""


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    return Runner(tmp_path)


def matrix(*, seconds: float = 0.02, accuracy: float = 0.8) -> str:
    return MATRIX.format(seconds=seconds, accuracy=accuracy)


@pytest.mark.nightly
def test_a_first_pull_request_is_told_that_nothing_was_gated(runner: Runner) -> None:
    """A base without benchmarks: head runs, nothing is compared, and the summary says so."""
    runner.check_out("base", None)
    runner.check_out("head", matrix())
    assert runner.run(repeats=1) == 0, runner.log
    assert runner.summary == "The base has no benchmarks yet: nothing was gated.\n"
    assert "Gate" not in runner.codes


@pytest.mark.slow
def test_a_base_that_breaks_is_not_passed_over(runner: Runner) -> None:
    """Benchmarks that fail on the base, and no blessed baseline: exit 12, not a green check.

    The base is the commit that head was merged into, not the one that the event names.
    """
    runner.check_out("base", "def test_inference():\n    raise SystemExit(3)\n")
    runner.check_out("head", matrix())
    assert runner.run(repeats=1) == 12, runner.log
    assert "nothing to gate against" in runner.log
    first = subprocess.run(
        ["git", "rev-list", "--max-parents=0", "HEAD"], cwd=runner.folder / "head", capture_output=True, text=True
    )
    assert runner.outputs["base"] == {"sha": first.stdout.strip()}
    (checkout,) = (step for step in steps(BENCHMARK) if step.get("name") == "Check out base")
    assert checkout["with"]["ref"] == "${{ steps.base.outputs.sha }}"


@pytest.mark.slow
def test_a_slower_head_fails_and_an_equal_one_does_not(runner: Runner) -> None:
    """End to end: both run twice in turn, the table stands in the summary, a planted slowdown exits with 10."""
    runner.check_out("base", matrix())
    runner.check_out("head", matrix())
    assert runner.run() == 0, runner.log
    assert len(list(runner.folder.glob("runs/*/*/[0-9]*.json"))) == 4
    assert "latency not gated" not in runner.summary
    assert re.search(r"latency\\?_p50\\?_seconds, ms \|.*\| 15% \| same", runner.summary), runner.summary
    (runner.folder / "head" / "benchmarks" / "test_tiny.py").write_text(matrix(seconds=0.05))
    runner.summary_file.unlink()
    assert runner.run(repeats=1) == 10, runner.log
    assert "worse" in runner.summary


@pytest.mark.nightly
def test_without_a_base_run_quality_is_gated_and_latency_is_not(runner: Runner) -> None:
    """The base breaks, main is blessed: a slower head passes and is told so, one that lost quality exits with 10.

    The project's own limit on latency counts there as little as the workflow's.
    """
    runner.check_out("base", "def test_inference():\n    raise SystemExit(3)\n")
    runner.check_out("head", matrix())
    head = runner.folder / "head"
    bare = lightly({name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")})
    for command in (["run", "--profile", "smoke"], ["bless", "latest", "--as", "main"]):
        subprocess.run([head / ".venv/bin/emobench", *command], cwd=head, env=bare, check=True, capture_output=True)
    (head / "emobench.toml").write_text('[gates]\nlatency_p50_seconds = "5%"\n')
    (head / "benchmarks" / "test_tiny.py").write_text(matrix(seconds=0.05))
    assert runner.run(repeats=1) == 0, runner.log
    assert "latency not gated" in runner.summary
    (head / "benchmarks" / "test_tiny.py").write_text(matrix(accuracy=0.6))
    assert runner.run(repeats=1) == 10, runner.log
    assert runner.codes["Gate"] == 10
