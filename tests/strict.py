"""Warnings are errors, in the tests and in the pytest sessions that they start."""

from __future__ import annotations

FILTERS = (
    "error",
    # Said of torchao's source when it is compiled, by whichever process imports it first without bytecode beside it.
    "ignore:.*invalid escape sequence:DeprecationWarning",
    "ignore:.*invalid escape sequence:SyntaxWarning",
)
WORKERS = "default::pytest_benchmark.logger.PytestBenchmarkWarning"
"""A worker of xdist says that its benchmarks are off before the plugin takes them over; so does one it gave up."""
LOADED = "ignore::pytest.PytestAssertRewriteWarning"
"""A session in a test's own process: the plugin is loaded already."""


def strict_ini(*more: str, settings: str = "") -> str:
    """What a session's ``pytest.ini`` says; ``more`` are further filters, ``settings`` further lines."""
    filters = "\n    ".join((*FILTERS, *more))
    return f"[pytest]\nfilterwarnings =\n    {filters}\n{settings}"
