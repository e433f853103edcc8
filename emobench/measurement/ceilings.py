"""What this machine reaches at best: a large matrix product, a large copy, a tiny operator. Judges nothing.

Measured once per device, dtype, thread count and torch release, then read from the cache folder.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch

from emobench.devices import Device, find_device, free_memory_bytes
from emobench.errors import UnsupportedError
from emobench.files import cache_folder, write_bytes
from emobench.measurement.products import fastest, product_rates
from emobench.specs import DeviceKind

LAYOUT = 3
"""Raised when what is measured changes: older cache files are then measured anew."""

ASSUMED_CACHE_BYTES = 32 * 2**20
"""Last-level cache taken where the machine does not tell its own."""

_SECONDS_EACH = 0.6
"""Time spent on the copy and on the operator once the sizes are found."""
_TINY_CALLS = 1000
_RANDOM_NUMBERS = 1 << 20
_BY_SIZE = ("forward_flops_per_second", "backward_inputs_flops_per_second")
_RATES = (
    "flops_per_second",
    "backward_weights_flops_per_second",
    "bytes_per_second",
    "overhead_seconds_per_operator",
    "seconds_per_random_number",
    "cache_bytes",
)


@dataclass(frozen=True, kw_only=True)
class Ceilings:
    """The best this machine did at three things; the fastest round counts, because a disturbance only slows down."""

    device: DeviceKind
    device_name: str
    dtype: str
    threads: int
    torch_version: str
    matmul_precision: str
    """torch's setting for fp32 products (``highest`` is plain fp32, ``high`` lets a GPU use TF32)."""
    flops_per_second: float
    """Of a large matrix product in ``dtype``: two operations a multiplication."""
    forward_flops_per_second: tuple[tuple[int, float], ...]
    """Of a layer of a base-size model by the rows it is given: few rows reach less (see ``products``)."""
    backward_inputs_flops_per_second: tuple[tuple[int, float], ...]
    """Of the gradients of layers' inputs by the width of the model."""
    backward_weights_flops_per_second: float
    """Of the gradient of its weights."""
    bytes_per_second: float
    """Of a copy many times larger than the last-level cache; bytes read plus bytes written."""
    overhead_seconds_per_operator: float
    """Of an addition of eight numbers called from Python: dispatch on the CPU, a kernel launch on a GPU."""
    seconds_per_random_number: float
    """Of ``bernoulli_``, which draws a dropout mask."""
    cache_bytes: int
    """Last-level cache of the device: operands within it are not streamed from memory."""
    cache_source: str
    """Where ``cache_bytes`` comes from: ``system``, ``driver``, or ``assumed`` where neither tells."""
    fast_bf16: bool
    """The device multiplies bf16 in hardware."""
    layout: int = LAYOUT

    def to_json(self) -> dict[str, Any]:
        """All fields as JSON has them."""
        return {name: [list(x) for x in value] if name in _BY_SIZE else value for name, value in asdict(self).items()}


def measured_ceilings(
    device: DeviceKind, dtype: torch.dtype, *, threads: int | None = None, refresh: bool = False
) -> Ceilings:
    """The ceilings of a device at a dtype, measured (5 to 15 s on two cores) where none are kept or on ``refresh``.

    ``threads`` are torch's threads inside an operator, None for as many as there are now. A cache file that is broken
    or belongs to something else is measured anew and replaced.

    Raises:
        UnsupportedError: this machine has no such device, or the dtype is not a floating-point one.
    """
    found = find_device(device)
    if found is None:
        raise UnsupportedError(
            f"the ceilings of {device!r} cannot be measured",
            why="this machine has no such device",
            fix="take device='cpu'",
        )
    if not dtype.is_floating_point:
        raise UnsupportedError(
            f"the ceilings of dtype {dtype} cannot be measured",
            why="the matrix product is timed in a floating-point dtype",
            fix="take the dtype the model computes in, such as torch.float32",
        )
    with _threads(threads):
        named = _conditions(found, dtype)
        path = _cache_file(named)
        kept = None if refresh else _read(path, named)
        if kept is not None:
            return kept
        cache_bytes, source = last_level_cache(device)
        products = product_rates(device, dtype, cache_bytes=cache_bytes)
        ceilings = Ceilings(
            **named,
            flops_per_second=products.large,
            forward_flops_per_second=products.forward,
            backward_inputs_flops_per_second=products.backward_inputs,
            backward_weights_flops_per_second=products.backward_weights,
            bytes_per_second=_copy_rate(device, cache_bytes),
            overhead_seconds_per_operator=_operator_overhead(device),
            seconds_per_random_number=_random_cost(device),
            cache_bytes=cache_bytes,
            cache_source=source,
            fast_bf16=found.fast_bf16,
        )
    write_bytes(path, json.dumps(ceilings.to_json(), indent=1).encode())
    return ceilings


