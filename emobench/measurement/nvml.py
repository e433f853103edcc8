"""What NVML says of the GPU that torch uses: throttling, clocks, temperature, processes, energy. Sets nothing.

``pynvml`` (package ``nvidia-ml-py``, extra ``gpu``) is imported inside a function. What a driver does not tell is None.
NVML lists every GPU whatever ``CUDA_VISIBLE_DEVICES`` says, so torch's GPU is found by its UUID, never by its index.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any, TypeVar

from emobench.devices import absent_reason

T = TypeVar("T")

SLOWDOWNS: Mapping[str, str] = MappingProxyType(
    {
        "nvmlClocksEventReasonHwSlowdown": "HW slowdown",
        "nvmlClocksEventReasonSwThermalSlowdown": "SW thermal slowdown",
        "nvmlClocksEventReasonHwThermalSlowdown": "HW thermal slowdown",
        "nvmlClocksEventReasonHwPowerBrakeSlowdown": "HW power brake slowdown",
    }
)
"""NVML's constants for clocks that something outside the work holds down. Idle and application clocks are not among
them, nor is the software power cap: a GPU under full load works at it, and the accumulated time says how long."""

VIOLATIONS: Mapping[str, str] = MappingProxyType(
    {
        "thermal": "NVML_PERF_POLICY_THERMAL",
        "power": "NVML_PERF_POLICY_POWER",
        "board_limit": "NVML_PERF_POLICY_BOARD_LIMIT",
        "reliability": "NVML_PERF_POLICY_RELIABILITY",
    }
)
"""Policies whose accumulated time NVML keeps (``nvmlDeviceGetViolationStatus``, nanoseconds)."""


@dataclass(frozen=True, kw_only=True)
class GpuProcess:
    """A process with a compute context on the GPU."""

    pid: int
    memory_bytes: int | None


@dataclass(frozen=True, kw_only=True)
class GpuReading:
    """The GPU at one moment; None where its driver does not tell."""

    slowdowns: tuple[str, ...] | None
    """Names of :data:`SLOWDOWNS` that hold the clocks down at this moment."""
    violation_seconds: Mapping[str, float]
    """Time since the driver was loaded in which each of :data:`VIOLATIONS` held the clocks down."""
    temperature_celsius: int | None
    sm_clock_mhz: int | None
    energy_joules: float | None
    """Growing since the driver was loaded."""
    foreign: tuple[GpuProcess, ...] | None
    """Compute processes other than our own."""


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """A handle to one GPU; every method asks the driver."""

    nvml: Any
    """The module ``pynvml``."""
    handle: Any

    def read(self, own_pids: Collection[int]) -> GpuReading:
        """Everything that is read before and after a pass; processes of ``own_pids`` are not foreign."""
        return GpuReading(
            slowdowns=self._slowdowns(),
            violation_seconds=self._violation_seconds(),
            temperature_celsius=self.temperature_celsius(),
            sm_clock_mhz=self.sm_clock_mhz(),
            energy_joules=self.energy_joules(),
            foreign=self._foreign(own_pids),
        )

    def temperature_celsius(self) -> int | None:
        # The second is deprecated, the first is missing from older drivers.
        names = ("nvmlDeviceGetTemperatureV", "nvmlDeviceGetTemperature")
        return self._first(names, int, self.nvml.NVML_TEMPERATURE_GPU)

    def sm_clock_mhz(self) -> int | None:
        return self._first(("nvmlDeviceGetClockInfo",), int, self.nvml.NVML_CLOCK_SM)

    def power_watts(self) -> float | None:
        return self._first(("nvmlDeviceGetPowerUsage",), lambda milliwatts: milliwatts / 1e3)

    def energy_joules(self) -> float | None:
        return self._first(("nvmlDeviceGetTotalEnergyConsumption",), lambda millijoules: millijoules / 1e3)

    def utilization(self) -> float | None:
        """Share of the driver's last sample period (a sixth of a second to one second) in which a kernel ran."""
        return self._first(("nvmlDeviceGetUtilizationRates",), lambda rates: rates.gpu / 100)

    def _slowdowns(self) -> tuple[str, ...] | None:
        # Two names of one bit mask: drivers before R535 know only the second.
        names = ("nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons")
        mask = self._first(names, int)
        if mask is None:
            return None
        return tuple(text for constant, text in SLOWDOWNS.items() if mask & getattr(self.nvml, constant))

    def _violation_seconds(self) -> Mapping[str, float]:
        found: dict[str, float] = {}
        for name, constant in VIOLATIONS.items():
            policy = getattr(self.nvml, constant)
            seconds = self._first(("nvmlDeviceGetViolationStatus",), lambda status: status.violationTime / 1e9, policy)
            if seconds is not None:
                found[name] = seconds
        return MappingProxyType(found)

    def _foreign(self, own_pids: Collection[int]) -> tuple[GpuProcess, ...] | None:
        listed = self._first(("nvmlDeviceGetComputeRunningProcesses",), _processes)
        if listed is None:
            return None
        foreign = [process for process in listed if process.pid not in own_pids]
        if foreign and len(foreign) == len(listed) and torch_reserved_bytes() > 0:
            # Inside a container the driver lists the host's process numbers, so ours is there under a number that we
            # cannot know: the process whose memory is nearest to what torch took.
            foreign.remove(min(foreign, key=_memory_distance))
        return tuple(foreign)

    def _first(self, names: tuple[str, ...], convert: Callable[[Any], T], *arguments: Any) -> T | None:
        """The answer of the first of these functions that the package and the driver have."""
        for name in names:
            function = getattr(self.nvml, name, None)
            if function is None:
                continue
            try:
                return convert(function(self.handle, *arguments))
            except self.nvml.NVMLError:
                # Not supported by this GPU or driver, or not permitted: absent, like everything that cannot be read.
                continue
        return None


