"""NVML's answers: about torch's GPU only, absent where they cannot be had, and never an exception."""

from __future__ import annotations

import inspect
import sys

import pytest

from emobench.measurement import nvml
from emobench.measurement.nvml import Gpu, GpuProcess, open_gpu
from tests.measurement.nvml_stand_in import UUIDS, NvmlStandIn


def opened() -> Gpu:
    gpu = open_gpu()
    assert isinstance(gpu, Gpu), gpu
    return gpu


def test_the_stand_in_speaks_as_the_package_does() -> None:
    """Every function and constant of the stand-in is one of the installed package, with its arguments and value."""
    real = pytest.importorskip("pynvml")
    stand_in = NvmlStandIn()
    for name in (name for name in dir(stand_in) if name.lower().startswith("nvml")):
        mine, theirs = getattr(stand_in, name), getattr(real, name)
        if isinstance(mine, int):
            assert mine == theirs, name
        elif inspect.ismethod(mine):
            # Some are wrapped and take anything; those that are not must take as many arguments as we give.
            inspect.signature(theirs).bind(*inspect.signature(mine).parameters)


def test_torchs_gpu_is_found_by_uuid(fake_gpu: NvmlStandIn) -> None:
    """Under CUDA_VISIBLE_DEVICES=1 torch's device 0 is NVML's device 1; the stand-in fails if asked about another."""
    assert opened().handle == 1
    assert opened().read(()).temperature_celsius == 50
    assert fake_gpu.started == 1


def test_a_uuid_that_nvml_does_not_list_is_a_reason(fake_gpu: NvmlStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that NVML does not know, such as a MIG instance, has no counters: the first GPU's are not taken."""
    monkeypatch.setattr(nvml, "torch_uuid", lambda: "33333333-aaaa-bbbb-cccc-000000000000")
    assert "no GPU with the UUID 33333333" in str(open_gpu())


def test_no_package_and_no_driver_are_reasons(fake_gpu: NvmlStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither is an exception; a missing package comes with the command."""
    fake_gpu.missing.add("nvmlInit")
    assert open_gpu() == "NVML cannot be used: NVML Shared Library Not Found"
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert open_gpu() == 'nvidia-ml-py is not installed; run: pip install "emobench[gpu]"'
    monkeypatch.undo()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert open_gpu() == "no CUDA device: CUDA_VISIBLE_DEVICES hides all of them"


@pytest.mark.parametrize(
    ("mask", "names"),
    [
        (0x0, ()),
        (0x1 | 0x2 | 0x4, ()),
        (0x8, ("HW slowdown",)),
        (0x20 | 0x1, ("SW thermal slowdown",)),
        (0x40 | 0x8, ("HW slowdown", "HW thermal slowdown")),
        (0x80, ("HW power brake slowdown",)),
    ],
)
def test_reasons_that_count_as_throttling(fake_gpu: NvmlStandIn, mask: int, names: tuple[str, ...]) -> None:
    """Heat, power brake and hardware slowdown count; idle, application clocks and the power cap do not."""
    fake_gpu.reasons = mask
    assert opened().read(()).slowdowns == names


def test_old_drivers_are_asked_by_the_old_name(fake_gpu: NvmlStandIn) -> None:
    """A driver that knows only the former name of the same bits is asked by it; one that knows neither is None."""
    fake_gpu.reasons = 0x40
    fake_gpu.missing |= {"nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetTemperatureV"}
    assert opened().read(()).slowdowns == ("HW thermal slowdown",)
    assert opened().read(()).temperature_celsius == 50
    fake_gpu.missing |= {"nvmlDeviceGetCurrentClocksThrottleReasons"}
    assert opened().read(()).slowdowns is None


def test_what_a_driver_does_not_tell_is_absent(fake_gpu: NvmlStandIn) -> None:
    """Every question refused gives None or nothing, not 0."""
    fake_gpu.missing |= {name for name in dir(fake_gpu) if name.startswith("nvmlDeviceGet")}
    gpu = Gpu(nvml=fake_gpu, handle=1)
    reading = gpu.read(())
    assert dict(reading.violation_seconds) == {}
    assert {getattr(reading, name) for name in ("slowdowns", "temperature_celsius", "energy_joules", "foreign")} == {
        None
    }
    assert (gpu.utilization(), gpu.power_watts(), gpu.sm_clock_mhz()) == (None, None, None)


def test_units(fake_gpu: NvmlStandIn) -> None:
    """Milliwatts, millijoules, nanoseconds and percent become watts, joules, seconds and shares."""
    fake_gpu.violations[1] = 2_500_000_000
    gpu = opened()
    assert gpu.power_watts() == 300.0
    assert gpu.utilization() == 0.8
    assert gpu.read(()).violation_seconds == {"thermal": 2.5, "power": 0, "board_limit": 0, "reliability": 0}
    assert 1e6 < (gpu.energy_joules() or 0) < 1e9


def test_own_processes_are_not_foreign(fake_gpu: NvmlStandIn) -> None:
    """Ours and our children's are left out, others stay with their memory."""
    fake_gpu.processes = [(10, 1 << 30), (11, 1 << 20), (12, None)]
    assert opened().read({10, 11}).foreign == (GpuProcess(pid=12, memory_bytes=None),)


def test_in_a_container_one_process_is_ours(fake_gpu: NvmlStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where our number is not listed though we are on the GPU, the process nearest to torch's memory is ours."""
    fake_gpu.processes = [(70_001, 5 << 30), (70_002, 2 << 30)]
    assert len(opened().read({1}).foreign or ()) == 2
    monkeypatch.setattr(nvml, "torch_reserved_bytes", lambda: 5 << 30)
    assert opened().read({1}).foreign == (GpuProcess(pid=70_002, memory_bytes=2 << 30),)


def test_uuids_are_compared_without_prefix_and_case() -> None:
    """torch writes no prefix, NVML one; older packages give bytes."""
    assert nvml._bare(UUIDS[0].encode()) == nvml._bare(UUIDS[0][4:].upper())
