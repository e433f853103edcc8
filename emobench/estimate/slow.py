"""Which cases are slow: their operations over a fixed, low rate. Measures nothing and knows no machine's real rate."""

from __future__ import annotations

from emobench.devices import cpu_has_fast_bf16
from emobench.estimate.flops import case_flops
from emobench.specs import CaseSpec

ASSUMED_FLOPS_PER_SECOND = {"cpu": 5e10, "cuda": 3e13, "mps": 2e12}
"""Rates assumed when a case is called slow: low, fixed figures, so that the same cases are slow on every machine."""

SLOW_SECONDS = 180.0
SLOW_SECONDS_OF_SMOKE = 10.0
"""A case expected to take longer at the assumed rate is slow: it runs with ``--emo-slow`` or ``-m slow`` only. A smoke
run is to prove the path in a few minutes, so its limit is lower."""


def expected_seconds(case: CaseSpec) -> float:
    """Seconds at the assumed rate of the device; an order of magnitude, for sorting cases into slow and not."""
    return case_flops(case) / ASSUMED_FLOPS_PER_SECOND[case.device]


def why_slow(case: CaseSpec) -> str | None:
    """Why a case is left out unless slow cases are asked for, or None."""
    if case.device == "cpu" and case.precision == "bf16" and not cpu_has_fast_bf16():
        return "bf16 is emulated on this CPU, ten times slower than fp32"
    limit = SLOW_SECONDS_OF_SMOKE if case.profile.id == "smoke" else SLOW_SECONDS
    if expected_seconds(case) > limit:
        return f"slow on the {case.device}: over {limit:.0f} s at the assumed rate"
    return None


def is_slow(case: CaseSpec) -> bool:
    """Whether the case is left out unless slow cases are asked for."""
    return why_slow(case) is not None
