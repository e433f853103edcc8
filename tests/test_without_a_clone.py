"""The wheel in an environment of its own: the cases run in a user's folder, and every command finds what they gave."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
SELECTED = "tickets and minilm and head and fp32 and cpu"
CASE = "finetune[all-minilm-l6-v2-tickets-head-fp32-cpu]"
SETTINGS = """
[datasets.tickets]
path = "tickets.csv"
text = "body"
label = "team"
labels = ["billing", "bug", "sales"]
"""
OWN = """
import pytest
import emobench

@pytest.mark.inference
def test_own(case, model, precision, device, batch_size):
    assert "site-packages" in emobench.__file__
    case.time(lambda: sum(range(1000)))
"""
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The commands of an environment with the wheel, which sees the packages of this one and not this checkout."""
    source, place = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("environment")
    for name in ("emobench", "benchmarks", "fixtures"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    call = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    # What builds it is part of an environment more often than not; else pip fetches it.
    here = ["--no-build-isolation"] if find_spec("setuptools") else []
    done(*call, "wheel", "--no-deps", *here, "-q", "-w", str(source / "made"), str(source), cwd=source)
    venv.create(place, symlinks=os.name != "nt")
    (wheel,) = (source / "made").glob("emobench-*.whl")
    found = place / ("Scripts" if os.name == "nt" else "bin")
    done(*call, "--python", str(place), "install", "--no-deps", "--no-index", "-q", str(wheel), cwd=source)
    (packages,) = place.glob("**/site-packages")
    # Behind the wheel's own folder, and without the .pth files that make this checkout importable.
    others = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    (packages / "others.pth").write_text("\n".join(others) + "\n")
    assert not (packages / "benchmarks").exists()
    assert not (packages / "fixtures").exists()
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder: settings, and a CSV of three classes."""
    folder = tmp_path_factory.mktemp("mine")
    (folder / "emobench.toml").write_text(SETTINGS)
    words = {"billing": "invoice payment refund", "bug": "crash error broken", "sales": "price offer contract"}
    rows = [f'"ticket {n} about {words[team]} number {n}",{team}' for n in range(60) for team in words]
    (folder / "tickets.csv").write_text("body,team\n" + "\n".join(rows) + "\n")
    return folder


def done(*command: str, cwd: Path) -> str:
    """What a command says that ends well, without this checkout on its path."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "PYTHONPATH"))}
    result = subprocess.run(command, cwd=cwd, capture_output=True, text=True, env=own)
    assert result.returncode == 0, f"{result.stdout[-3000:]}\n{result.stderr[-3000:]}"
    return result.stdout


def newest(folder: Path) -> Any:
    return json.loads(max(folder.glob("results/*/[0-9]*.json")).read_text())["benchmarks"]


def test_a_folder_with_settings_is_all_it_takes(scripts: Path, folder: Path) -> None:
    """``emobench run`` trains on the user's CSV there; ``runs``, ``bless``, ``compare`` and ``gate`` find the run."""
    small = ("--profile", "smoke", "--set", "max_length=16", "--set", "train=48")
    emobench = str(scripts / "emobench")
    done(emobench, "run", *small, "-k", SELECTED, cwd=folder)
    (row,) = newest(folder)
    assert row["fullname"] == f"benchmarks/test_finetune.py::test_{CASE}"
    assert row["extra_info"]["emobench"]["case"]["id"] == CASE
    assert len(row["extra_info"]["emobench"]["details"]["confusion"]) == 3
    assert "0001" in done(emobench, "runs", cwd=folder)
    done(emobench, "bless", "0001", "--as", "main", cwd=folder)
    assert "in all: 1 same" in done(emobench, "compare", "main", "0001", "--metric", "accuracy", cwd=folder)
    assert "accuracy" in done(emobench, "gate", "main", "0001", "--limit", "accuracy:1pt", cwd=folder)


def test_tests_of_ones_own_take_the_axes(scripts: Path, folder: Path) -> None:
    """A user's test file that takes ``case`` and the axes runs under plain pytest; its run lies beside the others."""
    (folder / "test_mine.py").write_text(OWN)
    python = str(scripts / Path(sys.executable).name)
    case = "all-minilm-l6-v2-fp32-cpu-b4"
    done(python, "-m", "pytest", "test_mine.py", "-q", "--emo-profile=smoke", "--emo-reruns=0", "-k", case, cwd=folder)
    assert [row["fullname"] for row in newest(folder)] == [f"test_mine.py::test_own[{case}]"]
