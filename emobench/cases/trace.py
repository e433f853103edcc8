"""Trace: with ``--emo-trace`` a case is profiled in a pass of its own, whose artifacts lie in the run's folder."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from emobench.devices import torch_dtype
from emobench.errors import BrokenFileError, UnsupportedError

if TYPE_CHECKING:
    from emobench.cases.state import CaseState


def trace(case: CaseState, call: Callable[[], object], *, label: str) -> None:
    """With ``--emo-trace``: profile ``call`` outside any timed pass, keep the artifacts and the verdict."""
    if not case.tracing:
        return
    if case.spec.backend == "onnxruntime":
        case.note("not traced: ONNX Runtime runs outside torch, whose profiler sees none of its operators")
        return
    from emobench.measurement.trace import trace_case

    case.progress.note("tracing")
    place = case.folder / "traces" / case.file_name
    dtype = torch_dtype(case.spec.precision)
    try:
        found = trace_case(call, device=case.spec.device, dtype=dtype, folder=place, label=label)
    except (UnsupportedError, BrokenFileError) as error:
        # What was timed before stands: a profiler that cannot see this device takes nothing from it.
        case.note(f"not traced: {error}")
        return
    case.details["trace"] = found.summary
    case.artifacts |= {
        f"trace_{name}": str((place / file).relative_to(case.folder)) for name, file in found.artifacts.items()
    }
