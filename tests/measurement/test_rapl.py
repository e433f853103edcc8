"""Energy of the CPU packages: wraps, subdomains and doubles from made-up counters."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emobench.measurement import rapl
from emobench.measurement.rapl import RaplMeter, Zone, open_rapl

RANGE = 262_143_328_850


def zone(root: Path, folder: str, name: str, energy: int) -> Path:
    path = root / folder
    path.mkdir(parents=True)
    (path / "name").write_text(f"{name}\n")
    (path / "max_energy_range_uj").write_text(f"{RANGE}\n")
    (path / "energy_uj").write_text(f"{energy}\n")
    return path / "energy_uj"


def opened(root: Path) -> RaplMeter:
    meter = open_rapl(root)
    assert isinstance(meter, RaplMeter), meter
    return meter


def test_packages_are_added_and_nothing_in_them_twice(tmp_path: Path) -> None:
    """Subdomains, the whole platform, memory and the same package by MMIO are not added to two packages."""
    (tmp_path / "intel-rapl").mkdir()
    first = zone(tmp_path, "intel-rapl:0", "package-0", 1_000_000)
    second = zone(tmp_path, "intel-rapl:1", "package-1", 5_000_000)
    others = [
        zone(tmp_path, "intel-rapl:0:0", "core", 0),
        zone(tmp_path, "intel-rapl:0:1", "uncore", 0),
        zone(tmp_path, "intel-rapl:0:2", "dram", 0),
        zone(tmp_path, "intel-rapl:2", "psys", 0),
        zone(tmp_path, "intel-rapl-mmio:0", "package-0", 0),
    ]
    meter = opened(tmp_path)
    first.write_text("3500000")
    second.write_text("6000000")
    for file in others:
        file.write_text("900000000")
    assert meter.update() == pytest.approx(2.5 + 1.0)


def test_a_counter_that_wraps_goes_on(tmp_path: Path) -> None:
    """Above its range a counter starts at 0 again: the growth is what is left of the range and what came after."""
    file = zone(tmp_path, "intel-rapl:0", "package-0", RANGE - 2_000_000)
    meter = opened(tmp_path)
    file.write_text("3000000")
    assert meter.update() == pytest.approx(5.0)
    file.write_text("4000000")
    assert meter.update() == pytest.approx(6.0)


@given(st.lists(st.integers(0, 1_000_000 - 1), max_size=20), st.integers(0, 1_000_000 - 1))
def test_any_sequence_of_growths_adds_up(growths: list[int], start: int) -> None:
    """Read at least once a wrap, the meter gives the sum of the growths, wherever the counter stood."""
    counter = start
    file = Path("energy_uj")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rapl, "_read_int", lambda path: counter)
        meter = RaplMeter(zones=(Zone(file=file, range_uj=1_000_000),))
        for growth in growths:
            counter = (counter + growth) % 1_000_000
            meter.update()
    assert meter.joules == pytest.approx(sum(growths) / 1e6)


def test_counters_that_cannot_be_read_are_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No counters, counters for root only, and a second package without its counter: no figure, and why."""
    assert "no RAPL counter of a CPU package" in str(open_rapl(tmp_path))
    file = zone(tmp_path, "intel-rapl:0", "package-0", 1)
    lonely = zone(tmp_path, "intel-rapl:1", "package-1", 1)
    lonely.unlink()
    assert str(lonely) in str(open_rapl(tmp_path))

    def refuse(path: Path) -> int:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(rapl, "_read_int", refuse)
    assert str(open_rapl(file.parents[1])).endswith("is readable by root only")


def test_packages_of_several_dies(tmp_path: Path) -> None:
    """Dies have counters of their own, and all are added."""
    files = [zone(tmp_path, f"intel-rapl:{die}", f"package-0-die-{die}", 0) for die in range(2)]
    meter = opened(tmp_path)
    for file in files:
        file.write_text("1000000")
    assert meter.update() == pytest.approx(2.0)
