"""Devices: what hardware is here, and what a device is good at. torch is imported inside the functions that need it."""

from __future__ import annotations

import importlib.util
import os
import platform
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from emobench.specs import DeviceKind, Precision

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class Device:
    """A device as torch sees it."""

    kind: DeviceKind
    name: str
    memory_bytes: int
    """All memory of the device; unified memory on MPS, host memory on the CPU."""
    fast_bf16: bool
    """bf16 matrix products run in hardware, not by emulation."""
    threads: int | None = None
    """Intra-op threads, on the CPU."""


@cache
def cpu_flags() -> frozenset[str]:
    """Instruction sets of the CPU as Linux lists them; empty elsewhere."""
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return frozenset()
    for line in path.read_text(errors="replace").splitlines():
        if line.startswith("flags"):
            return frozenset(line.split(":", 1)[1].split())
    return frozenset()


def cpu_has_fast_bf16() -> bool:
    """True with AMX or AVX512-BF16; without them torch emulates bf16 and is several times slower than fp32."""
    return bool(cpu_flags() & {"amx_bf16", "avx512_bf16"})


def absent_reason(kind: DeviceKind) -> str | None:
    """Why this machine has no such device, found without importing torch; None where it may have one."""
    if kind == "cpu":
        return None
    if kind == "mps":
        apple = sys.platform == "darwin" and platform.machine() == "arm64"
        return None if apple else "no Apple GPU: mps needs an Apple Silicon Mac"
    if os.environ.get("CUDA_VISIBLE_DEVICES", "unset").strip() in {"", "-1"}:
        return "no CUDA device: CUDA_VISIBLE_DEVICES hides all of them"
    nodes = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/dxg", "/proc/driver/nvidia/version")
    if sys.platform == "linux" and not any(Path(node).exists() for node in nodes):
        return "no CUDA device: no NVIDIA driver is loaded"
    if sys.platform == "darwin":
        return "no CUDA device: macOS has none"
    return None


@cache
def find_device(kind: DeviceKind) -> Device | None:
    """The first device of a kind, or None where torch cannot use one. Imports torch."""
    import torch

    if kind == "cuda":
        if absent_reason("cuda") or not torch.cuda.is_available():
            return None
        properties = torch.cuda.get_device_properties(0)
        return Device(
            kind="cuda",
            name=properties.name,
            memory_bytes=int(properties.total_memory),
            fast_bf16=properties.major >= 8,
        )
    if kind == "mps":
        if not torch.backends.mps.is_available():
            return None
        return Device(
            kind="mps",
            name=f"Apple {platform.machine()} GPU",
            memory_bytes=psutil.virtual_memory().total,
            fast_bf16=False,
        )
    return Device(
        kind="cpu",
        name=cpu_name(),
        memory_bytes=psutil.virtual_memory().total,
        fast_bf16=cpu_has_fast_bf16(),
        threads=torch.get_num_threads(),
    )


def cpu_name() -> str:
    """Marketing name of the CPU, as far as the platform tells."""
    path = Path("/proc/cpuinfo")
    if path.exists():
        for line in path.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def synchronize(kind: DeviceKind) -> None:
    """Wait until the device has done all that was asked of it; on the CPU nothing is pending."""
    import torch

    if kind == "cuda":
        torch.cuda.synchronize()
    elif kind == "mps":
        torch.mps.synchronize()


def free_memory_bytes(kind: DeviceKind) -> int:
    """Memory that can still be allocated on the device, as its driver or the operating system says."""
    import torch

    if kind == "cuda":
        return int(torch.cuda.mem_get_info()[0])
    if kind == "mps":
        limit = int(torch.mps.recommended_max_memory())
        return max(0, min(limit - int(torch.mps.driver_allocated_memory()), psutil.virtual_memory().available))
    return int(psutil.virtual_memory().available)


def torch_dtype(precision: Precision) -> torch.dtype:
    """Dtype of activations and unquantized weights at a precision (nf4 and int8-bnb compute in bf16)."""
    import torch

    table = {
        "fp32": torch.float32,
        "bf16": torch.bfloat16,
        "fp16": torch.float16,
        "int8": torch.float32,
        "int8-bnb": torch.bfloat16,
        "nf4": torch.bfloat16,
    }
    return table[precision]


def autocast_dtype(precision: Precision) -> torch.dtype | None:
    """The dtype of autocast while a trained model is scored: that of its training; None computes in fp32."""
    return None if precision in ("fp32", "int8") else torch_dtype(precision)


def installed(module: str) -> bool:
    """Whether a package can be found, without importing it."""
    return importlib.util.find_spec(module) is not None
