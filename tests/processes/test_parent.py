"""A process ends with the one that started it, however that ends."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys

import psutil
import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux' kernel ends a process with its parent")

ENDS = "import os, time\nfrom emobench.processes.parent import end_with_parent\n"


@pytest.mark.slow
def test_a_process_ends_with_its_parent() -> None:
    """SIGKILL of the parent ends the child, which could not have been told by anything else."""
    child = ENDS + "end_with_parent(os.getppid())\nprint('ready', flush=True)\ntime.sleep(99)"
    parent = (
        "import subprocess, sys, time; p = subprocess.Popen([sys.executable, '-c', sys.argv[1]], "
        "stdout=subprocess.PIPE); p.stdout.readline(); print(p.pid, flush=True); time.sleep(99)"
    )
    with subprocess.Popen([sys.executable, "-c", parent, child], stdout=subprocess.PIPE) as started:
        assert started.stdout is not None
        left = psutil.Process(int(started.stdout.readline()))
        started.kill()
    with contextlib.suppress(psutil.NoSuchProcess):
        left.wait(10)
    assert not left.is_running() or left.status() == psutil.STATUS_ZOMBIE


def test_one_whose_parent_is_gone_already_ends_at_once() -> None:
    """The parent may end before its child has asked: its number is not the parent's then."""
    done = subprocess.run([sys.executable, "-c", ENDS + "end_with_parent(1 << 30)\ntime.sleep(99)"], check=False)
    assert done.returncode == -signal.SIGKILL
