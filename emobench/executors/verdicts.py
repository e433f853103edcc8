"""Verdicts: what became of each case of a job, from what its process left behind and how it ended.

Where a process did not live to write its case's record, the record is made here, so that no case is missing.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from emobench.outcomes import Status
from emobench.processes.fresh import STDERR, End, Ending

_STACK = ("Current thread", "Thread 0x", "Stack (most recent call first)")
"""How :mod:`faulthandler` begins a stack; the innermost call comes first."""

INCOMPLETE = 11
"""Exit code where a case was lost: nobody knows its result."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What is known of a case that has no record of its own."""

    status: Status
    reason: str


def without_record(ending: Ending, *, started: bool, others: Collection[str] = ()) -> Verdict:
    """The verdict on a case whose process ended before the case had a record.

    ``started`` says whether the case had begun; ``others`` are the cases that the same process ran or was to run.
    """
    if not started and others:
        return Verdict(status=Status.LOST, reason=f"its group's process ended before it began: {ending.detail}")
    if ending.end is End.TIMED_OUT:
        return Verdict(status=Status.TIMED_OUT, reason=ending.detail)
    if ending.end is End.OUT_OF_MEMORY:
        return Verdict(status=Status.DOES_NOT_FIT, reason=ending.detail)
    if ending.crashed:
        return Verdict(status=Status.FAILED, reason=ending.detail)
    return Verdict(status=Status.LOST, reason=ending.detail or "nobody saw how its process ended")


def last_words(folder: Path, *, lines: int = 12) -> str:
    """What a job's process last wrote to its standard error: the top of a stack that it ended with, else the end."""
    path = folder / STDERR
    if not path.exists():
        return ""
    said = path.read_text(errors="replace").splitlines()
    stacks = [number for number, line in enumerate(said) if line.startswith(_STACK)]
    return "\n".join(said[stacks[-1] :][:lines] if stacks else said[-lines:])
