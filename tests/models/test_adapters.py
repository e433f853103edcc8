"""What each method trains: counts by arithmetic, by peft, and by looking at what is frozen."""

from __future__ import annotations

import pytest
import torch

from emobench.catalogue.model_rows import MODELS
from emobench.errors import UnsupportedError
from emobench.models.adapters import apply_method, expected_trainable, inside_adapters
from emobench.models.architecture import in_modules, meta_classifier
from emobench.models.load import load_classifier
from emobench.specs import LoraTargets, MethodSpec
from tests.models.models_under_test import FULL, HEAD, LORA, MINILM, NAMES, text_batch, two_layers

ATTENTION_ONLY = MethodSpec(id="lora", rank=4, alpha=8, targets=("attention",))


@pytest.mark.slow
@pytest.mark.parametrize("method", [HEAD, FULL, LORA, ATTENTION_ONLY], ids=["head", "full", "lora", "lora-attention"])
@pytest.mark.parametrize("model_id", sorted(MODELS))
def test_trainable_counts_of_every_row(model_id: str, method: MethodSpec) -> None:
    """Arithmetic on shapes gives what the applied method really trains, for every row and three classes."""
    spec = two_layers(model_id)
    names = ("a", "b", "c")
    loaded = load_classifier(spec, num_labels=3, class_names=names, method=method, weights="random")
    assert loaded.trainable_parameters == expected_trainable(spec, method, 3)


def test_minilm_counts_by_hand() -> None:
    """MiniLM: six layers of four 384x384 and two 384x1536 matrices, a pooler of 384x384, a head of 384xK."""
    head = 384 * 384 + 384 + 384 * 2 + 2
    attention = 6 * 4 * (384 + 384)
    mlp = 6 * 2 * (384 + 1536)
    assert expected_trainable(MINILM, HEAD, 2) == head
    assert expected_trainable(MINILM, FULL, 2) == 22_713_216 + 384 * 2 + 2
    assert expected_trainable(MINILM, LORA, 2) == head + LORA.rank * (attention + mlp)
    assert expected_trainable(MINILM, ATTENTION_ONLY, 2) == head + 4 * attention


def test_published_lora_count_of_tinyllama() -> None:
    """TinyLlama, rank 8, all seven linear modules: 22 layers of four attention and three MLP matrices, by hand."""
    attention = 2 * (2048 + 2048) + 2 * (2048 + 256)
    mlp = 3 * (2048 + 5632)
    assert expected_trainable(MODELS["tinyllama-1.1b"], LORA, 2) == 22 * 8 * (attention + mlp) + 2 * 2048


def test_head_trains_the_head_only() -> None:
    """One backward pass gives gradients to pooler and classifier and to nothing else."""
    model = load_classifier(MINILM, num_labels=2, class_names=NAMES, method=HEAD).model
    model(**text_batch(), labels=torch.tensor([1, 0])).loss.backward()
    with_gradient = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert with_gradient == {
        "bert.pooler.dense.weight",
        "bert.pooler.dense.bias",
        "classifier.weight",
        "classifier.bias",
    }


def test_lora_freezes_the_body_and_starts_at_the_base() -> None:
    """Only adapters and head train, and before a step the logits are those of the model without adapters."""
    plain = load_classifier(MINILM, num_labels=2, class_names=NAMES, seed=3).model
    model = load_classifier(MINILM, num_labels=2, class_names=NAMES, method=LORA, seed=3).model
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert all("lora_" in name or "modules_to_save" in name for name in trained)
    assert sum(in_modules(name, ("lora_A",)) for name in trained) == 36
    with torch.inference_mode():
        assert torch.equal(plain(**text_batch()).logits, model(**text_batch()).logits)


def test_what_is_inside_the_adapters() -> None:
    """The model that was wrapped, and a model that has no adapters is its own."""
    model = load_classifier(MINILM, num_labels=2, class_names=NAMES, method=LORA).model
    inner = inside_adapters(model)
    assert type(inner).__name__ == "BertForSequenceClassification"
    assert inner is not model
    assert inside_adapters(inner) is inner


def test_rows_that_name_no_module_are_refused() -> None:
    """Targets or heads a model has not are an error that names them, not a method that trains nothing."""
    wrong = MINILM.model_copy(update={"lora_targets": LoraTargets(attention=("q_proj",), mlp=("up_proj",))})
    model = load_classifier(MINILM, num_labels=2, class_names=NAMES).model
    with pytest.raises(UnsupportedError, match="none of its row's LoRA targets; no module is named q_proj, up_proj"):
        apply_method(model, wrong, LORA)
    with pytest.raises(UnsupportedError, match="none of its row's head modules; no module is named score"):
        apply_method(model, MINILM.model_copy(update={"head_modules": ("score",)}), HEAD)


def test_counting_allocates_nothing() -> None:
    """The biggest row is counted on the meta device."""
    model = meta_classifier(MODELS["phi-3-mini"], 2)
    assert {parameter.device.type for parameter in model.parameters()} == {"meta"}
