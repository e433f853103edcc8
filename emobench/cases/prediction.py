"""A case's memory as it was predicted, beside what was measured, for its record. Measures nothing itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from emobench.errors import UnsupportedError
from emobench.estimate.memory import MemoryPlan, estimate_memory, plan_of
from emobench.outcomes import Metric
from emobench.specs import CaseSpec

MEASURED = "memory_taken_bytes"
"""The metric that a prediction stands beside."""


def predicted_memory(
    spec: CaseSpec, metrics: Sequence[Metric], *, longest: int | None = None, attention: str | None = None
) -> dict[str, Any]:
    """The prediction by part, its sum, what was measured and the measured over the predicted.

    ``longest`` is the longest row in tokens and ``attention`` the implementation that ran, where they are known.
    ``measured_bytes`` and ``ratio`` are None where no peak of this plan was measured: on a device that has no mark of
    it, and for shrink cases, whose models are measured in processes of their own. An architecture of no known shape
    and a case of several processes give ``unknown`` with the reason.
    """
    if spec.launch is not None:
        return {"unknown": "several processes share the work: no estimate covers them"}
    try:
        plan = _as_it_ran(plan_of(spec, longest=longest), attention)
        # The watch of a case begins after loading.
        parts = estimate_memory(plan, loading=False)
    except UnsupportedError as error:
        return {"unknown": str(error)}
    measured = None if spec.kind.watched == "elsewhere" else _measured(spec, metrics)
    return {
        "memory_bytes": parts.as_dict(),
        "total_bytes": parts.total,
        "measured_bytes": measured,
        "ratio": None if measured is None else round(measured / parts.total, 4),
        "plan": {
            "work": plan.work,
            "batch_size": plan.batch_size,
            "parts": plan.parts,
            "length": plan.length,
            "attention": plan.attention,
        },
    }


def _as_it_ran(plan: MemoryPlan, attention: str | None) -> MemoryPlan:
    return replace(plan, attention=attention) if attention in ("sdpa", "eager", "emobench") else plan  # type: ignore[arg-type]  # narrowed by the test


def _measured(spec: CaseSpec, metrics: Sequence[Metric]) -> int | None:
    found = {item.name: item.value for item in metrics}
    if MEASURED not in found:
        return None
    # An evaluation's model is loaded before its pass, and so before the watch knows what the process holds.
    before = found.get("model_bytes", 0.0) if spec.kind.watched == "after loading" else 0.0
    return int(found[MEASURED] + before)
