"""Leases: no two overlap, too many are refused, and they go with their process."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from emobench.errors import UnsupportedError
from emobench.processes import leases
from emobench.processes.leases import core_groups, take, visible_gpus

CORES = set(range(8))
GPUS = [("GPU-aaaa", "H100"), ("GPU-bbbb", "H100"), ("GPU-bbcc", "H100")]


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Eight cores, three GPUs, no quota, and lock files of this test's own."""
    monkeypatch.setenv(leases.FOLDER, str(tmp_path))
    for name in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: CORES)
    monkeypatch.setattr(leases, "core_groups", lambda cores: [(core,) for core in cores])
    monkeypatch.setattr(leases, "quota", lambda: float("inf"))
    monkeypatch.setattr(leases, "_listed_gpus", lambda: GPUS)
    monkeypatch.setattr(leases, "absent_reason", lambda kind: None)
    monkeypatch.setattr(leases, "PATIENCE_SECONDS", 0.0)
    held: list[int] = []
    real = leases._lock

    def remember(name: str, *, exclusive: bool) -> int | None:
        lock = real(name, exclusive=exclusive)
        held.extend([] if lock is None else [lock])
        return lock

    monkeypatch.setattr(leases, "_lock", remember)
    yield
    for lock in held:
        with contextlib.suppress(OSError):
            os.close(lock)


def test_leases_are_disjoint() -> None:
    """Three workers on eight cores and three GPUs have two cores and a GPU each, all different."""
    found = [take(3, index, {"cpu", "cuda"}) for index in range(3)]
    assert [lease.cores for lease in found] == [(0, 1), (2, 3), (4, 5)]
    assert [lease.gpu for lease in found] == ["GPU-aaaa", "GPU-bbbb", "GPU-bbcc"]
    assert [lease.threads for lease in found] == [2, 2, 2]
    assert not any(lease.shared for lease in found)


def test_an_overlapping_lease_is_refused() -> None:
    """A second session that wants the same cores is told who holds them."""
    take(1, 0, {"cpu"})
    with pytest.raises(
        UnsupportedError, match=rf"leased to others; held are cores-0 \(process {os.getpid()}\), cores-1"
    ):
        take(2, 0, {"cpu"})


def test_a_lease_goes_with_its_process() -> None:
    """What a killed process held is free again; while it lives it is not."""
    code = (
        "import sys, time; from emobench.processes.leases import _lock; "
        "print(_lock('cores-0', exclusive=True)); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-uc", code], stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline().strip() != "None"
            with pytest.raises(UnsupportedError, match=f"process {holder.pid}"):
                take(1, 0, {"cpu"})
        finally:
            holder.send_signal(signal.SIGKILL)
    assert take(1, 0, {"cpu"}).cores == tuple(range(8))


@pytest.mark.parametrize(
    ("workers", "devices", "text"),
    [
        (
            9,
            {"cpu"},
            "9 workers are too many to measure with; each needs a device of its own, and this process has 8 cores",
        ),
        (4, {"cuda"}, "4 workers are too many to measure with; .* 3 GPUs to lease; .*--emo-share-device"),
        (2, {"mps"}, "2 workers are too many to measure with; .* 1 GPU;"),
    ],
)
def test_too_many_workers_are_refused(workers: int, devices: set[str], text: str) -> None:
    """The error says how many there may be, and how to insist."""
    with pytest.raises(UnsupportedError, match=text):
        take(workers, 0, devices)  # type: ignore[arg-type]  # a test's shorthand


def test_a_quota_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container sees all cores and may use two: three workers are too many, two have one each."""
    monkeypatch.setattr(leases, "quota", lambda: 2.0)
    with pytest.raises(UnsupportedError, match="8 cores and a quota of 2"):
        take(3, 0, {"cpu"})
    assert [take(2, index, {"cpu"}).cores for index in range(2)] == [(0,), (1,)]


def test_who_insists_shares_and_is_marked() -> None:
    """With ``share`` nine workers measure on eight cores, all marked; an exclusive lease beside them is refused."""
    found = [take(9, index, {"cpu"}, share=True) for index in range(9)]
    assert all(lease.shared for lease in found)
    assert found[0].cores == found[8].cores
    assert found[0].facts()["shared"] is True
    with pytest.raises(UnsupportedError, match="leased to others"):
        take(1, 0, {"cpu"})


def test_sharing_is_not_taken_where_it_is_not_needed() -> None:
    """With room for all, ``share`` changes nothing."""
    assert not take(2, 0, {"cpu"}, share=True).shared


def test_hyper_threads_stay_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker has whole cores; with fewer of them than workers they are split, and the record says so."""
    monkeypatch.setattr(leases, "core_groups", lambda cores: [(0, 4), (1, 5), (2, 6), (3, 7)])
    found = take(2, 0, {"cpu"})
    assert (found.cores, found.threads, found.split_cores) == ((0, 1, 4, 5), 2, False)
    found.release()
    assert take(8, 0, {"cpu"}).split_cores


def test_core_groups_hold_every_core_once() -> None:
    """On this machine: the groups are the cores that were given."""
    assert sorted(core for group in core_groups([0]) for core in group) == [0]


def test_fewer_threads_may_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """``OMP_NUM_THREADS`` of the caller is an upper limit."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert take(1, 0, {"cpu"}).threads == 1


@pytest.mark.parametrize(
    ("variable", "wanted"),
    [
        ("1,0", ["GPU-bbbb", "GPU-aaaa"]),
        ("GPU-bbc", ["GPU-bbcc"]),
        ("MIG-1234", ["MIG-1234"]),
        ("", []),
    ],
)
def test_the_callers_gpus_are_honoured(variable: str, wanted: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what ``CUDA_VISIBLE_DEVICES`` names is leased, in its order."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", variable)
    assert visible_gpus() == wanted


def test_a_gpu_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """An index beyond the last, or a prefix of two, is an error."""
    for name in ("3", "GPU-bb"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", name)
        with pytest.raises(UnsupportedError, match=f"names '{name}', which is no GPU of this machine"):
            visible_gpus()


def test_indices_of_a_mixed_machine_mean_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """CUDA and the driver count GPUs of several kinds differently: an index is taken only where the order is set."""
    monkeypatch.setattr(leases, "_listed_gpus", lambda: [("GPU-a", "T4"), ("GPU-b", "H100")])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    with pytest.raises(UnsupportedError, match="CUDA_DEVICE_ORDER=PCI_BUS_ID"):
        visible_gpus()
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    assert visible_gpus() == ["GPU-a"]


@pytest.mark.slow
def test_a_process_is_kept_on_its_lease() -> None:
    """In a fresh process: affinity of every thread, thread counts and GPU are the lease's, also in torch."""
    core = min(os.sched_getaffinity(0) & set(range(os.cpu_count() or 1)))
    code = (
        "import json, os, threading; from emobench.processes.leases import Lease, apply\n"
        "threading.Thread(target=threading.Event().wait, daemon=True).start()\n"
        f"apply(Lease(cores=({core},), threads=1, gpu='GPU-x'))\n"
        "import torch\n"
        "seen = [sorted(os.sched_getaffinity(int(t))) for t in os.listdir('/proc/self/task')]\n"
        "print(json.dumps([seen, torch.get_num_threads(), os.environ['CUDA_VISIBLE_DEVICES']]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    seen, threads, gpu = json.loads(done.stdout)
    assert len(seen) >= 2
    assert all(cores == [core] for cores in seen)
    assert (threads, gpu) == (1, "GPU-x")
