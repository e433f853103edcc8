"""Fit plan: everything that decides a training besides model and data. It trains nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from emobench.specs import CaseSpec, DeviceKind, Precision, TrainSettings
from emobench.training.distributed import Ranks


@dataclass(frozen=True, kw_only=True)
class FitPlan:
    """Everything that decides a training run besides model and data.

    ``checkpoint_steps`` None keeps no checkpoints by steps, ``checkpoint_seconds`` none by the clock. ``stop_after``
    leaves the run at that step as a crash would, its checkpoints in place; ``resume`` goes on from the newest complete
    checkpoint in ``folder``.
    """

    device: DeviceKind
    precision: Precision
    seed: int
    epochs: float
    learning_rate: float
    settings: TrainSettings = field(default_factory=TrainSettings)
    max_steps: int | None = None
    early_stopping_patience: int | None = None
    folder: Path | None = None
    checkpoint_steps: int | None = None
    checkpoint_seconds: float | None = None
    stop_after: int | None = None
    resume: bool = False
    pad_id: int = 0
    padding_side: Literal["left", "right"] = "right"
    kernel: str | None = None
    """Attention implementation; None takes the one this machine is fastest at."""
    ranks: Ranks | None = None
    """This process among several that train together; ``batch_size`` is then the step's rows over all of them."""


def plan_for(case: CaseSpec, *, seed: int, pad_id: int, padding_side: Literal["left", "right"]) -> FitPlan:
    """The training plan of a case: sizes from its profile, the learning rate from its model row unless it is set."""
    assert case.method is not None
    return FitPlan(
        device=case.device,
        precision=case.precision,
        seed=seed,
        epochs=case.profile.epochs,
        learning_rate=case.train.learning_rate or getattr(case.model.learning_rates, case.method.id),
        settings=case.train,
        max_steps=case.profile.max_steps,
        early_stopping_patience=case.profile.early_stopping_patience,
        pad_id=pad_id,
        padding_side=padding_side,
    )
