"""How long does one batch take, how many samples a second is that, in how much memory, and where does the time go?"""

from __future__ import annotations

import pytest

from emobench.cases.case import Case
from emobench.recipes.inference import inference
from emobench.specs import Backend, DeviceKind, ModelSpec, Precision


@pytest.mark.inference
def test_inference(
    case: Case,
    model: ModelSpec,
    precision: Precision,
    device: DeviceKind,
    batch_size: int,
    length: int | None,
    backend: Backend,
) -> None:
    """Time forward passes of a classifier over full-length inputs: no padding, so every token is real."""
    inference(case)
