"""Leases: which cores and which GPU a process measures on, held so that no other lease overlaps.

A lease is a lock on a file that goes with the process, however it ends. It keeps out other leases, not other programs;
what those do shows in the counters that a case reads.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from emobench.devices import absent_reason
from emobench.errors import UnsupportedError
from emobench.specs import DeviceKind

FOLDER = "EMOBENCH_LEASES"
"""Environment variable: folder of the lock files; ``emobench-leases`` in the machine's temporary folder if not set."""
PATIENCE_SECONDS, PAUSE_SECONDS = 3.0, 0.5
"""How long a worker waits for cores that are held, and between two looks."""
SHARE = "give fewer workers with -n, or add --emo-share-device to measure there all the same, marked as shared"


@dataclass(frozen=True, kw_only=True)
class Lease:
    """What a process may compute on."""

    cores: tuple[int, ...]
    """Logical CPUs."""
    threads: int
    """Computing threads: one for each physical core, fewer where the caller asked for fewer."""
    gpu: str | None = None
    """UUID, where a case needs CUDA."""
    shared: bool = False
    """Others compute there too: its timings mean nothing beside those of an exclusive lease."""
    split_cores: bool = False
    """Another lease has the other hyper-thread of one of these cores."""
    locks: tuple[int, ...] = field(default=(), repr=False, compare=False)
    """Open descriptors of the locked files."""

    def facts(self) -> dict[str, Any]:
        """For the record."""
        found: dict[str, Any] = {"cores": list(self.cores), "threads": self.threads, "gpu": self.gpu}
        return found | {"shared": self.shared, "split_cores": self.split_cores}

    def release(self) -> None:
        """Give the locks back."""
        for lock in self.locks:
            with contextlib.suppress(OSError):
                os.close(lock)


def take(workers: int, index: int, devices: Collection[DeviceKind], *, share: bool = False) -> Lease:
    """One worker's lease: its part of the cores, and a GPU where a case needs one and the machine has one.

    ``index`` is the worker's number; it decides only where leases are shared.

    Raises:
        UnsupportedError: there are more workers than cores or GPUs, or another process holds what this one needs.
    """
    if not hasattr(os, "sched_setaffinity"):
        raise UnsupportedError(
            f"{workers} workers cannot be kept apart on this platform",
            why="it does not let a process choose its cores",
            fix="run pytest benchmarks without -n",
        )
    gpus = visible_gpus() if "cuda" in devices and absent_reason("cuda") is None else []
    groups = core_groups(sorted(os.sched_getaffinity(0)))
    try:
        _check_enough(workers, gpus, groups, devices)
        return _patiently(workers, gpus, groups)
    except UnsupportedError:
        if not share:
            raise
    return _shared(workers, index, gpus, groups)


def _patiently(workers: int, gpus: Sequence[str], groups: Sequence[tuple[int, ...]]) -> Lease:
    # The worker that this one replaces may still be dying.
    for _ in range(int(PATIENCE_SECONDS / PAUSE_SECONDS)):
        with contextlib.suppress(UnsupportedError):
            return _exclusive(workers, gpus, groups)
        time.sleep(PAUSE_SECONDS)
    return _exclusive(workers, gpus, groups)


def apply(lease: Lease) -> None:
    """Keep this process, with all threads it has, on the lease's cores and GPU, and its libraries to its threads.

    Takes full effect where torch is not imported yet.
    """
    for thread in os.listdir("/proc/self/task") if Path("/proc/self/task").exists() else ["0"]:
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(int(thread), lease.cores)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(lease.threads)
    if lease.gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = lease.gpu
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(lease.threads)
        if lease.gpu is not None and torch.cuda.is_initialized():
            raise UnsupportedError(
                f"the lease of {lease.gpu} came too late",
                why="something initialized CUDA while the tests were collected",
                fix="move it into a fixture or a test",
            )


