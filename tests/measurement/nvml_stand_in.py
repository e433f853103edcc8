"""A ``pynvml`` for tests: the real names of functions and constants, made-up answers, and its errors."""

# NVML's names are not ours to choose.
# ruff: noqa: N802

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

UUIDS = ("GPU-11111111-aaaa-bbbb-cccc-000000000000", "GPU-22222222-aaaa-bbbb-cccc-000000000000")


class NvmlStandIn:
    """Two GPUs; ``state`` belongs to the second, and asking about the first is an error of the test."""

    NVML_TEMPERATURE_GPU = 0
    NVML_CLOCK_SM = 1
    NVML_PERF_POLICY_POWER = 0
    NVML_PERF_POLICY_THERMAL = 1
    NVML_PERF_POLICY_BOARD_LIMIT = 3
    NVML_PERF_POLICY_RELIABILITY = 5
    nvmlClocksEventReasonGpuIdle = 0x1
    nvmlClocksEventReasonApplicationsClocksSetting = 0x2
    nvmlClocksEventReasonSwPowerCap = 0x4
    nvmlClocksEventReasonHwSlowdown = 0x8
    nvmlClocksEventReasonSwThermalSlowdown = 0x20
    nvmlClocksEventReasonHwThermalSlowdown = 0x40
    nvmlClocksEventReasonHwPowerBrakeSlowdown = 0x80

    class NVMLError(Exception):
        pass

    def __init__(self, **state: Any) -> None:
        self.reasons = 0
        self.violations = {0: 0, 1: 0, 3: 0, 5: 0}
        self.processes: list[tuple[int, int | None]] = []
        self.temperature, self.clock, self.power, self.gpu_percent = 50, 1980, 300_000, 80
        self.watts: float | None = 500.0
        self.missing: set[str] = set()
        self.started = 0
        self.__dict__.update(state)

    def _ask(self, name: str, handle: int) -> None:
        assert handle == 1, "asked about a GPU that is not torch's"
        if name in self.missing:
            raise self.NVMLError(f"{name}: Not Supported")

    def nvmlInit(self) -> None:
        self.started += 1
        if "nvmlInit" in self.missing:
            raise self.NVMLError("NVML Shared Library Not Found")

    def nvmlDeviceGetCount(self) -> int:
        return len(UUIDS)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetUUID(self, handle: int) -> str:
        return UUIDS[handle]

    def nvmlDeviceGetTemperatureV(self, handle: int, sensor: int) -> int:
        self._ask("nvmlDeviceGetTemperatureV", handle)
        return self.temperature

    def nvmlDeviceGetTemperature(self, handle: int, sensor: int) -> int:
        self._ask("nvmlDeviceGetTemperature", handle)
        return self.temperature

    def nvmlDeviceGetClockInfo(self, handle: int, kind: int) -> int:
        self._ask("nvmlDeviceGetClockInfo", handle)
        assert kind == self.NVML_CLOCK_SM
        return self.clock

    def nvmlDeviceGetPowerUsage(self, handle: int) -> int:
        self._ask("nvmlDeviceGetPowerUsage", handle)
        return self.power

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: int) -> int:
        """Millijoules, growing with the clock at ``watts``."""
        self._ask("nvmlDeviceGetTotalEnergyConsumption", handle)
        assert self.watts is not None
        return round(1e9 + time.perf_counter() * self.watts * 1e3)

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> SimpleNamespace:
        self._ask("nvmlDeviceGetUtilizationRates", handle)
        return SimpleNamespace(gpu=self.gpu_percent, memory=10)

    def nvmlDeviceGetCurrentClocksEventReasons(self, handle: int) -> int:
        self._ask("nvmlDeviceGetCurrentClocksEventReasons", handle)
        return self.reasons

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle: int) -> int:
        self._ask("nvmlDeviceGetCurrentClocksThrottleReasons", handle)
        return self.reasons

    def nvmlDeviceGetViolationStatus(self, handle: int, policy: int) -> SimpleNamespace:
        self._ask("nvmlDeviceGetViolationStatus", handle)
        return SimpleNamespace(referenceTime=0, violationTime=self.violations[policy])

    def nvmlDeviceGetComputeRunningProcesses(self, handle: int) -> list[SimpleNamespace]:
        self._ask("nvmlDeviceGetComputeRunningProcesses", handle)
        return [SimpleNamespace(pid=pid, usedGpuMemory=used) for pid, used in self.processes]
