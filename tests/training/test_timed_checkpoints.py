"""Checkpoints by the clock: a training goes on from them as if nothing had happened, and says that its time is none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from emobench.training import timed_checkpoints
from emobench.training.checkpoint import newest_complete
from emobench.training.fit import fit
from emobench.training.timed_checkpoints import LARGEST_SHARE, TimedCheckpoints
from tests.training.test_fit import plan, tiny_data, tiny_model


@pytest.mark.slow
def test_a_training_goes_on_where_the_clock_left_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Left after 17 steps and gone on with: the losses and weights of a training that was never left."""
    monkeypatch.setattr(timed_checkpoints, "LARGEST_SHARE", float("inf"))
    whole_model, model = tiny_model(), tiny_model(seed=5)
    whole = fit(whole_model, tiny_data(), plan())
    timed = plan(folder=tmp_path, checkpoint_seconds=0.0)
    fit(tiny_model(), tiny_data(), replace(timed, stop_after=17))
    assert newest_complete(tmp_path) == tmp_path / "checkpoint-17"
    assert len(list(tmp_path.glob("checkpoint-*"))) == 2
    resumed = fit(model, tiny_data(), replace(timed, resume=True))
    np.testing.assert_allclose(resumed.losses, whole.losses, rtol=0, atol=1e-6)
    for name, value in whole_model.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], value, rtol=0, atol=1e-6, msg=name)
    assert (whole.resumed_at, resumed.resumed_at) == (None, 17)
    left_out = {item.name for item in whole.metrics()} - {item.name for item in resumed.metrics()}
    assert left_out == {"train_seconds", "train_samples_per_second", "train_tokens_per_second"}


def test_a_short_training_writes_none(tmp_path: Path) -> None:
    """Within the time between two checkpoints nothing is written."""
    fit(tiny_model(), tiny_data(), plan(folder=tmp_path, checkpoint_seconds=60.0))
    assert not list(tmp_path.glob("checkpoint-*"))


def test_slow_writing_makes_them_rarer() -> None:
    """Writing may take a fiftieth of the time: after one of 3 s the next comes 150 s later, whatever was asked."""
    from transformers import TrainerControl, TrainerState, TrainingArguments

    callback = TimedCheckpoints(0.0)
    callback.written, callback.took = 1, 3.0
    control, state = TrainerControl(), TrainerState()
    state.global_step, state.max_steps = 1, 10
    arguments = TrainingArguments(output_dir="unused", use_cpu=True)
    callback.on_step_end(arguments, state, control)
    assert not control.should_save
    callback._last -= 3.0 / LARGEST_SHARE
    callback.on_step_end(arguments, state, control)
    assert control.should_save
