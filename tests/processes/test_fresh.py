"""One command in a fresh process: every way it can end, what it leaves behind, and what waiting for it costs."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from emobench.processes import fresh as isolated
from emobench.processes.fresh import End, Ending, classified, ended_within, ending_from_json, run_process


def python(code: str) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", code]


def run(folder: Path, code: str, time_limit: float | None = 20) -> Ending:
    return run_process(python(code), folder=folder, cwd=folder, time_limit=time_limit)


@pytest.mark.parametrize("code", [0, 3])
def test_an_exit(tmp_path: Path, code: int) -> None:
    """An exit code is kept, and what was printed stands in two files."""
    found = run(tmp_path, f"import sys; print('out'); print('err', file=sys.stderr); sys.exit({code})")
    assert (found.end, found.code, found.signal) == (End.EXITED, code, None)
    assert (tmp_path / "stdout.txt").read_text() == "out\n"
    assert (tmp_path / "stderr.txt").read_text() == "err\n"
    assert 0 < found.seconds < 20
    assert ending_from_json(found.to_json()) == found


@pytest.mark.parametrize(("name", "crashed"), [("SIGSEGV", True), ("SIGABRT", True), ("SIGTERM", False)])
def test_a_signal(tmp_path: Path, name: str, crashed: bool) -> None:
    """A process killed by a signal: its name, and whether the process brought it on itself."""
    found = run(
        tmp_path,
        "import os, resource; resource.setrlimit(resource.RLIMIT_CORE, (0, 0)); "
        f"os.kill(os.getpid(), {int(signal.Signals[name])})",
    )
    assert (found.end, found.signal, found.crashed) == (End.KILLED, name, crashed)
    assert found.detail == f"it was killed by signal {int(signal.Signals[name])} ({name})"


def test_a_kill_is_out_of_memory_only_where_the_kernel_counted_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGKILL and a counter that grew: out of memory. SIGKILL alone, or another signal and a counter, is not."""
    kill = "import os; os.kill(os.getpid(), 9)"
    assert run(tmp_path, kill).end is End.KILLED
    counts = iter([{"/cg/memory.events": 3}, {"/cg/memory.events": 4}])
    monkeypatch.setattr(isolated, "oom_kills", lambda: next(counts))
    found = run(tmp_path, kill)
    assert found.end is End.OUT_OF_MEMORY
    assert found.detail == (
        "the kernel killed it for want of host memory (oom_kill in /cg/memory.events went from 3 to 4)"
    )
    assert classified(-signal.SIGTERM, seconds=1, oom="oom_kill went up").end is End.KILLED
    assert classified(0, seconds=1, oom="oom_kill went up").end is End.EXITED


@pytest.mark.slow
def test_a_time_limit_ends_the_whole_group(tmp_path: Path) -> None:
    """After the limit the process and what it started are gone, and it had time to write its stacks."""
    code = (
        "import faulthandler, os, signal, subprocess, sys, time\n"
        "faulthandler.register(signal.SIGUSR1, file=sys.stderr)\n"
        f"child = subprocess.Popen([{sys.executable!r}, '-I', '-S', '-c', 'import time; time.sleep(60)'])\n"
        "open('child', 'w').write(str(child.pid))\n"
        "def hanging(): time.sleep(60)\n"
        "hanging()"
    )
    found = run(tmp_path, code, time_limit=1.5)
    assert found.end is End.TIMED_OUT
    assert found.detail == "it was still running after 1.5 s"
    assert 1.5 <= found.seconds < 10
    assert "in hanging" in (tmp_path / "stderr.txt").read_text()
    assert gone(int((tmp_path / "child").read_text()))


def test_an_ordinary_end_takes_along_what_was_left_running(tmp_path: Path) -> None:
    """What a process left in the background would compute beside the next measurement."""
    code = (
        "import subprocess\n"
        f"child = subprocess.Popen([{sys.executable!r}, '-I', '-S', '-c', 'import time; time.sleep(60)'])\n"
        "open('child', 'w').write(str(child.pid))\n"
    )
    assert run(tmp_path, code).end is End.EXITED
    assert gone(int((tmp_path / "child").read_text()))


def gone(pid: int) -> bool:
    for _ in range(100):
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.05)
    return False


def test_an_interrupt_is_passed_on(tmp_path: Path) -> None:
    """Ctrl-C reaches a process that has no terminal any more, which ends by itself and leaves what it has."""
    code = (
        "import time\n"
        "open('ready', 'w').close()\n"
        "try:\n    time.sleep(60)\nexcept KeyboardInterrupt:\n    open('saved', 'w').close()"
    )

    def interrupt() -> None:
        while not (tmp_path / "ready").exists():
            time.sleep(0.02)
        # To the thread that waits, as the kernel gives it: one that only Python sees would not end the wait.
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, code)
    finally:
        thread.join()
        signal.signal(signal.SIGINT, before)
    assert (tmp_path / "saved").exists()


@pytest.mark.slow
@pytest.mark.parametrize("with_pidfd", [True, False])
def test_waiting_computes_nothing(monkeypatch: pytest.MonkeyPatch, with_pidfd: bool) -> None:
    """Waiting blocks: a second of it takes next to no CPU time and wakes up a few times, not every few milliseconds."""
    if with_pidfd and not hasattr(os, "pidfd_open"):
        pytest.skip("no pidfd on this platform")
    if not with_pidfd:
        monkeypatch.delattr(os, "pidfd_open", raising=False)
    child = subprocess.Popen(python("import time; time.sleep(1.2)"))
    try:
        before = resource.getrusage(resource.RUSAGE_SELF)
        assert not ended_within(child.pid, 0.3)
        assert ended_within(child.pid, 20)
        after = resource.getrusage(resource.RUSAGE_SELF)
    finally:
        child.kill()
        child.wait()
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.1
    assert after.ru_nvcsw - before.ru_nvcsw < 20


def test_a_command_that_is_not_there(tmp_path: Path) -> None:
    """What cannot be started is an error at once."""
    with pytest.raises(FileNotFoundError):
        run_process(["/no/such/program"], folder=tmp_path, cwd=tmp_path)


@pytest.fixture
def small_cgroup() -> Iterator[Path]:
    """A control group of 64 MB of this test's own, where the user may make one."""
    found = next((path for path in (Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")) if path.is_dir()), None)
    if found is None:
        pytest.skip("no control groups here")
    limit = "memory.limit_in_bytes" if found.name == "memory" else "memory.max"
    folder = found / f"emobench-test-{os.getpid()}"
    try:
        folder.mkdir()
        (folder / limit).write_text(str(64 * 2**20))
    except OSError as error:
        if folder.is_dir():
            folder.rmdir()
        pytest.skip(f"no control group can be made here: {error}")
    yield folder
    for _ in range(100):
        try:
            folder.rmdir()
            break
        except OSError:  # the killed process is still being taken down
            time.sleep(0.05)


@pytest.mark.slow
def test_the_kernels_killer_is_recognized(tmp_path: Path, small_cgroup: Path) -> None:
    """A process that the kernel really kills for its memory is out of memory, and the counter that says so is named."""
    code = (
        f"import os; open({str(small_cgroup / 'cgroup.procs')!r}, 'w').write(str(os.getpid())); "
        "held = [bytearray(os.urandom(1 << 20)) for _ in range(256)]"
    )
    found = run(tmp_path, code)
    assert found.end is End.OUT_OF_MEMORY, found
    assert "the kernel killed it for want of host memory (oom_kill in " in found.detail
