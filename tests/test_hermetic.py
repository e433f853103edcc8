"""The tests' own environment: what a user's shell, home, folder and CI say changes no result."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hermetic import IN_CI, TESTS, settle, settles
from tests.strict import filters

ROOT = TESTS.parent
HOSTILE = {
    "HF_HUB_OFFLINE": "1",
    "HF_HOME": "/dev/null/hub",
    "HF_TOKEN": "hf_nobody",
    "HF_ENDPOINT": "http://127.0.0.1:9",
    "KAGGLE_USERNAME": "nobody",
    "KAGGLE_KEY": "0" * 32,
    "KAGGLE_ENDPOINT": "http://127.0.0.1:9",
    "EMOBENCH_CACHE": "/dev/null/cache",
    "EMOBENCH_LEASES": "/dev/null/leases",
    "XDG_CACHE_HOME": "/dev/null/xdg",
    "PYTHONDONTWRITEBYTECODE": "1",
    "CUDA_VISIBLE_DEVICES": "7",
    "OMP_NUM_THREADS": "3",
    "COLUMNS": "33",
    "LINES": "7",
    "LANG": "C",
    "LC_ALL": "C",
    "CI": "true",
    "GITHUB_ACTIONS": "true",
    "FORCE_COLOR": "1",
    "PYTEST_ADDOPTS": "-q --color=yes -p no:cacheprovider",
    # Nobody, root included, can write below a file.
    "HOME": "/dev/null",
}
SLICE = (
    *("models/test_download.py", "data/test_fetch.py", "data/test_hub_files.py", "commands/test_doctor.py"),
    *("commands/test_fetch.py", "commands/test_lists.py", "records/test_store.py", "records/test_committed.py"),
    *("test_cli.py", "processes/test_leases.py", "session/test_skips.py", "test_readme.py", "reports/test_tables.py"),
    *("catalogue/test_project.py", "executors/test_arguments.py"),
)


def test_what_decides_a_result_is_taken_out(tmp_path: Path) -> None:
    """Nothing of a hostile environment is left, what is no business of the tests stays, and home is a new folder."""
    found = {**HOSTILE, "PATH": "/usr/bin"}
    home = settle(found)
    left = {name for name in HOSTILE if found.get(name) == HOSTILE[name]}
    shutil.rmtree(home)
    assert left == set()
    assert found["PATH"] == "/usr/bin"
    assert found["HOME"] == str(home)
    assert found["EMOBENCH_CACHE"].startswith(str(home))
    assert found[IN_CI] == "1"


def test_converted_weights_are_found_again(tmp_path: Path) -> None:
    """What ``emobench fetch`` once converted is linked, in whichever of the three places it lies."""
    for environment in (
        {"EMOBENCH_CACHE": str(tmp_path)},
        {"XDG_CACHE_HOME": str(tmp_path)},
        {"HOME": str(tmp_path)},
    ):
        parts = {"EMOBENCH_CACHE": (), "XDG_CACHE_HOME": ("emobench",), "HOME": (".cache", "emobench")}
        weights = tmp_path.joinpath(*parts[next(iter(environment))], "models", "gemma-3-270m-q4")
        weights.mkdir(parents=True)
        home = settle(environment)
        linked = home / ".cache" / "emobench" / "models" / "gemma-3-270m-q4"
        assert linked.resolve() == weights
        shutil.rmtree(home)
        assert weights.is_dir()


def test_benchmarks_keep_the_users_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bare ``pytest`` runs benchmarks too, with the user's weights and threads; so nothing is taken from it."""
    monkeypatch.chdir(ROOT)
    assert settles(["tests"], {})
    assert settles(["tests/test_cli.py::test_x[a/b]", str(TESTS / "data")], {})
    assert not settles(["benchmarks", "tests"], {})
    assert not settles(["."], {})
    assert not settles(["tests"], {IN_CI: "", "PYTEST_XDIST_WORKER": "gw0"})


@pytest.mark.parametrize("in_ci", [True, False])
def test_only_ci_fails_for_what_other_packages_deprecate(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, in_ci: bool
) -> None:
    """Elsewhere a deprecation is listed and the test passes; any other warning is an error in both."""
    monkeypatch.setenv(IN_CI, "1" if in_ci else "")
    pytester.makeini("[pytest]\nfilterwarnings =\n    " + "\n    ".join(filters()))
    pytester.makepyfile(
        "import warnings\n"
        "def test_old():\n    warnings.warn('goes next year', FutureWarning)\n"
        "def test_wrong():\n    warnings.warn('a sum of nothing', RuntimeWarning)\n"
    )
    result = pytester.runpytest_inprocess("-p", "no:xdist", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=0 if in_ci else 1, failed=2 if in_ci else 1, warnings=0 if in_ci else 1)
    assert "goes next year" in result.stdout.str()


@pytest.mark.slow
def test_a_slice_passes_in_a_hostile_environment(tmp_path: Path) -> None:
    """Every variable set against it, from a folder elsewhere, of a checkout with spaces in its path: all pass."""
    checkout = tmp_path / "a checkout with spaces"
    for name in ("emobench", "tests", "fixtures", "benchmarks", ".ci", ".github"):
        shutil.copytree(ROOT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("conftest.py", "pyproject.toml", "README.md", "CONTRIBUTING.md"):
        shutil.copy(ROOT / name, checkout / name)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    usual = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT", "TMPDIR") if name in os.environ}
    tests = [str(checkout / "tests" / name) for name in SLICE]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-m", "not slow", "-p", "no:xdist", *tests],
        cwd=elsewhere,
        env={**usual, **HOSTILE, "PYTHONPATH": str(checkout)},
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stdout[-4000:]
    assert "passed" in done.stdout
    assert "failed" not in done.stdout.splitlines()[-1]
