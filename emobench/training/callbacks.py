"""Callbacks of a training run: watch the loss, report progress, stop early, mark checkpoints complete."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from emobench.errors import NonFiniteLossError
from emobench.specs import DeviceKind
from emobench.training.batches import LengthSampler
from emobench.training.checkpoint import mark_complete, read_marker


class LossWatch:
    """Keeps the loss of every step and stops at the first that is not finite.

    On the CPU each step is looked at as it ends. On an accelerator reading a loss waits for the device, so they are
    read sixteen at a time; the step named in the error is still the first bad one.
    """

    def __init__(self, device: DeviceKind) -> None:
        self.every = 1 if device == "cpu" else 16
        self.losses: list[float] = []
        """Loss of every step so far, those before a resumed checkpoint included."""
        self.pending: list[torch.Tensor] = []
        """Losses of the latest steps, still on the device."""

    def restore(self, checkpoint: Path | None) -> None:
        """Take over the losses a resumed run had before its checkpoint."""
        marker = read_marker(checkpoint) if checkpoint else None
        self.losses = [float(value) for value in marker["losses"]] if marker else []

    def check(self) -> None:
        """Read the pending losses.

        Raises:
            NonFiniteLossError: one of them is NaN or infinite.
        """
        if not self.pending:
            return
        values = torch.stack([loss.float() for loss in self.pending]).tolist()
        self.pending.clear()
        for value in values:
            self.losses.append(value)
            if not math.isfinite(value):
                raise NonFiniteLossError(
                    f"the training loss is {value} at step {len(self.losses)}",
                    why="the weights or the inputs of this step overflowed, most often from a learning rate too high",
                    fix="lower it with --emo-set learning_rate=..., or take precision fp32 or bf16 instead of fp16",
                )


class StepProgress(TrainerCallback):
    """Sets the sampler's epoch, checks losses, reports progress, and stops where the plan says so."""

    def __init__(
        self,
        watch: LossWatch,
        sampler: LengthSampler,
        progress: Callable[[int, int, float], None] | None,
        stop_after: int | None,
    ) -> None:
        self.watch = watch
        self.sampler = sampler
        self.progress = progress
        self.stop_after = stop_after

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        # A resumed data loader hides the sampler from the Trainer's own set_epoch.
        self.sampler.epoch = math.floor((state.epoch or 0.0) + 1e-6)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if state.global_step % self.watch.every == 0:
            self.watch.check()
            if self.progress is not None:
                self.progress(state.global_step, state.max_steps, self.watch.losses[-1])
        if self.stop_after is not None and state.global_step >= self.stop_after:
            control.should_training_stop = True


class EarlyStopping(TrainerCallback):
    """Stops after ``patience`` validations in a row without a better accuracy; ``None`` never stops."""

    def __init__(self, patience: int | None) -> None:
        self.patience = patience
        self.best = -math.inf
        self.waited = 0
        self.stopped = False

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        if self.patience is None:
            return
        value = kwargs["metrics"]["eval_accuracy"]
        self.waited = 0 if value > self.best else self.waited + 1
        self.best = max(self.best, value)
        if self.waited >= self.patience:
            # Waiting until the very end has stopped nothing.
            self.stopped = state.global_step < state.max_steps
            control.should_training_stop = True


class Checkpoints(TrainerCallback):
    """Marks each checkpoint complete once the Trainer has written all of it."""

    def __init__(self, watch: LossWatch) -> None:
        self.watch = watch

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self.watch.check()
        folder = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
        mark_complete(folder, {"step": state.global_step, "losses": self.watch.losses[: state.global_step]})
