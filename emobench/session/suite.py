"""The benchmarks and axes that come with the package: for folders that have none, and for suites of the user's own.

In an installed package they lie in it, in a clone beside it; the names of tests are the same in both, so that what a
run of one measured is found in the other. It is a part of the plugin that is loaded where one of them is asked for:
``benchmarks`` on a command line where there is no such folder (with settings, or ``-p emobench.session.suite``), or a
test that takes ``case``. It measures nothing and selects nothing.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import pytest

from emobench.session.fixture_source import goes_back_to, visible
from emobench.session.lookup import PLUGIN, has_case, session_of

PACKAGE = "emobench"
CASE = "case"
BENCHMARKS = "benchmarks"
FIXTURES = "fixtures"
SEVERAL_PROCESSES = "test_distributed"
FILES = ("test_finetune", "test_inference", "test_generation", "test_evaluation", "test_shrink", SEVERAL_PROCESSES)
"""Those of the benchmarks that are cases; the others measure EmoBench itself and stay in its repository."""
AXES = {
    "model": "models",
    "dataset": "datasets",
    "method": "methods",
    "precision": "precisions",
    "device": "devices",
    "batch_size": "batch_sizes",
    "length": "lengths",
    "backend": "backends",
    "launch": "launches",
}
"""The fixture of each axis, and its module."""
HOOKS = ("axes", "run_table")
"""Modules that make the combinations of the axes, and select what ``[run]`` picks."""


def folder(name: str) -> Path:
    """Where the benchmarks or the fixtures lie: in the package, else beside it."""
    package = Path(__file__).parents[1]
    return package / name if (package / name).is_dir() else package.parent / name


def load(kind: str, name: str) -> ModuleType:
    """A module of the benchmarks or fixtures, under the package's name wherever it lies."""
    parent = f"{PACKAGE}.{kind}"
    if parent not in sys.modules and importlib.util.find_spec(parent) is None:
        spec = ModuleSpec(parent, None, is_package=True)
        spec.submodule_search_locations = [str(folder(kind))]
        sys.modules[parent] = importlib.util.module_from_spec(spec)
    return importlib.import_module(f"{parent}.{name}")


def offer_axes(session: pytest.Session) -> None:
    """Register the fixtures of the axes, unless a conftest has done so, and what runs tests over their combinations.

    A fixture of the user's that has the name of an axis wins, wherever it stands: of what stands for all tests pytest
    takes the last that was registered, so that ours is left out where there is one.
    """
    manager = session.config.pluginmanager
    if any(manager.has_plugin(f"{parent}{FIXTURES}.axes") for parent in ("", f"{PACKAGE}.")):
        return
    theirs = {axis for axis in AXES if visible(axis, session)}
    for name in (*(module for axis, module in AXES.items() if axis not in theirs), *HOOKS):
        module = load(FIXTURES, name)
        manager.register(module, module.__name__)


def offer_axes_to(function: FunctionType, collector: pytest.Module | pytest.Class) -> None:
    """The same for a test that takes ``case``, unless a fixture or parameter of the user's has that name."""
    marks = [*getattr(function, "pytestmark", ()), *collector.iter_markers("parametrize")]
    given = any(mark.name == "parametrize" and "case" in str(mark.args[:1]) for mark in marks)
    if not given and goes_back_to(PLUGIN, "case", visible("case", collector)):
        offer_axes(collector.session)


def pytest_configure(config: pytest.Config) -> None:
    offer(config)


def offer(config: pytest.Config) -> None:
    """Collect the benchmarks that the command line names and the folder lacks."""
    named = {argument: found for argument in config.args if (found := Named.of(config, argument))}
    if named:
        others = [argument for argument in config.args if argument not in named]
        config.pluginmanager.register(Suite(config.args, others, [*named.values()]), "emobench-suite")


