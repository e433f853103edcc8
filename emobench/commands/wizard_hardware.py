"""The wizard's first step: which device, what it has free, and the precisions that really run on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast, get_args

from emobench.commands.wizard_answers import Choice, Walk
from emobench.devices import Device, absent_reason, find_device, free_memory_bytes
from emobench.specs import DeviceKind, Precision

if TYPE_CHECKING:
    from emobench.measurement.probes import Probe

HELD_BACK = 0.1
"""Share of the free memory that no plan may count on: it is free now, and others use the machine too."""


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """The device that was chosen."""

    device: Device
    free_bytes: int
    """Memory a plan may count on: what is free now, less :data:`HELD_BACK`."""
    probes: Mapping[Precision, Probe]

    @property
    def kind(self) -> DeviceKind:
        """Kind of the device."""
        return self.device.kind

    @property
    def precisions(self) -> tuple[Precision, ...]:
        """Precisions that ran, in the order they are listed everywhere."""
        return tuple(name for name, probe in self.probes.items() if probe.ok)


def ask_hardware(walk: Walk) -> Hardware:
    """Ask for the device and try its precisions.

    Raises:
        SpecError: ``--device`` names one that is not here.
    """
    from emobench.commands.doctor import device_text, probes_text
    from emobench.measurement.probes import probe_device

    here = {kind: device for kind in get_args(DeviceKind) if (device := usable(kind))}
    for kind in here:
        walk.say(f"{kind}: {device_text(kind)}")
    best = next(kind for kind in ("cuda", "mps", "cpu") if kind in here)
    choices = [Choice(value=kind, text=device.name) for kind, device in here.items()]
    chosen = walk.choose("device", "Device to run on", choices, default=best)
    device = here[cast(DeviceKind, chosen)]
    probes = {item.precision: item for item in probe_device(device.kind)}
    walk.say(f"tried on {chosen}: {probes_text(tuple(probes.values()))}")
    free = int((1 - HELD_BACK) * free_memory_bytes(device.kind))
    return Hardware(device=device, free_bytes=free, probes=probes)


def usable(kind: DeviceKind) -> Device | None:
    """The device where this machine has it and torch can use it."""
    return None if absent_reason(kind) else find_device(kind)
