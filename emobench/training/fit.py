"""Fine-tuning one model with one seed through the Hugging Face ``Trainer``.

Our own part is the order of the batches, the splitting of large steps, the check of every loss, and checkpoints that
are used only when complete. The loop, the optimizer, schedules, clipping, precision and resuming are the Trainer's.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn
from torch.profiler import record_function
from torch.utils.data import Dataset
from transformers import PreTrainedModel, PrinterCallback, ProgressCallback, Trainer, TrainingArguments
from transformers.trainer_utils import set_seed

from emobench.data.encode import Encoded, collate
from emobench.devices import synchronize
from emobench.errors import DataError
from emobench.models.first_token import only_first_token
from emobench.models.kernels import use_fastest
from emobench.outcomes import FitOutcome
from emobench.specs import CaseSpec, DeviceKind, Precision, TrainSettings
from emobench.training.batches import LengthSampler, micro_batches
from emobench.training.callbacks import BestWeights, Checkpoints, EarlyStopping, LossWatch, StepProgress
from emobench.training.checkpoint import checkpoint_step, newest_complete

Validate = Callable[[nn.Module], Mapping[str, float]]
Progress = Callable[[int, int, float], None]
"""Called with (step done, steps in all, loss in nats)."""
Loss = Callable[[nn.Module, Mapping[str, Any], int | torch.Tensor], torch.Tensor]
"""Called with model, batch (labels included) and the examples of the whole step, which its sum is divided by."""


@dataclass(frozen=True, kw_only=True)
class FitPlan:
    """Everything that decides a training run besides model and data.

    ``checkpoint_steps`` None keeps no checkpoints. ``stop_after``
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
    stop_after: int | None = None
    resume: bool = False
    pad_id: int = 0
    padding_side: Literal["left", "right"] = "right"
    kernel: str | None = None
    """Attention implementation; None takes the one this machine is fastest at."""


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


class Indices(Dataset[int]):
    """Row numbers of an encoded split; the collator turns a batch of them into tensors."""

    def __init__(self, rows: int) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return self.rows

    def __getitem__(self, index: int) -> int:
        return index


def mean_cross_entropy(outputs: Any, labels: torch.Tensor, num_items_in_batch: Any = None) -> torch.Tensor:
    """Cross entropy in float32, summed and divided by the examples of the whole step, so that parts add up."""
    logits = outputs["logits"].float()
    total = nn.functional.cross_entropy(logits, labels, reduction="sum")
    return total / (labels.numel() if num_items_in_batch is None else num_items_in_batch)


