"""Distillation: a student with some of the teacher's layers, and the loss that has it follow the teacher.

The training loop is ``fit``'s. The teacher computes along with every batch; nothing of it is stored.

Shapes: B examples, T tokens, E width, K classes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel

from emobench.data.encode import Encoded
from emobench.errors import SpecError
from emobench.models import kernels
from emobench.models.anatomy import Kept, layers_of, smaller
from emobench.outcomes import FitOutcome
from emobench.specs import ShrinkSettings
from emobench.training.fit import Progress, Validate, fit
from emobench.training.plan import FitPlan

FEATURE = "distillation"
LARGEST_SHARE = 0.5
"""A student has at most this share of the teacher's layers."""


def student_layers(count: int, share: float) -> tuple[int, ...]:
    """Which of ``count`` layers the student gets: ``round(share * count)`` of them, evenly spaced, the last among them.

    The last one, because the classifier was trained on its output.

    Raises:
        SpecError: ``share`` is over :data:`LARGEST_SHARE`, or leaves no layer.
    """
    size = int(share * count + 0.5)
    if size < 1 or size > LARGEST_SHARE * count:
        raise SpecError(
            f"a student with layers_kept={share:g} of {count} layers",
            why=f"that is {size} layers, and a student has at least one and at most half of them",
            fix=f"take layers_kept from {1 / count:.3g} to 0.5, and a model of two layers or more",
        )
    return tuple(round((index + 1) * count / size) - 1 for index in range(size))


def make_student(teacher: PreTrainedModel, settings: ShrinkSettings) -> tuple[PreTrainedModel, tuple[int, ...]]:
    """A student that starts with the teacher's embeddings, head and chosen layers; gives it and their indices.

    Raises:
        UnsupportedError: an architecture whose layers are not known.
        SpecError: see :func:`student_layers`.
    """
    chosen = student_layers(len(layers_of(teacher, feature=FEATURE)), settings.layers_kept)
    return smaller(teacher, Kept(layers=chosen), feature=FEATURE), chosen


def distillation_loss(
    student_BK: torch.Tensor,
    teacher_BK: torch.Tensor,
    labels_B: torch.Tensor,
    hidden: Sequence[tuple[torch.Tensor, torch.Tensor]],
    mask_BT: torch.Tensor,
    settings: ShrinkSettings,
    *,
    items: int | torch.Tensor,
) -> torch.Tensor:
    """Loss in float32, summed over examples and divided by ``items``, so that parts of a step add up.

    ``s * T^2 * KL(teacher || student)`` of the distributions at temperature T (Hinton et al. 2015), ``(1 - s)`` times
    the cross-entropy of the labels, and ``hidden_weight`` times the mean squared difference of the hidden states over
    width, real tokens and pairs. ``hidden`` are pairs (student, teacher) of shape (B, T, E); where either computed its
    first token alone, (B, 1, E), the two are compared in that token.
    """
    heat = settings.temperature
    student, teacher = student_BK.float(), teacher_BK.float()
    soft = nn.functional.kl_div(
        (student / heat).log_softmax(-1), (teacher / heat).log_softmax(-1), reduction="sum", log_target=True
    )
    hard = nn.functional.cross_entropy(student, labels_B, reduction="sum")
    loss = settings.soft_share * heat**2 * soft + (1 - settings.soft_share) * hard
    for ours, theirs in hidden:
        # A student's last layer may follow a layer in the teacher's middle, which has every token.
        tokens = min(ours.shape[1], theirs.shape[1])
        apart_BT = (ours[:, :tokens].float() - theirs[:, :tokens].float()).square().mean(dim=-1)
        real_BT = torch.ones_like(apart_BT) if tokens == 1 else mask_BT.to(apart_BT.dtype)
        per_example = (apart_BT * real_BT).sum(dim=1) / real_BT.sum(dim=1)
        loss = loss + settings.hidden_weight / len(hidden) * per_example.sum()
    return loss / items


def teach(
    student: PreTrainedModel,
    teacher: PreTrainedModel,
    layers: Sequence[int],
    train: Encoded,
    plan: FitPlan,
    settings: ShrinkSettings,
    *,
    validate: Validate | None = None,
    progress: Progress | None = None,
) -> FitOutcome:
    """Train ``student`` in place to follow ``teacher``, which stays as it is; student layer i follows ``layers[i]``.

    Errors as in :func:`emobench.training.fit.fit`.
    """
    ours = layers_of(student, feature=FEATURE)
    theirs = layers_of(teacher, feature=FEATURE)
    pairs = [(ours[index], theirs[layer]) for index, layer in enumerate(layers)] if settings.hidden_weight else []
    length = int(np.median(train.lengths))
    was_training = teacher.training
    teacher.eval()

    def loss(model: nn.Module, inputs: Mapping[str, Any], items: int | torch.Tensor) -> torch.Tensor:
        texts = {name: inputs[name] for name in ("input_ids", "attention_mask")}
        with _outputs([pair[1] for pair in pairs]) as wanted, torch.no_grad():
            target = teacher(**texts).logits
        with _outputs([pair[0] for pair in pairs]) as found:
            logits = model(**texts).logits
        hidden = list(zip(found, wanted, strict=True))
        return distillation_loss(
            logits, target, inputs["labels"], hidden, texts["attention_mask"], settings, items=items
        )

    try:
        with kernels.scoring(teacher, plan.device, rows=plan.settings.batch_size, length=length):
            return fit(student, train, plan, validate=validate, progress=progress, loss=loss)
    finally:
        teacher.train(was_training)


@contextlib.contextmanager
def _outputs(modules: Sequence[nn.Module]) -> Iterator[list[torch.Tensor]]:
    """The modules' outputs of the forward pass in the block, in their order."""
    found: list[torch.Tensor] = []

    def keep(_module: nn.Module, _inputs: Any, output: Any) -> None:
        found.append(output[0] if isinstance(output, tuple) else output)

    handles = [module.register_forward_hook(keep) for module in modules]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()