def are_measured(device: DeviceKind, dtype: torch.dtype) -> bool:
    """Whether the cache has the ceilings of a device at a dtype, so that they need not be measured."""
    found = find_device(device)
    named = None if found is None else _conditions(found, dtype)
    return named is not None and _read(_cache_file(named), named) is not None


def _conditions(device: Device, dtype: torch.dtype) -> dict[str, Any]:
    """What the figures hold for: a cache file with other conditions is not used."""
    return {
        "device": device.kind,
        "device_name": device.name,
        "dtype": str(dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "torch_version": str(torch.__version__),
        "matmul_precision": torch.get_float32_matmul_precision(),
        "layout": LAYOUT,
    }


def last_level_cache(device: DeviceKind) -> tuple[int, str]:
    """Bytes of the device's last-level cache, and where the number comes from (see :class:`Ceilings`).

    On the CPU the cache that the first core sees: several cores may share it, and a part of the cores may have another.
    """
    if device == "cuda":
        return int(torch.cuda.get_device_properties(0).L2_cache_size), "driver"
    levels: dict[int, int] = {}
    for folder in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"):
        size = re.fullmatch(r"(\d+)([KMG])", _text(folder / "size"))
        level = _text(folder / "level")
        if size is not None and level.isdigit() and _text(folder / "type") != "Instruction":
            levels[int(level)] = int(size[1]) * 2 ** {"K": 10, "M": 20, "G": 30}[size[2]]
    if levels:
        return levels[max(levels)], "system"
    return ASSUMED_CACHE_BYTES, "assumed"


def _text(path: Path) -> str:
    """A small file's text without the newline; empty where it cannot be read."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        if count is not None:
            torch.set_num_threads(before)


def _cache_file(named: dict[str, Any]) -> Path:
    words = [str(named[key]) for key in ("device_name", "dtype", "threads", "torch_version", "matmul_precision")]
    return cache_folder("ceilings") / (re.sub(r"[^A-Za-z0-9.]+", "-", "_".join(words)).strip("-") + ".json")


def _read(path: Path, named: dict[str, Any]) -> Ceilings | None:
    """What the cache holds, or None where there is nothing that can be used."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    if not isinstance(content, dict) or set(content) != {item.name for item in fields(Ceilings)}:
        return None
    if any(content[key] != value for key, value in named.items()):
        return None
    if not all(_is_rate(content[key]) for key in _RATES):
        return None
    by_size = {name: _sizes(content[name]) for name in _BY_SIZE}
    return Ceilings(**{**content, **by_size}) if all(by_size.values()) else None


def _sizes(value: object) -> tuple[tuple[int, float], ...]:
    """Sizes with their rates, or nothing where one of them is none."""
    pairs = value if isinstance(value, list) else []
    if not all(isinstance(pair, list) and len(pair) == 2 and all(map(_is_rate, pair)) for pair in pairs):
        return ()
    return tuple((int(size), float(rate)) for size, rate in pairs)


def _is_rate(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value > 0


@torch.inference_mode()
def _copy_rate(device: DeviceKind, cache_bytes: int) -> float:
    """Bytes read plus written a second by a copy of four times the cache, 64 MiB to 1 GiB, a sixteenth of what is free.

    Where free memory is that short the copy may fit the cache and the rate is then too high.
    """
    wanted = max(2**26, min(2**30, 4 * cache_bytes))
    if device != "cpu":
        wanted = 2**30
    size = max(2**20, min(wanted, free_memory_bytes(device) // 16))
    source = torch.ones(size // 4, dtype=torch.float32, device=device)
    target = torch.zeros_like(source)
    return 2 * size / fastest(lambda: target.copy_(source), device, seconds=_SECONDS_EACH)


@torch.inference_mode()
def _operator_overhead(device: DeviceKind) -> float:
    """Seconds of one addition of eight numbers, a thousand in a row."""
    left, right = (torch.ones(8, device=device) for _ in range(2))
    return fastest(lambda: torch.add(left, right), device, seconds=_SECONDS_EACH, times=_TINY_CALLS)


@torch.inference_mode()
def _random_cost(device: DeviceKind) -> float:
    """Seconds a number of a large mask."""
    mask = torch.empty(_RANDOM_NUMBERS, device=device)
    # The generator of the session is left where it was.
    generator = torch.Generator(device=device).manual_seed(0)
    return fastest(lambda: mask.bernoulli_(0.9, generator=generator), device, seconds=_SECONDS_EACH / 3) / mask.numel()
