"""Warnings are errors, in the tests and in the sessions they start; deprecations of other packages are so in CI."""

from __future__ import annotations

import os

from tests.hermetic import IN_CI

DEPRECATIONS = ("DeprecationWarning", "PendingDeprecationWarning", "FutureWarning")
"""What packages of others say of next year; EmoBench itself says none of these (``tests/test_house.py``)."""


def filters() -> tuple[str, ...]:
    """What a test is run under, and a session it starts; the last that fits decides."""
    in_ci = bool(os.environ.get(IN_CI))
    return (
        "error",
        # A package of tomorrow breaks nobody's run of the tests today: its deprecations are listed. CI must know.
        *(() if in_ci else (f"default::{name}" for name in DEPRECATIONS)),
        # Said of torchao's source when it is compiled, by whichever process imports it first without bytecode beside.
        "ignore:.*invalid escape sequence:DeprecationWarning",
        "ignore:.*invalid escape sequence:SyntaxWarning",
    )


WORKERS = "default::pytest_benchmark.logger.PytestBenchmarkWarning"
"""A worker of xdist says that its benchmarks are off before the plugin takes them over; so does one it gave up."""
LOADED = "ignore::pytest.PytestAssertRewriteWarning"
"""A session in a test's own process: the plugin is loaded already."""


def strict_ini(*more: str, settings: str = "") -> str:
    """What a session's ``pytest.ini`` says; ``more`` are further filters, ``settings`` further lines."""
    lines = "\n    ".join((*filters(), *more))
    return f"[pytest]\nfilterwarnings =\n    {lines}\n{settings}"
