"""The one table of which method, precision and device go together, and why the others do not. Asks no hardware.

Whether a device is on this machine is the device module's question. On the CPU ``int8-bnb`` and ``nf4`` do load and
train, which the tests use, but a benchmark takes them on CUDA only: off CUDA their speed says nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import cast, get_args

from emobench import errors
from emobench.kinds import KINDS, Kind
from emobench.specs import DeviceKind, MethodName, Precision, ShrinkName

PRECISIONS: tuple[Precision, ...] = get_args(Precision)
QUANTIZED: frozenset[Precision] = frozenset({"int8", "int8-bnb", "nf4"})
"""Precisions whose weights are stored in fewer bits than they compute in."""


@dataclass(frozen=True, kw_only=True)
class Need:
    """What a precision needs beyond the base installation."""

    package: str
    """Distribution name, which is the import name too."""
    extra: str
    """EmoBench extra that installs it."""


NEEDS: Mapping[Precision, Need] = MappingProxyType(
    {
        "int8": Need(package="torchao", extra="quant"),
        "int8-bnb": Need(package="bitsandbytes", extra="quant"),
        "nf4": Need(package="bitsandbytes", extra="quant"),
    }
)
"""By precision; one that is not here needs nothing more."""


@dataclass(frozen=True, kw_only=True)
class _Row:
    device: DeviceKind
    methods: tuple[MethodName, ...]
    """Empty: inference and generation."""
    precisions: tuple[Precision, ...]


_TABLE = (
    _Row(device="cpu", methods=("head", "full", "lora"), precisions=("fp32", "bf16")),
    _Row(device="cpu", methods=("lora",), precisions=("int8",)),
    _Row(device="cpu", methods=(), precisions=("fp32", "bf16", "int8")),
    # fp16 training is autocast over fp32 master weights with a gradient scaler: gradients underflow without it.
    _Row(device="cuda", methods=("head", "full", "lora"), precisions=("fp32", "bf16", "fp16")),
    _Row(device="cuda", methods=("lora",), precisions=("int8", "int8-bnb", "nf4")),
    _Row(device="cuda", methods=(), precisions=PRECISIONS),
    _Row(device="mps", methods=("head", "full", "lora"), precisions=("fp32",)),
    _Row(device="mps", methods=(), precisions=("fp32", "fp16")),
)

SHRINK_PRECISIONS: tuple[Precision, ...] = ("fp32",)
"""Shrinking starts from the fp32 original, and what it saves is counted against that."""
SHRINK_DEVICES: tuple[DeviceKind, ...] = ("cpu", "cuda")


def is_allowed(kind: Kind, method: MethodName | ShrinkName | None, precision: Precision, device: DeviceKind) -> bool:
    """Whether a case may run; ``method`` counts for kinds that have methods only.

    Raises :class:`errors.SpecError` for a name that is in no table.
    """
    return why_not(kind, method, precision, device) is None


def why_not(kind: Kind, method: MethodName | ShrinkName | None, precision: Precision, device: DeviceKind) -> str | None:
    """The reason in words why a case may not run, or None where it may.

    Raises :class:`errors.SpecError` for a name that is in no table, for a kind with methods without one, and for a
    method of another kind.
    """
    _check("precision", precision, PRECISIONS)
    _check("device", device, get_args(DeviceKind))
    if kind.methods == "shrinking":
        _check("method", method or "", get_args(ShrinkName))
        return _why_not_shrink(precision, device)
    if kind.methods is None:
        return None if _is_in_table(None, precision, device) else _reason(None, precision, device)
    _check("method", method or "", get_args(MethodName))
    training = cast(MethodName, method)
    return None if _is_in_table(training, precision, device) else _reason(training, precision, device)


def rows() -> tuple[dict[str, str], ...]:
    """The table for printing: one dictionary a device and case, a column a precision, ``yes`` or ``-``."""
    by_methods = {kind.methods: kind.name for kind in reversed(list(KINDS.values())) if kind.methods or kind.timed}
    cases: dict[str, Callable[[Precision, DeviceKind], bool]] = {
        **{f"{by_methods['training']} {method}": partial(_is_in_table, method) for method in get_args(MethodName)},
        by_methods[None]: partial(_is_in_table, None),
        by_methods["shrinking"]: lambda precision, device: _why_not_shrink(precision, device) is None,
    }
    return tuple(
        {
            "device": device,
            "case": case,
            **{precision: "yes" if allowed(precision, device) else "-" for precision in PRECISIONS},
        }
        for device in get_args(DeviceKind)
        for case, allowed in cases.items()
    )


def _why_not_shrink(precision: Precision, device: DeviceKind) -> str | None:
    if device not in SHRINK_DEVICES:
        return f"shrinking is not run on {device} at any precision ({precision} was asked for)"
    if precision not in SHRINK_PRECISIONS:
        return f"shrinking starts from the fp32 original: {precision} is not its precision; take fp32"
    return None


def _is_in_table(method: MethodName | None, precision: Precision, device: DeviceKind) -> bool:
    return any(
        row.device == device and precision in row.precisions and (method in row.methods if method else not row.methods)
        for row in _TABLE
    )


def _check(kind: str, given: str, known: tuple[str, ...]) -> None:
    if given not in known:
        raise errors.unknown_name(kind, given, known)


def _reason(method: MethodName | None, precision: Precision, device: DeviceKind) -> str:
    if precision in QUANTIZED and device == "mps":
        return f"{precision} has no kernels on mps; take fp32"
    if precision in ("int8-bnb", "nf4") and device == "cpu":
        return f"{precision} (bitsandbytes) is benchmarked on cuda only: on the cpu it runs, but its speed says nothing"
    if precision in QUANTIZED:
        return f"{precision} weights cannot be trained: method {method} needs them in fp32 or bf16; take lora"
    if device == "mps" and method:
        return f"training on mps is fp32 only: {precision} has no dependable autocast there"
    if device == "mps":
        return f"{precision} is not timed on mps; take fp32 or fp16"
    return f"{precision} has no fast kernels on the {device}; take bf16 or fp32"
