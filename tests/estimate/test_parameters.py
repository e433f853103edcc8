"""Parameters from the configuration alone equal those of the models transformers builds."""

from __future__ import annotations

from typing import Any

import pytest
from torch import nn

from emobench.catalogue.methods import METHODS
from emobench.catalogue.model_rows import MODELS, find_model
from emobench.errors import UnsupportedError
from emobench.estimate.parameters import adapter_parameters, parameters_of, trainable_parameters
from emobench.models.adapters import expected_trainable
from emobench.models.architecture import meta_causal_lm, meta_classifier
from emobench.specs import ModelSpec
from tests.models.models_under_test import two_layers

DECODERS = [name for name, row in MODELS.items() if row.kind == "decoder"]


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def of_type(model_type: str, **config: Any) -> ModelSpec:
    """A decoder's row of an architecture that is not in the catalogue."""
    numbers = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4}
    row = find_model("tinyllama-1.1b")
    content = {"model_type": model_type, "vocab_size": 500, "pad_token_id": 0, **numbers, **config}
    return row.model_copy(update={"id": model_type, "config": content})


OTHERS = {
    "gpt2": ModelSpec(
        **{
            **dict(find_model("tinyllama-1.1b")),
            "id": "gpt2",
            "config": {
                "model_type": "gpt2",
                "vocab_size": 500,
                "n_positions": 64,
                "n_embd": 64,
                "n_layer": 3,
                "n_head": 4,
                "pad_token_id": 0,
                "bos_token_id": 0,
                "eos_token_id": 0,
            },
        }
    ),
    "mistral": of_type("mistral", num_key_value_heads=2),
    "qwen3": of_type("qwen3", num_key_value_heads=2, head_dim=32),
    "phi": of_type("phi", rope_parameters={"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5}),
    "gpt_neox": of_type("gpt_neox", max_position_embeddings=64),
    "stablelm": of_type(
        "stablelm",
        num_key_value_heads=2,
        rope_parameters={"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.25},
    ),
}


@pytest.mark.parametrize("labels", [2, 7])
@pytest.mark.parametrize("name", MODELS)
def test_classifiers_of_the_catalogue(name: str, labels: int) -> None:
    """Every row's classifier has exactly the parameters that are counted from its configuration."""
    row = MODELS[name]
    assert parameters_of(row, "classifier", labels) == count(meta_classifier(row, labels))


@pytest.mark.parametrize("name", DECODERS)
def test_language_models_of_the_catalogue(name: str) -> None:
    """Every decoder's language model, too: tied token vectors count once."""
    assert parameters_of(MODELS[name], "causal") == count(meta_causal_lm(MODELS[name]))


def test_the_body_alone_is_the_published_count() -> None:
    """Without a head and a pooler MiniLM has its published parameters less its pooler's."""
    row = MODELS["all-minilm-l6-v2"]
    assert parameters_of(row, "none") == row.parameters["AutoModel"] - 384 * 385


@pytest.mark.parametrize("name", OTHERS)
def test_architectures_outside_the_catalogue(name: str) -> None:
    """The user's own rows of other known architectures are counted exactly, with either head."""
    row = OTHERS[name]
    assert parameters_of(row, "classifier", 3) == count(meta_classifier(row, 3))
    assert parameters_of(row, "causal") == count(meta_causal_lm(row))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", MODELS)
def test_trainable_parameters(name: str, method: str) -> None:
    """What each method trains equals the count over the model's modules, adapters by their names included."""
    row = two_layers(name)
    assert trainable_parameters(row, METHODS[method], 3) == expected_trainable(row, METHODS[method], 3)


def test_unknown_architectures_are_refused_by_name() -> None:
    """An architecture of no known shape is an error that names it, not a guess."""
    with pytest.raises(UnsupportedError, match="'mamba' stands in no table of shapes"):
        parameters_of(of_type("mamba"))


def test_a_missing_number_is_named() -> None:
    """A configuration without a needed number is an error that names the number."""
    row = of_type("llama")
    config = {name: value for name, value in row.config.items() if name != "vocab_size"}
    with pytest.raises(UnsupportedError, match=r"set config\.vocab_size in the model's row"):
        parameters_of(row.model_copy(update={"config": config}))


def test_numbers_that_do_not_follow_are_asked_for() -> None:
    """Where transformers has a number of its own for what a configuration leaves out, it must be given."""
    with pytest.raises(UnsupportedError, match="has no num_key_value_heads"):
        parameters_of(of_type("mistral"))


def test_adapters_without_targets_are_refused() -> None:
    """GPT-2's matrices are no linear modules: adapters find nothing, as in the product."""
    with pytest.raises(UnsupportedError, match="none of its row's LoRA targets"):
        adapter_parameters(OTHERS["gpt2"], METHODS["lora"])
    with pytest.raises(UnsupportedError, match="no language model's head"):
        parameters_of(MODELS["all-minilm-l6-v2"], "causal")
