"""Disturbances of a pass: found where they were planted, and only there."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import time
from typing import Any

import pytest

from emobench.measurement.machine import Counters, Limits, disturbances, facts, read_counters
from emobench.measurement.nvml import GpuProcess, GpuReading
from emobench.measurement.processor import Jiffies
from tests.measurement.nvml_stand_in import NvmlStandIn

TICKS = 100
"""A second of one core."""


@pytest.fixture(autouse=True)
def _ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emobench.measurement.machine.ticks_per_second", lambda: TICKS)


def pass_of(
    seconds: float, *, busy: float, own: float, steal: float = 0.0, idle: float | None = None, cores: int = 2
) -> tuple[Counters, Counters]:
    """Readings around a pass; ``busy``, ``own``, ``steal`` and ``idle`` in seconds of one core."""
    if idle is None:
        idle = seconds * cores - busy - steal
    before = Counters(
        monotonic_ns=5_000_000_000, own_cpu_seconds=100.0, jiffies=Jiffies(cores=cores, busy=7000, idle=9000, steal=300)
    )
    grown = Jiffies(
        cores=cores,
        busy=7000 + round(busy * TICKS),
        idle=9000 + round(idle * TICKS),
        steal=300 + round(steal * TICKS),
    )
    after = Counters(
        monotonic_ns=before.monotonic_ns + round(seconds * 1e9), own_cpu_seconds=100.0 + own, jiffies=grown
    )
    return before, after


def gpu(**fields: Any) -> GpuReading:
    quiet: dict[str, Any] = {
        "slowdowns": (),
        "violation_seconds": {"thermal": 10.0, "power": 0.0},
        "temperature_celsius": 50,
        "sm_clock_mhz": 1980,
        "energy_joules": 1000.0,
        "foreign": (),
    }
    return GpuReading(**{**quiet, **fields})


def with_gpu(first: GpuReading | None, last: GpuReading | None) -> tuple[Counters, Counters]:
    before, after = pass_of(2.0, busy=1.0, own=1.0)
    return dataclasses.replace(before, gpu=first), dataclasses.replace(after, gpu=last)


def test_the_share_of_others_is_busy_less_own_over_all_cores() -> None:
    """10 s on two cores are 20 s of cores: 8.2 s busy, of which 2 s our own, leave 31 % to others."""
    before, after = pass_of(10.0, busy=8.2, own=2.0)
    assert disturbances(before, after, device="cpu") == [
        "other processes took 31 % of the cores during the measurement (limit 10 %)"
    ]
    assert facts(before, after)["foreign_cpu_share"] == pytest.approx(0.31)


def test_our_own_work_disturbs_nothing() -> None:
    """All cores busy with our own threads is no disturbance, and 9 % by others is within the limit."""
    assert disturbances(*pass_of(10.0, busy=20.0, own=20.0), device="cpu") == []
    assert disturbances(*pass_of(10.0, busy=3.8, own=2.0), device="cpu") == []
    # Ticks miss some of our time: less than nothing is nothing.
    assert facts(*pass_of(10.0, busy=19.9, own=20.0))["foreign_cpu_share"] == 0


def test_steal_is_told_apart() -> None:
    """Time the hypervisor took is no foreign process's."""
    before, after = pass_of(10.0, busy=2.0, own=2.0, steal=1.2)
    assert disturbances(before, after, device="cpu") == ["hypervisor steal took 6 % of the cores (limit 5 %)"]
    assert facts(before, after)["steal_share"] == pytest.approx(0.06)


def test_limits_can_be_others() -> None:
    """A limit of one's own counts and is named."""
    before, after = pass_of(10.0, busy=3.8, own=2.0)
    assert disturbances(before, after, device="cpu", limits=Limits(foreign_cpu_share=0.05)) == [
        "other processes took 9 % of the cores during the measurement (limit 5 %)"
    ]


def test_no_verdict_from_few_ticks() -> None:
    """Below half a second, without counters, with cores that came or went, and with counters that stand still."""
    short = pass_of(0.49, busy=0.9, own=0.1)
    before, after = pass_of(10.0, busy=8.2, own=2.0)
    assert after.jiffies is not None
    blind = (dataclasses.replace(before, jiffies=None), after)
    fewer = (before, dataclasses.replace(after, jiffies=dataclasses.replace(after.jiffies, cores=1)))
    still = pass_of(10.0, busy=0.0, own=2.0, idle=0.0)
    for pair in (short, blind, fewer, still):
        assert disturbances(*pair, device="cpu") == []
        assert "foreign_cpu_share" not in facts(*pair)


def test_heat_of_the_cpu() -> None:
    """The largest growth of one counter is told, as logical processors repeat the events of their core."""
    before, after = pass_of(10.0, busy=2.0, own=2.0)
    before = dataclasses.replace(before, throttle_counts={"cpu0/core": 4, "cpu1/core": 4, "cpu9/core": 1})
    after = dataclasses.replace(after, throttle_counts={"cpu0/core": 7, "cpu1/core": 7})
    assert disturbances(before, after, device="cpu") == [
        "the CPU was throttled by heat: 3 events on one core or package"
    ]
    assert facts(before, after)["cpu_throttle_events"] == 3


