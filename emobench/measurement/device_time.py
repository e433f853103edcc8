"""Time on the device itself, from CUDA events around single calls. Wall clock, which is the figure, is not taken here.

A pass of its own: an event recorded inside a timed round would be part of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
import torch

from emobench.measurement.clock import median_interval
from emobench.outcomes import Metric, metric
from emobench.specs import Backend, DeviceKind

MOST_CALLS = 100
"""Calls after which the median is narrow enough."""


def why_no_events(device: DeviceKind, backend: Backend) -> str | None:
    """Why there is no device time, or None where there is."""
    if device != "cuda":
        return f"{device} has no CUDA events"
    if backend == "onnxruntime":
        return "ONNX Runtime works on a stream of its own, which torch's events do not see"
    return None


def event_seconds(call: Callable[[], object], *, at_least: int, seconds: float) -> list[float]:
    """Seconds between an event before and an event after each call, on the current CUDA stream.

    ``at_least`` calls, then on until ``seconds`` have passed or :data:`MOST_CALLS` were made. The device is idle when a
    call begins. A span holds the device's work and its waits for the host between two kernels; the host's work before
    the first kernel and the wait for the last are left out, which wall clock holds.
    """
    spans: list[float] = []
    deadline = time.monotonic() + seconds
    while len(spans) < at_least or (len(spans) < MOST_CALLS and time.monotonic() < deadline):
        before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        before.record()
        call()
        after.record()
        after.synchronize()
        spans.append(before.elapsed_time(after) / 1e3)
    return spans


def device_metrics(spans: Sequence[float]) -> list[Metric]:
    """``device_seconds``: the median of the spans; nothing where none was measured."""
    if not spans:
        return []
    return [metric("device_seconds", float(np.median(spans)), ci=median_interval(spans), n=len(spans))]
