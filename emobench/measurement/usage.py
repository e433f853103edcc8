"""Memory of a block of work: the peak on the device and the peak of the host process, without a sampling thread."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import resource
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

from emobench.outcomes import Metric, metric
from emobench.specs import DeviceKind


@dataclass(kw_only=True)
class Usage:
    """Peaks in bytes; filled when the block ends, however it ends."""

    host_start: int = 0
    host_peak: int | None = None
    device_allocated: int | None = None
    device_peak: int | None = None
    device_reserved: int | None = None

    def metrics(self) -> list[Metric]:
        """The peaks that are known, as metrics."""
        found: list[Metric] = []
        if self.host_peak is not None:
            found.append(metric("host_memory_peak_bytes", self.host_peak))
            found.append(metric("host_memory_growth_bytes", max(0, self.host_peak - self.host_start)))
        if self.device_allocated is not None:
            found.append(metric("device_memory_allocated_bytes", self.device_allocated))
        if self.device_peak is not None:
            found.append(metric("device_memory_peak_bytes", self.device_peak))
        if self.device_reserved is not None:
            found.append(metric("device_memory_reserved_bytes", self.device_reserved))
        return found

    def peak(self, device: DeviceKind) -> int | None:
        """The peak where the work's memory is: on the device, or in the host process of a CPU; None if unknown."""
        return self.host_peak if device == "cpu" else self.device_peak


def held_bytes(device: DeviceKind) -> int:
    """Memory held now where :meth:`Usage.peak` looks."""
    if device == "cuda":
        return int(torch.cuda.memory_allocated())
    return int(psutil.Process().memory_info().rss)


@contextlib.contextmanager
def watch_memory(device: DeviceKind) -> Iterator[Usage]:
    """Yield a :class:`Usage` that holds the peaks of the block once it has ended.

    The host peak is the kernel's own high-water mark, reset at entry where Linux allows it (``/proc/self/clear_refs``);
    where it cannot be reset it is left out rather than given for the whole life of the process.
    """
    give_back_free_memory(device)
    usage = Usage(host_start=psutil.Process().memory_info().rss)
    resettable = _reset_host_peak()
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    try:
        yield usage
    finally:
        usage.host_peak = _host_peak() if resettable else None
        if device == "cuda":
            usage.device_allocated = int(torch.cuda.memory_allocated())
            usage.device_peak = int(torch.cuda.max_memory_allocated())
            usage.device_reserved = int(torch.cuda.max_memory_reserved())
        elif device == "mps":
            usage.device_reserved = int(torch.mps.driver_allocated_memory())


def give_back_free_memory(device: DeviceKind) -> None:
    """Return freed memory to the device and the system, where they can: what earlier work left would hide growth."""
    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def _reset_host_peak() -> bool:
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _host_peak() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
