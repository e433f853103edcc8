"""Utilisation and energy of a pass of its own: a thread samples while it runs. Never wrapped around a timed pass."""

from __future__ import annotations

import contextlib
import statistics
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from emobench.devices import synchronize
from emobench.measurement.nvml import Gpu, open_gpu
from emobench.measurement.processor import usable_cores
from emobench.measurement.rapl import RaplMeter, open_rapl
from emobench.outcomes import Metric, metric
from emobench.specs import DeviceKind

GPU_SETTLING_SECONDS = 1.0
"""NVML's utilisation covers up to the last second, and its energy counter moves in steps of up to a tenth of one: what
is read in the first second of a pass also tells of the time before it, and a shorter pass has neither figure."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """The machine at one moment of the pass; None where it cannot be read."""

    seconds: float
    """Since the pass began."""
    cpu_utilization: float
    """CPU time of this process since the last sample, over wall time and its cores."""
    gpu_utilization: float | None = None
    sm_clock_mhz: int | None = None
    temperature_celsius: int | None = None
    power_watts: float | None = None


@dataclass(kw_only=True)
class Sampled:
    """What the pass used; complete once it has ended."""

    device: DeviceKind
    wall_seconds: float = 0.0
    cpu_seconds: float = 0.0
    """Of this process, without the sampler's own."""
    cores: int = 1
    energy_joules: float | None = None
    energy_source: str = ""
    samples: list[Sample] = field(default_factory=list)
    absent: dict[str, str] = field(default_factory=dict)
    """Metrics that cannot be had, and why."""

    def metrics(self, samples: int) -> list[Metric]:
        """Utilisation and energy, as far as they could be read; ``samples`` is the examples the pass worked on."""
        if self.wall_seconds <= 0:
            return []
        found = [metric("cpu_utilization", self.cpu_seconds / (self.wall_seconds * self.cores))]
        gpu = self.settled_gpu_utilization()
        if gpu:
            found.append(metric("gpu_utilization", statistics.fmean(gpu), n=len(gpu)))
        if self.energy_joules is not None:
            found.append(metric("energy_joules", self.energy_joules))
            if samples > 0:
                found.append(metric("energy_joules_per_sample", self.energy_joules / samples, n=samples))
        return found

    def facts(self) -> dict[str, Any]:
        """Plain values for a record: the pass, the range of what was sampled, and reasons of what is absent."""
        found: dict[str, Any] = {"wall_seconds": self.wall_seconds, "samples_taken": len(self.samples)}
        if self.energy_joules is not None:
            found["energy_source"] = self.energy_source
        for name in ("cpu_utilization", "sm_clock_mhz", "temperature_celsius", "power_watts"):
            values = [value for sample in self.samples if (value := getattr(sample, name)) is not None]
            if values:
                found[name] = _spread(values)
        if self.absent:
            found["absent"] = dict(self.absent)
        return found

    def settled_gpu_utilization(self) -> list[float]:
        """Samples of the GPU's utilisation that tell of nothing before the pass."""
        return [
            sample.gpu_utilization
            for sample in self.samples
            if sample.gpu_utilization is not None and sample.seconds >= GPU_SETTLING_SECONDS
        ]


@dataclass(kw_only=True)
class GpuMeter:
    """Growth of NVML's total energy counter since the meter was made."""

    gpu: Gpu
    first: float

    def update(self) -> float:
        """Energy since the meter was made, in joules."""
        now = self.gpu.energy_joules()
        if now is None:
            raise OSError("NVML stopped telling the GPU's energy")
        return now - self.first


