"""Which precisions really run: a tiny linear layer for each, forward and backward, and its answer checked.

Nothing is inferred from names or instruction sets. It tries operators, not models: kernels that fail at other shapes
are not found, and a native library that kills the process kills this one.
"""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import nn

from emobench.catalogue.combinations import NEEDS, PRECISIONS
from emobench.devices import installed, synchronize, torch_dtype
from emobench.extras import require
from emobench.specs import DeviceKind, Precision

TOLERANCE: Mapping[Precision, float] = MappingProxyType(
    {"fp32": 2e-3, "bf16": 2e-2, "fp16": 5e-3, "int8": 3e-2, "int8-bnb": 5e-2, "nf4": 2e-1}
)
"""Largest error of a product, relative to float64 in the Frobenius norm: about twice to four times what rounding to the
precision gives for normally distributed numbers; fp32's leaves room for TF32."""

_WIDTH: Mapping[DeviceKind, int] = MappingProxyType({"cpu": 256, "cuda": 2048, "mps": 1024})
"""Side of the square weight: on a GPU large enough that launching the kernel is not what is timed."""
_ROUNDS = 7

_TALKATIVE = ("bitsandbytes", "bitsandbytes.autograd._functions", "torchao", "torch.utils._pytree")
"""Loggers of the packages, and the one torch uses when torchao is imported."""

_CAUGHT = (RuntimeError, ImportError, ValueError, TypeError, AttributeError, AssertionError, OSError, MemoryError)
"""What torch and the packages of the quantized precisions raise where a device or a build lacks something."""


@dataclass(frozen=True, kw_only=True)
class Probe:
    """What one precision did on one device."""

    precision: Precision
    device: DeviceKind
    error: str | None = None
    """One line; None where the product and its gradient ran and were right."""
    relative_speed: float | None = None
    """Rate of the forward product over fp32's on the same device, interleaved, the fastest of seven rounds each; None
    where something failed. It ranks precisions on this machine; how fast a model runs is a benchmark's question."""

    @property
    def ok(self) -> bool:
        """Whether the precision runs."""
        return self.error is None


def probe_device(device: DeviceKind, precisions: Sequence[Precision] = PRECISIONS) -> tuple[Probe, ...]:
    """Probe the precisions on a device that torch can use, in their order; under a second each after the imports."""
    return tuple(probe(precision, device) for precision in precisions)


def probe(precision: Precision, device: DeviceKind) -> Probe:
    """Run a linear layer and its gradient at a precision; whatever goes wrong is the probe's ``error``."""
    need = NEEDS.get(precision)
    if need is not None and not installed(need.package):
        return Probe(precision=precision, device=device, error=f"{need.package} is not installed")
    try:
        with quiet_packages():
            speed = _run(precision, device)
    except _CAUGHT as error:
        return Probe(precision=precision, device=device, error=_first_line(error))
    if isinstance(speed, str):
        return Probe(precision=precision, device=device, error=speed)
    return Probe(precision=precision, device=device, relative_speed=speed)


def _run(precision: Precision, device: DeviceKind) -> float | str:
    """The relative speed, or what was wrong with the answer."""
    width = _WIDTH[device]
    draw = torch.Generator().manual_seed(0)
    weight_OI, inputs_BI = (torch.randn(width, width, generator=draw) for _ in range(2))
    layer = linear(weight_OI, precision, device)
    given_BI = inputs_BI.to(device, torch_dtype(precision)).requires_grad_()
    out_BO = layer(given_BI)
    out_BO.float().sum().backward()
    gradient_BI = given_BI.grad
    if gradient_BI is None:
        return "no gradient reaches the input"
    exact_OI = weight_OI.double()
    wanted = {"the product": inputs_BI.double() @ exact_OI.T, "its gradient": exact_OI.sum(0).expand(width, width)}
    for what, found in zip(wanted, (out_BO, gradient_BI), strict=True):
        error = _relative_error(found, wanted[what])
        if not error <= TOLERANCE[precision]:
            return f"{what} is wrong by {error:.0%} of its size"
    return 1.0 if precision == "fp32" else _relative_speed(layer, given_BI, weight_OI, inputs_BI, device)


def linear(weight_OI: torch.Tensor, precision: Precision, device: DeviceKind) -> nn.Module:
    """A linear layer without bias on the device, quantized as :mod:`emobench.models.quantize` quantizes a model's.

    Raises:
        MissingExtraError: the precision's package does not import.
    """
    wide, narrow = weight_OI.shape
    # On the meta device no weights are drawn, which would move the random numbers of whoever asked.
    plain = nn.Linear(narrow, wide, bias=False, device="meta")
    plain.weight = nn.Parameter(weight_OI.to(torch_dtype(precision)), requires_grad=False)
    if precision == "int8":
        torchao = require("torchao.quantization", feature="precision int8", extra="quant")
        plain = plain.to(device)
        torchao.quantize_(plain, torchao.Int8WeightOnlyConfig())
    elif precision in ("int8-bnb", "nf4"):
        return _bitsandbytes(plain, precision).to(device)
    return plain.to(device)


def _bitsandbytes(plain: nn.Linear, precision: Precision) -> nn.Module:
    bnb = require("bitsandbytes", feature=f"precision {precision}", extra="quant")
    shape = (plain.in_features, plain.out_features)
    if precision == "nf4":
        layer = bnb.nn.Linear4bit(*shape, bias=False, compute_dtype=torch.bfloat16, quant_type="nf4", device="meta")
        layer.weight = bnb.nn.Params4bit(
            plain.weight.data, requires_grad=False, quant_type="nf4", compress_statistics=True
        )
    else:
        layer = bnb.nn.Linear8bitLt(*shape, bias=False, has_fp16_weights=False, device="meta")
        layer.weight = bnb.nn.Int8Params(plain.weight.data, requires_grad=False, has_fp16_weights=False)
    assert isinstance(layer, nn.Module)
    return layer


def _relative_error(found: torch.Tensor, wanted: torch.Tensor) -> float:
    difference = found.detach().cpu().double() - wanted
    return float(difference.norm() / wanted.norm())


@torch.inference_mode()
def _relative_speed(
    layer: nn.Module, given_BI: torch.Tensor, weight_OI: torch.Tensor, inputs_BI: torch.Tensor, device: DeviceKind
) -> float:
    reference = linear(weight_OI, "fp32", device)
    plain_BI = inputs_BI.to(device)
    best = [float("inf"), float("inf")]
    for round_number in range(1 + _ROUNDS):
        for index, call in enumerate((lambda: reference(plain_BI), lambda: layer(given_BI))):
            seconds = _seconds(call, device)
            # The first round of each warms up.
            best[index] = min(best[index], seconds) if round_number else best[index]
    return best[0] / best[1]


def _seconds(call: Callable[[], object], device: DeviceKind) -> float:
    synchronize(device)
    start = time.perf_counter_ns()
    call()
    synchronize(device)
    return max(1, time.perf_counter_ns() - start) / 1e9


@contextmanager
def quiet_packages() -> Iterator[None]:
    """Hold back what the packages say of casts, builds and coming versions: the probe's answer counts."""
    loggers = [logging.getLogger(name) for name in _TALKATIVE]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


def _first_line(error: Exception) -> str:
    text = next(iter(str(error).strip().splitlines()), "")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
