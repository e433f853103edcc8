"""Callbacks of a training run: watch the loss, report progress, stop early, mark checkpoints complete."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
import torch.distributed as dist
from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from emobench.errors import NonFiniteLossError
from emobench.files import write_bytes
from emobench.specs import DeviceKind
from emobench.training.batches import LengthSampler
from emobench.training.checkpoint import mark_complete, read_marker
from emobench.training.distributed import own_part


class LossWatch:
    """Keeps the loss of every step and stops at the first that is not finite.

    On the CPU each step is looked at as it ends. On an accelerator reading a loss waits for the device, so they are
    read sixteen at a time; the step named in the error is still the first bad one. ``average`` makes the loss of a
    step out of those of several ranks; all of them look at the same steps.
    """

    def __init__(self, device: DeviceKind, *, average: Callable[[torch.Tensor], torch.Tensor] | None = None) -> None:
        self.every = 1 if device == "cpu" else 16
        self.average = average
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
        pending = torch.stack([loss.float() for loss in self.pending])
        values = (pending if self.average is None else self.average(pending)).tolist()
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

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        for entry in state.log_history:
            if "eval_accuracy" in entry:
                self._count(entry["eval_accuracy"])

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        if self.patience is None:
            return
        self._count(kwargs["metrics"]["eval_accuracy"])
        if self.waited >= self.patience:
            # Waiting until the very end has stopped nothing.
            self.stopped = state.global_step < state.max_steps
            control.should_training_stop = True

    def _count(self, value: float) -> None:
        self.waited = 0 if value > self.best else self.waited + 1
        self.best = max(self.best, value)


class BestWeights(TrainerCallback):
    """Keeps the trained weights of the best validation on disk, and puts them back at the end.

    Kept apart from checkpoints, so that those may be written at any step; a resumed run goes on with the best it had.
    """

    def __init__(self, folder: Path, *, resumed_at: int | None = None) -> None:
        self.weights, self.marker = folder / "best.safetensors", folder / "best.json"
        self.accuracy, self.step = -math.inf, 0
        kept = self._read_marker() if resumed_at is not None else None
        # What came after the checkpoint will come again.
        if kept is not None and kept["step"] <= (resumed_at or 0):
            self.accuracy, self.step = kept["accuracy"], kept["step"]

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        value = kwargs["metrics"]["eval_accuracy"]
        # Written so that NaN is never the best.
        if not value > self.accuracy:
            return
        self.accuracy, self.step = value, state.global_step
        self.marker.unlink(missing_ok=True)
        tensors = {name: own_part(part).detach().cpu().contiguous() for name, part in _trained(kwargs["model"])}
        write_bytes(self.weights, safetensors.torch.save(tensors))
        write_bytes(self.marker, json.dumps({"accuracy": value, "step": state.global_step}).encode())

    def put_back(self, model: nn.Module, *, last_step: int) -> None:
        """Load the best weights into the model, unless they are those it has."""
        if self.step in (0, last_step):
            return
        tensors = safetensors.torch.load_file(self.weights)
        with torch.no_grad():
            for name, part in _trained(model):
                own_part(part).copy_(tensors[name])

    def _read_marker(self) -> dict[str, Any] | None:
        if not (self.marker.exists() and self.weights.exists()):
            return None
        found: dict[str, Any] = json.loads(self.marker.read_bytes())
        return found


def _trained(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """Names and values of what training changes, each once: tied weights go by their first name."""
    return [(name, part) for name, part in model.named_parameters() if part.requires_grad]


class Checkpoints(TrainerCallback):
    """Marks each checkpoint complete once the Trainer has written all of it; of several ranks one ``marks`` it."""

    def __init__(self, watch: LossWatch, *, marks: bool = True) -> None:
        self.watch = watch
        self.marks = marks

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self.watch.check()
        if self.watch.average is not None:
            dist.barrier()
        if not self.marks:
            return
        folder = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
        mark_complete(folder, {"step": state.global_step, "losses": self.watch.losses[: state.global_step]})
