"""Correction factors of a device: how far estimates were off on it in saved runs. Estimates nothing itself.

They are kept in the cache folder, one file a device, and come from ``emobench check --calibrate``.
"""

from __future__ import annotations

import json
import math
import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from emobench.errors import BrokenFileError
from emobench.files import cache_folder, write_bytes

Quantity = Literal["memory", "time"]
SCHEMA = 1
FEWEST = 3
"""Records below which a factor is not used: one disturbed run is no evidence."""
LARGEST = 10.0
"""A factor beyond this, or below its inverse, says that what was measured is not what was estimated."""


@dataclass(frozen=True, kw_only=True)
class Correction:
    """Measured over estimated, of one quantity and kind of work."""

    factor: float
    """Geometric median."""
    spread: float
    """Half of the ratios lie within this factor of it."""
    records: int

    @property
    def used(self) -> bool:
        """Whether there is enough to correct an estimate."""
        return self.records >= FEWEST and 1 / LARGEST <= self.factor <= LARGEST


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """All corrections of one device."""

    device: str
    """Its name, as records have it."""
    corrections: Mapping[str, Correction] = field(default_factory=lambda: MappingProxyType({}))
    """By ``memory.train``, ``time.latency`` and their like."""

    def factor(self, quantity: Quantity, work: str) -> float:
        """What an estimate is multiplied with; 1 where nothing is known."""
        found = self.corrections.get(f"{quantity}.{work}")
        return found.factor if found is not None and found.used else 1.0


def correction(ratios: Sequence[float]) -> Correction:
    """The correction that ratios of measured over estimated give; all are above zero, and there is at least one."""
    logs = [math.log(ratio) for ratio in ratios]
    middle = statistics.median(logs)
    spread = statistics.median(abs(value - middle) for value in logs)
    return Correction(factor=math.exp(middle), spread=math.exp(spread), records=len(ratios))


def corrected(ratios: Sequence[float]) -> list[float]:
    """Each ratio after the correction that all others give: how estimates will do, not how well they were fitted.

    With fewer than two ratios nothing is left to correct by, and they are returned as they are.
    """
    logs = [math.log(ratio) for ratio in ratios]
    order = sorted(range(len(logs)), key=lambda index: logs[index])
    ordered = [logs[index] for index in order]
    left = len(logs) - 1
    if left < 1:
        return list(ratios)
    found = [0.0] * len(logs)
    for rank, index in enumerate(order):
        low, high = (at + (at >= rank) for at in ((left - 1) // 2, left // 2))
        found[index] = math.exp(logs[index] - (ordered[low] + ordered[high]) / 2)
    return found


def typical_error(ratios: Sequence[float]) -> float:
    """The relative error, up or down, that half of the estimates stay within."""
    return math.exp(statistics.median(abs(math.log(ratio)) for ratio in ratios)) - 1


def calibration_file(device: str) -> Path:
    """Where a device's corrections are kept."""
    return cache_folder("calibration") / f"{re.sub(r'[^A-Za-z0-9]+', '-', device).strip('-') or 'device'}.json"


def save_calibration(found: Calibration) -> Path:
    """Write the corrections in place of earlier ones; returns the file.

    Raises:
        OSError: the folder cannot be written.
    """
    content = {
        "schema": SCHEMA,
        "device": found.device,
        "corrections": {name: asdict(value) for name, value in found.corrections.items()},
    }
    path = calibration_file(found.device)
    write_bytes(path, (json.dumps(content, indent=2) + "\n").encode())
    return path


def load_calibration(device: str) -> Calibration:
    """The corrections of a device; without a file there are none.

    Raises:
        BrokenFileError: the file is unreadable or of another schema; estimates would silently be other ones without it.
    """
    path = calibration_file(device)
    if not path.exists():
        return Calibration(device=device)
    try:
        content: Any = json.loads(path.read_bytes())
        if content["schema"] != SCHEMA:
            raise ValueError(f"schema {content['schema']!r}, not {SCHEMA}")
        made = {str(name): Correction(**value) for name, value in content["corrections"].items()}
        for name, value in made.items():
            if not (math.isfinite(value.factor) and value.factor > 0):
                raise ValueError(f"{name} has factor {value.factor!r}")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BrokenFileError(
            f"{path} holds no corrections",
            why=f"{error}",
            fix="delete it, or make it anew: emobench check --calibrate",
        ) from error
    return Calibration(device=str(content["device"]), corrections=MappingProxyType(made))
