"""What the kernel says of memory: how often it killed a process for the want of it. Linux only; elsewhere nothing.

It judges no case: a counter that grew while a case ran is evidence, and the caller knows how the case ended.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

PROC = Path("/proc")


def oom_kills(proc: Path = PROC) -> dict[str, int]:
    """Counters of out-of-memory kills by the file they stand in: those of this process's cgroups, and the machine's.

    ``memory.events`` (cgroup v2) and ``memory.oom_control`` (v1) count the kills inside the cgroup, ``/proc/vmstat``
    all of the machine. A file that is not there or counts no kills is left out.
    """
    found = {}
    for path, name in (*_cgroup_files(proc), (proc / "vmstat", "oom_kill")):
        count = _counter(path, name)
        if count is not None:
            found[str(path)] = count
    return found


def grown(before: Mapping[str, int], after: Mapping[str, int]) -> str | None:
    """Which counter grew, in words; the cgroup's own rather than the machine's. None where none did."""
    for path, count in after.items():
        if count > before.get(path, count):
            return f"oom_kill in {path} went from {before[path]} to {count}"
    return None


def _cgroup_files(proc: Path) -> Iterator[tuple[Path, str]]:
    mounts = list(_mounts(proc))
    for line in _lines(proc / "self" / "cgroup"):
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0":
            kind, file = "cgroup2", "memory.events"
        elif "memory" in controllers.split(","):
            kind, file = "cgroup", "memory.oom_control"
        else:
            continue
        for mounted, root, options, point in mounts:
            if mounted != kind or (kind == "cgroup" and "memory" not in options):
                continue
            # In a container the mount shows a part of the tree, and the path may be told from the top of the whole.
            inside = path.removeprefix(root.rstrip("/")) if path.startswith(root) else ""
            yield point / inside.lstrip("/") / file, "oom_kill"


def _mounts(proc: Path) -> Iterator[tuple[str, str, list[str], Path]]:
    for line in _lines(proc / "self" / "mountinfo"):
        before, _, after = line.partition(" - ")
        left, right = before.split(), after.split()
        if len(left) >= 5 and right and right[0] in ("cgroup", "cgroup2"):
            yield right[0], left[3], right[-1].split(","), Path(left[4])


def _counter(path: Path, name: str) -> int | None:
    for line in _lines(path):
        key, _, value = line.partition(" ")
        if key == name and value.strip().isdigit():
            return int(value)
    return None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(errors="replace").splitlines()
    except OSError:  # not there, or not for this user to read
        return []
