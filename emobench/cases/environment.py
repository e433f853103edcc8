"""Environment of a record: the device, the cores and the versions that a case ran with."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from emobench.devices import find_device
from emobench.specs import CaseSpec

if TYPE_CHECKING:
    from emobench.processes.leases import Lease

VERSIONS_THAT_MATTER = ("emobench", "torch", "transformers", "peft", "accelerate", "datasets", "tokenizers", "numpy")


def environment(spec: CaseSpec, lease: Lease | None = None) -> Mapping[str, Any]:
    """Device, threads, cores, lease, and the versions of the packages that decide a result."""
    device = find_device(spec.device)
    assert device is not None
    return {
        "device_name": device.name,
        "device_memory_bytes": device.memory_bytes,
        "fast_bf16": device.fast_bf16,
        "threads": device.threads,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": {name: version(name) for name in VERSIONS_THAT_MATTER},
        "cores": sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        **({"lease": lease.facts(), "shared": lease.shared} if lease else {}),
    }
