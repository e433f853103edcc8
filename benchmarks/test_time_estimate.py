"""How far is predicted time from measured time, on configurations that were not used to fit the prediction?

Slow and no cases of their own: run it with ``pytest benchmarks/test_time_estimate.py --emo-slow``, on a machine that
does nothing else.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

import pytest

from benchmarks.test_estimate import HELD_OUT_SEED, configurations
from emobench.estimate.plan import MemoryPlan
from emobench.estimate.time import FACTOR, Rates, plan_seconds
from fixtures.say import Say

pytestmark = pytest.mark.slow


def test_predicted_time(benchmark: Any, say: Say) -> None:
    """Predicted seconds of a unit of work are within the stated factor of measured ones on the held-out grid.

    It is the grid of the memory estimate; the rates are measured anew before it.
    """
    rates: dict[str, Rates] = {}
    found: list[dict[str, Any]] = []

    def measure_all() -> None:
        found.extend(compare(plan, rates) for plan in configurations(HELD_OUT_SEED))

    benchmark.pedantic(measure_all, rounds=1)
    logs = [abs(math.log(row["ratio"])) for row in found]
    within = sum(log <= math.log(FACTOR) for log in logs) / len(logs)
    summary = {
        "seed": HELD_OUT_SEED,
        "configurations": len(found),
        "median_factor": math.exp(statistics.median(logs)),
        "worst_factor": math.exp(max(logs)),
        "share_within_factor": within,
    }
    benchmark.extra_info["time_estimate"] = {**summary, "rows": found}
    text = (
        f"{summary['configurations']} configurations of seed {HELD_OUT_SEED}: off by {summary['median_factor']:.2f}x "
        f"in the median, {summary['worst_factor']:.2f}x at worst, {100 * within:.0f} % within {FACTOR}x"
    )
    say(f"{table(found)}\n  {text}")
    assert within == 1.0, text


def compare(plan: MemoryPlan, rates: dict[str, Rates]) -> dict[str, Any]:
    """One configuration measured and predicted."""
    from emobench.calibration.memory import describe
    from emobench.calibration.time import machine_rates, seconds_here

    if plan.precision not in rates:
        rates[plan.precision] = machine_rates(plan.device, plan.precision, refresh=True)
    measured = seconds_here(plan)
    predicted = plan_seconds(plan, rates[plan.precision])
    return {
        "plan": describe(plan),
        "predicted_seconds": predicted.seconds,
        "measured_seconds": measured,
        "ratio": measured / predicted.seconds,
        "parts": dict(predicted.parts),
    }


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The comparison as text, largest error first."""
    lines = [f"  {'predicted':>10} {'measured':>10} {'ratio':>6}  configuration"]
    for row in sorted(rows, key=lambda row: -abs(math.log(row["ratio"]))):
        seconds = f"{1e3 * row['predicted_seconds']:>7.1f} ms {1e3 * row['measured_seconds']:>7.1f} ms"
        lines.append(f"  {seconds} {row['ratio']:>6.2f}  {row['plan']}")
    return "\n".join(lines)
