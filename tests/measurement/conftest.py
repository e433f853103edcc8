"""A GPU for the tests of counters: NVML's stand-in, and torch's answers about its device."""

from __future__ import annotations

import sys

import pytest

from emobench.measurement import energy, nvml
from tests.measurement.nvml_stand_in import UUIDS, NvmlStandIn


@pytest.fixture
def fake_gpu(monkeypatch: pytest.MonkeyPatch) -> NvmlStandIn:
    """torch sees only the second of two GPUs, as under CUDA_VISIBLE_DEVICES=1, and has taken nothing of it."""
    stand_in = NvmlStandIn()
    monkeypatch.setitem(sys.modules, "pynvml", stand_in)
    monkeypatch.setattr(nvml, "absent_reason", lambda kind: None)
    monkeypatch.setattr(nvml, "torch_uuid", lambda: UUIDS[1].removeprefix("GPU-"))
    monkeypatch.setattr(nvml, "torch_reserved_bytes", lambda: 0)
    monkeypatch.setattr(energy, "synchronize", lambda kind: None)
    return stand_in
