"""Utilisation and energy of a pass of its own: right figures, honest gaps, and no thread left behind."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from emobench.measurement import energy
from emobench.measurement.energy import GPU_SETTLING_SECONDS, Sample, Sampled, sampled
from emobench.measurement.machine import sampled as from_machine
from emobench.measurement.rapl import RaplMeter, Zone
from emobench.outcomes import METRICS
from tests.measurement.nvml_stand_in import NvmlStandIn


def values(found: Sampled, samples: int) -> dict[str, float]:
    return {item.name: item.value for item in found.metrics(samples)}


def samplers() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("emobench")]


def test_no_thread_outlives_the_block() -> None:
    """The sampler runs inside the block and has ended after it, also when the block raised."""
    with sampled("cpu", 0.01):
        assert samplers() == ["emobench-sampler"]
    assert samplers() == []
    with pytest.raises(ZeroDivisionError), sampled("cpu", 0.01):
        raise ZeroDivisionError
    assert samplers() == []


def test_cpu_utilization_is_our_time_over_the_cores() -> None:
    """Half a second asleep uses next to nothing; the CPU seconds of a loop are those the process counted."""
    with from_machine("cpu", 0.02) as asleep:
        time.sleep(0.3)
    assert values(asleep, 1)["cpu_utilization"] < 0.1
    with sampled("cpu", 0.02) as busy:
        start = time.process_time()
        while time.process_time() - start < 0.3:
            pass
    assert busy.cpu_seconds == pytest.approx(0.3, abs=0.05)
    assert values(busy, 1)["cpu_utilization"] == pytest.approx(busy.cpu_seconds / busy.wall_seconds / busy.cores)
    assert busy.facts()["samples_taken"] == len(busy.samples) > 0


def test_no_counter_is_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Energy that cannot be read is absent with its reason; nothing is estimated."""
    monkeypatch.setattr(energy, "open_rapl", lambda: "energy_uj is readable by root only")
    with sampled("cpu") as found:
        pass
    assert not any(name.startswith("energy") for name in values(found, 10))
    assert found.facts()["absent"] == {"energy_joules": "energy_uj is readable by root only"}


def test_energy_of_the_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The counter's growth within the block, over the examples; two wraps within one pass are not lost."""
    file = tmp_path / "energy_uj"
    file.write_text("0")
    monkeypatch.setattr(energy, "open_rapl", lambda: RaplMeter(zones=(Zone(file=file, range_uj=10_000_000),)))
    with sampled("cpu", 0.01) as found:
        for counter in (9_000_000, 3_000_000, 9_000_000, 2_000_000):
            file.with_suffix(".new").write_text(str(counter))
            file.with_suffix(".new").replace(file)
            # Long enough for the sampler to have come round at least once, also on a busy machine.
            seen = len(found.samples)
            while len(found.samples) < seen + 2:
                time.sleep(0.005)
    assert values(found, 8)["energy_joules"] == pytest.approx(22.0)
    assert values(found, 8)["energy_joules_per_sample"] == pytest.approx(22.0 / 8)
    assert found.facts()["energy_source"] == "RAPL, CPU packages"


def test_a_counter_that_fails_at_the_end_is_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A counter that vanished during the pass gives no figure and breaks nothing."""
    file = tmp_path / "energy_uj"
    file.write_text("0")
    monkeypatch.setattr(energy, "open_rapl", lambda: RaplMeter(zones=(Zone(file=file, range_uj=1),)))
    with sampled("cpu", 0.01) as found:
        file.unlink()
        time.sleep(0.05)
    assert "energy_joules" not in values(found, 1)
    assert "could not be read at the end" in found.absent["energy_joules"]


def test_energy_and_utilization_of_the_gpu(fake_gpu: NvmlStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """The total energy counter's growth, and the mean of the utilisation once it tells of the pass only."""
    monkeypatch.setattr(energy, "GPU_SETTLING_SECONDS", 0.2)
    with sampled("cuda", 0.02) as found:
        time.sleep(0.15)
        fake_gpu.gpu_percent = 60
        time.sleep(0.25)
    got = values(found, 4)
    assert got["gpu_utilization"] == pytest.approx(0.6)
    assert got["energy_joules"] == pytest.approx(500 * found.wall_seconds, rel=0.1)
    assert got["energy_joules_per_sample"] == pytest.approx(got["energy_joules"] / 4)
    assert found.facts()["sm_clock_mhz"] == {"min": 1980, "median": 1980, "max": 1980}
    assert found.absent == {}
    assert set(got) <= set(METRICS)


def test_a_pass_too_short_for_nvml(fake_gpu: NvmlStandIn) -> None:
    """Below its settling time NVML's counters tell of the time before the pass: absent, with the reason."""
    with sampled("cuda", 0.01) as found:
        time.sleep(0.05)
    assert set(values(found, 4)) == {"cpu_utilization"}
    assert set(found.absent) == {"energy_joules", "gpu_utilization"}
    assert f"need {GPU_SETTLING_SECONDS:g} s" in found.absent["energy_joules"]


def test_a_gpu_without_the_counters(fake_gpu: NvmlStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver that tells neither energy nor utilisation leaves both out; no NVML at all likewise."""
    monkeypatch.setattr(energy, "GPU_SETTLING_SECONDS", 0.0)
    fake_gpu.missing |= {"nvmlDeviceGetTotalEnergyConsumption", "nvmlDeviceGetUtilizationRates"}
    with sampled("cuda", 0.01) as found:
        time.sleep(0.05)
    assert set(values(found, 4)) == {"cpu_utilization"}
    assert found.absent == {
        "energy_joules": "NVML does not tell the energy of this GPU",
        "gpu_utilization": "NVML does not tell the utilisation of this GPU",
    }
    monkeypatch.setattr(energy, "open_gpu", lambda: "no driver")
    with sampled("cuda", 0.01) as blind:
        pass
    assert blind.absent == {"energy_joules": "no driver", "gpu_utilization": "no driver"}


def test_samples_of_the_first_second_do_not_count() -> None:
    """NVML averages over up to a second: earlier samples would mix the time before the pass in."""
    early = Sample(seconds=0.5, cpu_utilization=0.1, gpu_utilization=0.0)
    late = Sample(seconds=1.5, cpu_utilization=0.1, gpu_utilization=1.0)
    found = Sampled(device="cuda", wall_seconds=2.0, samples=[early, late])
    assert values(found, 1)["gpu_utilization"] == 1.0
