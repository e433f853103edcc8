"""How long the cases of a check are expected to take, at this machine's measured rates. Runs none of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from emobench.commands.wizard_cost import seconds_text
from emobench.devices import find_device
from emobench.errors import UnsupportedError
from emobench.estimate.corrections import load_calibration
from emobench.estimate.time import Rates, TimeEstimate, case_seconds, work_of
from emobench.specs import CaseSpec, DeviceKind, Precision

SHOWN_AT_MOST = 12
"""Cases that are listed one by one; of more only the longest and the sum."""


@dataclass(frozen=True, kw_only=True)
class Expected:
    """One case and its time."""

    case: CaseSpec
    time: TimeEstimate


def expected_times(
    cases: Sequence[CaseSpec], mean_length: Callable[[CaseSpec], float | None], *, say: Callable[[str], None]
) -> list[Expected]:
    """Times of the cases whose architecture's operations are known; rates are measured once, which ``say`` is told.

    ``mean_length`` gives the mean length of a case's texts in tokens where it is known, which narrows the range.
    Corrected by what earlier runs on the device showed, where that was calibrated.
    """
    from emobench.calibration.time import machine_rates

    rates: dict[tuple[DeviceKind, Precision], Rates] = {}
    found: list[Expected] = []
    for case in cases:
        device = find_device(case.device)
        if device is None or case.launch is not None:
            # The estimate is of one process.
            continue
        kind = (case.device, case.precision)
        if kind not in rates:
            rates[kind] = machine_rates(*kind, say=say)
        try:
            time = case_seconds(case, rates[kind], mean_length=mean_length(case))
        except UnsupportedError:
            continue
        factor = load_calibration(device.name).factor("time", work_of(case))
        found.append(Expected(case=case, time=time.scaled(factor)))
    return found


def expected_lines(found: Sequence[Expected]) -> list[str]:
    """The sum and the cases it is made of, or the longest of many."""
    if not found:
        return []
    low, high = sum(item.time.low for item in found), sum(item.time.high for item in found)
    lines = [f"expected to take {seconds_text(low, high)}, loading left out:"]
    ordered = sorted(found, key=lambda item: -item.time.seconds)
    spans = [(seconds_text(item.time.low, item.time.high), item.case.id) for item in ordered[:SHOWN_AT_MOST]]
    lines += [f"  {span:>14}  {name}" for span, name in spans]
    if len(ordered) > SHOWN_AT_MOST:
        lines.append(f"  {'':>14}  and {len(ordered) - SHOWN_AT_MOST:,} that take less")
    return lines
