"""The axes of the benchmarks; options and the ``case`` fixture come from the installed plugin."""

from pathlib import Path

import pytest

from emobench.session.lookup import has_case, session_of
from emobench.session.skips import asks_for, slow_asked_for

ALONE_BY_OPTION = Path(__file__).parent / "benchmarks" / "test_distributed.py"

# The axes come last: they import the others, which pytest must have seen by then to rewrite their assertions.
pytest_plugins = [
    "fixtures.backends",
    "fixtures.batch_sizes",
    "fixtures.datasets",
    "fixtures.devices",
    "fixtures.launches",
    "fixtures.lengths",
    "fixtures.methods",
    "fixtures.models",
    "fixtures.precisions",
    "fixtures.axes",
    "fixtures.run_table",
    "fixtures.say",
]


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Cases of several processes are there where an option asks for them."""
    return True if collection_path == ALONE_BY_OPTION and session_of(config).settings.launch is None else None


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Leave out what is slow and no case: the plugin sees to the cases, and to no test that is not of this suite."""
    if has_case(item):
        return
    if item.get_closest_marker("nightly"):
        if not asks_for(item.config, "nightly"):
            pytest.skip("left to the night; add -m nightly")
    elif item.get_closest_marker("slow") and not slow_asked_for(session_of(item.config)):
        pytest.skip("slow; add --emo-slow or -m slow")
