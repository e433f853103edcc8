"""What Linux says of the processor: time its cores were busy, time the hypervisor took, thermal throttling.

Only reads counters; elsewhere than on Linux there are none, and they are absent.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

STAT = Path("/proc/stat")
CPUS = Path("/sys/devices/system/cpu")


@dataclass(frozen=True, kw_only=True)
class Jiffies:
    """Time of some cores since the machine was started, in ticks of ``SC_CLK_TCK`` (a hundred a second)."""

    cores: int
    busy: int
    """User, nice, system, interrupts: of every process, ours too. Guests are part of user."""
    idle: int
    """Nothing runnable, or waiting for a disk."""
    steal: int
    """Runnable, but the hypervisor ran something else."""


def read_jiffies(path: Path = STAT, *, cores: Collection[int] | None = None) -> Jiffies | None:
    """Ticks of the cores this process may run on (``cores`` names others); None without ``/proc/stat``.

    Those are all cores of the machine unless the process is pinned (taskset, a cpuset, Slurm): other jobs on cores
    that are not ours take nothing from us. Fields: proc(5), ``user nice system idle iowait irq softirq steal guest
    guest_nice``.
    """
    if not path.is_file():
        return None
    wanted = frozenset(usable_cores() if cores is None else cores)
    found: list[list[int]] = []
    for line in path.read_text().splitlines():
        name, *fields = line.split()
        number = name.removeprefix("cpu")
        if name.startswith("cpu") and number.isdecimal() and int(number) in wanted:
            found.append([int(field) for field in fields])
    if not found:
        return None
    busy = sum(user + nice + system + irq + softirq for user, nice, system, _, _, irq, softirq, *_ in found)
    return Jiffies(
        cores=len(found),
        busy=busy,
        idle=sum(fields[3] + fields[4] for fields in found),
        steal=sum(fields[7] for fields in found if len(fields) > 7),
    )


def usable_cores() -> frozenset[int]:
    """Numbers of the cores this process may run on; all there are where the system does not tell."""
    if hasattr(os, "sched_getaffinity"):
        return frozenset(os.sched_getaffinity(0))
    return frozenset(range(os.cpu_count() or 1))


def ticks_per_second() -> int:
    """Ticks of :class:`Jiffies` in a second."""
    return os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


def read_throttle_counts(root: Path = CPUS) -> Mapping[str, int]:
    """Thermal throttle events since the machine was started by file, such as ``cpu0/core``; empty where there are none.

    The files of one package or core repeat one event on each of its logical processors, so they are not to be added.
    """
    found: dict[str, int] = {}
    for file in sorted(root.glob("cpu*/thermal_throttle/*_throttle_count")):
        try:
            count = int(file.read_text())
        except (OSError, ValueError):
            # A processor that was taken offline between the listing and the reading.
            continue
        found[f"{file.parents[1].name}/{file.name.removesuffix('_throttle_count')}"] = count
    return found


def family() -> list[psutil.Process]:
    """The processes this one started, and theirs."""
    return psutil.Process().children(recursive=True)


def own_cpu_seconds(children: Collection[psutil.Process] = ()) -> float:
    """CPU time of all threads of this process, of ``children`` still running, and of children that have ended."""
    times = os.times()
    seconds = time.process_time() + times.children_user + times.children_system
    for child in children:
        try:
            used = child.cpu_times()
        except psutil.NoSuchProcess:
            # Ended since it was listed: its time is among the ended ones.
            continue
        seconds += used.user + used.system
    return seconds
