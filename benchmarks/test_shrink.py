"""How small and how fast does a trained classifier get, and what does that cost in accuracy?"""

from __future__ import annotations

import pytest

from emobench.cases.case import Case
from emobench.recipes.shrink import Original, shrink_and_compare
from emobench.specs import DatasetSpec, DeviceKind, MethodSpec, ModelSpec, Precision


@pytest.fixture(scope="module")
def originals() -> dict[str, Original]:
    """The original that was used last; others of the run come back from its folder, and none is trained twice."""
    return {}


@pytest.mark.shrink
def test_shrink(
    case: Case,
    originals: dict[str, Original],
    model: ModelSpec,
    dataset: DatasetSpec,
    method: MethodSpec,
    precision: Precision,
    device: DeviceKind,
) -> None:
    """Shrink the trained fp32 original; both evaluate all held-out rows in turn, and are compared row by row."""
    shrink_and_compare(case, originals)
