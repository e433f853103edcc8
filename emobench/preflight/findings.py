"""Every check in the order it is asked, and what they find in one planned case. Measures and loads nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace

from emobench import errors
from emobench.data_profile import DataProfile
from emobench.preflight import disk, hardware, shape, text
from emobench.preflight import memory_limit as memory
from emobench.preflight import optimization as training
from emobench.preflight.planned import Check, Disk, Finding, Fix, Level, Machine, Planned, worst
from emobench.specs import CaseSpec

__all__ = [
    "CHECKS",
    "DATA",
    "DEVICE",
    "MEMORY",
    "NAMES",
    "Check",
    "Disk",
    "Finding",
    "Fix",
    "Level",
    "Machine",
    "Planned",
    "check_case",
    "find_silenced",
    "worst",
]

MEMORY = "does-not-fit"
"""Name of the check whose stop is a result: the case does not fit."""
DATA, DEVICE = "data", "device"
"""Names of the findings that the data cannot be used and that the device is not here, which no check makes."""

CHECKS: tuple[Check, ...] = (
    Check(name="width", meaning="numbers of a model's row that do not go together", look=shape.width),
    Check(name="precision", meaning="a precision the device cannot do, or only emulates", look=hardware.precision),
    Check(name="quantization", meaning="quantized weights on a device, by a method", look=hardware.quantization),
    Check(name="labels", meaning="classes of the head against those of the data", look=shape.labels),
    Check(name=MEMORY, meaning="predicted memory against what is free", look=memory.does_not_fit),
    Check(name="disk", meaning="room for caches, kept weights and results", look=disk.disk),
    Check(name="learning-rate", meaning="peak learning rate against the method", look=training.learning_rate),
    Check(name="steps", meaning="batch size, epochs and warm-up against the rows", look=training.steps),
    Check(name="few-rows", meaning="too few rows for the method or for the score", look=training.few_rows),
    Check(name="imbalance", meaning="uneven classes, and the accuracy to beat", look=training.imbalance),
    Check(name="truncation", meaning="texts longer than the input", look=text.truncation),
    Check(name="tokenizer", meaning="a vocabulary that was not made for the texts", look=text.tokenizer),
    Check(name="duplicates", meaning="repeated rows and contradicting labels", look=text.duplicates),
    Check(name="leaks", meaning="rows of validation and test that training has seen", look=text.leaks),
)
"""In the order they are asked and shown."""

NAMES: tuple[str, ...] = (*(check.name for check in CHECKS), DATA, DEVICE)
"""What may be silenced."""

_ALONE = "width"
"""Where this one stops a case, its numbers cannot be computed with, and no other check is asked."""
_RESOURCES = frozenset({MEMORY, "disk"})
"""Not asked of a case that cannot work anyway."""


def check_case(
    case: CaseSpec,
    *,
    machine: Machine,
    data: DataProfile | None,
    silenced: Collection[str] = (),
    save_models: bool = False,
) -> tuple[Finding, ...]:
    """All findings of a case in the order of :data:`CHECKS`; ``data`` None leaves out what only the data can tell.

    A silenced check is not asked, except that of the model's numbers, which the others rely on: it is then not told.
    """
    planned = Planned(case=case, machine=machine, data=data, save_models=save_models)
    found: list[Finding] = []
    for check in CHECKS:
        if check.name in silenced and check.name != _ALONE:
            continue
        if check.name in _RESOURCES and worst(found) == "stop":
            continue
        here = [replace(item, case_id=case.id) for item in check.look(planned)]
        found += [] if check.name in silenced else here
        if check.name == _ALONE and worst(here) == "stop":
            break
    return tuple(found)


def find_silenced(names: Iterable[str]) -> frozenset[str]:
    """The checks of these names.

    Raises:
        SpecError: a name is no check's; names the nearest.
    """
    found = frozenset(names)
    for name in sorted(found):
        if name not in NAMES:
            raise errors.unknown_name("check to silence:", name, NAMES)
    return found
