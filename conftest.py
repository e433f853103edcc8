"""The axes of the benchmarks; options and the ``case`` fixture come from the installed plugin."""

import pytest

from emobench.plugin import has_case, session_of

# The axes come last: they import the others, which pytest must have seen by then to rewrite their assertions.
pytest_plugins = [
    "fixtures.backends",
    "fixtures.batch_sizes",
    "fixtures.datasets",
    "fixtures.devices",
    "fixtures.lengths",
    "fixtures.methods",
    "fixtures.models",
    "fixtures.precisions",
    "fixtures.axes",
]


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Leave out what is slow and no case: the plugin sees to the cases, and to no test that is not of this suite."""
    if item.get_closest_marker("slow") and not has_case(item) and not session_of(item.config).slow_asked_for():
        pytest.skip("slow; add --emo-slow or -m slow")
