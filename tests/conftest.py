"""Settings of all tests: one thread a worker, and a cache of their own for what is cheap to make again."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

# Before torch is imported: workers that each take every core slow one another down many times over.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

# How long an example takes on a busy machine says nothing.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Warnings are errors in tests; a user's benchmarks must not fail for a deprecation in a package of tomorrow."""
    for item in items:
        if "tests" in item.path.parts:
            item.add_marker(pytest.mark.filterwarnings("error"), append=False)


@pytest.fixture(scope="session", autouse=True)
def _a_session_of_its_own() -> None:
    """What a test starts is no worker of this session: pytest-benchmark would time nothing in one."""
    for name in ("PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT", "PYTEST_XDIST_TESTRUNUID"):
        os.environ.pop(name, None)
