"""Decoders as classifiers: the last real token is pooled, whichever side is padded; on copies and on Gemma-3-270M."""

from __future__ import annotations

import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from emobench.catalogue.model_rows import MODELS, find_model
from emobench.models.attention import NAME, register
from emobench.models.load import LoadedModel, load_causal_lm, load_classifier, load_tokenizer
from tests.models.models_under_test import NAMES, token_batch, two_layers

GEMMA = find_model("gemma-3-270m-q4")
DECODERS = sorted(name for name, row in MODELS.items() if row.kind == "decoder")
TEXTS = ("The food was cold, the waiter was rude and we left before dessert.", "Lovely!")


def logits_of(model: PreTrainedModel, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    with torch.inference_mode():
        result: torch.Tensor = model(**batch).logits
    return result


def singles(model: PreTrainedModel, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Logits of each text alone, without any padding."""
    rows = zip(batch["input_ids"], batch["attention_mask"], strict=True)
    kept = [ids[mask.bool()][None] for ids, mask in rows]
    return torch.cat([logits_of(model, {"input_ids": ids, "attention_mask": torch.ones_like(ids)}) for ids in kept])


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("model_id", DECODERS)
def test_pooled_token(model_id: str, side: str) -> None:
    """A text's logits in a padded batch are its logits alone, under both padding sides, for every decoder row."""
    spec = two_layers(model_id)
    model = load_classifier(spec, num_labels=2, class_names=NAMES, weights="random").model
    batch = token_batch(side)
    alone = singles(model, batch)
    assert (alone[0] - alone[1]).abs().max() > 1e-3
    torch.testing.assert_close(logits_of(model, batch), alone, rtol=0, atol=1e-5)


def test_planted_fault_wrong_pooling_token() -> None:
    """With a pad token the model does not know, right padding pools a pad, and the comparison sees it."""
    spec = two_layers("tinyllama-1.1b")
    model = load_classifier(spec, num_labels=2, class_names=NAMES, weights="random").model
    batch = token_batch("right")
    alone = singles(model, batch)
    model.config.pad_token_id = 119
    assert (logits_of(model, batch) - alone).abs().max() > 1e-3


@pytest.fixture(scope="module")
def gemma() -> LoadedModel:
    """The packaged Gemma, dequantized into the cache by whoever needs it first on this machine."""
    return load_classifier(GEMMA, num_labels=2, class_names=NAMES)


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    """Its tokenizer, which takes seconds to read: 262,144 words."""
    return load_tokenizer(GEMMA)


@pytest.mark.slow
@pytest.mark.parametrize(("side", "attention"), [("left", "sdpa"), ("right", "sdpa"), ("left", NAME)])
def test_gemma_pools_the_last_token(
    gemma: LoadedModel, tokenizer: PreTrainedTokenizerFast, side: str, attention: str
) -> None:
    """On the packaged Gemma too, with transformers' attention and with ours."""
    register()
    gemma.model.set_attn_implementation(attention)
    tokenizer.padding_side = side
    encoded = tokenizer(list(TEXTS), padding=True, return_tensors="pt")
    batch = {name: encoded[name] for name in ("input_ids", "attention_mask")}
    padded_first = batch["attention_mask"][1, 0] == 0
    assert bool(padded_first) == (side == "left")
    alone = singles(gemma.model, batch)
    torch.testing.assert_close(logits_of(gemma.model, batch), alone, rtol=1e-3, atol=1e-3)
    assert (alone[0] - alone[1]).abs().max() > 0.1


@pytest.mark.slow
def test_gemma_is_the_dequantized_model(gemma: LoadedModel) -> None:
    """Its body has the published size without a head, its revision is the packaged file's checksum."""
    assert GEMMA.packaged is not None
    assert gemma.revision == f"sha256:{GEMMA.packaged.sha256}"
    assert gemma.parameters == 268_098_176 + 2 * 640
    assert gemma.model.config.pad_token_id == 0


@pytest.mark.slow
def test_gemma_writes_english(tokenizer: PreTrainedTokenizerFast) -> None:
    """Dequantized weights and tokenizer fit together: the most probable continuation is the one anyone would give."""
    loaded = load_causal_lm(GEMMA, precision="bf16")
    ids = tokenizer("Monday, Tuesday, Wednesday,", return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        following = int(loaded.model(input_ids=ids).logits[0, -1].argmax())
    assert tokenizer.decode([following]) == " Thursday"
    assert {parameter.dtype for parameter in loaded.model.parameters()} == {torch.bfloat16}
