"""Memory peaks of a block."""

from __future__ import annotations

import pytest
import torch

from emobench.measurement.usage import watch_memory


def test_host_peak_sees_memory_that_is_gone_again() -> None:
    """200 MB touched and freed inside the block are in the growth, within 20 %; a second block does not see them."""
    with watch_memory("cpu") as usage:
        block = torch.ones(50_000_000)
        del block
    found = {item.name: item.value for item in usage.metrics()}
    if "host_memory_growth_bytes" not in found:
        pytest.skip("this kernel does not let a process reset its high-water mark")
    assert 180e6 < found["host_memory_growth_bytes"] < 260e6
    with watch_memory("cpu") as second:
        pass
    growth = {item.name: item.value for item in second.metrics()}["host_memory_growth_bytes"]
    assert growth < 50e6


def test_peaks_are_kept_when_the_block_raises() -> None:
    """A block that runs out of memory still says how far it got."""
    with pytest.raises(MemoryError), watch_memory("cpu") as usage:
        raise MemoryError
    assert usage.host_peak is None or usage.host_peak > 0
