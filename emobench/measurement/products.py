"""Rates of matrix products in the shapes and layouts a model's passes use. Keeps nothing; ``ceilings`` does.

A library has other code for each layout of its operands, and where a dtype is emulated one may be thirty times as fast
as another; a product of few rows reads its weights more often than it multiplies.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from emobench.devices import free_memory_bytes, synchronize
from emobench.specs import DeviceKind

WIDTH = 768
"""Inputs and outputs of the layer whose products are timed: that of a base-size model."""
ROWS = (1, 4, 16, 64, 512)
"""Tokens it is given at once."""
BACKWARD_ROWS = 256
LARGEST = 16384
"""Side of the largest square product that is tried."""

_SECONDS_EACH = 0.15
"""Time spent on each shape besides the large one."""
_SECONDS_LARGE = 0.4


@dataclass(frozen=True, kw_only=True)
class ProductRates:
    """FLOP/s of matrix products of one dtype; the fastest round counts, because a disturbance only slows down."""

    large: float
    """Of a large square product, in the fastest layout of its operands."""
    forward: tuple[tuple[int, float], ...]
    """Rows, and the rate of a layer of ``WIDTH`` inputs and outputs on that many: ``x @ weight.T``."""
    backward_inputs: float
    """Of the gradient of the layer's inputs, ``gradient @ weight``."""
    backward_weights: float
    """Of the gradient of its weights, ``gradient.T @ x``."""


@torch.inference_mode()
def product_rates(device: DeviceKind, dtype: torch.dtype) -> ProductRates:
    """Measure all of them: about 2 s."""
    weight = torch.full((WIDTH, WIDTH), 0.5, dtype=dtype, device=device)
    forward = []
    for rows in ROWS:
        inputs = torch.full((rows, WIDTH), 0.5, dtype=dtype, device=device)
        forward.append((rows, _rate(lambda inputs=inputs: inputs @ weight.t(), rows * WIDTH**2, device)))  # type: ignore[misc]  # mypy cannot infer a lambda with a default
    given = torch.full((BACKWARD_ROWS, WIDTH), 0.5, dtype=dtype, device=device)
    inputs_rate = _rate(lambda: given @ weight, BACKWARD_ROWS * WIDTH**2, device)
    weights_rate = _rate(lambda: given.t() @ given, BACKWARD_ROWS * WIDTH**2, device)
    large = _large_rate(device, dtype)
    best = max(large, inputs_rate, weights_rate, *(rate for _, rate in forward))
    return ProductRates(large=best, forward=tuple(forward), backward_inputs=inputs_rate, backward_weights=weights_rate)


def _large_rate(device: DeviceKind, dtype: torch.dtype) -> float:
    """FLOP/s of the largest square product (up to ``LARGEST``, doubled from 256) whose first round stays below 50 ms.

    As a layer multiplies, by a transposed matrix: no layout is slow there in any dtype that was tried.
    """
    best, side = 0.0, 256
    while True:
        left, right = (torch.full((side, side), 0.5, dtype=dtype, device=device) for _ in range(2))
        out = torch.empty_like(left)

        def product(left: torch.Tensor = left, right: torch.Tensor = right, out: torch.Tensor = out) -> None:
            torch.mm(left, right.t(), out=out)

        product()
        once = _seconds(product, device)
        last = once > 0.05 or side >= LARGEST or free_memory_bytes(device) < 16 * side * side * dtype.itemsize
        if last:
            return max(best, _rate(product, side**3, device, seconds=_SECONDS_LARGE))
        best, side = max(best, 2 * side**3 / once), 2 * side


def _rate(
    call: Callable[[], object], multiplications: int, device: DeviceKind, *, seconds: float | None = None
) -> float:
    return 2 * multiplications / fastest(call, device, seconds=_SECONDS_EACH if seconds is None else seconds)


def fastest(call: Callable[[], object], device: DeviceKind, *, seconds: float, times: int | None = None) -> float:
    """Seconds of one call in the fastest of as many rounds as fit ``seconds``, five at least.

    A round is ``times`` calls; by default as many as take 5 ms, so that the wait for a device weighs nothing.
    """
    call()
    once = _seconds(call, device)
    calls = times or max(1, math.ceil(0.005 / max(once, 1e-9)))
    best = _seconds(call, device, calls)
    rounds = max(5, min(200, int(seconds / max(best * calls, 1e-9))))
    return min(best, *(_seconds(call, device, calls) for _ in range(rounds)))


def _seconds(call: Callable[[], object], device: DeviceKind, times: int = 1) -> float:
    """Wall time of one of ``times`` calls, with the device synchronised before the first and after the last."""
    synchronize(device)
    start = time.perf_counter_ns()
    for _ in range(times):
        call()
    synchronize(device)
    return (time.perf_counter_ns() - start) / 1e9 / times
