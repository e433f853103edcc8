"""Energy of the CPU packages from Linux's RAPL counters, where they may be read. Estimates nothing.

Source: Documentation/power/powercap/powercap.rst of Linux. AMD's counters stand under the same names.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")
_PACKAGE = re.compile(r"package-\d+(-die-\d+)?")
"""A package's counter holds those of its subdomains (core, uncore); psys holds more than the CPU, dram is not in it."""


@dataclass(frozen=True, kw_only=True)
class Zone:
    """One package's counter, in microjoules, which starts again at 0 above ``range_uj``."""

    file: Path
    range_uj: int


@dataclass(kw_only=True)
class RaplMeter:
    """Adds up what the packages use from its making on; asked at least once a wrap (a quarter of an hour or more)."""

    zones: tuple[Zone, ...]
    joules: float = 0.0
    _last: dict[Path, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._last = {zone.file: _read_int(zone.file) for zone in self.zones}

    def update(self) -> float:
        """Energy since the meter was made, in joules."""
        for zone in self.zones:
            now = _read_int(zone.file)
            grown = now - self._last[zone.file]
            self.joules += (grown if grown >= 0 else grown + zone.range_uj) / 1e6
            self._last[zone.file] = now
        return self.joules


def open_rapl(root: Path = POWERCAP) -> RaplMeter | str:
    """A meter over every CPU package, or the reason why there is none."""
    packages: dict[str, Zone] = {}
    try:
        # Sorted, intel-rapl-mmio comes before intel-rapl:0: the same package by another way, overwritten here.
        for folder in sorted(root.glob("intel-rapl*")):
            name = folder / "name"
            label = name.read_text().strip() if name.is_file() else ""
            if _PACKAGE.fullmatch(label):
                zone = Zone(file=folder / "energy_uj", range_uj=_read_int(folder / "max_energy_range_uj"))
                packages[label] = zone
        if packages:
            return RaplMeter(zones=tuple(packages.values()))
    except PermissionError as error:
        return f"{error.filename} is readable by root only"
    except (OSError, ValueError) as error:
        return str(error)
    return f"no RAPL counter of a CPU package in {root}"


def _read_int(path: Path) -> int:
    return int(path.read_text())
