"""How long until a decoder's first token, and how long for each one after it?"""

from __future__ import annotations

import pytest

from emobench.cases.case import Case
from emobench.recipes.generation import generation
from emobench.specs import DeviceKind, ModelSpec, Precision


@pytest.mark.generation
def test_generation(
    case: Case, model: ModelSpec, precision: Precision, device: DeviceKind, batch_size: int, length: int | None
) -> None:
    """Time whole generations, and in between prefill and decoding apart; token counts are constant, so the work is."""
    generation(case)
