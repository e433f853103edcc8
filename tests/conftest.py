"""Settings of all tests: an environment of their own, strict warnings, and what is cheap to make once a worker."""

from __future__ import annotations

import copy
import functools
import gc
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import cpuinfo
import pytest
from hypothesis import settings

from tests.hermetic import settle, settles
from tests.lightly import lightly
from tests.strict import filters

# How long an example takes on a busy machine says nothing.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Warnings are errors in tests; a user's benchmarks must not fail for a deprecation in a package of tomorrow."""
    for item in items:
        if "tests" in item.path.parts:
            item.add_marker(pytest.mark.filterwarnings(*filters()), append=False)


HOME = pytest.StashKey[Path]()


def pytest_configure(config: pytest.Config) -> None:
    # Before any test module, and torch with it, is imported.
    if settles(config.args, os.environ):
        config.stash[HOME] = settle(os.environ)


def pytest_unconfigure(config: pytest.Config) -> None:
    if HOME in config.stash:
        shutil.rmtree(config.stash[HOME], ignore_errors=True)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """A module's tests on one worker, as far as that keeps all of them busy: its fixtures are made once."""
    if config.getoption("dist") != "load":
        return None
    from xdist.scheduler.worksteal import WorkStealingScheduling

    return WorkStealingScheduling(config, log)


READ_CPU = cpuinfo.get_cpu_info


@pytest.fixture(scope="session", autouse=True)
def _the_cpu_is_read_once() -> None:
    """A run in a test's own process takes the CPU's name from the one before; reading it takes half a second."""
    read_once = functools.cache(READ_CPU)
    cpuinfo.get_cpu_info = lambda: copy.deepcopy(read_once())


@pytest.fixture
def cpu_read_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """The CPU is read at every look, as a user's session reads it."""
    monkeypatch.setattr(cpuinfo, "get_cpu_info", READ_CPU)


@pytest.fixture
def light(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the test starts computes nothing, and finds a torch of a few lines."""
    monkeypatch.setenv("PYTHONPATH", lightly(os.environ)["PYTHONPATH"])


@pytest.fixture(autouse=True)
def _a_suite_is_what_it_says(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A suite that a test writes anew within a second, as long as before, is not taken for the one before."""
    if "pytester" in request.fixturenames:
        monkeypatch.setattr(sys, "dont_write_bytecode", True)


@pytest.fixture(scope="session", autouse=True)
def _what_was_imported_is_no_garbage() -> None:
    """A collection, of which a case asks for several, looks at what a test made and not at every class of torch."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _a_session_of_its_own() -> None:
    """What a test starts is no worker of this session: pytest-benchmark would time nothing in one."""
    for name in ("PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT", "PYTEST_XDIST_TESTRUNUID"):
        os.environ.pop(name, None)