@contextlib.contextmanager
def sampled(device: DeviceKind, interval_seconds: float = 0.05) -> Iterator[Sampled]:
    """Yield a :class:`Sampled` that is complete once the block has ended; its thread has ended with it.

    Energy is that of the whole GPU (NVML's total energy counter) on ``cuda``, and that of the CPU packages (RAPL) on
    ``cpu``, whatever else runs there; on ``mps`` there is no counter.
    """
    result = Sampled(device=device, cores=len(usable_cores()))
    gpu = open_gpu() if device == "cuda" else None
    synchronize(device)
    meter = _open_meter(device, gpu)
    sampler = _Sampler(result, gpu if isinstance(gpu, Gpu) else None, meter)
    sampler.start(interval_seconds)
    try:
        yield result
        synchronize(device)
    finally:
        sampler.stop()
    _keep_energy(result, meter)
    if device == "cuda" and not result.settled_gpu_utilization():
        result.absent["gpu_utilization"] = gpu if isinstance(gpu, str) else _no_utilization(result)


class _Sampler:
    """The thread of one pass, and what the process used beside it."""

    def __init__(self, result: Sampled, gpu: Gpu | None, meter: RaplMeter | GpuMeter | str) -> None:
        self.result, self.gpu, self.meter = result, gpu, meter
        self._own_seconds = 0.0
        self._ended = threading.Event()

    def start(self, interval_seconds: float) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()
        self._thread = threading.Thread(target=self._run, args=(interval_seconds,), name="emobench-sampler")
        self._thread.start()

    def stop(self) -> None:
        """End the thread and keep what the whole pass used."""
        wall, cpu = time.perf_counter(), time.process_time()
        self._ended.set()
        self._thread.join()
        self.result.wall_seconds = wall - self._wall
        self.result.cpu_seconds = max(0.0, cpu - self._cpu - self._own_seconds)

    def _run(self, interval_seconds: float) -> None:
        last_wall, last_cpu = self._wall, self._cpu
        while not self._ended.wait(interval_seconds):
            wall, cpu = time.perf_counter(), time.process_time()
            used = (cpu - last_cpu) / ((wall - last_wall) * self.result.cores)
            self.result.samples.append(self._sample(wall - self._wall, used))
            last_wall, last_cpu = wall, cpu
        self._own_seconds = time.thread_time()

    def _sample(self, seconds: float, cpu_utilization: float) -> Sample:
        if isinstance(self.meter, RaplMeter):
            # A counter that wraps twice between two readings would lose a turn. One that fails is asked at the end.
            with contextlib.suppress(OSError):
                self.meter.update()
        if self.gpu is None:
            return Sample(seconds=seconds, cpu_utilization=cpu_utilization)
        return Sample(
            seconds=seconds,
            cpu_utilization=cpu_utilization,
            gpu_utilization=self.gpu.utilization(),
            sm_clock_mhz=self.gpu.sm_clock_mhz(),
            temperature_celsius=self.gpu.temperature_celsius(),
            power_watts=self.gpu.power_watts(),
        )


def _open_meter(device: DeviceKind, gpu: Gpu | str | None) -> RaplMeter | GpuMeter | str:
    """The device's energy counter, or why there is none."""
    if device == "cpu":
        return open_rapl()
    if gpu is None:
        return f"no energy counter is known for {device}"
    if isinstance(gpu, str):
        return gpu
    first = gpu.energy_joules()
    return "NVML does not tell the energy of this GPU" if first is None else GpuMeter(gpu=gpu, first=first)


def _keep_energy(result: Sampled, meter: RaplMeter | GpuMeter | str) -> None:
    if isinstance(meter, str):
        result.absent["energy_joules"] = meter
        return
    if isinstance(meter, GpuMeter) and result.wall_seconds < GPU_SETTLING_SECONDS:
        result.absent["energy_joules"] = _too_short(result)
        return
    try:
        result.energy_joules = meter.update()
    except OSError as error:
        result.absent["energy_joules"] = f"its counter could not be read at the end: {error}"
        return
    result.energy_source = "RAPL, CPU packages" if isinstance(meter, RaplMeter) else "NVML, whole GPU"


def _no_utilization(result: Sampled) -> str:
    if result.wall_seconds > GPU_SETTLING_SECONDS and result.samples:
        return "NVML does not tell the utilisation of this GPU"
    return _too_short(result)


def _too_short(result: Sampled) -> str:
    return f"the pass took {result.wall_seconds:.2f} s; NVML's counters need {GPU_SETTLING_SECONDS:g} s"


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}