@dataclass(frozen=True)
class Named:
    """What an argument names of the benchmarks: all, a file, or a test of it with or without its parameters."""

    argument: str
    file: str = ""
    test: str = ""

    @classmethod
    def of(cls, config: pytest.Config, argument: str) -> Named | None:
        """None where it names something else, or a folder ``benchmarks`` that is there."""
        path, _, test = argument.partition("::")
        full = Path(os.path.abspath(config.invocation_params.dir / path))
        for root in (config.rootpath, config.invocation_params.dir):
            if full.is_relative_to(root / BENCHMARKS) and not (root / BENCHMARKS).exists():
                return cls(argument, "/".join(full.relative_to(root / BENCHMARKS).parts), test)
        return None

    def names(self, item: pytest.Item) -> bool:
        """Whether a test is meant."""
        file, _, test = item.nodeid.removeprefix(f"{BENCHMARKS}/").partition("::")
        return self.file in ("", file) and self.test in ("", test, test.partition("[")[0])

    def files(self, config: pytest.Config) -> Sequence[str]:
        """The files it names; of several processes only where an option or the argument asks for them.

        Raises:
            pytest.UsageError: there is no such file.
        """
        if not self.file:
            return [
                name for name in FILES if name != SEVERAL_PROCESSES or session_of(config).settings.launch is not None
            ]
        name = self.file.removesuffix(".py")
        if name not in FILES:
            known = ", ".join(f"{BENCHMARKS}/{file}.py" for file in FILES)
            raise pytest.UsageError(f"file or directory not found: {self.argument}; EmoBench brings {known}")
        return [name]


class Suite:
    """Adds the package's benchmarks to what pytest itself collects."""

    def __init__(self, given: list[str], others: list[str], named: Sequence[Named]) -> None:
        self.given = given
        self.others = others
        self.named = named

    @pytest.hookimpl(wrapper=True)
    def pytest_collection(self, session: pytest.Session) -> Generator[None, object, object]:
        # pytest would refuse paths that are not there.
        session.config.args = self.others
        try:
            return (yield)
        finally:
            session.config.args = self.given

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(
        self, session: pytest.Session, config: pytest.Config, items: list[pytest.Item]
    ) -> None:
        config.args = self.given  # which tell what was asked for
        offer_axes(session)
        wanted = {name: None for named in self.named for name in named.files(config)}
        found = [item for name in wanted for item in cases_of(session, name, self.named)]
        for named in self.named:
            if not session.testsfailed and not any(named.names(item) for item in found):
                raise pytest.UsageError(f"not found: {named.argument}; no case of that name is made here")
        items += found


class Cases(pytest.Module):
    """What arguments name of one of the package's files, without what measures EmoBench itself."""

    named: Sequence[Named] = ()

    def collect(self) -> list[pytest.Item | pytest.Collector]:
        items = [item for item in super().collect() if isinstance(item, pytest.Item) and has_case(item)]
        return [item for item in items if any(named.names(item) for named in self.named)]


def cases_of(session: pytest.Session, name: str, named: Sequence[Named]) -> Iterator[pytest.Item]:
    """The cases of one of the benchmarks that arguments name; they are called as in a clone."""
    module = load(BENCHMARKS, name)
    keep_own_fixtures(module, session.config)
    place: dict[str, Any] = {"path": Path(str(module.__file__)), "nodeid": f"{BENCHMARKS}/{name}.py"}
    collected = Cases.from_parent(session, **place)
    collected.named = named
    # Imported by pytest it would be a module at the top, where one of the user's may have its name.
    collected.obj = module
    return (item for item in session.genitems(collected) if isinstance(item, pytest.Item))


def keep_own_fixtures(module: ModuleType, config: pytest.Config) -> None:
    """A conftest of the user's may have a fixture called ``model``: for these files theirs is not meant."""
    plugin: Any = config.pluginmanager.get_plugin(PACKAGE)
    setattr(module, CASE, plugin.case)
    for axis, name in AXES.items():
        setattr(module, axis, getattr(load(FIXTURES, name), axis))
