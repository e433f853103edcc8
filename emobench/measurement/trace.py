"""A traced call: where its time and memory go, as figures and as files a person can open. Never inside a timed pass.

The call runs several times apart: plain (wall time), counted (FLOPs and bytes from its operands), profiled for figures
(no Python stacks, which would slow small operators several times over), and once more with stacks for the pictures.
"""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch._C._autograd import DeviceType

from emobench.devices import synchronize
from emobench.errors import UnsupportedError
from emobench.files import write_bytes
from emobench.measurement import artifacts
from emobench.measurement.bottlenecks import OperatorTime, Verdict, judge
from emobench.measurement.ceilings import Ceilings, last_level_cache, measured_ceilings
from emobench.measurement.operators import count_operators
from emobench.measurement.profiler import STEP, OperatorRow, operator_rows, operator_times, profiled, range_seconds
from emobench.specs import DeviceKind

_BEATEN = 1.05
"""Achieved share of a ceiling from which on the ceiling is not believed."""


@dataclass(frozen=True, kw_only=True)
class Trace:
    """What tracing a call gave; times, FLOPs and bytes are per step (one run of the call)."""

    label: str
    device: DeviceKind
    steps: int
    wall_seconds: float
    """Median step without the profiler, with the device synchronized; or ``profiled_seconds`` where that is less, since
    the profiler only adds time and what is slower without it was disturbed."""
    profiled_seconds: float
    """Mean step under the profiler."""
    input_wait_seconds: float
    ranges: Mapping[str, float]
    """Seconds in each of :data:`~emobench.measurement.profiler.RANGES` that was seen, under the profiler."""
    operators: tuple[OperatorRow, ...]
    profile: tuple[OperatorTime, ...]
    """The operators that reach kernels, as :func:`~emobench.measurement.bottlenecks.judge` takes them."""
    uncounted: tuple[str, ...]
    """Operators whose FLOPs are not known."""
    memory_growth_bytes: int | None
    """Most memory allocated above where the profiled steps began; None where memory was not recorded."""
    artifacts: Mapping[str, Path]


def trace_call(
    call: Callable[[], object],
    *,
    device: DeviceKind,
    folder: Path,
    label: str,
    steps: int = 3,
    warmup: int = 1,
    record_memory: bool = True,
) -> Trace:
    """Trace ``call``, which runs ``warmup + 2 * steps + 2`` times, and write the files into ``folder``.

    The call may be anything from one forward pass to a few optimizer steps with their data. Ranges inside it
    (``torch.profiler.record_function``) named ``data``, ``forward``, ``backward`` and ``optimizer`` are timed;
    ``data``, like the range of torch's own ``DataLoader``, is waiting for input. ``steps`` is 1 or more. Files:
    operator table (CSV and text), Chrome trace, folded stacks, and memory over time.

    Raises:
        UnsupportedError: the device is ``mps``, whose kernels torch's profiler does not time.
        BrokenFileError: a file would have been empty; it names the file.
    """
    if device == "mps":
        raise UnsupportedError(
            f"{label} cannot be traced on mps",
            why="torch's profiler does not time the kernels of Apple GPUs",
            fix="trace the case on cpu, or use Xcode's Instruments",
        )
    for _ in range(warmup):
        call()
    plain = _wall_seconds(call, device, steps)
    cache_bytes, _source = last_level_cache(device)
    counts = count_operators(call, cache_bytes=cache_bytes)
    figures, under_profiler = profiled(call, device, steps, memory=record_memory, stacks=False)
    wall = min(plain, under_profiler)
    events = [event for event in figures.events() if event.device_type == DeviceType.CPU]
    pictures, _seconds = profiled(call, device, 1, memory=record_memory, stacks=True)
    rows = operator_rows(events, counts, device=device, steps=steps)
    _require_times(rows, device, label)
    changes = artifacts.memory_changes(figures) if record_memory else None
    ranges = range_seconds(events, steps)
    return Trace(
        label=label,
        device=device,
        steps=steps,
        wall_seconds=wall,
        profiled_seconds=under_profiler,
        input_wait_seconds=ranges.get("data", 0.0),
        ranges=ranges,
        operators=tuple(rows),
        profile=tuple(operator_times(events, counts, device=device, steps=steps)),
        uncounted=tuple(sorted(name for name, count in counts.items() if not count.flops_known)),
        memory_growth_bytes=None if changes is None else artifacts.largest_growth(changes, device=device),
        artifacts=_write(_files(rows, changes, pictures, wall_seconds=wall), folder, label),
    )


