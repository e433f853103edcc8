"""How a case ended: the status of what it raised, what is kept of it, and what its test does then.

It writes no file; ``case_record`` makes and keeps the records.
"""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING

import pytest

from emobench.errors import ChangedAnswersError, DoesNotFitError, NonFiniteLossError
from emobench.outcomes import Status, metric
from emobench.session.case_record import keep
from emobench.session.facts import facts

if TYPE_CHECKING:
    from emobench.cases.case import Case
    from emobench.records.record import Record
    from emobench.session.run import Session
    from emobench.specs import CaseSpec

NO_MEMORY = (
    "DefaultCPUAllocator",
    "Failed to allocate memory",
    "bfc_arena",
    "BFCArena",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)
"""What torch's CPU allocator, ONNX Runtime and NVIDIA's libraries say when memory ran out."""
ATTEMPTS = pytest.StashKey[list[str]]()
"""What disturbed each earlier attempt at a case."""
AGAIN = pytest.StashKey[bool]()
"""Set where the attempt just made does not count and the case is to be measured once more."""


def finished(session: Session, case: Case, item: pytest.Item) -> None:
    """Keep the record of a case whose test passed; a metric that is not finite fails it after all.

    A disturbed one is tried again, as often as ``--emo-reruns`` allows, and is invalid after that.
    """
    earlier = item.stash.setdefault(ATTEMPTS, [])
    if case.disturbances and len(earlier) < session.settings.reruns:
        earlier.append("; ".join(case.disturbances))
        session.progress.note(f"disturbed, measured once more: {earlier[-1]}")
        item.stash[AGAIN] = True
        case.begin_anew()
        # Out of pytest-benchmark's files by the one, out of its table by the other.
        case.benchmark.has_error = True
        if case.benchmark.stats is not None:
            case.benchmark.stats.stats.data.clear()
        return
    if earlier:
        case.details["disturbed_attempts"] = list(earlier)
    case.reasons += case.disturbances
    record = keep(session, case, Status.INVALID if case.disturbances else Status.OK)
    if record.status is not Status.OK:
        pytest.fail(f"{record.id} is {record.status.value}: {'; '.join(record.reasons)}", pytrace=False)
    check_gate(session, case, record)


def check_gate(session: Session, case: Case, record: Record) -> None:
    """Fail a case whose gated metrics got worse, with their numbers."""
    if session.gate is None or session.config.getoption("benchmark_disable", False):
        return
    stats = case.benchmark.stats
    seconds = [] if stats is None or not case.settled else list(stats.stats.data)
    found = session.gate.check(record, seconds, facts(session), session.machine_info)
    if found:
        pytest.fail("\n".join(found), pytrace=False)


def broke(session: Session, case: Case, error: BaseException) -> None:
    """Keep the record of a case whose test raised.

    Raises:
        pytest.skip.Exception: the case does not fit, which is a result and no failure.
    """
    if isinstance(error, pytest.skip.Exception):
        return
    status = status_of(error)
    case.reasons.append(one_line(error))
    if status is Status.DOES_NOT_FIT and (fitted := largest_that_fitted(session, case.spec)):
        case.add([metric("largest_batch_fitted", fitted)])
        case.reasons.append(f"largest batch that fitted: {fitted}")
    if not case.settled:
        case.benchmark.has_error = True
    record = keep(session, case, status)
    if status is Status.DOES_NOT_FIT:
        peak = record.metric("device_memory_peak_bytes") or record.metric("host_memory_peak_bytes")
        # The traceback would keep the tensors that filled the memory while the next case runs.
        traceback.clear_frames(error.__traceback__)
        reached = f" (peak reached: {peak.value / 2**20:.0f} MiB)" if peak else ""
        if session.gate is not None and (worse := session.gate.does_not_fit(record)):
            pytest.fail(f"{worse}: {one_line(error)}{reached}", pytrace=False)
        pytest.skip(f"does not fit: {one_line(error)}{reached}")


def largest_that_fitted(session: Session, spec: CaseSpec) -> int | None:
    """The largest batch of an otherwise equal case that was measured in this run, by whatever process."""
    wanted = {name: value for name, value in spec.summary().items() if name not in ("id", "batch_size")}
    if spec.batch_size is None:
        return None
    sizes = [
        int(record.case["batch_size"])
        for record in _so_far(session)
        if record.status is Status.OK
        and record.case.get("batch_size")
        and all(record.case.get(name) == value for name, value in wanted.items())
    ]
    return max(sizes, default=None)


def _so_far(session: Session) -> list[Record]:
    """Records of the run: this process's, and what other processes of the same run have written beside its journal."""
    if session.place.worker is None and not session.measures_elsewhere:
        return session.records
    from emobench.records.journal import read

    return list(read(session.folder).records.values())


def status_of(error: BaseException) -> Status:
    """How a case that raised ended."""
    if isinstance(error, NonFiniteLossError | ChangedAnswersError):
        return Status.INVALID
    if isinstance(error, KeyboardInterrupt | SystemExit):
        return Status.INTERRUPTED
    if isinstance(error, DoesNotFitError) or is_out_of_memory(error):
        return Status.DOES_NOT_FIT
    return Status.FAILED


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, on the device or on the host; several libraries say so in a plain exception's text."""
    import torch

    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    # A test's own ValueError may quote such words; these libraries raise RuntimeError or classes of their own.
    of_a_library = isinstance(error, RuntimeError) or type(error).__module__.startswith("onnxruntime")
    return of_a_library and any(words in str(error) for words in NO_MEMORY)


def one_line(error: BaseException) -> str:
    """Kind and first line of an exception, without secrets of a known form."""
    from emobench.records.secrets import redact

    text = redact(next(iter(str(error).splitlines()), ""))
    return text if isinstance(error, NonFiniteLossError | DoesNotFitError) else f"{type(error).__name__}: {text}"
