"""Does the case fit in the memory that is free, and if not, what does? Arithmetic of :mod:`emobench.estimate` only."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from functools import lru_cache
from typing import Any

from emobench.catalogue.combinations import NEEDS, PRECISIONS, is_allowed
from emobench.catalogue.methods import find_method
from emobench.data_profile import DataProfile
from emobench.errors import UnsupportedError
from emobench.estimate import memory as estimate
from emobench.estimate.memory import MemoryParts, MemoryPlan, plan_of
from emobench.estimate.plan import LONGEST_OVER_MEAN
from emobench.preflight.planned import Finding, Fix, Planned, shown_bytes, shown_share
from emobench.specs import CaseSpec

ESTIMATE_ERROR = 0.10
"""Relative error the estimate is held to: a plan is stopped only where it needs more than the free memory by more than
this, and warned of where it is within it."""


class _Keyed:
    """A plan that can be looked up: plans hold tables, which cannot."""

    def __init__(self, plan: MemoryPlan) -> None:
        self.plan = plan
        model = [plan.model.id, dict(plan.model.config), plan.model.lora_targets.model_dump(), plan.model.head_modules]
        method = None if plan.method is None else plan.method.model_dump(mode="json")
        rest = {**asdict(replace(plan, model=None, method=None)), "model": model, "method": method}  # type: ignore[arg-type]  # for the key alone
        self.key = json.dumps(rest, sort_keys=True, default=str)

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Keyed) and self.key == other.key


@lru_cache(maxsize=4096)
def _estimated(keyed: _Keyed) -> MemoryParts:
    return estimate.estimate_memory(keyed.plan)


def estimate_memory(plan: MemoryPlan) -> MemoryParts:
    """The estimate of a plan, computed once: the cases of a matrix share most of their plans."""
    return _estimated(_Keyed(plan))


def largest_batch(plan: MemoryPlan, free: int, *, most: int) -> int | None:
    """The largest batch up to ``most`` within ``free`` bytes; None where not even one row fits.

    Memory grows almost evenly with the rows, so the search begins where a straight line says and ends in a few steps.
    """

    def need(rows: int) -> int:
        return estimate_memory(replace(plan, batch_size=rows)).total

    good, bad = 1, most
    low = need(good)
    if low > free:
        return None
    high = need(bad)
    if high <= free:
        return most
    while bad - good > 1:
        line = good + (free - low) * (bad - good) // max(1, high - low)
        middle = min(max(line, good + 1), bad - 1)
        found = need(middle)
        if found <= free:
            good, low = middle, found
            # The line is right to a row or so: what comes next is most often the first that does not fit.
            if good + 1 < bad and need(good + 1) > free:
                return good
        else:
            bad, high = middle, found
    return good


def factor_of(planned: Planned, plan: MemoryPlan) -> float:
    """Measured over predicted memory of such work on this device, as far as earlier runs showed; else 1."""
    return planned.machine.memory_factors.get(plan.work, 1.0)


def room(planned: Planned, plan: MemoryPlan) -> int:
    """Free bytes in the estimate's own: fewer where it has been too low on this device."""
    return int(planned.machine.free_memory_bytes / factor_of(planned, plan))


def does_not_fit(planned: Planned) -> Iterator[Finding]:
    """``does-not-fit``: the predicted peak against the free memory of the device."""
    try:
        yield from _does_not_fit(planned)
    except UnsupportedError as error:
        yield Finding(
            check="does-not-fit",
            level="note",
            problem=f"the memory of {planned.case.model.id} is not known beforehand",
            why=f"{error.problem}; {error.why}",
            fixes=(
                Fix(
                    text="watch the memory of a small run",
                    trade_off="it may end for want of it",
                    setting=f"emobench run --profile smoke -k {planned.case.model.id}",
                ),
            ),
        )


