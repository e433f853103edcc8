"""The package's benchmarks and axes outside a clone: what is offered, to whom, at which price, and who wins."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from emobench.session import suite as packaged
from emobench.session.run import AXES
from tests.strict import LOADED, WORKERS, strict_ini

ROOT = Path(__file__).parents[2]
OWN = """
import pytest

@pytest.mark.inference
def test_own(case, model, precision, device, batch_size):
    assert (case.spec.model, case.spec.batch_size) == (model, batch_size)
    case.time(lambda: sum(range(1000)))
"""
CASE = "all-minilm-l6-v2-fp32-cpu-b4"


@pytest.fixture
def folder(pytester: pytest.Pytester) -> pytest.Pytester:
    """A folder of a user's: settings, and no benchmarks."""
    pytester.makeini(strict_ini(WORKERS, LOADED))
    (pytester.path / "emobench.toml").write_text('profile = "smoke"\n')
    return pytester


def collected(folder: pytest.Pytester, *arguments: str) -> list[str]:
    """Ids of what pytest collects there."""
    result = folder.runpytest_inprocess("--collect-only", "-q", "-p", "no:xdist", *arguments)
    assert result.ret == 0, result.stdout.str()
    return [line for line in result.outlines if "::" in line]


def test_the_wheel_lists_what_is_offered() -> None:
    """Every benchmark that is offered and every module of fixtures is packed, and nothing else of the top level."""
    packed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["py-modules"]
    fixtures = {path.stem for path in (ROOT / "fixtures").glob("*.py")} - {"__init__", "say"}
    assert fixtures == {*packaged.AXES.values(), *packaged.HOOKS}
    expected = {f"emobench.benchmarks.{name}" for name in packaged.FILES}
    assert set(packed) == expected | {f"emobench.fixtures.{name}" for name in fixtures}


def test_every_benchmark_of_cases_is_offered() -> None:
    """A file of the benchmarks with a test that takes ``case`` travels."""
    with_case = {path.stem for path in (ROOT / "benchmarks").glob("test_*.py") if "case: Case" in path.read_text()}
    assert set(packaged.FILES) == with_case


@pytest.mark.parametrize(
    ("argument", "selection", "found"),
    [
        (
            "benchmarks",
            ("-k", "minilm and fp32 and cpu and b4"),
            [f"benchmarks/test_inference.py::test_inference[{CASE}]"],
        ),
        ("benchmarks/test_inference.py", ("-k", f"{CASE}"), [f"benchmarks/test_inference.py::test_inference[{CASE}]"]),
        (f"benchmarks/test_inference.py::test_inference[{CASE}]", (), None),
    ],
)
def test_arguments_name_what_they_name_in_a_clone(
    folder: pytest.Pytester, argument: str, selection: tuple[str, ...], found: list[str] | None
) -> None:
    """The folder, a file and a test: their cases are called as in a clone."""
    assert collected(folder, argument, *selection) == (found or [argument])


@pytest.mark.parametrize(
    ("argument", "text"),
    [
        (
            "benchmarks/test_inferense.py",
            "file or directory not found: benchmarks/test_inferense.py; EmoBench brings *",
        ),
        ("benchmarks/test_inference.py::test_inference[no]", "not found: *[[]no[]]; no case of that name is made here"),
        ("benchmarks/test_distributed.py", "has no case without a number of processes"),
    ],
)
def test_what_is_not_there_is_said(folder: pytest.Pytester, argument: str, text: str) -> None:
    """A wrong name is an error of one line, as in a clone."""
    result = folder.runpytest_inprocess("--collect-only", "-p", "no:xdist", argument)
    assert result.ret in (pytest.ExitCode.USAGE_ERROR, pytest.ExitCode.INTERRUPTED)
    result.stdout.fnmatch_lines([f"*{text}*"]) if "processes" in text else result.stderr.fnmatch_lines([f"*{text}"])


def test_a_foreign_folder_is_left_alone(folder: pytest.Pytester) -> None:
    """Without settings ``pytest benchmarks`` is pytest's own error; a folder of that name is the user's."""
    (folder.path / "emobench.toml").unlink()
    result = folder.runpytest_inprocess("benchmarks", "-p", "no:xdist")
    result.stderr.fnmatch_lines(["*file or directory not found: benchmarks*"])
    (folder.path / "emobench.toml").touch()
    (folder.path / "benchmarks").mkdir()
    (folder.path / "benchmarks" / "test_plain.py").write_text("def test_plain(): pass\n")
    assert collected(folder, "benchmarks") == ["benchmarks/test_plain.py::test_plain"]


def test_own_tests_get_the_axes(folder: pytest.Pytester) -> None:
    """A test that takes ``case`` is run over every allowed combination of the axes it takes; runs are kept."""
    folder.makepyfile(test_own=OWN)
    result = folder.runpytest_inprocess("-k", CASE, "-p", "no:xdist", "--emo-reruns=0")
    result.assert_outcomes(passed=1, deselected=len(collected(folder)) - 1)
    assert list(folder.path.glob("results/*/0001_*.json"))


def test_an_axis_of_ones_own_wins(folder: pytest.Pytester) -> None:
    """By ``parametrize`` in the test; the package's benchmarks are not changed by a fixture of the user's conftest."""
    folder.makeconftest("import pytest\n@pytest.fixture\ndef model():\n    return 'mine'\n")
    folder.makepyfile(test_own=OWN.replace("@pytest", '@pytest.mark.parametrize("batch_size", [3])\n@pytest', 1))
    result = folder.runpytest_inprocess("--collect-only", "-p", "no:xdist", "test_own.py")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*uses the fixture case without saying what it measures*"])
    assert collected(folder, f"benchmarks/test_inference.py::test_inference[{CASE}]")
    (folder.path / "conftest.py").unlink()
    assert {name.rpartition("-")[2] for name in collected(folder, "test_own.py")} == {"3]"}


@pytest.mark.parametrize(
    "body",
    [
        "import pytest\n@pytest.fixture\ndef case():\n    return 1\ndef test_a(case):\n    assert case == 1\n",
        "import pytest\n@pytest.mark.parametrize('case', [1])\ndef test_a(case):\n    assert case == 1\n",
        "import pytest\n@pytest.fixture\ndef model():\n    return 1\ndef test_a(model):\n    assert model == 1\n",
        "def test_a():\n    pass\n",
    ],
)
@pytest.mark.parametrize("options", [(), ("-p", "no:benchmark")])
def test_a_suite_without_a_case_pays_nothing(tmp_path: Path, body: str, options: tuple[str, ...]) -> None:
    """Its own ``case`` and ``model`` are its own, and no module of EmoBench but the plugin's own few is imported."""
    (tmp_path / "test_a.py").write_text(body)
    (tmp_path / "conftest.py").write_text(
        "import sys\ndef pytest_unconfigure():\n"
        "    print('\\nloaded:', *sorted(name for name in sys.modules if name.split('.')[0] in\n"
        "          ('emobench', 'fixtures', 'numpy', 'pydantic', 'torch')))\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout
    loaded = set(result.stdout.rpartition("loaded:")[2].split())
    executors = {f"emobench.executors{part}" for part in ("", ".hooks", ".manifest", ".shards")}
    few = {f"emobench{part}" for part in ("", ".plugin", ".progress", ".errors", ".files", ".kinds")} | executors
    if "case" in body:
        few |= {f"emobench.session{part}" for part in ("", ".lookup", ".fixture_source", ".suite")}
    assert loaded <= few


def test_every_axis_is_offered() -> None:
    """The axes are those that name a case."""
    assert set(packaged.AXES) == set(AXES)
