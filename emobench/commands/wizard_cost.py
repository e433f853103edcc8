"""What a planned case takes: memory by the estimate, time by this machine's measured rate, and what makes it fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from emobench.errors import UnsupportedError
from emobench.estimate.corrections import Calibration, load_calibration
from emobench.estimate.memory import estimate_memory, plan_of
from emobench.estimate.time import Rates, case_seconds, work_of
from emobench.estimate.weights import weight_bytes

if TYPE_CHECKING:
    from emobench.commands.wizard_hardware import Hardware
    from emobench.specs import CaseSpec, Precision


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a case is expected to take."""

    case: CaseSpec
    """The case; its token budget is smaller where a full one would not fit."""
    memory_bytes: int
    largest_part: str
    """What most of the memory is for."""
    seconds: tuple[float, float] | None
    """At best and at worst; None where the device's rate is not known."""

    @property
    def text(self) -> str:
        """Memory and time as a list of choices shows them."""
        time = "" if self.seconds is None else f", {seconds_text(*self.seconds)}"
        return f"about {bytes_text(self.memory_bytes)}{time}"


def cost_of(
    case: CaseSpec, hardware: Hardware, rates: Mapping[Precision, Rates], *, longest: int | None = None
) -> Cost | None:
    """What the case takes where it fits, by a smaller token budget where need be; None where one row does not fit.

    ``rates`` are this machine's by precision; ``longest`` is the longest text in tokens, where it is known.
    """
    calibration = load_calibration(hardware.device.name)
    for candidate in _budgets(case, hardware.free_bytes, longest):
        plan = plan_of(candidate, longest=longest)
        parts = estimate_memory(plan)
        total = round(parts.total * calibration.factor("memory", plan.work))
        if total <= hardware.free_bytes:
            return Cost(
                case=candidate,
                memory_bytes=total,
                largest_part=parts.largest()[0],
                seconds=expected(candidate, rates.get(case.precision), calibration),
            )
    return None


def _budgets(case: CaseSpec, free_bytes: int, longest: int | None) -> Iterator[CaseSpec]:
    """The case as it is, then, where it is trained, with token budgets for half as many rows a pass each time.

    Each is estimated as a whole: splitting a step holds gradients while activations grow, which the largest batch of
    one pass does not know.
    """
    plan = plan_of(case, longest=longest)
    # The weights alone are quickly added up, and large models end here.
    if weight_bytes(plan).weights > free_bytes:
        return
    yield case
    if not case.kind.trains_method or least_bytes(case, longest=longest) > free_bytes:
        return
    rows = plan.batch_size // 2
    while rows:
        train = case.train.model_copy(update={"token_budget": rows * plan.length})
        yield case.model_copy(update={"train": train})
        rows //= 2


def least_bytes(case: CaseSpec, *, longest: int | None = None) -> int:
    """Bytes that the case takes with one row at a time."""
    return estimate_memory(replace(plan_of(case, longest=longest), batch_size=1)).total


def expected(case: CaseSpec, rates: Rates | None, calibration: Calibration | None = None) -> tuple[float, float] | None:
    """Seconds of the case at best and at worst, loading left out; corrected by what earlier runs here showed.

    None where the device's rates, or the architecture's operations, are not known.
    """
    if rates is None:
        return None
    try:
        found = case_seconds(case, rates)
    except UnsupportedError:
        return None
    found = found.scaled(1.0 if calibration is None else calibration.factor("time", work_of(case)))
    return found.low, found.high


def measured_rates(hardware: Hardware, say: Callable[[str], None]) -> dict[Precision, Rates]:
    """What the device reaches by precision that ran, measured once on a machine and then read from the cache.

    A quantized precision has the rates of the dtype it computes in. ``say`` gets a line for each that is measured.
    """
    from emobench.calibration.time import machine_rates

    return {name: machine_rates(hardware.kind, name, say=say) for name in hardware.precisions}


def bytes_text(count: float) -> str:
    """GB with one decimal, MB below half a GB."""
    return f"{count / 1e9:.1f} GB" if count >= 5e8 else f"{count / 1e6:.0f} MB"


def seconds_text(low: float, high: float) -> str:
    """A range of time in one unit; its ends are the best and the worst that is expected."""
    for size, name in ((3600.0, "h"), (60.0, "min")):
        if high >= 2 * size:
            return f"{low / size:.2g}-{high / size:.2g} {name}"
    return f"{max(low, 1):.0f}-{max(high, 1):.0f} s"
