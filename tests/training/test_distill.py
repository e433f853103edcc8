"""Distillation: the loss against float64 formulas, the student's first weights, and a student that follows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_softmax

from emobench.data.encode import Encoded
from emobench.errors import SpecError, UnsupportedError
from emobench.models.anatomy import layers_of
from emobench.models.load import LoadedModel, load_classifier
from emobench.specs import ShrinkSettings, TrainSettings
from emobench.training.distill import distillation_loss, make_student, student_layers, teach
from emobench.training.plan import FitPlan
from tests.models.models_under_test import NAMES, two_layers

HALF = ShrinkSettings(layers_kept=0.5, epochs=1, teach=True)


def teacher(model_id: str = "all-minilm-l6-v2", *, layers: int = 4) -> LoadedModel:
    spec = two_layers(model_id)
    fields = ("num_hidden_layers", "n_layers")
    config = {name: layers if name in fields else value for name, value in spec.config.items()}
    return load_classifier(
        spec.model_copy(update={"config": config}), num_labels=2, class_names=NAMES, weights="random", seed=2
    )


def rows(count: int = 24) -> Encoded:
    rng = np.random.default_rng(0)
    lengths = rng.integers(3, 9, size=count)
    return Encoded(
        ids=rng.integers(5, 120, size=int(lengths.sum()), dtype=np.int32),
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        labels=np.arange(count, dtype=np.int64) % 2,
    )


@pytest.mark.parametrize("heat", [1.0, 2.0, 4.0])
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_the_loss_against_float64(heat: float, share: float) -> None:
    """KL at the temperature, cross-entropy and hidden states, computed anew in numpy's float64, padding left out."""
    rng = np.random.default_rng(1)
    student, target = rng.normal(size=(3, 4)), 3 * rng.normal(size=(3, 4))
    labels = np.array([0, 3, 1])
    mask = np.array([[1, 1, 0, 0], [1, 1, 1, 1], [0, 1, 1, 1]])
    hidden = [(rng.normal(size=(3, 4, 5)), rng.normal(size=(3, 4, 5))) for _ in range(2)]
    hidden.append((rng.normal(size=(3, 1, 5)), rng.normal(size=(3, 1, 5))))
    settings = ShrinkSettings(temperature=heat, soft_share=share, hidden_weight=0.7)
    found = distillation_loss(
        torch.tensor(student, dtype=torch.float32),
        torch.tensor(target, dtype=torch.float32),
        torch.tensor(labels),
        [(torch.tensor(a, dtype=torch.float32), torch.tensor(b, dtype=torch.float32)) for a, b in hidden],
        torch.tensor(mask),
        settings,
        items=6,
    )
    ours, theirs = log_softmax(student / heat, axis=1), log_softmax(target / heat, axis=1)
    soft = (np.exp(theirs) * (theirs - ours)).sum()
    hard = -log_softmax(student, axis=1)[np.arange(3), labels].sum()
    apart = 0.0
    for a, b in hidden:
        squares = ((a - b) ** 2).mean(axis=2)
        for row in range(3):
            apart += squares[row][mask[row] == 1].mean() if squares.shape[1] > 1 else squares[row, 0]
    expected = (share * heat**2 * soft + (1 - share) * hard + 0.7 * apart / 3) / 6
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_a_perfect_student_has_no_loss() -> None:
    """Equal logits and hidden states at soft_share 1 give zero, with gradients of zero."""
    given_BK = torch.randn(2, 3, requires_grad=True)
    settings = ShrinkSettings(soft_share=1.0)
    hidden = torch.randn(2, 4, 5)
    loss = distillation_loss(
        given_BK, given_BK.detach(), torch.tensor([0, 1]), [(hidden, hidden)], torch.ones(2, 4), settings, items=2
    )
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert given_BK.grad is not None
    assert given_BK.grad.abs().max() < 1e-6


@given(st.integers(2, 80), st.floats(0.01, 0.5))
def test_layers_are_even_and_end_with_the_last(count: int, share: float) -> None:
    """At most half the layers, ascending, the last among them, with gaps that differ by at most one."""
    if int(share * count + 0.5) < 1 or int(share * count + 0.5) > count / 2:
        with pytest.raises(SpecError):
            student_layers(count, share)
        return
    chosen = student_layers(count, share)
    assert len(chosen) == int(share * count + 0.5)
    assert chosen[-1] == count - 1
    gaps = np.diff([-1, *chosen])
    assert gaps.min() >= 1
    assert gaps.max() - gaps.min() <= 1


