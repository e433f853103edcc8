"""Warnings are errors, in the tests and in the pytest sessions that they start."""

from __future__ import annotations

FILTERS = (
    "error",
    # Said of torchao's source when it is compiled, by whichever process imports it first without bytecode beside it.
    "ignore:invalid escape sequence:DeprecationWarning",
    "ignore:invalid escape sequence:SyntaxWarning",
)
IN_A_SESSION = (
    # A worker of xdist says that its benchmarks are off before the plugin takes them over.
    "default::pytest_benchmark.logger.PytestBenchmarkWarning",
    # The plugin may be loaded already, by the session that runs the test in its own process.
    "ignore::pytest.PytestAssertRewriteWarning",
)


def strict_ini(*more: str, settings: str = "") -> str:
    """What a session's ``pytest.ini`` says; ``more`` are further filters, ``settings`` further lines."""
    filters = "\n    ".join((*FILTERS, *IN_A_SESSION, *more))
    return f"[pytest]\nfilterwarnings =\n    {filters}\n{settings}"
