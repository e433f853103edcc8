"""Which model, trained which way at which precision, reaches which quality, in what time and memory?"""

from __future__ import annotations

import pytest

from emobench.cases.case import Case
from emobench.recipes.finetune import finetune
from emobench.specs import DatasetSpec, DeviceKind, MethodSpec, ModelSpec, Precision


@pytest.mark.finetune
def test_finetune(
    case: Case, model: ModelSpec, dataset: DatasetSpec, method: MethodSpec, precision: Precision, device: DeviceKind
) -> None:
    """Fine-tune once a seed and score the weights that were kept on held-out rows; both are timed."""
    finetune(case)
