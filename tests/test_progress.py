"""Progress of long work: a bar on a terminal, plain lines elsewhere, both while pytest captures output."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from emobench.progress import Progress


def test_plain_lines_where_there_is_no_terminal(tmp_path: Path) -> None:
    """Into a file: whole lines without control characters, none for short work."""
    path = tmp_path / "log"
    with path.open("w") as stream:
        progress = Progress(stream.fileno(), seconds_between_lines=0.0)
        progress.start("finetune[x]")
        for step in range(1, 4):
            progress.step(step, 3, 0.5)
        progress.close()
        silent = Progress(stream.fileno(), seconds_between_lines=60.0)
        silent.start("quick")
        silent.step(1, 1, 0.5)
        silent.close()
    lines = path.read_text().splitlines()
    assert [line.split("  loss")[0] for line in lines] == [f"finetune[x]: step {step}/3" for step in (1, 2, 3)]
    assert "\x1b" not in path.read_text()


@pytest.mark.skipif(os.name != "posix", reason="terminals of this kind are posix")
def test_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal: one line below pytest's that is drawn over, and is gone when the work ends."""
    import fcntl
    import pty
    import struct
    import termios

    monkeypatch.setenv("TERM", "xterm")
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 60, 0, 0))
    progress = Progress(slave)
    progress.seconds_between_lines = 0.0
    progress.start("finetune[a-long-case-id]")
    progress.step(1, 4, 0.693)
    progress.step(4, 4, 0.5)
    progress.stop()
    drawn = ""
    # A terminal hands on what was written in pieces.
    while not drawn.endswith("\x1b8"):
        drawn += os.read(master, 4096).decode()
    progress.close()
    os.close(master)
    os.close(slave)
    assert "[######..................] 1/4  lo" in drawn
    bars = [part.split("\x1b8")[0] for part in drawn.split("\r\x1b[2K")[1:]]
    assert all(len(bar) <= 59 for bar in bars)
    assert drawn.endswith("\r\x1b[2K\x1b8")


@pytest.mark.slow
def test_progress_shows_through_capture(pytester: pytest.Pytester) -> None:
    """A captured test's progress reaches the screen; its own prints do not."""
    pytester.makepyfile(
        """
        import pytest
        @pytest.mark.inference
        @pytest.mark.parametrize("model,precision,device,batch_size", [("all-minilm-l6-v2", "fp32", "cpu", 1)])
        def test_long(case, model, precision, device, batch_size):
            print("a print")
            case.progress.note("halfway there")
        """
    )
    result = pytester.runpytest_subprocess("-p", "no:xdist", "--benchmark-storage=file://./results")
    result.stderr.fnmatch_lines(["*halfway there"])
    result.stdout.no_fnmatch_line("*a print*")