def core_groups(cores: Sequence[int]) -> list[tuple[int, ...]]:
    """These logical CPUs, those of one physical core together."""
    found: dict[str, list[int]] = {}
    for core in cores:
        path = Path(f"/sys/devices/system/cpu/cpu{core}/topology/core_cpus_list")
        found.setdefault(path.read_text().strip() if path.exists() else str(core), []).append(core)
    return [tuple(group) for group in found.values()]


def quota() -> float:
    """CPUs that the control group of this process may use at once; infinity where nothing limits them."""
    path = Path("/sys/fs/cgroup/cpu.max")
    if not path.exists():
        return math.inf
    limit, _, period = path.read_text().partition(" ")
    return math.inf if limit == "max" else int(limit) / int(period)


def visible_gpus() -> list[str]:
    """UUIDs of the GPUs that this process may use, in the order of ``CUDA_VISIBLE_DEVICES``; initializes nothing.

    Raises:
        UnsupportedError: indices mean different GPUs to CUDA and to the driver, or name one that is not there.
    """
    listed = _listed_gpus()
    wanted = os.environ.get("CUDA_VISIBLE_DEVICES")
    if wanted is None:
        return [uuid for uuid, _ in listed]
    names = [name.strip() for name in wanted.split(",") if name.strip()]
    mixed = len({kind for _, kind in listed}) > 1 and os.environ.get("CUDA_DEVICE_ORDER") != "PCI_BUS_ID"
    # CUDA counts the fastest GPU first, the driver goes by the bus.
    if mixed and any(name.isdigit() for name in names):
        raise UnsupportedError(
            f"CUDA_VISIBLE_DEVICES={wanted} does not tell which GPU to lease",
            why="the machine has GPUs of several kinds, which CUDA and the driver count differently",
            fix="set CUDA_DEVICE_ORDER=PCI_BUS_ID, or name UUIDs as nvidia-smi -L lists them",
        )
    return [_gpu_named(name, listed, wanted) for name in names]


def _gpu_named(name: str, listed: Sequence[tuple[str, str]], wanted: str) -> str:
    if name.startswith("MIG-"):
        return name
    if name.isdigit() and int(name) < len(listed):
        return listed[int(name)][0]
    fits = [uuid for uuid, _ in listed if uuid.startswith(name)]
    if len(fits) != 1:
        raise UnsupportedError(
            f"CUDA_VISIBLE_DEVICES={wanted} names {name!r}, which is no GPU of this machine",
            why=f"it has {', '.join(uuid for uuid, _ in listed) or 'none'}",
            fix="name one of them, by its number or its UUID",
        )
    return fits[0]