class EncodedTrainer(Trainer):
    """A Trainer fed from an :class:`Encoded` split, validating through a function of the caller's."""

    def __init__(
        self,
        *,
        encoded: Encoded,
        plan: FitPlan,
        validate: Validate | None,
        watch: LossWatch,
        sampler: LengthSampler,
        loss: Loss | None = None,
        **kwargs: Any,
    ) -> None:
        self.encoded = encoded
        self.plan = plan
        self.validate = validate
        self.watch = watch
        self.sampler = sampler
        self.loss = loss
        self.tokens_seen = 0
        self.samples_seen = 0
        super().__init__(
            train_dataset=Indices(len(encoded)),
            data_collator=self.collate_rows,
            # Only its presence counts: the Trainer asks for it, and ``evaluate`` below takes the caller's function.
            eval_dataset=None if validate is None else Indices(1),
            compute_loss_func=mean_cross_entropy,
            **kwargs,
        )

    def collate_rows(self, rows: list[int]) -> dict[str, torch.Tensor]:
        """Batch of rows padded to its longest, shape (rows, longest)."""
        return collate(self.encoded, rows, pad_id=self.plan.pad_id, side=self.plan.padding_side)

    def _get_train_sampler(self, train_dataset: Dataset[int] | None = None) -> LengthSampler:
        return self.sampler

    def training_step(
        self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: torch.Tensor | int | None = None
    ) -> torch.Tensor:
        """One optimizer step's forward and backward passes, split where the batch exceeds the token budget."""
        rows, length = inputs["input_ids"].shape
        self.samples_seen += rows
        self.tokens_seen += int(inputs["attention_mask"].sum())
        items = rows if num_items_in_batch is None else num_items_in_batch
        parts = micro_batches(rows, length, self.plan.settings.token_budget)
        losses = [
            super(EncodedTrainer, self).training_step(
                model, {name: value[part] for name, value in inputs.items()}, items
            )
            for part in parts
        ]
        loss = torch.stack(losses).sum()
        self.watch.pending.append(loss)
        return loss

    def compute_loss(self, model: nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """The caller's loss where there is one, else cross entropy as the Trainer is set to."""
        if self.loss is None:
            return super().compute_loss(model, inputs, *args, **kwargs)
        items = kwargs.get("num_items_in_batch")
        return self.loss(model, inputs, len(inputs["labels"]) if items is None else items)

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Validate through the caller's function and tell the callbacks, as ``Trainer.evaluate`` does."""
        assert self.validate is not None
        assert isinstance(self.model, nn.Module)
        found = {name: float(value) for name, value in self.validate(self.model).items()}
        metrics = {f"eval_{name}": value for name, value in found.items()}
        self.log(dict(metrics))
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics


def fit(
    model: PreTrainedModel,
    train: Encoded,
    plan: FitPlan,
    *,
    validate: Validate | None = None,
    progress: Progress | None = None,
    loss: Loss | None = None,
) -> FitOutcome:
    """Train ``model`` in place; where an epoch was better on validation than the last, its weights are put back.

    ``loss`` None is the cross entropy of the labels.

    Raises:
        NonFiniteLossError: a loss is NaN or infinite; names the first such step.
        DataError: nothing to train on, or a resume finds no complete checkpoint.
    """
    if len(train) == 0:
        raise DataError("the training split is empty", why="no rows are left", fix="check the data set's sizes")
    with contextlib.ExitStack() as stack:
        folder = plan.folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="emobench-fit-")))
        set_seed(plan.seed)
        if plan.settings.gradient_checkpointing:
            checkpoint_activations(model)
        rows, length = plan.settings.batch_size, int(np.median(train.lengths))
        stack.callback(only_first_token(model))
        kernel = use_fastest(model, plan.device, rows=rows, length=length, training=True, insist=plan.kernel)
        watch, stopping = LossWatch(plan.device), EarlyStopping(plan.early_stopping_patience)
        trainer = build_trainer(model, train, plan, folder, validate=validate, watch=watch, loss=loss)
        for callback in (stopping, StepProgress(watch, trainer.sampler, progress, plan.stop_after), Checkpoints(watch)):
            trainer.add_callback(callback)
        checkpoint = find_checkpoint(folder) if plan.resume else None
        best = BestWeights(folder, resumed_at=None if checkpoint is None else checkpoint_step(checkpoint))
        if picks_best(plan, validating=validate is not None):
            trainer.add_callback(best)
        watch.restore(checkpoint)
        synchronize(plan.device)
        start = time.perf_counter_ns()
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        watch.check()
        if validate is not None and not validation_history(trainer):
            trainer.evaluate()
        best.put_back(model, last_step=trainer.state.global_step)
        synchronize(plan.device)
        seconds = (time.perf_counter_ns() - start) / 1e9
    return FitOutcome(
        seed=plan.seed,
        steps=trainer.state.global_step,
        epochs=float(trainer.state.epoch or 0.0),
        samples_seen=trainer.samples_seen,
        tokens_seen=trainer.tokens_seen,
        seconds=seconds,
        losses=watch.losses,
        validation=tuple(validation_history(trainer)),
        stopped_early=stopping.stopped,
        kernel=kernel,
    )


def picks_best(plan: FitPlan, *, validating: bool) -> bool:
    """Whether there are several epochs to choose the best of."""
    return validating and plan.epochs > 1


def validation_history(trainer: Trainer) -> list[dict[str, float]]:
    """Step and accuracy of every validation, those before a resumed checkpoint included."""
    return [
        {"step": float(entry["step"]), "accuracy": float(entry["eval_accuracy"])}
        for entry in trainer.state.log_history
        if "eval_accuracy" in entry
    ]