def _does_not_fit(planned: Planned) -> Iterator[Finding]:
    case = planned.case
    if case.launch is not None:
        # Several processes share the work, and some of them the weights: no estimate covers them.
        return
    plan = plan_of(case, longest=longest_text(planned.data))
    factor, free = factor_of(planned, plan), room(planned, plan)
    parts = estimate_memory(plan)
    if parts.total <= (1 - ESTIMATE_ERROR) * free:
        return
    stop = parts.total > (1 + ESTIMATE_ERROR) * free
    largest = largest_batch(plan, free, most=plan.batch_size)
    name, size = parts.largest()
    verb = "needs" if stop else "may need all there is:"
    yield Finding(
        check="does-not-fit",
        level="stop" if stop else "warn",
        problem=f"{subject(case, plan)} {verb} about {shown_bytes(factor * parts.total)} and {planned.machine.kind} "
        f"has {shown_bytes(planned.machine.free_memory_bytes)} free",
        why=f"{shown_share(size / parts.total)} of it is for {name.replace('_', ' ')} ({spelled(parts)}); "
        f"the estimate is good to {100 * ESTIMATE_ERROR:.0f} %",
        numbers={
            "predicted_bytes": round(factor * parts.total),
            "free_bytes": planned.machine.free_memory_bytes,
            "batch_size": plan.batch_size,
            "length": plan.length,
            "largest_batch": largest or 0,
            **{f"{part}_bytes": count for part, count in parts.as_dict().items() if count},
        },
        fixes=tuple(fixes(case, plan, planned, largest)),
    )


def longest_text(data: DataProfile | None) -> int | None:
    """Tokens of the longest text: as it is, or from a sample what the estimate would assume of its mean; else None."""
    if data is None or data.longest_input is not None:
        return None if data is None else data.longest_input
    if data.lengths is None:
        return None
    return max(data.lengths.longest, int(LONGEST_OVER_MEAN * data.lengths.mean))


def subject(case: CaseSpec, plan: MemoryPlan) -> str:
    """What needs the memory, for a message; equal for cases that need the same."""
    how = {"train": "training", "evaluate": "evaluating", "generate": "generating with", "latency": "timing"}[plan.work]
    method = f" by {plan.method.id}" if plan.method is not None else ""
    new = f" and {plan.new_tokens} new" if plan.new_tokens else ""
    return f"{how} {case.model.id}{method} at {case.precision}, {plan.batch_size} x {plan.length}{new} tokens a pass,"


def spelled(parts: MemoryParts) -> str:
    """The parts that matter, largest first."""
    ordered = sorted(parts.as_dict().items(), key=lambda item: -item[1])
    return ", ".join(
        f"{name.replace('_', ' ')} {shown_bytes(size)}" for name, size in ordered if size > 0.01 * parts.total
    )


def fixes(case: CaseSpec, plan: MemoryPlan, planned: Planned, largest: int | None) -> Iterator[Fix]:
    """What makes it fit by the same estimate, cheapest in results first; at the end what always helps."""
    free, longest = room(planned, plan), longest_text(planned.data)
    if plan.work == "train":
        yield from training_fixes(case, free, longest=longest)
    elif largest:
        yield from smaller_batch(case, plan, largest)
    yield from other_methods(case, free, longest=longest)
    yield from other_precisions(case, planned)
    least = estimate_memory(replace(plan, batch_size=1)).total
    yield Fix(
        text=f"free memory, or take a smaller model or a {planned.machine.kind} with more than "
        f"{shown_bytes(least)} free for one row at a time",
        trade_off="another model has other results",
        setting="emobench models",
    )


def training_fixes(case: CaseSpec, free: int, *, longest: int | None = None) -> Iterator[Fix]:
    """Smaller parts of each step with the same effective batch, activations computed again, or both."""
    steps = case.train.batch_size
    plain = budget_that_fits(case, free, longest=longest)
    if plain is not None:
        rows, budget = plain
        yield Fix(
            text=f"split each step of {steps} into {-(-steps // rows)} passes of at most {rows} rows: {steps} "
            "rows still decide an update",
            trade_off="more and smaller passes: slower; the gradients are the same up to rounding",
            setting=f"--emo-set token_budget={budget}",
            safe=True,
            changes={"token_budget": budget},
        )
    if case.train.gradient_checkpointing:
        return
    again = with_train(case, gradient_checkpointing=True)
    found = budget_that_fits(again, free, longest=longest)
    if found is None:
        return
    rows, budget = found
    changes: dict[str, Any] = {"gradient_checkpointing": True}
    if rows < plan_of(again, longest=longest).batch_size:
        changes["token_budget"] = budget
    yield Fix(
        text=f"compute activations again in the backward pass, {rows} rows a pass",
        trade_off="about a third more computing; the gradients are the same",
        setting=" ".join(f"--emo-set {name}={str(value).lower()}" for name, value in changes.items()),
        # Where smaller passes alone do it, they are the cheaper way.
        safe=plain is None,
        changes=changes,
    )


