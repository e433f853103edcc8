"""Ticks of the processor from a file of known content, and CPU time of this process and its children."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from emobench.measurement.processor import (
    Jiffies,
    family,
    own_cpu_seconds,
    read_jiffies,
    read_throttle_counts,
    usable_cores,
)

STAT = """cpu  1111 2222 3333 4444 5555 6666 7777 8888 9999 1010
cpu0 100 10 50 1000 5 3 2 7 40 4
cpu1 200 20 60 2000 6 4 3 8 0 0
cpu10 1 1 1 1 1 1 1 1 1 1
intr 12345 0 0
ctxt 99
"""


def test_ticks_of_the_cores_that_count(tmp_path: Path) -> None:
    """Busy is user, nice, system and interrupts; guest is part of user and is not added again."""
    (tmp_path / "stat").write_text(STAT)
    assert read_jiffies(tmp_path / "stat", cores={0, 1}) == Jiffies(cores=2, busy=165 + 287, idle=1005 + 2006, steal=15)
    assert read_jiffies(tmp_path / "stat", cores={1}) == Jiffies(cores=1, busy=287, idle=2006, steal=8)


def test_no_stat_file_is_absent(tmp_path: Path) -> None:
    """Off Linux there is no such file, and cores that it does not list give nothing."""
    assert read_jiffies(tmp_path / "stat") is None
    (tmp_path / "stat").write_text(STAT)
    assert read_jiffies(tmp_path / "stat", cores={77}) is None


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/stat")
def test_the_machines_own_file_is_read() -> None:
    """All cores this process may run on are counted, and their ticks grow with the clock."""
    before = read_jiffies()
    time.sleep(0.2)
    after = read_jiffies()
    assert before is not None
    assert after is not None
    assert after.cores == len(usable_cores())
    grown = (after.busy + after.idle + after.steal) - (before.busy + before.idle + before.steal)
    assert 0 < grown <= 4 * 0.2 * 100 * after.cores


def test_throttle_counts_by_file(tmp_path: Path) -> None:
    """Each file counts alone; one that cannot be read is left out."""
    for cpu, count in (("cpu0", "3\n"), ("cpu1", "5\n"), ("cpu2", "offline\n")):
        folder = tmp_path / cpu / "thermal_throttle"
        folder.mkdir(parents=True)
        (folder / "core_throttle_count").write_text(count)
    (tmp_path / "cpu0" / "thermal_throttle" / "package_throttle_count").write_text("9")
    assert read_throttle_counts(tmp_path) == {"cpu0/core": 3, "cpu0/package": 9, "cpu1/core": 5}
    assert read_throttle_counts(tmp_path / "none") == {}


def test_a_childs_time_is_our_own_before_and_after_its_end() -> None:
    """Work of a process we started is not foreign, whether it still runs or has ended in the meantime."""
    before = own_cpu_seconds(family())
    code = "import time\nwhile time.process_time() < 0.3: pass\nprint(1, flush=True)\ninput()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        listed = family()
        running = own_cpu_seconds(listed) - before
        child.communicate(b"\n")
    ended = own_cpu_seconds(listed) - before
    assert running >= 0.29
    assert 0.29 <= ended < running + 0.3
