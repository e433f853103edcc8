"""Hardware class: what must be equal for two timings to be comparable. Measures nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

UNKNOWN = "unknown hardware"


def hardware_class(environment: Mapping[str, Any], machine_info: Mapping[str, Any]) -> str:
    """Class of a case's hardware, such as ``AMD EPYC, x86_64, 24 GiB, 2 cores, 2 threads``.

    Device name, architecture and memory; for a device that computes with threads (a CPU) also the machine's cores and
    the threads used; and whether others computed there at the same time. Memory is rounded, because a kernel keeps some
    of it and not always as much. A record without an environment (another plugin's benchmark) ran on the machine's CPU.
    """
    elsewhere = environment.get("machine")
    if isinstance(elsewhere, Mapping):
        # A case of a merged run, from another machine than the run's.
        machine_info = elsewhere
    cpu = machine_info.get("cpu")
    cpu = cpu if isinstance(cpu, Mapping) else {}
    threads = environment.get("threads")
    name = environment.get("device_name") or cpu.get("brand_raw") or machine_info.get("processor")
    parts = [name, machine_info.get("machine"), _memory(environment.get("device_memory_bytes"))]
    if threads or not environment.get("device_name"):
        parts.append(_count(cpu.get("count"), "core"))
    parts.append(_count(threads, "thread"))
    parts.append("shared with others" if environment.get("shared") is True else "")
    return ", ".join(str(part) for part in parts if part) or UNKNOWN


def _memory(size: object) -> str:
    if isinstance(size, bool) or not isinstance(size, int | float) or not math.isfinite(size) or size <= 0:
        return ""
    gib = size / 2**30
    step = next((step for limit, step in ((8, 1), (32, 2), (128, 8)) if gib < limit), 32)
    return f"{max(1, round(gib / step)) * step} GiB"


def _count(number: object, what: str) -> str:
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        return ""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
