"""The files of a trace as bytes: operator tables, Chrome trace, folded stacks, memory over time. Writes none."""

from __future__ import annotations

import csv
import gzip
import io
import re
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch._C._autograd import DeviceType

from emobench.errors import BrokenFileError
from emobench.specs import DeviceKind

_HOST = re.compile(rb'"host_name": *"[^"]*"')
_ADDRESS = re.compile(r" (of \S+ )?object at 0x[0-9a-f]+")


@dataclass(frozen=True, kw_only=True)
class MemoryChange:
    """One allocation (positive) or release (negative) the profiler saw."""

    seconds: float
    """Since the first change."""
    device: str
    bytes: int
    since_start_bytes: int
    """Sum of all changes on this device up to and with this one; below zero where older memory was released."""


def operator_csv(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """A header and a line an operator class; columns are the rows' keys, units are in their names."""
    if not rows:
        return b""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(
        {key: f"{value:.9g}" if isinstance(value, float) else value for key, value in row.items()} for row in rows
    )
    return text.getvalue().encode()


def operator_text(rows: Sequence[Any], *, wall_seconds: float) -> bytes:
    """The rows (see :class:`~emobench.measurement.profiler.OperatorRow`) as a table for reading, most time first."""
    if not rows:
        return b""
    width = max(len("operator"), *(len(row.name) for row in rows))
    titles = ("share", "calls", "self ms", "total ms", "device ms", "MFLOP", "MB moved", "self MB")
    lines = [
        f"A step takes {wall_seconds * 1e3:.3f} ms. Times below are per step and carry the profiler's own cost.",
        "MFLOP: of products, convolutions and attention. MB moved: operands and results once each, a lower bound.",
        "Both stand at the operator that reaches a kernel, not at those it calls or is called by.",
        "",
        f"{'operator':{width}}" + "".join(f"{title:>11}" for title in titles),
    ]
    for row in rows:
        figures = (
            f"{row.share:.1%}",
            f"{row.calls:g}",
            *(f"{value * 1e3:.3f}" for value in (row.self_seconds, row.total_seconds, row.device_seconds)),
            *(f"{value / 1e6:.3f}" for value in (row.flops, row.bytes, row.self_memory_bytes)),
        )
        lines.append(f"{row.name:{width}}" + "".join(f"{figure:>11}" for figure in figures))
    return ("\n".join(lines) + "\n").encode()


def chrome_trace(profiler: Any) -> bytes:
    """The profiler's Chrome trace, gzipped JSON (open in Perfetto or chrome://tracing), without the machine's name."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(path))
        # No time stamp inside, so equal traces are equal files.
        return gzip.compress(_HOST.sub(b'"host_name": ""', path.read_bytes()), compresslevel=6, mtime=0)


_WORK = ("autograd::", "aten::")
"""What the outermost event of a thread that works for the traced call is called."""


def folded_stacks(events: Sequence[Any], *, root: str) -> bytes:
    """A line a stack, outermost frame first, frames joined by ``;``, then its own CPU time in microseconds.

    The format of flame graph tools. Frames are Python functions, ranges and operators inside the range ``root``, and
    what other threads work for it (autograd's, with a GPU); threads that do something else are left out.
    """
    times: Counter[str] = Counter()
    cpu = [event for event in events if event.device_type == DeviceType.CPU]
    rooted = {event.thread for event in cpu if event.is_user_annotation and event.name == root}
    for event in cpu:
        own = round(event.self_cpu_time_total)
        frames = _frames(event, root)
        if own < 1 or (frames[0] != root and (event.thread in rooted or not frames[0].startswith(_WORK))):
            continue
        times[";".join(frame.replace(";", ",") for frame in frames)] += own
    return "".join(f"{stack} {microseconds}\n" for stack, microseconds in sorted(times.items())).encode()


def _frames(event: Any, root: str) -> list[str]:
    """Names from the range ``root`` (from the outermost event, where there is none) down to the event."""
    frames: list[str] = []
    start = 0
    while event is not None:
        frames.append(_frame(event.name))
        if event.is_user_annotation and event.name == root:
            start = len(frames)
        event = event.cpu_parent
    return frames[: start or None][::-1]


def _frame(name: str) -> str:
    """A frame's name; a built-in method loses its object's address, which differs from run to run."""
    return _ADDRESS.sub("", name)


def memory_changes(profiler: Any) -> list[MemoryChange]:
    """Every change of allocated memory the profiler recorded, in order of time."""
    found = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    found.sort(key=lambda event: event.start_ns())
    held: Counter[str] = Counter()
    changes = []
    for event in found:
        device = event.device_type().name.lower()
        held[device] += event.nbytes()
        changes.append(
            MemoryChange(
                seconds=(event.start_ns() - found[0].start_ns()) / 1e9,
                device=device,
                bytes=event.nbytes(),
                since_start_bytes=held[device],
            )
        )
    return changes


def largest_growth(changes: Sequence[MemoryChange], *, device: DeviceKind) -> int:
    """Most bytes held above the start on the device."""
    return max((change.since_start_bytes for change in changes if change.device == device), default=0)


def memory_csv(changes: Sequence[MemoryChange]) -> bytes:
    """A header and a line a change; empty where there were none."""
    if not changes:
        return b""
    lines = ["seconds,device,change_bytes,since_start_bytes"]
    lines += [f"{item.seconds:.9f},{item.device},{item.bytes},{item.since_start_bytes}" for item in changes]
    return ("\n".join(lines) + "\n").encode()


def require_content(name: str, path: Path, data: bytes) -> None:
    """Raise where an artifact has nothing in it.

    Raises:
        BrokenFileError: no bytes, or a Chrome trace without events.
    """
    empty = not data.strip()
    if name == "chrome_trace" and not empty:
        empty = b'"ph"' not in gzip.decompress(data)
    if empty:
        raise BrokenFileError(
            f"trace artifact {name} ({path.name}) is empty",
            why="the profiler recorded nothing for it: the call ran no operator of torch, or allocated no memory",
            fix="trace a call that runs torch operators; without memory pass record_memory=False",
        )
