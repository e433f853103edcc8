"""The Hugging Face ``Trainer``, fed from encoded splits: large steps in parts, every loss kept, ranks in step.

What a run is made of stands in ``fit``; nothing is started here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset
from transformers import Trainer

from emobench.data.encode import Encoded, collate
from emobench.errors import UnsupportedError
from emobench.training.batches import LengthSampler, micro_batches
from emobench.training.callbacks import LossWatch
from emobench.training.distributed import Ranks, check_wrapped, own_share

if TYPE_CHECKING:
    from emobench.training.plan import FitPlan

Validate = Callable[[nn.Module], Mapping[str, float]]
Loss = Callable[[nn.Module, Mapping[str, Any], int | torch.Tensor], torch.Tensor]
"""Called with model, batch (labels included) and the examples of the whole step, which its sum is divided by."""


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
        self.distribution: dict[str, Any] = {}
        super().__init__(
            train_dataset=Indices(len(encoded)),
            data_collator=self.collate_rows,
            # Only its presence counts: the Trainer asks for it, and ``evaluate`` below takes the caller's function.
            eval_dataset=None if validate is None else Indices(1),
            compute_loss_func=mean_cross_entropy,
            **kwargs,
        )

    def collate_rows(self, rows: list[int]) -> dict[str, torch.Tensor]:
        """Batch of rows padded to its longest, shape (rows, longest); among several ranks, this one's share of it."""
        batch = collate(self.encoded, rows, pad_id=self.plan.pad_id, side=self.plan.padding_side)
        return batch if self.plan.ranks is None else own_share(batch, self.plan.ranks)

    def get_train_dataloader(self) -> DataLoader[int]:
        """Whole steps, of which each rank takes its share; accelerate's own split repeats rows to even out batches."""
        if self.plan.ranks is None:
            return super().get_train_dataloader()
        assert self.train_dataset is not None
        rows = self.plan.settings.batch_size
        return DataLoader(
            self.train_dataset, batch_size=rows, sampler=self.sampler, collate_fn=self.collate_rows, pin_memory=False
        )

    def _get_train_sampler(self, train_dataset: Dataset[int] | None = None) -> LengthSampler:
        return self.sampler

    def training_step(
        self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: torch.Tensor | int | None = None
    ) -> torch.Tensor:
        """One optimizer step's forward and backward passes, split where the batch exceeds the token budget."""
        rows, length = inputs["input_ids"].shape
        counted = inputs["labels"] >= 0
        self.samples_seen += int(counted.sum())
        self.tokens_seen += int((inputs["attention_mask"].sum(dim=1) * counted).sum())
        items = rows if num_items_in_batch is None else num_items_in_batch
        parts = micro_batches(rows, length, self.plan.settings.token_budget)
        if self.plan.ranks is not None:
            self.check_ranks(model, self.plan.ranks, parts=len(parts))
        losses = []
        for number, part in enumerate(parts, start=1):
            # Gradients of several ranks are averaged once a step, after its last part.
            last = self.plan.ranks is None or number == len(parts)
            with contextlib.nullcontext() if last else self.accelerator.no_sync(model):
                share = {name: value[part] for name, value in inputs.items()}
                losses.append(super().training_step(model, share, items))
        loss = torch.stack(losses).sum()
        self.watch.pending.append(loss)
        return loss

    def check_ranks(self, model: nn.Module, ranks: Ranks, *, parts: int) -> None:
        """At the first step, see that what trains is what was asked for; at every step, that it can be split.

        Raises:
            UnsupportedError: another wrapper or number of processes; or a step in parts under DeepSpeed.
        """
        if not self.distribution:
            self.distribution = check_wrapped(model, ranks, processes=self.accelerator.num_processes)
        if ranks.wrapper == "deepspeed" and parts > 1:
            raise UnsupportedError(
                f"a step that token_budget={self.plan.settings.token_budget} cuts into {parts} parts",
                why="DeepSpeed's engine takes an optimizer step after every backward pass",
                fix="raise it with --emo-set token_budget=..., or lower batch_size",
            )

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
