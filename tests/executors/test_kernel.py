"""Counters of out-of-memory kills, read from made and from real files of the kernel."""

from __future__ import annotations

from pathlib import Path

import pytest

from emobench.processes.kernel import grown, oom_kills

VMSTAT = "nr_free_pages 1\noom_kill {}\nother 3\n"


def made(root: Path, *, cgroup: str, mounts: str, files: dict[str, str], machine: int = 0) -> Path:
    """A folder like /proc whose mount points lie below ``root`` too."""
    proc = root / "proc"
    (proc / "self").mkdir(parents=True)
    (proc / "self" / "cgroup").write_text(cgroup)
    (proc / "self" / "mountinfo").write_text(mounts.replace("ROOT", str(root)))
    (proc / "vmstat").write_text(VMSTAT.format(machine))
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return proc


EVENTS = "low 0\nhigh 0\nmax 12\noom 3\noom_kill {}\noom_group_kill 0\n"
V2 = "30 23 0:26 / ROOT/cg rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = "31 23 0:27 / ROOT/cg/cpu rw - cgroup cgroup rw,cpu\n32 23 0:28 {} ROOT/cg/memory rw - cgroup cgroup rw,memory\n"


def test_cgroup_v2(tmp_path: Path) -> None:
    """``memory.events`` of the process's own cgroup counts, and not that of its parent."""
    files = {"cg/user/job/memory.events": EVENTS.format(2), "cg/user/memory.events": EVENTS.format(9)}
    proc = made(tmp_path, cgroup="0::/user/job\n", mounts=V2, files=files, machine=5)
    assert oom_kills(proc) == {
        str(tmp_path / "cg/user/job/memory.events"): 2,
        str(proc / "vmstat"): 5,
    }


@pytest.mark.parametrize("root", ["/", "/docker/ab"])
def test_cgroup_v1(tmp_path: Path, root: str) -> None:
    """``memory.oom_control`` of the memory hierarchy counts, also where a container sees only its own part of it."""
    inside = "docker/ab/" if root == "/" else ""
    control = "oom_kill_disable 0\nunder_oom 0\noom_kill 4\n"
    proc = made(
        tmp_path,
        cgroup="5:cpu,cpuacct:/docker/ab\n4:memory:/docker/ab\n0::/\n",
        mounts=V1.format(root),
        files={f"cg/memory/{inside}memory.oom_control": control},
    )
    assert oom_kills(proc)[str(tmp_path / f"cg/memory/{inside}memory.oom_control")] == 4


def test_nothing_to_read(tmp_path: Path) -> None:
    """A system without these files has no counters, and no kill is seen."""
    assert oom_kills(tmp_path / "nowhere") == {}
    assert grown({}, {}) is None


def test_the_nearest_counter_is_named() -> None:
    """The cgroup's own counter is named before the machine's; one that stayed is not, nor one that is new."""
    before = {"/cg/memory.events": 1, "/proc/vmstat": 7}
    assert grown(before, before) is None
    assert grown(before, {**before, "/new": 3}) is None
    assert grown(before, {**before, "/proc/vmstat": 8}) == "oom_kill in /proc/vmstat went from 7 to 8"
    after = {"/cg/memory.events": 2, "/proc/vmstat": 8}
    assert grown(before, after) == "oom_kill in /cg/memory.events went from 1 to 2"
