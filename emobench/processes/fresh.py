"""Isolated: one command in a fresh process with a time limit, and how it ended. Knows nothing of cases or pytest.

The wait blocks in the kernel: a loop that looks again and again would compute beside the measurement it waits for.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from emobench.processes.kernel import grown, oom_kills

STACKS = getattr(signal, "SIGUSR1", None)
"""Sent to a process that is about to be killed for its time: where it can, it writes what its threads are doing."""
SECONDS_FOR_STACKS = 1.0
SECONDS_TO_FINISH = 20.0
"""How long an interrupted process has to write what it has."""
STDOUT, STDERR = "stdout.txt", "stderr.txt"
FAULTS = frozenset({"SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL", "SIGABRT", "SIGSYS", "SIGTRAP"})
"""Signals that a process brings on itself."""


class End(StrEnum):
    """How a process ended."""

    EXITED = "exited"
    OUT_OF_MEMORY = "out_of_memory"
    """Killed by the kernel for the want of host memory."""
    KILLED = "killed"
    """By another signal."""
    TIMED_OUT = "timed_out"
    LOST = "lost"
    """Nobody saw its end: the worker or the machine it ran on is gone."""


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How a process ended, and what tells so."""

    end: End
    seconds: float = 0.0
    code: int | None = None
    """Exit code, where it exited."""
    signal: str | None = None
    """Name of the signal that killed it, such as ``SIGKILL``."""
    detail: str = ""
    """One sentence."""

    @property
    def crashed(self) -> bool:
        """Whether the process broke by itself, rather than being ended from outside."""
        return self.end is End.KILLED and self.signal in FAULTS

    def to_json(self) -> dict[str, Any]:
        """The ending as plain values."""
        return asdict(self)


def ending_from_json(raw: Mapping[str, Any]) -> Ending:
    """Read :meth:`Ending.to_json` back."""
    return Ending(**{**raw, "end": End(raw["end"])})


def run_process(
    command: Sequence[str],
    *,
    folder: Path,
    cwd: Path,
    environment: Mapping[str, str] | None = None,
    time_limit: float | None = None,
) -> Ending:
    """Run ``command`` in a session of its own, wait for its end and say how it ended.

    What it prints goes to ``stdout.txt`` and ``stderr.txt`` in ``folder``. After ``time_limit`` seconds (None: never)
    its whole process group is killed; also after an ordinary end, so that nothing it left behind runs on beside the
    next case. An interrupt is passed on, and the process given time to write what it has, before it is raised here.

    Raises:
        OSError: the command cannot be started.
    """
    folder.mkdir(parents=True, exist_ok=True)
    before = oom_kills()
    started = time.perf_counter()
    with (folder / STDOUT).open("ab") as out, (folder / STDERR).open("ab") as err:
        process = subprocess.Popen(
            command, cwd=cwd, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True
        )
    try:
        in_time = ended_within(process.pid, time_limit)
        if not in_time and STACKS is not None:
            os.kill(process.pid, STACKS)
            ended_within(process.pid, SECONDS_FOR_STACKS)
    except BaseException:
        # Not Popen.send_signal, which may reap it: until it is reaped its number is certainly its own.
        os.kill(process.pid, signal.SIGINT)
        ended_within(process.pid, SECONDS_TO_FINISH)
        raise
    finally:
        _kill_group(process)
    seconds = time.perf_counter() - started
    if not in_time:
        return Ending(end=End.TIMED_OUT, seconds=seconds, detail=f"it was still running after {time_limit:g} s")
    return classified(process.returncode, seconds=seconds, oom=grown(before, oom_kills()))


def classified(code: int, *, seconds: float, oom: str | None) -> Ending:
    """What a return code of :mod:`subprocess` and the kernel's counters (:func:`kernel.grown`) say of an end."""
    if code >= 0:
        return Ending(end=End.EXITED, seconds=seconds, code=code, detail=f"it exited with code {code}")
    name = signal_name(-code)
    if name == "SIGKILL" and oom is not None:
        said = f"the kernel killed it for want of host memory ({oom})"
        return Ending(end=End.OUT_OF_MEMORY, seconds=seconds, signal=name, detail=said)
    return Ending(end=End.KILLED, seconds=seconds, signal=name, detail=f"it was killed by signal {-code} ({name})")


def signal_name(number: int) -> str:
    """Name of a signal, such as ``SIGKILL``; of one without a name its number as text."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)


def ended_within(pid: int, seconds: float | None) -> bool:
    """Wait until a child process has ended, without reaping it; False where it has not after ``seconds``."""
    if not hasattr(os, "pidfd_open"):
        return _ended_within_by_thread(pid, seconds)
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:  # a kernel before 5.3, or a sandbox that forbids it
        return _ended_within_by_thread(pid, seconds)
    try:
        poller = select.poll()
        poller.register(descriptor, select.POLLIN)
        # Milliseconds in a C int: more than three weeks are no limit.
        limit = None if seconds is None or seconds * 1000 > 2**31 - 1 else max(0, int(seconds * 1000))
        return bool(poller.poll(limit))
    finally:
        os.close(descriptor)


def _ended_within_by_thread(pid: int, seconds: float | None) -> bool:
    # A thread blocks in waitid; Popen.wait with a time limit would look twenty times a second.
    over = threading.Event()

    def wait() -> None:
        with contextlib.suppress(ChildProcessError):
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        over.set()

    threading.Thread(target=wait, daemon=True).start()
    return over.wait(seconds)


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    # Before it is reaped: until then no other process can have got its number, so the group is certainly its own.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