def test_throttled_gpu_at_either_end() -> None:
    """A slowdown that is seen before or after the pass disturbs it; on another device nobody asks."""
    hot = gpu(slowdowns=("HW thermal slowdown",))
    for pair in (with_gpu(hot, gpu()), with_gpu(gpu(), hot)):
        assert disturbances(*pair, device="cuda") == ["the GPU was throttled: HW thermal slowdown"]
        assert disturbances(*pair, device="cpu") == []
    assert disturbances(*with_gpu(gpu(), gpu()), device="cuda") == []


def test_heat_between_the_readings_shows_in_accumulated_time() -> None:
    """Throttling that began and ended within the pass is in the violation time; power and a trace of heat are not."""
    pair = with_gpu(gpu(), gpu(violation_seconds={"thermal": 10.5, "power": 1.9}))
    assert disturbances(*pair, device="cuda") == ["the GPU was throttled by heat for 0.50 s of 2.00 s (limit 1 %)"]
    assert facts(*pair)["gpu_throttled_seconds"] == pytest.approx({"thermal": 0.5, "power": 1.9})
    assert disturbances(*with_gpu(gpu(), gpu(violation_seconds={"thermal": 10.01})), device="cuda") == []


def test_foreign_processes_on_the_gpu() -> None:
    """Each is named once with its memory, whenever it was seen."""
    stranger = GpuProcess(pid=123, memory_bytes=2310 << 20)
    nameless = GpuProcess(pid=124, memory_bytes=None)
    pair = with_gpu(gpu(foreign=(stranger,)), gpu(foreign=(stranger, nameless)))
    assert disturbances(*pair, device="cuda") == [
        "a foreign process ran on the GPU: pid 123 (2,310 MiB)",
        "a foreign process ran on the GPU: pid 124",
    ]


def test_what_cannot_be_read_is_not_in_the_record() -> None:
    """Facts are plain JSON values; absent ones are left out, and the reason stands with them."""
    found = facts(*with_gpu(gpu(energy_joules=None), gpu(slowdowns=None, foreign=None)))
    assert {"gpu_energy_joules", "gpu_slowdowns", "gpu_foreign_processes"}.isdisjoint(found)
    assert found["gpu_temperature_celsius"] == [50, 50]
    assert facts(*with_gpu(gpu(), gpu(energy_joules=1600.0)))["gpu_energy_joules"] == 600.0
    before, after = pass_of(1.0, busy=1.0, own=1.0)
    assert facts(before, dataclasses.replace(after, absent={"gpu": "no driver"}))["absent"] == {"gpu": "no driver"}
    assert json.loads(json.dumps(found)) == found


def test_the_gpu_is_read_for_cuda_only(fake_gpu: NvmlStandIn) -> None:
    """A pass on the CPU asks no driver; one on the GPU has its reading, or the reason why not."""
    assert read_counters("cpu").gpu is None
    assert fake_gpu.started == 0
    reading = read_counters("cuda").gpu
    assert reading is not None
    assert reading.sm_clock_mhz == 1980
    fake_gpu.processes = [(4_000_001, 1 << 20)]
    pair = read_counters("cuda"), read_counters("cuda")
    assert disturbances(*pair, device="cuda") == ["a foreign process ran on the GPU: pid 4000001 (1 MiB)"]


def test_no_driver_is_a_reason_in_the_record(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without NVML the counters of the CPU are there all the same."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    found = read_counters("cuda")
    assert found.gpu is None
    assert found.absent["gpu"] == "no CUDA device: CUDA_VISIBLE_DEVICES hides all of them"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/stat")
def test_a_busy_loop_in_a_foreign_process_is_noticed() -> None:
    """A process that is not our child burns a core while we sleep: others' share grows by what it took.

    Other load of the machine can only add to it, so the claim holds on a busy one.
    """
    code = "import time\nend = time.monotonic() + 1.0\nwhile time.monotonic() < end: pass\nprint(time.process_time())"
    # The shell ends at once, and its child is no longer ours.
    starter = ["/bin/sh", "-c", f"'{sys.executable}' -c '{code}' &"]
    with subprocess.Popen(starter, stdout=subprocess.PIPE, text=True) as shell:
        time.sleep(0.1)
        before = read_counters("cpu")
        assert shell.stdout is not None
        burnt = float(shell.stdout.readline())
        after = read_counters("cpu")
    found = facts(before, after)
    assert found["wall_seconds"] > 0.5
    taken = found["foreign_cpu_share"] * found["wall_seconds"] * found["cores"]
    assert taken >= 0.7 * burnt
    if found["foreign_cpu_share"] > Limits().foreign_cpu_share:
        assert disturbances(before, after, device="cpu")[0].startswith("other processes took ")
