"""Device time from CUDA events, on a made device: a clock that work moves on, and a host that moves another one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from emobench.cases.latency import time_on_device
from emobench.measurement import device_time
from emobench.measurement.device_time import MOST_CALLS, device_metrics, event_seconds, why_no_events


class MadeDevice:
    """A stream that starts no kernel before the host has asked for it, and a host that asks later."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.host, self.stream = 0.0, 0.0
        device = self

        class Event:
            def __init__(self, *, enable_timing: bool) -> None:
                assert enable_timing
                self.at = -1.0

            def record(self) -> None:
                device.stream = max(device.stream, device.host)
                self.at = device.stream

            def synchronize(self) -> None:
                device.host = max(device.host, self.at)

            def elapsed_time(self, end: Any) -> float:
                assert device.host >= end.at, "asked before the end was reached"
                return 1e3 * float(end.at - self.at)

        monkeypatch.setattr(torch.cuda, "Event", Event)
        monkeypatch.setattr(torch.cuda, "synchronize", self.synchronize)
        monkeypatch.setattr(device_time.time, "monotonic", lambda: self.host)

    def synchronize(self) -> None:
        self.host = max(self.host, self.stream)

    def call(self, *, launch: float = 0.001, work: float = 0.010) -> None:
        """One kernel: the host takes ``launch`` seconds to ask for it and does not wait for its ``work``."""
        self.host += launch
        self.stream = max(self.stream, self.host) + work


def test_a_span_is_the_devices_time_though_the_host_runs_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that returns after 1 ms and keeps the device busy for 10 more is 11 ms each time, none overlapping."""
    device = MadeDevice(monkeypatch)
    spans = event_seconds(device.call, at_least=7, seconds=0)
    assert spans == pytest.approx([0.011] * 7)


def test_work_queued_before_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the device still had to do is waited for first."""
    device = MadeDevice(monkeypatch)
    device.stream = 5.0
    assert event_seconds(device.call, at_least=1, seconds=0) == pytest.approx([0.011])


def test_how_many_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fewest asked for, then until the time is over, and never more than the most."""
    device = MadeDevice(monkeypatch)
    assert len(event_seconds(device.call, at_least=3, seconds=0.1)) == 10
    assert len(event_seconds(device.call, at_least=3, seconds=100.0)) == MOST_CALLS


def test_the_metric_is_the_median_with_its_interval() -> None:
    """Median of the spans in seconds, with the order-statistic interval; nothing from nothing."""
    (found,) = device_metrics([0.01 * count for count in range(1, 12)])
    assert (found.name, found.unit, found.better, found.n) == ("device_seconds", "s", "lower", 11)
    assert found.value == pytest.approx(0.06)
    assert found.ci == pytest.approx((0.02, 0.10))
    assert device_metrics([]) == []


@pytest.mark.parametrize(
    ("device", "backend", "measured", "notes"),
    [
        ("cuda", "eager", True, []),
        ("cuda", "compile", True, []),
        ("cpu", "eager", False, []),
        ("mps", "eager", False, []),
        (
            "cuda",
            "onnxruntime",
            False,
            ["no device_seconds: ONNX Runtime works on a stream of its own, which torch's events do not see"],
        ),
    ],
)
def test_only_where_events_see_the_work(
    monkeypatch: pytest.MonkeyPatch, device: Any, backend: Any, measured: bool, notes: list[str]
) -> None:
    """A case on CUDA has ``device_seconds``; elsewhere it is absent, and no event is asked for."""
    made = MadeDevice(monkeypatch)
    found: list[Any] = []
    said: list[str] = []
    case: Any = SimpleNamespace(
        spec=SimpleNamespace(
            device=device, backend=backend, profile=SimpleNamespace(latency_rounds=10, latency_seconds=0.0)
        ),
        add=found.extend,
        note=said.append,
    )
    time_on_device(case, made.call)
    assert [item.name for item in found] == (["device_seconds"] if measured else [])
    assert said == notes
    assert (why_no_events(device, backend) is None) == measured
    assert (made.host > 0) == measured