def test_known_choices() -> None:
    """Six layers at a half: the second, fourth and sixth; at a third: the third and the sixth."""
    assert student_layers(6, 0.5) == (1, 3, 5)
    assert student_layers(6, 1 / 3) == (2, 5)
    with pytest.raises(SpecError, match=r"layers_kept=0\.6 of 6 layers; .* at most half"):
        student_layers(6, 0.6)


@pytest.mark.parametrize("model_id", ["all-minilm-l6-v2", "distilbert-base", "tinyllama-1.1b"])
def test_the_student_starts_as_the_teachers_layers(model_id: str) -> None:
    """Before training, layer i of the student is the chosen layer of the teacher, and the rest is the teacher's."""
    original = teacher(model_id).model
    student, chosen = make_student(original, HALF)
    assert chosen == (1, 3)
    taught, teaching = layers_of(student, feature="test"), layers_of(original, feature="test")
    for index, layer in enumerate(chosen):
        theirs = teaching[layer].state_dict()
        assert all(torch.equal(tensor, theirs[name]) for name, tensor in taught[index].state_dict().items())
    theirs = original.state_dict()
    for name, tensor in student.state_dict().items():
        if ".layer" not in name and ".layers." not in name:
            assert torch.equal(tensor, theirs[name])


@pytest.mark.slow
@pytest.mark.parametrize("model_id", ["all-minilm-l6-v2", "tinyllama-1.1b"])
def test_the_student_comes_nearer(model_id: str) -> None:
    """Without labels the loss is the distance to the teacher: training halves it, and leaves the teacher alone."""
    loaded = teacher(model_id)
    original, train = loaded.model, rows()
    original.config.hidden_dropout_prob = original.config.attention_probs_dropout_prob = 0.0
    with torch.no_grad():
        # Random layers hardly change what they are given; these do, so that a student lacks something without them.
        for _name, parameter in layers_of(original, feature="test").named_parameters():
            if parameter.ndim == 2:
                parameter.mul_(5)
    before = {name: tensor.clone() for name, tensor in original.state_dict().items()}
    student, chosen = make_student(original, HALF)
    plan = FitPlan(
        device="cpu",
        precision="fp32",
        seed=0,
        epochs=20,
        learning_rate=5e-3,
        settings=TrainSettings(batch_size=8),
        padding_side=loaded.spec.padding_side,
    )
    found = teach(student, original, chosen, train, plan, HALF.model_copy(update={"soft_share": 1.0}))
    assert np.mean(found.losses[-3:]) < 0.5 * found.losses[0]
    assert not original.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in original.state_dict().items())
    assert not any(layer._forward_hooks for layer in layers_of(student, feature="test"))


def test_parts_of_a_step_add_up() -> None:
    """A token budget that splits each step gives the same first loss: the loss is divided by the whole step's rows."""
    losses = []
    for budget in (8192, 40):
        original = teacher().model
        original.config.hidden_dropout_prob = original.config.attention_probs_dropout_prob = 0.0
        student, chosen = make_student(original, HALF)
        settings = TrainSettings(token_budget=budget)
        plan = FitPlan(device="cpu", precision="fp32", seed=0, epochs=1, learning_rate=1e-3, settings=settings)
        losses.append(teach(student, original, chosen, rows(), plan, HALF).losses[0])
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


def test_an_unknown_architecture_is_named() -> None:
    """phi3 is in no table of layers: refused by name."""
    with pytest.raises(UnsupportedError, match="distillation does not know the architecture 'phi3'"):
        make_student(teacher("phi-3-mini").model, HALF)


def test_a_first_token_is_compared_with_the_first_token() -> None:
    """A last layer has one token; where it follows a layer in the middle, the teacher's other tokens do not count."""
    torch.manual_seed(0)
    ours, theirs, labels = torch.randn(3, 1, 8), torch.randn(3, 5, 8), torch.tensor([0, 1, 1])
    student, taught, mask = torch.randn(3, 2), torch.randn(3, 2), torch.ones(3, 5, dtype=torch.long)
    whole, first = (
        distillation_loss(student, taught, labels, [(ours, wanted)], mask, HALF, items=3)
        for wanted in (theirs, theirs[:, :1])
    )
    assert torch.equal(whole, first)
