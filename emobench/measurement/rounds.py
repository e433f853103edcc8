"""How often a call is timed: warm-up until it is stable, then a pilot that chooses the rounds. Keeps no timings.

The rounds themselves are run by pytest-benchmark, which takes a fixed number.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

WARMUP_ROUNDS = 3
"""Fewest calls that are thrown away."""

STABLE_RANGE = 0.1
"""Warm-up ends when the last three calls lie within this share of their median."""

WARMUP_SECONDS = 3.0
"""Warm-up ends after this time, stable or not, once its fewest calls are done."""

PILOT_ROUNDS = 7
"""Calls that show how long the call takes and how much it spreads."""

MAX_ROUNDS = 1000
"""Most rounds for a narrow interval."""

MOST_ROUNDS = 10_000
"""Most rounds for the least time: every one is kept, and a call of a fifth of a millisecond fills two seconds."""

INTERVAL = 0.01
"""Half width of the median's 95 % interval, as a share of the median, that the rounds aim for."""

Reason = Literal["fewest rounds", "shortest time", "interval", "most rounds", "longest time"]


@dataclass(frozen=True, kw_only=True)
class RoundPlan:
    """How many rounds, and what decided it."""

    rounds: int
    reason: Reason
    """The bound that set the number: ``interval`` where the rounds should make the interval narrow enough."""
    warmup_rounds: int
    stable: bool
    """Whether the last warm-up calls agreed; a record says so where they did not."""
    pilot_seconds: float
    """Median of the pilot's calls."""
    pilot_spread: float
    """Their interquartile range over the median."""

    def facts(self) -> Mapping[str, Any]:
        """Plain values for a record."""
        return {
            "rounds": self.rounds,
            "decided_by": self.reason,
            "warmup_rounds": self.warmup_rounds,
            "warmup_stable": self.stable,
            "pilot_spread": round(self.pilot_spread, 4),
        }


def plan_rounds(
    call: Callable[[], object], *, at_least: int, seconds: float, at_most_seconds: float, interval: float = INTERVAL
) -> RoundPlan:
    """Warm ``call`` up, time a pilot, and choose the rounds; ``call`` must synchronise its device.

    At least ``at_least`` rounds and ``seconds`` in all; more until the median's interval should be narrow enough, but
    for that alone never more than :data:`MAX_ROUNDS` or ``at_most_seconds``. Never more than :data:`MOST_ROUNDS`.
    """
    warmup_rounds, stable = warm_up(call)
    pilot = [_seconds(call) for _ in range(PILOT_ROUNDS)]
    return choose_rounds(
        pilot,
        at_least=at_least,
        seconds=seconds,
        at_most_seconds=at_most_seconds,
        interval=interval,
        warmup_rounds=warmup_rounds,
        stable=stable,
    )


def warm_up(call: Callable[[], object]) -> tuple[int, bool]:
    """Call until the last three calls agree, or for :data:`WARMUP_SECONDS`; gives the calls made and whether they did.

    The first call is never one of the three: it pays for memory and choice of kernels.
    """
    made: list[float] = []
    started = time.perf_counter()
    while True:
        made.append(_seconds(call))
        last = made[-WARMUP_ROUNDS:]
        stable = len(made) > WARMUP_ROUNDS and max(last) - min(last) <= STABLE_RANGE * float(np.median(last))
        if stable or (len(made) >= WARMUP_ROUNDS and time.perf_counter() - started >= WARMUP_SECONDS):
            return len(made), stable


def choose_rounds(
    pilot: list[float],
    *,
    at_least: int,
    seconds: float,
    at_most_seconds: float,
    interval: float,
    warmup_rounds: int = 0,
    stable: bool = True,
) -> RoundPlan:
    """The rounds a pilot's timings (seconds) ask for.

    The median of n normal samples has the standard error 1.2533 s / sqrt(n) (Kenney and Keeping, Mathematics of
    Statistics, part 2, section 8.9); s is taken from the interquartile range, which one slow call does not move.
    """
    median = max(float(np.median(pilot)), 1e-9)
    low, high = (float(value) for value in np.percentile(pilot, (25, 75)))
    deviation = (high - low) / 1.349
    wanted: dict[Reason, int] = {
        "fewest rounds": at_least,
        "shortest time": math.ceil(seconds / median),
        "interval": math.ceil((1.96 * 1.2533 * deviation / (interval * median)) ** 2),
    }
    reason: Reason = max(wanted, key=lambda name: wanted[name])
    rounds = wanted[reason]
    caps: dict[Reason, int] = {"most rounds": MAX_ROUNDS, "longest time": math.floor(at_most_seconds / median)}
    cap: Reason = min(caps, key=lambda name: caps[name])
    bound = max(caps[cap], at_least, min(wanted["shortest time"], MOST_ROUNDS))
    if bound == MOST_ROUNDS:
        cap = "most rounds"
    if rounds > bound:
        rounds, reason = bound, cap
    return RoundPlan(
        rounds=rounds,
        reason=reason,
        warmup_rounds=warmup_rounds,
        stable=stable,
        pilot_seconds=median,
        pilot_spread=(high - low) / median,
    )


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter_ns()
    call()
    return (time.perf_counter_ns() - start) / 1e9
