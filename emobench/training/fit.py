"""Fine-tuning one model with one seed through the Hugging Face ``Trainer``.

Our own part is the order of the batches, the splitting of large steps, the check of every loss, checkpoints that are
used only when complete, and what several processes need to train as one. The loop, the optimizer, schedules, clipping,
precision and resuming are the Trainer's.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch.profiler import record_function
from transformers import PreTrainedModel, PrinterCallback, ProgressCallback, Trainer, TrainingArguments
from transformers.trainer_utils import set_seed

from emobench.data.encode import Encoded
from emobench.devices import synchronize
from emobench.errors import DataError, UnsupportedError
from emobench.models.first_token import only_first_token
from emobench.models.kernels import use_fastest
from emobench.outcomes import FitOutcome
from emobench.training.batches import LengthSampler
from emobench.training.callbacks import BestWeights, Checkpoints, EarlyStopping, LossWatch, StepProgress
from emobench.training.checkpoint import checkpoint_step, newest_complete
from emobench.training.distributed import (
    Ranks,
    check_same_weights,
    from_first_rank,
    leave_wrapping,
    mean_over_ranks,
    shard_fully,
    sum_over_ranks,
)
from emobench.training.plan import FitPlan
from emobench.training.timed_checkpoints import TimedCheckpoints
from emobench.training.trainer import EncodedTrainer, Loss
from emobench.training.trainer import Validate as Validate

Progress = Callable[[int, int, float], None]
"""Called with (step done, steps in all, loss in nats)."""


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
        UnsupportedError: the plan's ranks are not what trains, or cannot do what the plan asks.
    """
    if len(train) == 0:
        raise DataError("the training split is empty", why="no rows are left", fix="check the data set's sizes")
    ranks = plan.ranks
    if ranks is not None:
        check_plan(plan, ranks, own_loss=loss is not None)
    with contextlib.ExitStack() as stack:
        folder = plan.folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="emobench-fit-")))
        set_seed(torch_seed(plan))
        if plan.settings.gradient_checkpointing:
            checkpoint_activations(model)
        stack.callback(only_first_token(model))
        kernel = choose_kernel(model, train, plan)
        watch = LossWatch(plan.device, average=None if ranks is None else mean_over_ranks)
        stopping = EarlyStopping(plan.early_stopping_patience)
        trainer = build_trainer(model, train, plan, folder, validate=validate, watch=watch, loss=loss)
        first = ranks is None or ranks.rank == 0
        steps = StepProgress(watch, trainer.sampler, progress if first else None, plan.stop_after)
        for callback in (stopping, steps, Checkpoints(watch, marks=first)):
            trainer.add_callback(callback)
        checkpoint = find_checkpoint(folder) if plan.resume else None
        own = folder if ranks is None else folder / f"rank-{ranks.rank}"
        best = BestWeights(own, resumed_at=None if checkpoint is None else checkpoint_step(checkpoint))
        if picks_best(plan, validating=validate is not None):
            trainer.add_callback(best)
        if plan.checkpoint_seconds is not None:
            trainer.add_callback(TimedCheckpoints(plan.checkpoint_seconds))
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
    found = outcome_of(trainer, seconds, kernel=kernel, stopped_early=stopping.stopped)
    return replace(found, resumed_at=None if checkpoint is None else checkpoint_step(checkpoint))


def choose_kernel(model: PreTrainedModel, train: Encoded, plan: FitPlan) -> str:
    """Set the attention that trains; among several ranks the first one's choice, or they would differ by rounding."""
    shape = {"rows": plan.settings.batch_size, "length": int(np.median(train.lengths))}
    kernel = use_fastest(model, plan.device, **shape, training=True, insist=plan.kernel)
    if plan.ranks is not None and (agreed := from_first_rank(kernel, plan.device)) != kernel:
        kernel = use_fastest(model, plan.device, **shape, training=True, insist=agreed)
    return kernel


def outcome_of(trainer: EncodedTrainer, seconds: float, *, kernel: str, stopped_early: bool) -> FitOutcome:
    """What a training gave; rows and tokens are counted over all ranks."""
    plan, seen = trainer.plan, [trainer.samples_seen, trainer.tokens_seen]
    samples_seen, tokens_seen = seen if plan.ranks is None else sum_over_ranks(seen, plan.device)
    return FitOutcome(
        seed=plan.seed,
        steps=trainer.state.global_step,
        epochs=float(trainer.state.epoch or 0.0),
        samples_seen=samples_seen,
        tokens_seen=tokens_seen,
        seconds=seconds,
        losses=trainer.watch.losses,
        validation=tuple(validation_history(trainer)),
        stopped_early=stopped_early,
        kernel=kernel,
        distribution=trainer.distribution,
    )


def check_plan(plan: FitPlan, ranks: Ranks, *, own_loss: bool) -> None:
    """Refuse what several processes cannot do together.

    Raises:
        UnsupportedError: a loss that knows nothing of rows that fill up a share, or a checkpoint of sharded weights.
    """
    if own_loss:
        raise UnsupportedError(
            f"a loss of the caller's own on {ranks.world_size} processes",
            why="it would count rows that only fill up a process's share of a step",
            fix="train in one process",
        )
    if plan.checkpoint_steps and (ranks.shard or ranks.wrapper != "ddp"):
        raise UnsupportedError(
            f"checkpoint_steps={plan.checkpoint_steps} with sharded weights",
            why="a checkpoint is written from one process, and none of them has all the weights",
            fix="take the wrapper ddp, or leave checkpoint_steps unset",
        )


def torch_seed(plan: FitPlan) -> int:
    """Seed of what torch draws in training: of its own in each rank, or all would drop the same neurons."""
    return plan.seed + (0 if plan.ranks is None else plan.ranks.rank)


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
    if plan.settings.gradient_checkpointing:
        checkpoint_activations(model)
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
    if plan.ranks is not None:
        check_same_weights(model)
        if plan.ranks.shard:
            shard_fully(model, plan.device)
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
    if plan.ranks is not None and plan.ranks.shard:
        leave_wrapping(trainer.accelerator)
    trainer.pop_callback(PrinterCallback)
    trainer.pop_callback(ProgressCallback)
    return trainer


def training_arguments(rows: int, plan: FitPlan, folder: Path, *, validating: bool) -> TrainingArguments:
    """The Trainer's own settings for a plan."""
    settings = plan.settings
    saving: dict[str, Any] = {"save_strategy": "no"}
    if plan.checkpoint_steps:
        saving = {"save_strategy": "steps", "save_steps": plan.checkpoint_steps, "save_total_limit": 2}
    elif plan.checkpoint_seconds is not None:
        saving["save_total_limit"] = 2
    arguments = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=-(-settings.batch_size // (plan.ranks.world_size if plan.ranks else 1)),
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
        seed=torch_seed(plan),
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
