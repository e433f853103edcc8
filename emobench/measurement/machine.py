"""Counters of the machine read before and after a timed pass, and the disturbances they show. Samples nothing.

:func:`sampled` is for a pass of its own, which finds utilisation and energy; it is never wrapped around a timed one.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from emobench.measurement.energy import sampled
from emobench.measurement.nvml import Gpu, GpuProcess, GpuReading, open_gpu
from emobench.measurement.processor import (
    Jiffies,
    family,
    own_cpu_seconds,
    read_jiffies,
    read_throttle_counts,
    ticks_per_second,
)
from emobench.specs import DeviceKind

__all__ = ["Counters", "Limits", "disturbances", "facts", "read_counters", "sampled"]

SHORTEST_CPU_SECONDS = 0.5
"""Passes below have no verdict on the CPU: a tick is 10 ms, and a tenth of one core for 0.5 s is five of them."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much disturbance a measurement bears; every share is of the cores' time during the measurement."""

    foreign_cpu_share: float = 0.10
    """Other processes. On two cores a busy loop takes 0.5, which made a forward pass four times as slow."""
    steal_share: float = 0.05
    """The hypervisor."""
    thermal_share: float = 0.01
    """Time in which NVML's thermal policy held the clocks down."""


@dataclass(frozen=True, kw_only=True)
class Counters:
    """Counters of the machine at one moment; None, or no entry, is what cannot be read here."""

    monotonic_ns: int
    own_cpu_seconds: float
    """All threads of this process and of its children."""
    jiffies: Jiffies | None
    """Of the cores this process may run on."""
    throttle_counts: Mapping[str, int] = field(default_factory=dict)
    gpu: GpuReading | None = None
    absent: Mapping[str, str] = field(default_factory=dict)
    """What could not be read, and why."""


def read_counters(device: DeviceKind) -> Counters:
    """Read everything once. A few milliseconds, so around a pass and never in it; the GPU only for ``cuda``."""
    children = family()
    gpu = open_gpu() if device == "cuda" else None
    absent: dict[str, str] = {}
    # Next to each other, as they are compared with each other.
    now, own, jiffies = time.monotonic_ns(), own_cpu_seconds(children), read_jiffies()
    throttled = read_throttle_counts()
    if jiffies is None:
        absent["cpu_load"] = "no /proc/stat here"
    if not throttled:
        absent["cpu_throttling"] = "no thermal_throttle counters in /sys/devices/system/cpu"
    if isinstance(gpu, str):
        absent["gpu"] = gpu
    pids = {os.getpid(), *(child.pid for child in children)}
    return Counters(
        monotonic_ns=now,
        own_cpu_seconds=own,
        jiffies=jiffies,
        throttle_counts=throttled,
        gpu=gpu.read(pids) if isinstance(gpu, Gpu) else None,
        absent=absent,
    )


def disturbances(before: Counters, after: Counters, *, device: DeviceKind, limits: Limits | None = None) -> list[str]:
    """What disturbed the pass between two readings, a plain sentence each; empty where nothing is known to have."""
    limits = limits or Limits()
    found = list(_cpu_disturbances(before, after, limits))
    if device == "cuda" and before.gpu is not None and after.gpu is not None:
        found += _gpu_disturbances(before.gpu, after.gpu, _wall_seconds(before, after), limits)
    return found


def facts(before: Counters, after: Counters) -> dict[str, Any]:
    """The two readings as plain values for a record: shares, growths, and reasons of what is absent."""
    foreign, steal = _cpu_shares(before, after)
    found: dict[str, Any] = {
        "wall_seconds": _wall_seconds(before, after),
        "own_cpu_seconds": after.own_cpu_seconds - before.own_cpu_seconds,
        "cores": None if after.jiffies is None else after.jiffies.cores,
        "foreign_cpu_share": foreign,
        "steal_share": steal,
        "cpu_throttle_events": _throttle_events(before, after),
        "absent": dict(after.absent) or None,
    }
    if before.gpu is not None and after.gpu is not None:
        found |= _gpu_facts(before.gpu, after.gpu)
    return {name: value for name, value in found.items() if value is not None}


def _wall_seconds(before: Counters, after: Counters) -> float:
    return (after.monotonic_ns - before.monotonic_ns) / 1e9


def _cpu_shares(before: Counters, after: Counters) -> tuple[float | None, float | None]:
    """Shares of the cores' time that other processes and the hypervisor took; None where they cannot be told."""
    wall = _wall_seconds(before, after)
    first, last = before.jiffies, after.jiffies
    if first is None or last is None or first.cores != last.cores or wall < SHORTEST_CPU_SECONDS:
        return None, None
    available = wall * last.cores * ticks_per_second()
    busy, idle, steal = (last.busy - first.busy, last.idle - first.idle, last.steal - first.steal)
    if busy + idle + steal < available / 2:
        # Some containers show a /proc/stat that stands still: it counts nothing, so it shows no undisturbed machine.
        return None, None
    own = (after.own_cpu_seconds - before.own_cpu_seconds) * ticks_per_second()
    # Ticks are counted where they fall, our own time exactly: the difference can be a little below zero.
    return max(0.0, busy - own) / available, steal / available


def _cpu_disturbances(before: Counters, after: Counters, limits: Limits) -> Iterator[str]:
    foreign, steal = _cpu_shares(before, after)
    if foreign is not None and foreign > limits.foreign_cpu_share:
        taken, limit = _percent(foreign), _percent(limits.foreign_cpu_share)
        yield f"other processes took {taken} of the cores during the measurement (limit {limit})"
    if steal is not None and steal > limits.steal_share:
        yield f"hypervisor steal took {_percent(steal)} of the cores (limit {_percent(limits.steal_share)})"
    events = _throttle_events(before, after)
    if events:
        yield f"the CPU was throttled by heat: {events} events on one core or package"


def _throttle_events(before: Counters, after: Counters) -> int | None:
    """The largest growth of one counter, as several repeat one event."""
    common = before.throttle_counts.keys() & after.throttle_counts.keys()
    return max((after.throttle_counts[name] - before.throttle_counts[name] for name in common), default=None)


def _gpu_disturbances(before: GpuReading, after: GpuReading, wall: float, limits: Limits) -> Iterator[str]:
    slowdowns = dict.fromkeys([*(before.slowdowns or ()), *(after.slowdowns or ())])
    if slowdowns:
        yield f"the GPU was throttled: {', '.join(slowdowns)}"
    hot = _violation_growth(before, after).get("thermal", 0.0)
    if wall > 0 and hot / wall > limits.thermal_share:
        yield f"the GPU was throttled by heat for {hot:.2f} s of {wall:.2f} s (limit {_percent(limits.thermal_share)})"
    for process in _foreign(before, after):
        yield f"a foreign process ran on the GPU: pid {process.pid}{_memory_text(process)}"


def _foreign(before: GpuReading, after: GpuReading) -> list[GpuProcess]:
    """Every process seen at either end, as it was last seen."""
    return list({entry.pid: entry for entry in (*(before.foreign or ()), *(after.foreign or ()))}.values())


def _memory_text(process: GpuProcess) -> str:
    return "" if process.memory_bytes is None else f" ({process.memory_bytes / 2**20:,.0f} MiB)"


def _violation_growth(before: GpuReading, after: GpuReading) -> dict[str, float]:
    return {
        name: seconds - before.violation_seconds[name]
        for name, seconds in after.violation_seconds.items()
        if name in before.violation_seconds
    }


def _gpu_facts(before: GpuReading, after: GpuReading) -> dict[str, Any]:
    energy = None
    if before.energy_joules is not None and after.energy_joules is not None:
        energy = after.energy_joules - before.energy_joules
    return {
        "gpu_slowdowns": None if after.slowdowns is None else sorted({*(before.slowdowns or ()), *after.slowdowns}),
        "gpu_throttled_seconds": _violation_growth(before, after) or None,
        "gpu_temperature_celsius": _pair(before.temperature_celsius, after.temperature_celsius),
        "gpu_sm_clock_mhz": _pair(before.sm_clock_mhz, after.sm_clock_mhz),
        "gpu_energy_joules": energy,
        "gpu_foreign_processes": None
        if after.foreign is None
        else [{"pid": entry.pid, "memory_bytes": entry.memory_bytes} for entry in _foreign(before, after)],
    }


def _pair(before: int | None, after: int | None) -> list[int] | None:
    return None if before is None or after is None else [before, after]


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