def _listed_gpus() -> list[tuple[str, str]]:
    """UUID and name of every GPU the driver knows, by its number there."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    command = [tool, "--query-gpu=uuid,name", "--format=csv,noheader"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    rows = [line.partition(",") for line in done.stdout.splitlines() if line.startswith("GPU-")]
    return [(uuid.strip(), name.strip()) for uuid, _, name in rows] if done.returncode == 0 else []


def _check_enough(
    workers: int, gpus: Sequence[str], groups: Sequence[Sequence[int]], devices: Collection[DeviceKind]
) -> None:
    cores = sum(map(len, groups))
    if "mps" in devices and absent_reason("mps") is None and workers > 1:
        raise _too_many(workers, "1 GPU")
    if gpus and workers > len(gpus):
        raise _too_many(workers, f"{len(gpus)} GPU{'s' if len(gpus) > 1 else ''} to lease")
    if workers > min(cores, quota()):
        limit = f" and a quota of {quota():g}" if quota() < cores else ""
        raise _too_many(workers, f"{cores} core{'s' if cores > 1 else ''}{limit}")


def _too_many(workers: int, there: str) -> UnsupportedError:
    return UnsupportedError(
        f"{workers} workers are too many to measure with",
        why=f"each needs a device of its own, and this process has {there}",
        fix=SHARE,
    )


def _exclusive(workers: int, gpus: Sequence[str], groups: Sequence[tuple[int, ...]]) -> Lease:
    split = len(groups) < workers
    units = [(core,) for group in groups for core in group] if split else list(groups)
    each = max(1, min(len(units) // workers, int(quota() // workers) if quota() < len(units) else len(units)))
    locks: list[int] = []
    try:
        gpu = _lock_some(gpus, 1, "gpu-{}", locks)[0] if gpus else None
        held = _lock_some(units, each, "cores-{}", locks)
    except UnsupportedError:
        for lock in locks:
            os.close(lock)
        raise
    cores = tuple(sorted(core for unit in held for core in unit))
    return Lease(cores=cores, threads=_threads(each), gpu=gpu, split_cores=split, locks=tuple(locks))


def _shared(workers: int, index: int, gpus: Sequence[str], groups: Sequence[tuple[int, ...]]) -> Lease:
    each = max(1, len(groups) // workers)
    mine = [groups[(index * each + offset) % len(groups)] for offset in range(each)]
    gpu = gpus[index % len(gpus)] if gpus else None
    # Held together with others that share; keeps exclusive leases away.
    places = [*(f"gpu-{name}" for name in [gpu] if name), *(f"cores-{core}" for group in mine for core in group)]
    locks = [lock for lock in (_lock(place, exclusive=False) for place in places) if lock is not None]
    cores = tuple(sorted(core for group in mine for core in group))
    return Lease(cores=cores, threads=_threads(each), gpu=gpu, shared=True, locks=tuple(locks))


def _threads(cores: int) -> int:
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return min(cores, int(asked)) if asked.isdigit() and int(asked) > 0 else cores


def _lock_some(units: Sequence[Any], count: int, pattern: str, locks: list[int]) -> list[Any]:
    """The first ``count`` units that nobody holds; their locks are appended."""
    held: list[Any] = []
    busy: list[str] = []
    for unit in units:
        names = [pattern.format(part) for part in ([unit] if isinstance(unit, str) else unit)]
        taken: list[int] = []
        for name in names:
            lock = _lock(name, exclusive=True)
            if lock is None:
                busy.append(f"{name} ({_holder(name)})")
                break
            taken.append(lock)
        if len(taken) < len(names):
            for lock in taken:
                os.close(lock)
            continue
        locks += taken
        held.append(unit)
        if len(held) == count:
            return held
    raise UnsupportedError(
        "what this process was to measure on is leased to others",
        why=f"held are {', '.join(busy)}",
        fix="wait for them to end, or add --emo-share-device to measure there all the same, marked as shared",
    )


def folder() -> Path:
    """Where the lock files lie; made so that every user of the machine can lock in it."""
    place = Path(os.environ.get(FOLDER) or Path(tempfile.gettempdir(), "emobench-leases"))
    if not place.is_dir():
        place.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(PermissionError):
            place.chmod(0o1777)
    return place


def _lock(name: str, *, exclusive: bool) -> int | None:
    """Descriptor of the locked file, or None where another process holds it."""
    import fcntl  # not everywhere; where leases are, it is

    # The file stays: one that were removed could be locked twice, by its old holder and under its new name.
    path, flags = folder() / f"{name}.lock", os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        # Without O_CREAT: in a folder like /tmp a kernel refuses to create what is there and belongs to another user.
        lock = os.open(path, flags)
    except FileNotFoundError:
        lock = os.open(path, flags | os.O_CREAT, 0o666)
    try:
        fcntl.flock(lock, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    if os.fstat(lock).st_uid == os.getuid():
        os.fchmod(lock, 0o666)
    os.ftruncate(lock, 0)
    os.pwrite(lock, json.dumps({"pid": os.getpid()}).encode(), 0)
    return lock


def _holder(name: str) -> str:
    try:
        return f"process {json.loads((folder() / f'{name}.lock').read_bytes())['pid']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
