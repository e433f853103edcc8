"""Events of the profiler as figures, on made events: what a GPU and a compiled function give."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from emobench.measurement.bottlenecks import COMPILED
from emobench.measurement.operators import OperatorCount
from emobench.measurement.profiler import operator_rows, operator_times, range_seconds


def event(
    name: str, *, parent: Any = None, cpu: float = 0, own: float = 0, device: float = 0, note: bool = False
) -> Any:
    """An event with microseconds of CPU and device time; ``note`` marks a range."""
    return SimpleNamespace(
        name=name,
        cpu_parent=parent,
        cpu_time_total=cpu,
        self_cpu_time_total=own,
        device_time_total=device,
        self_device_time_total=device,
        self_cpu_memory_usage=1,
        self_device_memory_usage=7,
        is_user_annotation=note,
        is_python_function=False,
        time_range=SimpleNamespace(elapsed_us=lambda: cpu),
    )


def count(name: str, calls: int, *, flops: int = 0, moved: int = 0) -> OperatorCount:
    return OperatorCount(name=name, calls=calls, flops=flops, bytes=moved, streamed_bytes=moved)


def test_on_a_gpu_time_is_that_of_kernels() -> None:
    """The product took 5 us to launch and 2 ms to run; the copy inside it is part of it."""
    product = event("aten::addmm", cpu=5, own=4, device=2000)
    events = [product, event("aten::copy_", parent=product, cpu=1, own=1, device=100)]
    counts = {"aten::addmm": count("aten::addmm", 1), "aten::copy_": count("aten::copy_", 1)}
    times = {item.name: item.seconds for item in operator_times(events, counts, device="cuda", steps=1)}
    assert times == {"aten::addmm": pytest.approx(2e-3), "aten::copy_": 0}
    rows = operator_rows(events, counts, device="cuda", steps=1)
    assert [(row.name, row.share, row.self_memory_bytes) for row in rows] == [
        ("aten::addmm", pytest.approx(2000 / 2100), 7),
        ("aten::copy_", pytest.approx(100 / 2100), 7),
    ]


def test_fused_operators_go_to_the_compiled_kernels() -> None:
    """Of two adds one was fused, the gelu too: their bytes and the graph's remaining time are the compiled kernels'."""
    graph = event("## Call CompiledFxGraph abc ##", cpu=100, own=60, note=True)
    events = [graph, event("aten::mm", parent=graph, cpu=40, own=40), event("aten::add", cpu=10, own=10)]
    counts = {
        "aten::mm": count("aten::mm", 1, flops=1000, moved=10),
        "aten::add": count("aten::add", 2, moved=200),
        "aten::gelu": count("aten::gelu", 1, moved=50),
    }
    times = {item.name: item for item in operator_times(events, counts, device="cpu", steps=1)}
    assert (times["aten::mm"].seconds, times["aten::mm"].flops) == (pytest.approx(40e-6), 1000)
    assert (times["aten::add"].calls, times["aten::add"].bytes) == (1, 100)
    assert times["aten::gelu"].calls == 0
    fused = times[COMPILED]
    assert (fused.calls, fused.seconds, fused.flops, fused.bytes) == (1, pytest.approx(60e-6), 0, 150)


def test_figures_are_per_step_and_a_name_inside_itself_counts_once() -> None:
    """Two steps of 10 us are 10 us a step, and a nested range or operator of the same name adds no time."""
    outer = event("aten::add", cpu=10, own=6)
    data = event("data", cpu=30, note=True)
    events = [outer, event("aten::add", parent=outer, cpu=4, own=4), event("aten::add", cpu=10, own=10)]
    events += [data, event("data", parent=data, cpu=20, note=True)]
    (row,) = operator_rows(events, {}, device="cpu", steps=2)
    assert (row.calls, row.self_seconds, row.total_seconds) == (1.5, pytest.approx(10e-6), pytest.approx(10e-6))
    assert range_seconds(events, 2) == {"data": pytest.approx(15e-6)}
