"""The last layer computed for the first token alone gives what the whole layer gives, forward and backward."""

from __future__ import annotations

import pytest
import torch
from transformers import PreTrainedModel

from emobench.models.attention import NAME, register
from emobench.models.first_token import only_first_token
from emobench.models.load import load_classifier
from emobench.training.fit import checkpoint_activations
from tests.models.models_under_test import FULL, LORA, MINILM, NAMES, token_batch, two_layers

ENCODERS = ["all-minilm-l6-v2", "roberta-base", "distilbert-base"]


def two_layer_model(model_id: str, implementation: str, method: object = FULL) -> PreTrainedModel:
    register()
    loaded = load_classifier(two_layers(model_id), num_labels=2, class_names=NAMES, method=method, weights="random")
    model = loaded.model
    inner = model.get_base_model() if method is LORA else model
    inner.set_attn_implementation(implementation)
    return model


def logits_and_gradients(model: PreTrainedModel) -> tuple[torch.Tensor, torch.Tensor]:
    model.zero_grad()
    out = model(**token_batch(), labels=torch.tensor([0, 1]))
    out.loss.backward()
    parts = [p.grad.flatten() if p.grad is not None else torch.zeros(p.numel()) for p in model.parameters()]
    return out.logits.detach(), torch.cat(parts)


@pytest.mark.parametrize("implementation", ["sdpa", "eager", NAME])
@pytest.mark.parametrize("model_id", ENCODERS)
def test_same_logits_and_gradients(model_id: str, implementation: str) -> None:
    """Logits and gradients of a padded batch are those of the whole layer to 1e-5; undoing gives the layer back."""
    model = two_layer_model(model_id, implementation)
    whole = logits_and_gradients(model)
    undo = only_first_token(model)
    short = logits_and_gradients(model)
    torch.testing.assert_close(short[0], whole[0], rtol=0, atol=1e-5)
    torch.testing.assert_close(short[1], whole[1], rtol=1e-4, atol=1e-5)
    hidden = model.base_model(**token_batch()).last_hidden_state
    assert hidden.shape[1] == 1
    inner = only_first_token(model)
    inner()
    assert model.base_model(**token_batch()).last_hidden_state.shape[1] == 1
    undo()
    assert model.base_model(**token_batch()).last_hidden_state.shape[1] == 9


@pytest.mark.parametrize("model_id", ENCODERS)
def test_under_adapters_and_recomputed_activations(model_id: str) -> None:
    """Adapters inside the layer take part, and activations may be recomputed in the backward pass."""
    model = two_layer_model(model_id, "sdpa", LORA)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter)
    whole = logits_and_gradients(model)
    only_first_token(model)
    checkpoint_activations(model.get_base_model())
    model.train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    short = logits_and_gradients(model)
    torch.testing.assert_close(short[0], whole[0], rtol=0, atol=1e-5)
    torch.testing.assert_close(short[1], whole[1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("model_id", ["tinyllama-1.1b", "qwen2.5-1.5b"])
def test_a_decoder_is_left_alone(model_id: str) -> None:
    """A decoder's head reads the last token: nothing is replaced."""
    model = two_layer_model(model_id, "sdpa")
    before = model(**token_batch()).logits
    only_first_token(model)
    assert not any("forward" in vars(module) for module in model.modules())
    assert torch.equal(model(**token_batch()).logits, before)


def test_planted_fault_another_token() -> None:
    """A head that read the second token would be wrong, and the comparison is sharp enough to say so."""
    model = two_layer_model("all-minilm-l6-v2", "sdpa")
    batch = token_batch()
    right = model(**batch).logits
    swapped = {name: value[:, [1, 0, *range(2, 9)]] for name, value in batch.items()}
    only_first_token(model)
    assert (model(**swapped).logits - right).abs().max() > 1e-4


def test_the_packaged_model_answers_the_same() -> None:
    """The real weights' logits agree to 1e-5."""
    model = load_classifier(MINILM, num_labels=2, class_names=NAMES).model
    ids = torch.randint(1000, 20000, (3, 40), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        whole = model(input_ids=ids).logits
        only_first_token(model)
        short = model(input_ids=ids).logits
    torch.testing.assert_close(short, whole, rtol=0, atol=1e-5)