def budget_that_fits(case: CaseSpec, free: int, *, longest: int | None = None) -> tuple[int, int] | None:
    """Rows of one pass and the token budget that makes them, estimated to leave the estimate's error free; or None.

    ``longest`` is the longest text in tokens; None assumes it.
    """
    plan = plan_of(case, longest=longest)
    usable = int(free * (1 - ESTIMATE_ERROR))
    rows = largest_batch(plan, usable, most=case.train.batch_size)
    while rows:
        rows = min(rows, case.train.batch_size)
        budget = min(case.train.token_budget, rows * plan.length)
        # Asked once more of the whole case: a step in several passes holds its gradients meanwhile.
        if estimate_memory(plan_of(with_train(case, token_budget=budget), longest=longest)).total <= usable:
            return rows, budget
        rows //= 2
    return None


def fits_somehow(case: CaseSpec, free: int, *, longest: int | None = None) -> bool:
    """Whether :func:`budget_that_fits` finds one.

    As it is, the case may be one pass, which holds no gradients meanwhile; of several, one row at a time takes least.
    """
    one = min(case.train.token_budget, plan_of(case, longest=longest).length)
    tried = (case, with_train(case, token_budget=one))
    usable = int(free * (1 - ESTIMATE_ERROR))
    return any(estimate_memory(plan_of(other, longest=longest)).total <= usable for other in tried)


def smaller_batch(case: CaseSpec, plan: MemoryPlan, largest: int) -> Iterator[Fix]:
    """The largest batch of a timed case that fits."""
    if largest < plan.batch_size:
        yield Fix(
            text=f"take batches of {largest} at most",
            trade_off="less throughput; latency of a smaller batch is another figure",
            setting=f"--emo-batch-sizes {largest}",
        )


def other_methods(case: CaseSpec, free: int, *, longest: int | None = None) -> Iterator[Fix]:
    """LoRA in place of full fine-tuning, where that fits."""
    if not case.kind.trains_method or case.method is None or case.method.id != "full":
        return
    other = case.model_copy(update={"method": find_method("lora")})
    if is_allowed(case.kind, "lora", case.precision, case.device) and fits_somehow(other, free, longest=longest):
        yield Fix(
            text="train adapters instead of all weights",
            trade_off="gradients and optimizer state almost vanish; accuracy may be a little lower",
            setting=f'-k "{case.model.id} and lora"',
        )


def other_precisions(case: CaseSpec, planned: Planned) -> Iterator[Fix]:
    """The precision with most bits among those that the device is good at and with which the case fits."""
    if not case.kind.other_precisions:
        return
    machine, longest = planned.machine, longest_text(planned.data)
    plan = plan_of(case, longest=longest)
    now, free = estimate_memory(plan).total, room(planned, plan)
    for precision in PRECISIONS:
        method = case.method.id if case.method is not None else None
        if precision == case.precision or not is_allowed(case.kind, method, precision, case.device):
            continue
        need_of = NEEDS.get(precision)
        if (precision == "bf16" and not machine.fast_bf16) or (need_of and need_of.package not in machine.packages):
            continue
        need = estimate_memory(plan_of(case.model_copy(update={"precision": precision}), longest=longest)).total
        if need < now and need <= (1 - ESTIMATE_ERROR) * free:
            yield Fix(
                text=f"take precision {precision}, which needs about {shown_bytes(need)}",
                trade_off="fewer bits: answers may change, and the case is another one",
                setting=f'-k "{case.model.id} and {precision}"',
            )
            return


def with_train(case: CaseSpec, **settings: Any) -> CaseSpec:
    """The case with other training settings."""
    return case.model_copy(update={"train": case.train.model_copy(update=settings)})
