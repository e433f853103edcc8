"""Attention and dropout for the CPU: transformers' own numbers without dropout, dropout's own distribution with it."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import nn
from transformers import PreTrainedModel

from emobench.models.attention import NAME, FastDropout, attention, dropout_mask, register, replace_dropout
from emobench.models.load import load_classifier
from tests.models.models_under_test import FULL, MINILM, NAMES, token_batch, two_layers

CERTAIN = 1e-6
"""Probability below which chance is ruled out; the seeds are fixed, so a test passes always or never."""


def two_layer_model(model_id: str, implementation: str) -> PreTrainedModel:
    register()
    spec = two_layers(model_id)
    model = load_classifier(spec, num_labels=2, class_names=NAMES, method=FULL, weights="random").model
    model.set_attn_implementation(implementation)
    return model


@pytest.mark.slow
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize(
    "model_id", ["all-minilm-l6-v2", "roberta-base", "distilbert-base", "tinyllama-1.1b", "gemma-2-2b"]
)
def test_same_as_transformers_eager(model_id: str, side: str) -> None:
    """Logits and gradients are those of eager attention to 1e-5: masks, causality, shared key heads, soft capping."""
    results = []
    for implementation in ("eager", NAME):
        model = two_layer_model(model_id, implementation)
        out = model(**token_batch(side), labels=torch.tensor([0, 1]))
        out.loss.backward()
        gradient = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
        results.append((out.logits.detach(), gradient))
    torch.testing.assert_close(results[1][0], results[0][0], rtol=0, atol=1e-5)
    torch.testing.assert_close(results[1][1], results[0][1], rtol=1e-4, atol=1e-5)


def test_it_is_really_called(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name selects this module's function, once a layer, and registering twice changes nothing."""
    calls = []
    monkeypatch.setattr("emobench.models.attention.attention", lambda *a, **k: calls.append(1) or attention(*a, **k))
    register()
    register()
    model = two_layer_model("tinyllama-1.1b", NAME)
    model(**token_batch())
    monkeypatch.undo()
    register()
    assert len(calls) == 2


def test_planted_fault_ignored_mask() -> None:
    """Without the padding mask the comparison with eager attention fails."""
    batch = token_batch()
    with torch.inference_mode():
        right = two_layer_model("all-minilm-l6-v2", "eager")(**batch).logits
        wrong = two_layer_model("all-minilm-l6-v2", NAME)(input_ids=batch["input_ids"]).logits
    assert (right - wrong).abs().max() > 1e-4


@pytest.mark.parametrize("p", [0.0, 0.1, 0.2, 0.5, 0.9])
def test_rate_and_scale(p: float) -> None:
    """The number of dropped elements is binomial with p, and what is kept is scaled by 1/(1-p)."""
    torch.manual_seed(1)
    count = 400_000
    mask = dropout_mask(torch.Size((count,)), p, torch.float32)
    dropped = int((mask == 0).sum())
    assert stats.binomtest(dropped, count, round(p * 65536) / 65536).pvalue > CERTAIN
    kept = mask[mask != 0].double().unique()
    assert kept.tolist() == pytest.approx([1 / (1 - p)], rel=1e-4)


@settings(max_examples=30, deadline=None)
@given(p=st.floats(0.001, 0.99), shape=st.lists(st.integers(1, 9), min_size=1, max_size=4))
def test_mean_is_kept_exactly_in_expectation(p: float, shape: list[int]) -> None:
    """For any p and shape the scale times the probability of keeping is one, to float32's rounding."""
    mask = dropout_mask(torch.Size(shape), p, torch.float64)
    assert list(mask.shape) == shape
    keep = 1 - round(p * 65536) / 65536
    assert all(value in (0.0, pytest.approx(1 / keep, rel=1e-12)) for value in mask.unique().tolist())


def test_elements_are_independent() -> None:
    """Neighbours at every short distance, and the four numbers of one draw, are uncorrelated."""
    torch.manual_seed(2)
    count = 400_000
    dropped = (dropout_mask(torch.Size((count,)), 0.1, torch.float32) == 0).double().numpy()
    centered = (dropped - dropped.mean()) / dropped.std()
    limit = stats.norm.isf(CERTAIN / 2) / math.sqrt(count)
    for distance in (1, 2, 3, 4, 5, 8, 64, 384):
        assert abs(np.mean(centered[:-distance] * centered[distance:])) < limit
    lanes = [dropped[lane::4].sum() for lane in range(4)]
    assert stats.chisquare(lanes).pvalue > CERTAIN


