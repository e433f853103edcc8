"""Parents: a process that ends with the one that started it. It starts none."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
"""Of Linux' prctl."""


def end_with_parent(parent: int) -> None:
    """Have the kernel end this process when its parent, of this process id, ends, however that happens. Linux only.

    What is left of a session that was killed would else hold the device and write into a run that is gone on with. The
    kernel goes by the thread that started this process.
    """
    if sys.platform != "linux" or ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0) != 0:
        return
    if os.getppid() != parent:  # it ended before the kernel was told
        os.kill(os.getpid(), signal.SIGKILL)
