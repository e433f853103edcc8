"""int8 embeddings and linear layers: the error's bound, what the modules became, memory, saving and reloading."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as numpy_strategies
from torch import nn

from emobench.errors import BrokenFileError, UnsupportedError
from emobench.models.load import load_classifier, model_bytes
from emobench.models.quantize_embedding import (
    QuantizedEmbedding,
    int8_facts,
    load_int8,
    quantize_int8,
    read_all,
    save_int8,
    weight_count,
)
from tests.models.models_under_test import MINILM, NAMES, text_batch, token_batch, two_layers

TABLES = numpy_strategies.arrays(
    "float32",
    st.tuples(st.integers(1, 6), st.integers(1, 9)),
    elements=st.floats(-(2.0**120), 2.0**120, width=32),
)


@settings(deadline=None)
@given(TABLES)
def test_no_element_is_off_by_more_than_half_a_scale(values: object) -> None:
    """|dequantized - original| <= scale / 2, up to fp32 rounding; the scale is the row's largest over 127."""
    weight = torch.from_numpy(values)  # type: ignore[arg-type]  # hypothesis types its arrays loosely
    table = QuantizedEmbedding.of(nn.Embedding.from_pretrained(weight))
    back = table(torch.arange(len(weight))).double()
    bound = table.scale.double()[:, None] / 2 + 1e-6 * weight.double().abs()
    # A row of denormal numbers becomes zeros: its scale is below what fp32 can hold.
    tiny = weight.abs().amax(dim=1, keepdim=True) < 1e-35
    assert ((back - weight.double()).abs() <= torch.where(tiny, 1e-35, bound)).all()
    assert table.table.dtype == torch.int8


def test_zero_rows_and_padding_stay() -> None:
    """A row of zeros comes back as zeros, and the padding row's number is kept."""
    plain = nn.Embedding(5, 4, padding_idx=1)
    table = QuantizedEmbedding.of(plain)
    assert torch.equal(table(torch.tensor([[1, 1]])), torch.zeros(1, 2, 4))
    assert (table.padding_idx, table.num_embeddings, table.embedding_dim) == (1, 5, 4)


@pytest.mark.parametrize(
    "model_id", ["all-minilm-l6-v2", "distilbert-base", "roberta-base", "tinyllama-1.1b", "qwen2.5-1.5b"]
)
def test_every_family_keeps_its_answers(model_id: str, tmp_path: Path) -> None:
    """Tables and linear layers are int8, logits move a little, and the reloaded model has those of the saved one."""
    loaded = load_classifier(two_layers(model_id), num_labels=2, class_names=NAMES, weights="random", seed=1)
    batch = token_batch(loaded.spec.padding_side)
    small = copy.deepcopy(loaded.model)
    facts = quantize_int8(small, skipped=loaded.spec.head_modules)
    assert facts["embeddings"]["quantized_share"] == 1
    assert set(facts["embeddings"]["modules"]) == {"QuantizedEmbedding[int8]"}
    assert weight_count(small) == loaded.parameters
    again = load_int8(save_int8(small, tmp_path / "int8"))
    read_all(again)
    with torch.inference_mode():
        exact, near, read = (model(**batch).logits for model in (loaded.model, small, again))
    assert 0 < (near - exact).abs().max() < 0.05
    assert torch.equal(read, near)
    assert int8_facts(again) == facts
    assert model_bytes(again) == model_bytes(small)


def test_minilm_takes_less_than_half_its_memory() -> None:
    """On the packaged model: 0.26 of the bytes, 36 linear layers and 3 tables in int8, answers within a hundredth."""
    loaded = load_classifier(MINILM, num_labels=2, class_names=NAMES, seed=1)
    small = copy.deepcopy(loaded.model)
    facts = quantize_int8(small, skipped=MINILM.head_modules)
    assert facts["modules"] == {"Linear[Int8Tensor]": 36, "Linear[Parameter]": 2}
    assert facts["embeddings"]["modules"] == {"QuantizedEmbedding[int8]": 3}
    assert facts["embeddings"]["bytes"] == (30522 + 512 + 2) * (384 + 4)
    assert model_bytes(small) / loaded.model_bytes < 0.27
    with torch.inference_mode():
        exact, near = (model(**text_batch()).logits.softmax(-1) for model in (loaded.model, small))
    assert (exact - near).abs().max() < 0.01


def test_an_embedding_that_computes_more_is_refused() -> None:
    """Gemma scales what it looks up: refused by name, and nothing was changed."""
    loaded = load_classifier(two_layers("gemma-3-270m"), num_labels=2, class_names=NAMES, weights="random")
    with pytest.raises(UnsupportedError, match=r"embed_tokens of 'gemma3_text' .*does more than look rows up"):
        quantize_int8(loaded.model, skipped=loaded.spec.head_modules)
    assert all(type(layer.weight) is nn.Parameter for layer in loaded.model.modules() if isinstance(layer, nn.Linear))


def test_shared_weights_are_refused() -> None:
    """Planted fault: a table that is another module's weight too cannot be replaced alone."""
    loaded = load_classifier(two_layers("all-minilm-l6-v2"), num_labels=2, class_names=NAMES, weights="random")
    embeddings = loaded.model.bert.embeddings
    embeddings.position_embeddings.weight = embeddings.word_embeddings.weight
    with pytest.raises(UnsupportedError, match="belong to another module too"):
        quantize_int8(loaded.model, skipped=loaded.spec.head_modules)


def test_a_plain_model_is_not_called_quantized() -> None:
    """Planted fault: without a quantized table the facts are an error that counts the embeddings."""
    loaded = load_classifier(two_layers("all-minilm-l6-v2"), num_labels=2, class_names=NAMES, weights="random")
    with pytest.raises(UnsupportedError, match=r"no embedding was quantized; .*'Embedding': 3"):
        int8_facts(loaded.model)


@pytest.mark.parametrize("broken", ["record", "weights", "changed"])
def test_a_broken_folder_is_an_error(broken: str, tmp_path: Path) -> None:
    """A record that is missing, a file that is missing and one that was changed are each named."""
    loaded = load_classifier(two_layers("all-minilm-l6-v2"), num_labels=2, class_names=NAMES, weights="random")
    quantize_int8(loaded.model, skipped=loaded.spec.head_modules)
    folder = save_int8(loaded.model, tmp_path / "int8")
    file = folder / {"record": "int8.json", "weights": "model.safetensors", "changed": "config.json"}[broken]
    if broken == "changed":
        file.write_text(file.read_text() + " ")
    else:
        file.unlink()
    why = {"record": "is missing", "weights": "model.safetensors is missing", "changed": "config.json was changed"}
    with pytest.raises(BrokenFileError, match=why[broken]):
        load_int8(folder)
