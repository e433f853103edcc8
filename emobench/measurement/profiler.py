"""torch's profiler around a call, and its events as figures by operator and by range. Writes and judges nothing."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from emobench.devices import synchronize
from emobench.measurement.bottlenecks import COMPILED, OperatorTime
from emobench.measurement.operators import OperatorCount
from emobench.specs import DeviceKind

RANGES = ("data", "forward", "backward", "optimizer")
"""Names of ``record_function`` ranges that are understood; ``data`` is time spent waiting for input."""
_OWN_WAITS = ("enumerate(DataLoader)",)
"""Ranges that torch's own loader opens around each batch."""
STEP = "step"
"""Range around each run of the call under the profiler."""


@dataclass(frozen=True, kw_only=True)
class OperatorRow:
    """One class of operators per step of a traced call."""

    name: str
    calls: float
    self_seconds: float
    """CPU time in it without the operators it calls."""
    total_seconds: float
    """CPU time with them."""
    device_seconds: float
    """Time of its kernels on a GPU; zero on the CPU."""
    share: float
    """Of all operators' own time: of the kernels on a GPU, else of the CPU."""
    self_memory_bytes: float
    """Allocated less freed in it, on the traced device."""
    flops: float
    bytes: float
    """Operands read and results written, each once: a lower bound. Zero for operators made of others."""
    streamed_bytes: float


def profiled(
    call: Callable[[], object], device: DeviceKind, steps: int, *, memory: bool, stacks: bool
) -> tuple[profile, float]:
    """The profiler after ``steps`` runs of the call, and the mean seconds of one under it."""
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device == "cuda" else [])]
    # Without verbose no stack is kept, and what is written of stacks is empty.
    config = torch._C._profiler._ExperimentalConfig(verbose=stacks)
    synchronize(device)
    with (
        _quiet_kineto(),
        profile(
            activities=activities,
            record_shapes=True,
            profile_memory=memory,
            with_stack=stacks,
            with_flops=True,
            experimental_config=config,
            acc_events=True,
        ) as profiler,
    ):
        start = time.perf_counter_ns()
        for _ in range(steps):
            with record_function(STEP):
                call()
        synchronize(device)
        seconds = (time.perf_counter_ns() - start) / 1e9 / steps
    return profiler, seconds


@contextmanager
def _quiet_kineto() -> Iterator[None]:
    """Keep the profiler's backend from printing two lines a profile, unless the user set its level.

    It reads the variable once, at the first profile of the process; level 6 stands above its notices.
    """
    if "KINETO_LOG_LEVEL" in os.environ:
        yield
        return
    os.environ["KINETO_LOG_LEVEL"] = "6"
    try:
        yield
    finally:
        del os.environ["KINETO_LOG_LEVEL"]


def _operator(event: Any) -> str | None:
    """The class of operators an event belongs to; None for ranges, Python functions and the profiler's own notes."""
    if event.name.startswith("## Call CompiledFxGraph"):
        return COMPILED
    # Events of torch 2.11 do not say so: none is of Python there.
    of_python = getattr(event, "is_python_function", False)
    is_operator = "::" in event.name and not event.is_user_annotation and not of_python
    return str(event.name) if is_operator else None


def operator_rows(
    events: Sequence[Any], counts: Mapping[str, OperatorCount], *, device: DeviceKind, steps: int
) -> list[OperatorRow]:
    """Per-step figures of every class of operators among the profiler's CPU events, those with most own time first."""
    sums: dict[str, list[float]] = {}
    for event in events:
        name = _operator(event)
        if name is None:
            continue
        line = sums.setdefault(name, [0.0] * 5)
        memory = event.self_device_memory_usage if device == "cuda" else event.self_cpu_memory_usage
        outermost = all(parent.name != event.name for parent in _parents(event))
        own = (event.self_cpu_time_total / 1e6, event.cpu_time_total / 1e6 if outermost else 0.0)
        for place, value in enumerate((1, *own, event.self_device_time_total / 1e6, memory)):
            line[place] += value / steps
    deciding = 3 if device == "cuda" else 1
    whole = sum(line[deciding] for line in sums.values()) or 1.0
    rows = []
    for name, (calls, own_time, total, on_device, memory) in sums.items():
        count = counts.get(name)
        rows.append(
            OperatorRow(
                name=name,
                calls=calls,
                self_seconds=own_time,
                total_seconds=total,
                device_seconds=on_device,
                share=(on_device if device == "cuda" else own_time) / whole,
                self_memory_bytes=memory,
                flops=count.flops if count else 0,
                bytes=count.bytes if count else 0,
                streamed_bytes=count.streamed_bytes if count else 0,
            )
        )
    return sorted(rows, key=lambda row: -row.share)


def _parents(event: Any) -> list[Any]:
    found = []
    while (event := event.cpu_parent) is not None:
        found.append(event)
    return found


def operator_times(
    events: Sequence[Any], counts: Mapping[str, OperatorCount], *, device: DeviceKind, steps: int
) -> list[OperatorTime]:
    """Time of each counted class: that of its outermost events, with all inside them, and none of data loading.

    Where a part of the call is compiled, operators that were counted but not seen were fused: their FLOPs and bytes go
    to :data:`COMPILED`, where the bytes are an upper bound, since fusing is there to move fewer.
    """
    seconds: dict[str, float] = dict.fromkeys((*counts, COMPILED), 0.0)
    seen = dict(seconds)
    for event in events:
        name = _operator(event)
        if name is None or name not in seen:
            continue
        parents = _parents(event)
        if any(_is_wait(parent) or _operator(parent) in counts for parent in parents):
            continue
        spent = (event.device_time_total if device == "cuda" else event.cpu_time_total) / 1e6 / steps
        seconds[name] += spent
        seen[name] += 1 / steps
        if any(_operator(parent) == COMPILED for parent in parents):
            seconds[COMPILED] -= spent
    left = dict.fromkeys(counts, 1.0)
    if seen[COMPILED]:
        left = {name: min(1.0, seen[name] / count.calls) for name, count in counts.items()}
    found = [
        OperatorTime(
            name=name,
            calls=count.calls * left[name],
            seconds=seconds[name],
            flops=count.flops * left[name],
            bytes=count.bytes * left[name],
            streamed_bytes=count.streamed_bytes * left[name],
        )
        for name, count in counts.items()
    ]
    if seen[COMPILED]:
        fused = [(count, 1 - left[name]) for name, count in counts.items()]
        found.append(
            OperatorTime(
                name=COMPILED,
                calls=seen[COMPILED],
                seconds=max(0.0, seconds[COMPILED]),
                flops=sum(count.flops * part for count, part in fused),
                bytes=sum(count.bytes * part for count, part in fused),
                streamed_bytes=sum(count.streamed_bytes * part for count, part in fused),
            )
        )
    return found


def _is_wait(event: Any) -> bool:
    return bool(event.is_user_annotation) and (event.name == "data" or event.name.startswith(_OWN_WAITS))


def range_seconds(events: Sequence[Any], steps: int) -> dict[str, float]:
    """Seconds a step in each known range; torch's own loader counts as ``data``, and a range inside one not again."""
    found: dict[str, float] = {}
    for event in events:
        name = "data" if _is_wait(event) else event.name
        if not event.is_user_annotation or name not in RANGES:
            continue
        if name == "data" and any(_is_wait(parent) for parent in _parents(event)):
            continue
        found[name] = found.get(name, 0.0) + event.time_range.elapsed_us() / 1e6 / steps
    return found