def open_gpu() -> Gpu | str:
    """The GPU that torch uses (its current CUDA device), or the reason why NVML cannot be asked about it."""
    reason = absent_reason("cuda")
    if reason:
        return reason
    try:
        nvml = importlib.import_module("pynvml")
    except ImportError:
        return 'nvidia-ml-py is not installed; run: pip install "emobench[gpu]"'
    uuid = torch_uuid()
    return _open(nvml, uuid) if uuid else "torch cannot use a CUDA device here"


def torch_uuid() -> str | None:
    """UUID of torch's current CUDA device, as torch writes it; None where torch has no such device."""
    import torch

    if not torch.cuda.is_available():
        return None
    return str(torch.cuda.get_device_properties(torch.cuda.current_device()).uuid)


def torch_reserved_bytes() -> int:
    """What torch's allocator took from the GPU; above 0 this process has a context there, and NVML lists it."""
    import torch

    return int(torch.cuda.memory_reserved())


@cache
def _open(nvml: Any, uuid: str) -> Gpu | str:
    # Initialised once a process and never shut down: doing it anew takes longer than a short pass.
    try:
        nvml.nvmlInit()
        for index in range(nvml.nvmlDeviceGetCount()):
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            if _bare(nvml.nvmlDeviceGetUUID(handle)) == _bare(uuid):
                return Gpu(nvml=nvml, handle=handle)
    except nvml.NVMLError as error:
        return f"NVML cannot be used: {error}"
    return f"NVML lists no GPU with the UUID {uuid} of torch's device (a MIG instance has no counters of its own)"


def _bare(uuid: str | bytes) -> str:
    """A UUID without the prefix that NVML puts before it."""
    text = uuid.decode() if isinstance(uuid, bytes) else uuid
    return text.removeprefix("GPU-").lower()


def _processes(listed: Any) -> list[GpuProcess]:
    return [GpuProcess(pid=int(entry.pid), memory_bytes=entry.usedGpuMemory) for entry in listed]


def _memory_distance(process: GpuProcess) -> float:
    return float("inf") if process.memory_bytes is None else abs(process.memory_bytes - torch_reserved_bytes())