def test_calls_are_independent() -> None:
    """Masks of following calls overlap as often as chance has it."""
    torch.manual_seed(3)
    count, p = 100_000, 0.25
    masks = [dropout_mask(torch.Size((count,)), p, torch.float32) == 0 for _ in range(5)]
    for one, other in itertools.combinations(masks, 2):
        assert stats.binomtest(int((one & other).sum()), count, p * p).pvalue > CERTAIN


def test_torch_generator_decides() -> None:
    """Same seed, same mask; a restored generator state repeats the next one; the generator moves on at every call."""
    shape = torch.Size((64, 64))
    torch.manual_seed(4)
    first = dropout_mask(shape, 0.1, torch.float32)
    state = torch.get_rng_state()
    second = dropout_mask(shape, 0.1, torch.float32)
    torch.manual_seed(4)
    assert torch.equal(dropout_mask(shape, 0.1, torch.float32), first)
    assert not torch.equal(first, second)
    torch.set_rng_state(state)
    assert torch.equal(dropout_mask(shape, 0.1, torch.float32), second)


def test_gradient_is_the_mask() -> None:
    """What was dropped forward is dropped backward, with the same scale."""
    inputs = torch.ones(50, 40, requires_grad=True)
    torch.manual_seed(5)
    out = FastDropout(0.3).train()(inputs)
    out.sum().backward()
    assert inputs.grad is not None
    assert torch.equal(inputs.grad, out.detach())
    assert 0 < (out == 0).sum() < out.numel()


def test_evaluation_is_the_identity() -> None:
    """In evaluation mode, and at p=0, inputs come back untouched and no random number is drawn; p=1 drops all."""
    inputs = torch.randn(8, 8)
    state = torch.get_rng_state()
    assert FastDropout(0.5).eval()(inputs) is inputs
    assert FastDropout(0.0).train()(inputs) is inputs
    assert torch.equal(torch.get_rng_state(), state)
    assert not FastDropout(1.0).train()(inputs).any()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision(dtype: torch.dtype) -> None:
    """Masks come in the dtype asked for."""
    out = FastDropout(0.1).train()(torch.ones(100, dtype=dtype))
    assert out.dtype == dtype


def test_every_dropout_is_replaced_and_keeps_its_p() -> None:
    """MiniLM's dropouts become fast ones, each with its own p and drop rate; logits without dropout stay the same."""
    model = load_classifier(MINILM, num_labels=2, class_names=NAMES).model
    batch = token_batch()
    with torch.inference_mode():
        before = model(**batch).logits
    model.bert.encoder.layer[2].output.dropout.p = 0.4
    expected = {name: module.p for name, module in model.named_modules() if isinstance(module, nn.Dropout)}
    assert replace_dropout(model) == len(expected) > 12
    found = {name: module for name, module in model.named_modules() if isinstance(module, FastDropout)}
    assert {name: module.p for name, module in found.items()} == expected
    assert not [module for module in model.modules() if isinstance(module, nn.Dropout)]
    with torch.inference_mode():
        assert torch.equal(model(**batch).logits, before)
    torch.manual_seed(6)
    for name, module in found.items():
        assert not module.training
        dropped = int((module.train()(torch.ones(20_000)) == 0).sum())
        assert stats.binomtest(dropped, 20_000, expected[name]).pvalue > CERTAIN
    assert replace_dropout(model) == 0


def test_attention_dropout_in_training() -> None:
    """In training the weights of attention are dropped with p: values of one give the kept weights' sum."""
    module = nn.Module().train()
    size = (1, 1, 300, 16)
    query, key = torch.zeros(size), torch.zeros(size)
    torch.manual_seed(8)
    out, _ = attention(module, query, key, torch.ones(size), None, dropout=0.2)
    kept = out[0, :, 0, 0] * 300 * (1 - round(0.2 * 65536) / 65536)
    assert stats.binomtest(300 * 300 - round(kept.sum().item()), 300 * 300, 0.2).pvalue > CERTAIN
    plain, _ = attention(module.eval(), query, key, torch.ones(size), None, dropout=0.2)
    torch.testing.assert_close(plain, torch.ones_like(plain))


def test_dropout_is_for_the_cpu() -> None:
    """A model elsewhere is refused: its masks would have to be copied there."""
    with pytest.raises(ValueError, match="this one is on meta"):
        replace_dropout(nn.Sequential(nn.Linear(2, 2, device="meta"), nn.Dropout(0.1)))
