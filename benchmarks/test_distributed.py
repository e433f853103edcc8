"""One case in several processes: does it train as one, and what does it take in each of them?

Only with ``--emo-processes N`` (DDP) or ``--emo-accelerate FILE`` (DDP, FSDP2 or DeepSpeed, as the file says).
"""

from __future__ import annotations

import pytest

from emobench.cases.case import Case
from emobench.specs import DatasetSpec, DeviceKind, LaunchSpec, MethodSpec, ModelSpec, Precision


@pytest.mark.finetune
def test_distributed(
    case: Case,
    model: ModelSpec,
    dataset: DatasetSpec,
    method: MethodSpec,
    precision: Precision,
    device: DeviceKind,
    launch: LaunchSpec,
) -> None:
    """Fine-tune once a seed among all processes, and score their shares of the held-out rows together."""
    from emobench.recipes.distributed import train_and_evaluate

    train_and_evaluate(case)
