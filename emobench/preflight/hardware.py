"""Does the precision go with the device? What a device can do comes in as plain facts; nothing is tried here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from emobench.catalogue.combinations import NEEDS, QUANTIZED, why_not
from emobench.preflight.planned import Finding, Fix, Level, Planned
from emobench.specs import Precision

LEAST_CAPABILITY: Mapping[Precision, tuple[int, int]] = {"nf4": (6, 0), "int8-bnb": (7, 5), "fp16": (5, 3)}
"""CUDA compute capability from which a precision runs: the hardware table of bitsandbytes' installation guide (0.50);
for fp16 arithmetic the CUDA programming guide."""

BF16_CAPABILITY = (8, 0)
"""First generation with bf16 tensor cores."""

FP16_OVERFLOWS = frozenset({"gemma2", "gemma3"})
"""Families trained in bf16 whose activations go beyond 65,504, the largest number of fp16 (issue 36822 of
huggingface/transformers; ONNX Runtime's model builder warns of both)."""


def precision(planned: Planned) -> Iterator[Finding]:
    """``precision``: combinations that are not run, emulated bf16, fp16 that overflows."""
    case, machine = planned.case, planned.machine
    if case.precision in QUANTIZED:
        return
    reason = refused(planned)
    if reason:
        yield found(planned, "precision", "stop", "is not run", reason, other(planned))
        return
    if case.precision == "bf16" and not machine.fast_bf16:
        why = (
            "the CPU has neither amx_bf16 nor avx512_bf16, so each product is emulated, several times slower than fp32"
            if machine.kind == "cpu"
            else f"tensor cores for bf16 come with compute capability {BF16_CAPABILITY[0]}.{BF16_CAPABILITY[1]}"
        )
        yield found(planned, "precision", "warn", "is emulated", why, other(planned), any_method=True)
    if case.precision == "fp16" and case.model.family in FP16_OVERFLOWS:
        why = "its activations go beyond 65,504, the largest number of fp16, and become infinite"
        what = f"overflows in {case.model.family} models"
        yield found(planned, "precision", "warn", what, why, ("bf16", "fp32"), any_method=True)


def quantization(planned: Planned) -> Iterator[Finding]:
    """``quantization``: quantized weights on a device, with a method or without a package that they need."""
    case = planned.case
    if case.precision not in QUANTIZED:
        return
    reason = refused(planned)
    if reason:
        yield found(planned, "quantization", "stop", "is not run", reason, other(planned))
        return
    need = NEEDS.get(case.precision)
    if need is not None and need.package not in planned.machine.packages:
        yield Finding(
            check="quantization",
            level="stop",
            problem=f"precision {case.precision} on {case.device} lacks the package {need.package}",
            why="its kernels come with it",
            fixes=(
                Fix(
                    text="install it",
                    trade_off="one more package",
                    setting=f'pip install "emobench[{need.extra}]"',
                ),
            ),
        )


def refused(planned: Planned) -> str | None:
    """Why the case's precision cannot run with its method on its device, or None."""
    case, machine = planned.case, planned.machine
    method = case.method.id if case.method is not None else None
    if method is not None or case.kind.methods is None:
        reason = why_not(case.kind, method, case.precision, case.device)
        if reason:
            return reason
    least = LEAST_CAPABILITY.get(case.precision)
    if least is not None and machine.capability is not None and machine.capability < least:
        has = ".".join(map(str, machine.capability))
        return f"it needs compute capability {least[0]}.{least[1]} and {machine.name or machine.kind} has {has}"
    if machine.precisions is not None and machine.precisions.get(case.precision) is False:
        return f"a small operator in {case.precision} did not run on {machine.name or machine.kind}"
    return None


def other(planned: Planned) -> tuple[Precision, ...]:
    """Precisions to take instead, best first."""
    machine = planned.machine
    if machine.kind == "cuda":
        return ("bf16", "fp32") if machine.fast_bf16 else ("fp16", "fp32")
    if machine.kind == "cpu" and machine.fast_bf16:
        return ("bf16", "fp32")
    return ("fp32",)


def found(
    planned: Planned,
    check: str,
    level: Level,
    what: str,
    why: str,
    instead: tuple[Precision, ...],
    *,
    any_method: bool = False,
) -> Finding:
    """A finding on the case's precision; ``instead`` are the precisions to take, ``any_method`` where it is of none."""
    case = planned.case
    method = f" with {case.method.id}" if case.method is not None and not any_method else ""
    takes = [name for name in instead if name != case.precision]
    return Finding(
        check=check,
        level=level,
        problem=f"precision {case.precision}{method} on {case.device} {what}",
        why=why,
        numbers={"precision": case.precision, "device": case.device},
        fixes=tuple(
            Fix(
                text=f"take precision {name}",
                trade_off="more bytes a weight" if case.precision in QUANTIZED or name == "fp32" else "same bytes",
                setting=f'-k "{name}"',
            )
            for name in takes
        ),
    )
