"""Rates of matrix products in the shapes and layouts a model's passes use. Keeps nothing; ``ceilings`` does.

A library has other code for each layout of its operands, and where a dtype is emulated one may be thirty times as fast
as another; a product of few rows reads its weights more often than it multiplies.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from emobench.devices import free_memory_bytes, synchronize
from emobench.specs import DeviceKind

WIDTH, INNER = 768, 3072
"""Inputs and outputs of the layer whose products are timed: the first of a base-size model's MLP."""
ROWS = (1, 4, 16, 64, 512)
"""Tokens it is given at once."""
WIDTHS = (384, 512, 768)
"""Of models whose layers' gradients are timed: an emulated dtype differs by three times between them."""
BACKWARD_ROWS = 128
MOST_LAYERS = 64
"""Weights that are gone through at most."""
FEW_ROWS = 64
"""Up to these rows a product takes about as long as reading its weights: all layers are gone through."""
LARGEST = 16384
"""Side of the largest square product that is tried."""

FEWEST_ROUNDS, FEWEST_LONG_ROUNDS = 6, 3
LONG_SECONDS = 0.05
"""A round that takes longer is one of three: what disturbs for a moment weighs little in it."""
SLOW_SECONDS = 0.3
"""A call that takes longer is timed twice only."""

_SECONDS_EACH = 0.15
"""Time spent on each shape besides the large one."""
_SECONDS_LARGE = 0.4


@dataclass(frozen=True, kw_only=True)
class ProductRates:
    """FLOP/s of matrix products of one dtype; the fastest round counts, because a disturbance only slows down."""

    large: float
    """Of a large square product, in the fastest layout of its operands."""
    forward: tuple[tuple[int, float], ...]
    """Rows, and the rate of a layer of ``WIDTH`` inputs and ``INNER`` outputs on that many: ``x @ weight.T``, with the
    weight read from memory."""
    backward_inputs: tuple[tuple[int, float], ...]
    """Width of a model, and the rate of the gradients of its layers' inputs, ``gradient @ weight``."""
    backward_weights: float
    """Of the gradient of its weights, ``gradient.T @ x``."""


@torch.inference_mode()
def product_rates(device: DeviceKind, dtype: torch.dtype, *, cache_bytes: int) -> ProductRates:
    """Measure all of them: 3 to 12 s on two cores. ``cache_bytes`` is the device's last-level cache."""
    weights = _layers(device, dtype, cache_bytes)
    forward = tuple((rows, _forward_rate(weights, rows, device)) for rows in ROWS)
    inputs = tuple((width, _layer_rate(width, device, dtype)) for width in WIDTHS)
    given = torch.full((BACKWARD_ROWS, WIDTH), 0.5, dtype=dtype, device=device)
    weights_rate = _rate(lambda: given.t() @ given, BACKWARD_ROWS * WIDTH**2, device)
    large = _large_rate(device, dtype)
    best = max(large, weights_rate, *(rate for _, rate in (*forward, *inputs)))
    return ProductRates(large=best, forward=forward, backward_inputs=inputs, backward_weights=weights_rate)


def _layers(device: DeviceKind, dtype: torch.dtype, cache_bytes: int) -> list[torch.Tensor]:
    """Weights of layers that are twice the cache together, as far as a sixteenth of the free memory holds them."""
    size = WIDTH * INNER * dtype.itemsize
    count = max(1, min(2 * cache_bytes // size + 1, MOST_LAYERS, free_memory_bytes(device) // 16 // size))
    return [torch.full((INNER, WIDTH), 0.5, dtype=dtype, device=device) for _ in range(count)]


def _forward_rate(weights: Sequence[torch.Tensor], rows: int, device: DeviceKind) -> float:
    """FLOP/s of ``x @ weight.T``, each weight coming from memory as in a pass over a model's layers."""
    inputs = torch.full((rows, WIDTH), 0.5, dtype=weights[0].dtype, device=device)
    turn = itertools.cycle(weights)
    times = len(weights) if rows <= FEW_ROWS or device != "cpu" else 1
    seconds = fastest(lambda: inputs @ next(turn).t(), device, seconds=_SECONDS_EACH, times=times)
    return 2 * rows * WIDTH * INNER / seconds


def _layer_rate(width: int, device: DeviceKind, dtype: torch.dtype) -> float:
    """FLOP/s of ``gradient @ weight`` over a layer's matrices: four square ones, and two of a four-fold MLP."""
    square = torch.full((width, width), 0.5, dtype=dtype, device=device)
    widening = torch.full((4 * width, width), 0.5, dtype=dtype, device=device)
    narrow = torch.full((BACKWARD_ROWS, width), 0.5, dtype=dtype, device=device)
    wide = torch.full((BACKWARD_ROWS, 4 * width), 0.5, dtype=dtype, device=device)
    matrices = [(narrow, square)] * 4 + [(wide, widening), (narrow, widening.t().contiguous())]
    multiplications = BACKWARD_ROWS * 12 * width**2
    return _rate(lambda: [gradient @ weight for gradient, weight in matrices], multiplications, device)


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
    """Seconds of one call in the fastest of as many rounds as fit ``seconds``; long ones need not be many.

    A round is ``times`` calls; by default as many as take 5 ms, so that the wait for a device weighs nothing.
    """
    first = _seconds(call, device)
    once = _seconds(call, device)
    if min(first, once) > SLOW_SECONDS:
        return min(first, once)
    calls = times or max(1, math.ceil(0.005 / max(once, 1e-9)))
    best = _seconds(call, device, calls)
    fewest = FEWEST_ROUNDS if best * calls < LONG_SECONDS else FEWEST_LONG_ROUNDS
    rounds = max(fewest, min(200, int(seconds / max(best * calls, 1e-9))))
    return min(best, *(_seconds(call, device, calls) for _ in range(rounds - 1)))


def _seconds(call: Callable[[], object], device: DeviceKind, times: int = 1) -> float:
    """Wall time of one of ``times`` calls, with the device synchronised before the first and after the last."""
    synchronize(device)
    start = time.perf_counter_ns()
    for _ in range(times):
        call()
    synchronize(device)
    return (time.perf_counter_ns() - start) / 1e9 / times
