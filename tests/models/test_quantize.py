"""Quantized weights on the CPU: what modules become, how far logits move, and real training steps through adapters."""

from __future__ import annotations

import logging
from functools import cache
from typing import Any

import pytest
import torch

from emobench.errors import UnsupportedError
from emobench.models.architecture import quantizable, weights_bytes
from emobench.models.load import LoadedModel, load_classifier
from emobench.models.quantize import quantization_facts
from emobench.specs import MethodSpec, Precision, Weights
from tests.models.models_under_test import FULL, HEAD, LORA, MINILM, NAMES, text_batch

BODY = 6 * (4 * 384 * 384 + 2 * 384 * 1536)
"""Weights in MiniLM's 36 linear layers outside pooler and classifier."""


@cache
def for_inference(precision: Precision) -> LoadedModel:
    """Loaded once: no test changes it."""
    return load(precision)


def load(precision: Precision, method: MethodSpec | None = None, weights: Weights = "pretrained") -> LoadedModel:
    return load_classifier(
        MINILM, num_labels=2, class_names=NAMES, method=method, precision=precision, weights=weights, seed=1
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("precision", "expected"),
    [
        ("int8", {"library": "torchao", "type": "int8", "compute_dtype": "float32", "double_quant": None}),
        ("int8-bnb", {"library": "bitsandbytes", "type": "int8", "compute_dtype": "float16", "double_quant": None}),
        ("nf4", {"library": "bitsandbytes", "type": "nf4", "compute_dtype": "bfloat16", "double_quant": True}),
    ],
)
@pytest.mark.parametrize("weights", ["pretrained", "random"])
def test_what_the_modules_became(precision: Precision, expected: dict[str, Any], weights: Weights) -> None:
    """All 36 linear layers of the body are quantized and the head is not, read off the modules after the load."""
    loaded = for_inference(precision) if weights == "pretrained" else load(precision, weights=weights)
    facts = loaded.quantization
    assert facts is not None
    assert {name: facts[name] for name in expected} == expected
    assert facts["quantized_modules"] == 36
    assert facts["quantized_share"] == pytest.approx(BODY / (BODY + 384 * 384 + 384 * 2))
    left = {name for name, layer in quantizable(loaded.model, ()) if type(layer.weight) is torch.nn.Parameter}
    assert left == {"bert.pooler.dense", "classifier"}
    assert loaded.parameters == 22_713_986


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "bits"), [("int8", 8), ("int8-bnb", 8), ("nf4", 4)])
def test_bytes_are_those_of_the_tensors(precision: Precision, bits: int) -> None:
    """Quantized bytes are the bits promised plus scales below 4 %, and the meta device foretells the parameters'."""
    loaded = for_inference(precision)
    assert loaded.quantization is not None
    assert BODY * bits / 8 <= loaded.quantization["bytes"] <= 1.04 * BODY * bits / 8
    buffers = sum(buffer.nbytes for buffer in loaded.model.buffers())
    assert loaded.model_bytes - buffers == pytest.approx(weights_bytes(MINILM, precision), rel=1e-4)


@pytest.mark.parametrize(("precision", "limit"), [("int8", 0.1), ("int8-bnb", 0.2), ("nf4", 0.6)])
def test_logits_stay_near(precision: Precision, limit: float) -> None:
    """Quantizing moves the last hidden state by no more than the format's share of its size, and does move it."""
    batch = text_batch()
    with torch.inference_mode():
        exact = for_inference("fp32").model.base_model(**batch).last_hidden_state
        near = for_inference(precision).model.base_model(**batch).last_hidden_state.float()
    moved = ((near - exact).norm() / exact.norm()).item()
    assert 0 < moved < limit


@pytest.mark.slow
@pytest.mark.parametrize(
    ("precision", "autocast"), [("int8", False), ("int8-bnb", True), ("nf4", False), ("nf4", True)]
)
def test_one_lora_step(precision: Precision, autocast: bool) -> None:
    """A step of AdamW has a finite loss, changes every adapter, and leaves every bit of the base as it was."""
    model = load(precision, LORA).model
    model.train()
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-2)
    losses = []
    for _ in range(2):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            loss = model(**text_batch(), labels=torch.tensor([1, 0])).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert all(0 < loss < 10 for loss in losses)
    for name, parameter in model.named_parameters():
        same = torch.equal(_bits(parameter), _bits(before[name]))
        assert same == (not parameter.requires_grad), name
    assert {parameter.dtype for parameter in trained} == {torch.float32}


def _bits(parameter: torch.Tensor) -> torch.Tensor:
    return getattr(parameter, "qdata", parameter).detach()


def test_a_plain_model_is_not_called_quantized() -> None:
    """Planted fault: where nothing was quantized the facts are an error that counts the modules."""
    with pytest.raises(UnsupportedError, match=r"no linear module was quantized; .*'Linear\[Parameter\]': 38"):
        quantization_facts(for_inference("fp32").model)


@pytest.mark.parametrize("method", [HEAD, FULL], ids=["head", "full"])
def test_quantized_weights_train_through_adapters_only(method: MethodSpec) -> None:
    """Head and full fine-tuning at a quantized precision are refused with what to take instead."""
    with pytest.raises(UnsupportedError, match=f"method '{method.id}' at precision 'nf4'; .* take method lora"):
        load("nf4", method)


def test_casts_are_noted_once(caplog: pytest.LogCaptureFixture) -> None:
    """bitsandbytes' line at every product is held back; the loaded model's notes say it."""
    with caplog.at_level(logging.WARNING):
        loaded = load("int8-bnb")
        with torch.inference_mode():
            loaded.model(**text_batch())
    assert "bitsandbytes casts the inputs of int8 products to fp16" in loaded.notes
    assert not [record for record in caplog.records if "cast" in record.getMessage()]
