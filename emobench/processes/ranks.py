"""The processes of a case that runs in several: start them, wait asleep for all, and say which one died of what.

Knows nothing of what they do, beyond where a rank leaves its answer, its error and its log.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from emobench import errors
from emobench.catalogue.launches import Starter
from emobench.errors import EmoBenchError, LostProcessError, UnsupportedError
from emobench.files import write_bytes
from emobench.specs import LaunchSpec

TOLD = 3
"""Exit code of a rank that wrote down its error."""
RANK = "emobench.recipes.rank"
"""What a rank runs."""
LAUNCHER = """
import runpy, sys
from emobench.processes.parent import end_with_parent
end_with_parent(int(sys.argv.pop(1)))
runpy.run_module("accelerate.commands.launch", run_name="__main__", alter_sys=True)
"""
"""accelerate's launcher, which by itself would go on where this process is killed."""
GRACE_SECONDS = 5.0
"""Time that the other ranks have to end by themselves once one has failed."""


@contextlib.contextmanager
def started_by(by: Starter, launch: LaunchSpec, folder: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Start the ranks, or accelerate's launcher of them; what still runs when the block ends is killed."""
    make = _own_ranks if by == "emobench" else _accelerate
    with (folder / "launch.log").open("ab") as log:
        processes: list[subprocess.Popen[bytes]] = []
        try:
            for command, environment in make(launch, folder):
                # A session of their own: a Ctrl-C at the terminal reaches the parent alone, which then ends them.
                process = subprocess.Popen(
                    command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
                )
                processes.append(process)
            yield processes
        finally:
            for process in processes:
                _kill(process)


def _own_ranks(launch: LaunchSpec, folder: Path) -> list[tuple[list[str], dict[str, str]]]:
    command = [sys.executable, "-m", RANK, str(folder)]
    shared = _environment() | {
        "WORLD_SIZE": str(launch.processes),
        "LOCAL_WORLD_SIZE": str(launch.processes),
        "MASTER_ADDR": "127.0.0.1",
    }
    ranks = map(str, range(launch.processes))
    return [(command, shared | {"RANK": rank, "LOCAL_RANK": rank}) for rank in ranks]


def _accelerate(launch: LaunchSpec, folder: Path) -> list[tuple[list[str], dict[str, str]]]:
    # JSON is YAML: what was read and checked is what is launched, whatever became of the user's file since.
    config = folder / "accelerate.yaml"
    write_bytes(config, json.dumps(dict(launch.config or {})).encode())
    command = [sys.executable, "-c", LAUNCHER, str(os.getpid()), "--config_file", str(config)]
    command += ["--num_processes", str(launch.processes), "--num_machines", "1"]
    command += ["--main_process_ip", "127.0.0.1", "--main_process_port", str(free_port())]
    # torchrun's own meeting point would listen on every address of the machine; through a file it opens no port.
    command += ["--rdzv_backend", "c10d", "--rdzv_conf", "store_type=file"]
    command += ["--module", RANK, str(folder)]
    return [(command, _environment() | {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1", "TMPDIR": str(folder)})]


def _environment() -> dict[str, str]:
    """This process's environment, without what an outer launcher said, and with sockets on the loopback alone."""
    told = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "MASTER_ADDR", "MASTER_PORT")
    found = {
        name: value
        for name, value in os.environ.items()
        if name not in told and not name.startswith(("ACCELERATE_", "FSDP_", "TORCHELASTIC_", "PYTEST_"))
    }
    loopback = "lo0" if sys.platform == "darwin" else "lo"
    return {"GLOO_SOCKET_IFNAME": loopback, "NCCL_SOCKET_IFNAME": loopback, "TOKENIZERS_PARALLELISM": "false"} | found


def free_port() -> int:
    """A port of the loopback that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How the processes ended."""

    codes: Sequence[int | None]
    """Exit codes in the processes' order, negative for a signal; None was still running and was killed."""
    first: int | None
    """Index of the process to blame, None where all ended well or none failed in time."""


def wait_for_all(processes: Sequence[subprocess.Popen[bytes]], *, limit_seconds: float | None) -> Ended:
    """Wait, asleep, until all have ended or one has failed; then the others get a short grace, and are killed.

    Of several failures in that time a signal is to blame before an exit code: ranks that lose a peer fail after it.
    """
    ended: queue.SimpleQueue[int] = queue.SimpleQueue()

    def wait(index: int) -> None:
        processes[index].wait()
        ended.put(index)

    for index in range(len(processes)):
        threading.Thread(target=wait, args=(index,), daemon=True).start()
    deadline = None if limit_seconds is None else time.monotonic() + limit_seconds
    codes: list[int | None] = [None] * len(processes)
    failed: list[int] = []
    with contextlib.suppress(queue.Empty):
        while None in codes:
            index = ended.get(timeout=None if deadline is None else max(0.0, deadline - time.monotonic()))
            codes[index] = processes[index].returncode
            if codes[index] != 0 and not failed:
                deadline = time.monotonic() + GRACE_SECONDS
            if codes[index] != 0:
                failed.append(index)
    for process in processes:
        _kill(process)
    blamed = sorted(failed, key=lambda index: (codes[index] or 0) > 0)
    return Ended(codes=codes, first=blamed[0] if blamed else None)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End a process and, for accelerate's launcher, the ranks it started: they are its session."""
    if process.poll() is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def check_ended(
    ended: Ended,
    by: Starter,
    folder: Path,
    launch: LaunchSpec,
    *,
    limit_seconds: float | None = None,
    redact: Callable[[str], str] = str,
) -> None:
    """Raise what went wrong: the error that a rank wrote down, else the rank that died first.

    ``redact`` takes secrets out of what a rank last printed.

    Raises:
        LostProcessError: a rank died, or did not end within the limit; names rank and exit code.
        EmoBenchError: a rank's own error, of its class.
    """
    ranks = range(launch.processes)
    told = [rank for rank in ranks if (folder / f"rank-{rank}-error.json").exists()]
    first = _first_rank(ended, by, folder)
    if told and (first is None or first[1] in (TOLD, 1)):
        raise read_error(folder, told[0])
    if first is not None:
        rank, code = first
        raise LostProcessError(
            f"rank {rank} of {launch.processes} ended with exit code {code}{_signal_name(code)}",
            why=f"its last words were: {redact(last_words(folder, rank))}",
            fix=_remedy(code),
        )
    running = [rank for rank, code in enumerate(ended.codes) if code is None]
    if running:
        raise LostProcessError(
            f"ranks {', '.join(map(str, running)) if by == 'emobench' else 'all'} had not ended after "
            f"{limit_seconds:g} s",
            why=f"the last words of rank {running[0]} were: {redact(last_words(folder, running[0]))}",
            fix="give more time, or take fewer rows",
        )
    missing = [rank for rank in ranks if not (folder / f"rank-{rank}.json").exists()]
    if missing:
        raise UnsupportedError(
            f"{launch.processes} processes were asked for, and {launch.processes - len(missing)} answered",
            why="the launcher started fewer without a word",
            fix="take distributed_type: MULTI_GPU, FSDP or DEEPSPEED, or --emo-processes alone",
        )


def _first_rank(ended: Ended, by: Starter, folder: Path) -> tuple[int, int] | None:
    """Rank and exit code of the failure to blame; of accelerate's launcher, as torchrun's report names it."""
    if ended.first is None:
        return None
    code = ended.codes[ended.first]
    assert code is not None
    if by == "emobench":
        return ended.first, code
    log = (folder / "launch.log").read_text(errors="replace")
    # Below this heading torchrun's report has the failure that was seen first.
    found = re.search(r"Root Cause.*?rank\s*:\s*(\d+).*?exitcode\s*:\s*(-?\d+)", log, flags=re.DOTALL)
    return (int(found[1]), int(found[2])) if found else (0, code)


def _signal_name(code: int) -> str:
    if code >= 0:
        return ""
    known = {item.value: item.name for item in signal.Signals}
    return f" ({known.get(-code, 'an unknown signal')})"


def _remedy(code: int) -> str:
    if code == -signal.SIGKILL:
        return "the kernel kills a process when memory runs out: take a smaller batch_size, or see the system's log"
    return "run the case in one process to see whether it fails there too"


def last_words(folder: Path, rank: int) -> str:
    """The last line that a rank printed, or that its launcher did before the rank had a log."""
    for name in (f"rank-{rank}.log", "launch.log"):
        path = folder / name
        lines = path.read_text(errors="replace").split("\n") if path.exists() else []
        said = [line.strip() for line in lines if line.strip()]
        if said:
            return said[-1][:300]
    return "none"


def read_error(folder: Path, rank: int) -> EmoBenchError:
    """The error that a rank wrote down, of its own class."""
    parts = json.loads((folder / f"rank-{rank}-error.json").read_bytes())
    kind = getattr(errors, parts["kind"], EmoBenchError)
    made: EmoBenchError = kind(parts["problem"], why=parts["why"], fix=parts["fix"])
    return made