def few_steps(model: PreTrainedModel, train: Encoded, plan: FitPlan, *, steps: int = 2) -> Callable[[], None]:
    """A call that makes ``steps`` optimizer steps as :func:`fit` does, for a profiler: ``model`` is changed by it.

    Waiting for data and the optimizer's work stand in ``record_function`` ranges of these names.
    """
    set_seed(plan.seed)
    rows, length = plan.settings.batch_size, int(np.median(train.lengths))
    only_first_token(model)
    use_fastest(model, plan.device, rows=rows, length=length, training=True, insist=plan.kernel)
    trainer = build_trainer(
        model, train, plan, Path(tempfile.gettempdir()), validate=None, watch=LossWatch(plan.device)
    )
    trainer.create_optimizer_and_scheduler(num_training_steps=total_steps(len(train), plan))
    wrapped = trainer.accelerator.prepare(model)
    batches = itertools.chain.from_iterable(itertools.repeat(trainer.get_train_dataloader()))

    def call() -> None:
        assert trainer.optimizer is not None
        for _ in range(steps):
            with record_function("data"):
                inputs = next(batches)
            trainer.training_step(wrapped, inputs)
            with record_function("optimizer"):
                trainer.accelerator.clip_grad_norm_(wrapped.parameters(), plan.settings.max_grad_norm)
                trainer.optimizer.step()
                wrapped.zero_grad()
        trainer.watch.pending.clear()

    return call


def checkpoint_activations(model: PreTrainedModel) -> None:
    """Recompute activations in the backward pass instead of keeping them.

    Through the model, not the Trainer's option: both were renamed within transformers 5.
    """
    if hasattr(model, "activation_checkpointing_enable"):
        model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
    else:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})


def find_checkpoint(folder: Path) -> Path:
    """The newest complete checkpoint of ``folder``; an error where there is none."""
    found = newest_complete(folder)
    if found is None:
        raise DataError(
            f"no complete checkpoint in {folder}",
            why="a checkpoint counts only with the marker written after its last file",
            fix="start the training without resume",
        )
    return found


def epoch_steps(rows: int, plan: FitPlan) -> int:
    """Optimizer steps of all epochs."""
    return math.ceil(math.ceil(rows / plan.settings.batch_size) * plan.epochs)


def total_steps(rows: int, plan: FitPlan) -> int:
    """Optimizer steps of the plan: of all epochs, or ``max_steps`` where that is fewer."""
    return min(epoch_steps(rows, plan), plan.max_steps or epoch_steps(rows, plan))


def warmup_steps(rows: int, plan: FitPlan) -> int:
    """Warm-up steps: as set, at most a tenth of all steps."""
    return min(plan.settings.warmup_steps, total_steps(rows, plan) // 10)


def build_trainer(
    model: PreTrainedModel,
    train: Encoded,
    plan: FitPlan,
    folder: Path,
    *,
    validate: Validate | None,
    watch: LossWatch,
    loss: Loss | None = None,
) -> EncodedTrainer:
    """A Trainer for the plan, without the callbacks that print."""
    trainer = EncodedTrainer(
        encoded=train,
        plan=plan,
        validate=validate,
        watch=watch,
        sampler=LengthSampler(train.lengths, batch_size=plan.settings.batch_size, seed=plan.seed),
        loss=loss,
        model=model,
        args=training_arguments(len(train), plan, folder, validating=validate is not None),
    )
    trainer.pop_callback(PrinterCallback)
    trainer.pop_callback(ProgressCallback)
    return trainer


def training_arguments(rows: int, plan: FitPlan, folder: Path, *, validating: bool) -> TrainingArguments:
    """The Trainer's own settings for a plan."""
    settings = plan.settings
    saving: dict[str, Any] = {"save_strategy": "no"}
    if plan.checkpoint_steps:
        saving = {"save_strategy": "steps", "save_steps": plan.checkpoint_steps, "save_total_limit": 2}
    arguments = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=settings.batch_size,
        num_train_epochs=plan.epochs,
        max_steps=total_steps(rows, plan) if total_steps(rows, plan) < epoch_steps(rows, plan) else -1,
        learning_rate=plan.learning_rate,
        lr_scheduler_type=settings.scheduler,
        warmup_steps=warmup_steps(rows, plan),
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        bf16=plan.precision in {"bf16", "nf4", "int8-bnb"},
        fp16=plan.precision == "fp16",
        use_cpu=plan.device == "cpu",
        seed=plan.seed,
        eval_strategy="epoch" if picks_best(plan, validating=validating) else "no",
        logging_strategy="no",
        logging_nan_inf_filter=False,
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=plan.device == "cuda",
        label_names=["labels"],
        **saving,
    )
    # One device a case: with several GPUs in sight the Trainer would wrap the model in DataParallel and multiply the
    # batch. Looking at the device settles the count, which is then bounded.
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments
