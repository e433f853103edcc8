"""Draws: torch's random numbers, from a seed of one's own and for the length of a block."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw from ``seed`` inside the block, and leave torch's generators as they were."""
    # Named devices: with several GPUs torch warns of forking the generators of all of them.
    devices_used = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices_used):
        torch.manual_seed(seed)
        yield
