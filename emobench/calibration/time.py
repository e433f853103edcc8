"""How long a plan's unit of work really takes on this machine, in this process. Predicts nothing.

The work is the product's own on random tokens, as in ``memory``, whose fresh processes a time does not need.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from emobench.calibration.memory import load_plan, plan_tokens
from emobench.devices import synchronize, torch_dtype
from emobench.estimate.plan import OWN_ATTENTION, MemoryPlan
from emobench.estimate.time import Rates
from emobench.specs import DeviceKind, Precision

if TYPE_CHECKING:
    from emobench.measurement.ceilings import Ceilings

ROUNDS = 5
"""Timed units of work, after one that is thrown away; the median counts."""
SECONDS = 3.0
"""After this time no round is added."""


def rates_of(ceilings: Ceilings) -> Rates:
    """What an estimate needs of a machine's measured ceilings."""
    return Rates(
        flops_per_second=ceilings.flops_per_second,
        bytes_per_second=ceilings.bytes_per_second,
        seconds_per_operator=ceilings.overhead_seconds_per_operator,
        forward=ceilings.forward_flops_per_second,
        backward_inputs=ceilings.backward_inputs_flops_per_second,
        backward_weights=ceilings.backward_weights_flops_per_second,
        seconds_per_random_number=ceilings.seconds_per_random_number,
    )


def machine_rates(
    device: DeviceKind, precision: Precision, *, refresh: bool = False, say: Callable[[str], None] | None = None
) -> Rates:
    """This machine's rates at the dtype a precision computes in, measured once and then read from the cache.

    ``say`` gets a line where they must be measured, which takes a while.

    Raises:
        UnsupportedError: there is no such device.
    """
    from emobench.measurement.ceilings import are_measured, measured_ceilings

    dtype = torch_dtype(precision)
    if say is not None and not are_measured(device, dtype):
        say(f"measuring what {device} reaches in {str(dtype).removeprefix('torch.')}, once on this machine")
    return rates_of(measured_ceilings(device, dtype, refresh=refresh))


def seconds_here(plan: MemoryPlan) -> float:
    """Median seconds of the plan's unit of work: a forward pass, an optimizer step, or a generation."""
    unit, per_call = _unit(plan, load_plan(plan).model)
    unit()
    found: list[float] = []
    started = time.perf_counter()
    while len(found) < ROUNDS and (not found or time.perf_counter() - started < SECONDS):
        synchronize(plan.device)
        begun = time.perf_counter()
        unit()
        synchronize(plan.device)
        found.append((time.perf_counter() - begun) / per_call)
    return statistics.median(found)


def _unit(plan: MemoryPlan, model: Any) -> tuple[Callable[[], object], int]:
    """A call that does the work, and how many units of it a call does."""
    if plan.work == "train":
        return _steps(plan, model), 1
    if plan.work == "evaluate":
        from emobench.evaluation.labels import predict

        tokens = plan_tokens(plan, 3 * plan.batch_size)
        budget = plan.batch_size * plan.length
        options: dict[str, Any] = {"device": plan.device, "pad_id": 0, "padding_side": "right", "token_budget": budget}
        return lambda: predict(model, tokens, **options), 3
    from emobench.measurement.forward import forward_pass, logits_of, random_prompts
    from emobench.measurement.generation import generate

    vocabulary = int(plan.model.config["vocab_size"])
    prompts = random_prompts(vocabulary, rows=plan.batch_size, tokens=plan.length, device=plan.device)
    if plan.work == "generate":
        return lambda: generate(model, prompts, plan.new_tokens), 1
    return forward_pass(logits_of(model), prompts), 1


def _steps(plan: MemoryPlan, model: Any) -> Callable[[], None]:
    from emobench.specs import TrainSettings
    from emobench.training.fit import few_steps
    from emobench.training.plan import FitPlan

    rows = plan.batch_size * plan.parts
    own = plan.device == "cpu" and plan.model.config["model_type"] in OWN_ATTENTION
    settings = TrainSettings(
        batch_size=rows,
        token_budget=plan.batch_size * plan.length,
        gradient_checkpointing=plan.gradient_checkpointing,
    )
    asked = FitPlan(
        device=plan.device,
        precision=plan.precision,
        seed=0,
        epochs=1,
        learning_rate=1e-5,
        settings=settings,
        kernel=plan.attention if own else None,
    )
    return few_steps(model, plan_tokens(plan, 2 * rows), asked, steps=1)