@dataclass(frozen=True, kw_only=True)
class TracedCase:
    """A trace with its verdict, as a record keeps it."""

    summary: Mapping[str, Any]
    """Plain values only."""
    artifacts: Mapping[str, str]
    """What a file is, to its name in the folder."""
    trace: Trace
    verdict: Verdict


def trace_case(
    call: Callable[[], object],
    *,
    device: DeviceKind,
    dtype: torch.dtype,
    folder: Path,
    label: str,
    steps: int = 3,
    warmup: int = 1,
    record_memory: bool = True,
) -> TracedCase:
    """Trace a call, measure the machine's ceilings at ``dtype`` where the cache has none, and judge.

    A call that beats the deciding ceiling shows that it was measured on a disturbed machine: it is measured anew then.
    Errors as those of :func:`trace_call` and :func:`~emobench.measurement.ceilings.measured_ceilings`.
    """
    ceilings = measured_ceilings(device, dtype)
    trace = trace_call(
        call, device=device, folder=folder, label=label, steps=steps, warmup=warmup, record_memory=record_memory
    )

    def judged() -> Verdict:
        return judge(
            trace.profile, ceilings, input_wait_seconds=trace.input_wait_seconds, wall_seconds=trace.wall_seconds
        )

    verdict = judged()
    if verdict.achieved_share > _BEATEN:
        ceilings = measured_ceilings(device, dtype, refresh=True)
        verdict = judged()
    return TracedCase(
        summary=summarize(trace, verdict, ceilings),
        artifacts={name: path.name for name, path in trace.artifacts.items()},
        trace=trace,
        verdict=verdict,
    )


def summarize(trace: Trace, verdict: Verdict, ceilings: Ceilings) -> dict[str, Any]:
    """Trace and verdict as plain values for a record's details: the ten operators that take the most, not all."""
    return {
        "verdict": verdict.kind,
        "achieved_share": verdict.achieved_share,
        "advice": verdict.sentence,
        "largest": [asdict(part) for part in verdict.largest],
        "figures": dict(verdict.figures),
        "ceilings": ceilings.to_json(),
        "steps": trace.steps,
        "profiled_seconds": trace.profiled_seconds,
        "ranges": dict(trace.ranges),
        "memory_growth_bytes": trace.memory_growth_bytes,
        "flops_unknown": list(trace.uncounted),
        "operators": [asdict(row) for row in trace.operators[:10]],
    }


def _require_times(rows: Sequence[OperatorRow], device: DeviceKind, label: str) -> None:
    if device == "cuda" and not any(row.device_seconds > 0 for row in rows):
        raise UnsupportedError(
            f"{label} cannot be traced on cuda",
            why="the profiler saw no kernel: the call ran none, or CUPTI is missing or held by another profiler",
            fix="trace a call that runs on the GPU, with no other profiler attached",
        )


def _wall_seconds(call: Callable[[], object], device: DeviceKind, steps: int) -> float:
    seconds = []
    for _ in range(steps):
        synchronize(device)
        start = time.perf_counter_ns()
        call()
        synchronize(device)
        seconds.append((time.perf_counter_ns() - start) / 1e9)
    return statistics.median(seconds)


def _files(
    rows: Sequence[OperatorRow],
    changes: Sequence[artifacts.MemoryChange] | None,
    pictures: Any,
    *,
    wall_seconds: float,
) -> dict[str, tuple[str, bytes]]:
    """What each file is, to the ending of its name and its content."""
    files = {
        "operators_csv": ("operators.csv", artifacts.operator_csv([asdict(row) for row in rows])),
        "operators_text": ("operators.txt", artifacts.operator_text(rows, wall_seconds=wall_seconds)),
        "chrome_trace": ("chrome.json.gz", artifacts.chrome_trace(pictures)),
        "stacks": ("stacks.folded", artifacts.folded_stacks(pictures.events(), root=STEP)),
    }
    if changes is not None:
        files["memory_timeline"] = ("memory.csv", artifacts.memory_csv(changes))
    return files


def _write(files: Mapping[str, tuple[str, bytes]], folder: Path, label: str) -> dict[str, Path]:
    """Write the files, none of them unless all have content."""
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", label).strip("-.") or "trace"
    paths = {name: folder / f"{stem}.{ending}" for name, (ending, _data) in files.items()}
    for name, (_ending, data) in files.items():
        artifacts.require_content(name, paths[name], data)
    for name, (_ending, data) in files.items():
        write_bytes(paths[name], data)
    return paths
