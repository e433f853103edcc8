"""Pruning: the smaller model against the original with the same parts zeroed, counts, masks, saving and reloading."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from transformers import PreTrainedModel

from emobench.errors import UnsupportedError
from emobench.models import prune
from emobench.models.anatomy import ANATOMIES, Kept, anatomy_of, head_size, key_heads, layers_of, smaller
from emobench.models.load import LoadedModel, load_classifier, model_bytes
from emobench.models.save import reload_classifier, save_model
from emobench.specs import ShrinkSettings
from tests.models.models_under_test import NAMES, token_batch, two_layers

ENCODERS = ["all-minilm-l6-v2", "distilbert-base", "roberta-base"]
DECODERS = ["tinyllama-1.1b", "qwen2.5-1.5b", "gemma-3-270m"]
LAYER_FIELDS = ("num_hidden_layers", "n_layers")


def tiny(model_id: str, *, layers: int = 4) -> LoadedModel:
    """A random classifier of a catalogue row with small sizes and ``layers`` layers."""
    spec = two_layers(model_id)
    config = {name: layers if name in LAYER_FIELDS else value for name, value in spec.config.items()}
    if "layer_types" in config:
        config["layer_types"] = ["sliding_attention", "full_attention"] * (layers // 2)
    spec = spec.model_copy(update={"config": config})
    loaded = load_classifier(spec, num_labels=2, class_names=NAMES, weights="random", seed=3)
    with torch.no_grad():
        for name, parameter in loaded.model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(std=0.1, generator=torch.Generator().manual_seed(len(name)))
    return loaded


def batches(model: LoadedModel) -> list[dict[str, torch.Tensor]]:
    side = model.spec.padding_side
    return [
        {**token_batch(side), "labels": torch.tensor([0, 1])},
        {**token_batch(side), "labels": torch.tensor([1, 1])},
    ]


def logits(model: nn.Module, side: str) -> torch.Tensor:
    with torch.inference_mode():
        found: torch.Tensor = model(**token_batch(side)).logits
    return found


@pytest.mark.parametrize("model_id", [*ENCODERS, *DECODERS])
def test_the_pruned_model_is_the_original_with_these_neurons_zeroed(model_id: str) -> None:
    """Exact reference: removing neurons gives the logits of the original whose same neurons' outputs are zero."""
    loaded = tiny(model_id)
    found = prune.prune_structured(loaded.model, batches(loaded), ShrinkSettings(neurons_kept=0.5))
    kept = [prune._top(row, 0.5) for row in prune.importance(loaded.model, batches(loaded)).neurons]
    anatomy = anatomy_of(loaded.model, feature="test")
    with torch.no_grad():
        for layer, neurons in zip(layers_of(loaded.model, feature="test"), kept, strict=True):
            weight = layer.get_submodule(anatomy.mlp_out).weight
            gone = torch.ones(weight.shape[1], dtype=torch.bool).index_fill(0, neurons, False)
            weight[:, gone] = 0
    side = loaded.spec.padding_side
    torch.testing.assert_close(logits(found.model, side), logits(loaded.model, side), rtol=0, atol=1e-5)
    assert found.facts["neurons_per_layer"] == [24, 48]
    for layer in layers_of(found.model, feature="test"):
        assert layer.get_submodule(anatomy.mlp_out).in_features == 24


@pytest.mark.parametrize("model_id", DECODERS)
def test_removed_heads_are_heads_zeroed(model_id: str) -> None:
    """Exact reference: a key head goes with the query heads that share it, as if their outputs were zero."""
    loaded = tiny(model_id)
    keep = tuple(torch.tensor([index % 2]) for index in range(4))
    made = smaller(loaded.model, Kept(layers=(0, 1, 2, 3), heads=keep), feature="test")
    width = head_size(loaded.model) * loaded.model.config.num_attention_heads // key_heads(loaded.model)
    with torch.no_grad():
        for layer, heads in zip(layers_of(loaded.model, feature="test"), keep, strict=True):
            weight: Any = layer.get_submodule("self_attn.o_proj").weight
            gone = 1 - int(heads)
            weight[:, gone * width : (gone + 1) * width] = 0
    side = loaded.spec.padding_side
    torch.testing.assert_close(logits(made, side), logits(loaded.model, side), rtol=0, atol=1e-5)
    assert (made.config.num_attention_heads, made.config.num_key_value_heads) == (2, 1)
    assert head_size(made) == head_size(loaded.model)


@pytest.mark.parametrize("model_id", [*ENCODERS, *DECODERS])
def test_removed_layers_are_skipped_layers(model_id: str) -> None:
    """Exact reference: the smaller model is the original whose other layers return what they were given."""
    loaded = tiny(model_id)
    made = smaller(loaded.model, Kept(layers=(0, 3)), feature="test")

    def skip(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        given = args[0] if args else kwargs["hidden_states"]
        return (given, *output[1:]) if isinstance(output, tuple) else given

    for index in (1, 2):
        layers_of(loaded.model, feature="test")[index].register_forward_hook(skip, with_kwargs=True)
    side = loaded.spec.padding_side
    torch.testing.assert_close(logits(made, side), logits(loaded.model, side), rtol=0, atol=1e-5)
    assert len(layers_of(made, feature="test")) == 2


@pytest.mark.parametrize("model_id", [*ENCODERS, *DECODERS])
def test_the_smaller_model_is_saved_and_read_back(model_id: str, tmp_path: Path) -> None:
    """Ordinary safetensors and configuration: the reloaded model has the same small shapes and the same logits."""
    loaded = tiny(model_id)
    settings = ShrinkSettings(layers_kept=0.5, neurons_kept=0.25, heads_kept=0.5)
    pruned = prune.prune_structured(loaded.model, batches(loaded), settings)
    save_model(replace(loaded, model=pruned.model), None, tmp_path / "saved")
    again = reload_classifier(tmp_path / "saved").model
    shapes = {name: tuple(tensor.shape) for name, tensor in pruned.model.state_dict().items()}
    assert {name: tuple(tensor.shape) for name, tensor in again.state_dict().items()} == shapes
    side = loaded.spec.padding_side
    torch.testing.assert_close(logits(again, side), logits(pruned.model, side), rtol=0, atol=0)
    assert model_bytes(pruned.model) < model_bytes(loaded.model)
    assert pruned.facts["layers"] == [2, 4]
    assert pruned.facts["neurons_per_layer"] == [12, 48]


@pytest.mark.parametrize(("model_id", "kept", "notes"), [("all-minilm-l6-v2", 4, 1), ("tinyllama-1.1b", 1, 0)])
def test_heads_stay_where_no_configuration_says_fewer(model_id: str, kept: int, notes: int) -> None:
    """BERT keeps its heads and a note says why; a family with a head size of its own loses them."""
    loaded = tiny(model_id)
    pruned = prune.prune_structured(loaded.model, batches(loaded), ShrinkSettings(heads_kept=0.5))
    assert pruned.facts["key_heads_per_layer"][0] == kept
    assert len(pruned.notes) == notes
    assert all("a bert configuration cannot express fewer" in note for note in pruned.notes)


def test_asking_bert_for_fewer_heads_is_refused() -> None:
    """Planted fault: removing BERT heads is an error that says what to take instead."""
    loaded = tiny("all-minilm-l6-v2")
    with pytest.raises(UnsupportedError, match=r"cannot remove attention heads of 'bert'; .* remove neurons or layers"):
        smaller(loaded.model, Kept(layers=(0,), heads=(torch.tensor([0]),) * 4), feature="pruning")


def test_an_unknown_architecture_is_named() -> None:
    """phi3 fuses its MLP's matrices: it is refused by name, with the families that can be pruned."""
    loaded = tiny("phi-3-mini")
    with pytest.raises(UnsupportedError, match=r"architecture 'phi3' \(Phi3ForSequenceClassification\); .*bert"):
        prune.prune_structured(loaded.model, batches(loaded), ShrinkSettings())
    assert "phi3" not in ANATOMIES


def test_importance_is_first_order_taylor() -> None:
    """Independent reference: the loss's derivative along switching one neuron off, by finite differences in float64."""
    loaded = tiny("all-minilm-l6-v2", layers=2)
    model = loaded.model.double()
    (batch, _) = batches(loaded)
    found = prune.importance(model, [batch])
    assert [tuple(part.shape) for part in (found.layers, found.neurons, found.heads)] == [(2,), (2, 48), (2, 4)]
    out = layers_of(model, feature="test")[1].get_submodule("output.dense")

    def losses(neuron: int, scale: float) -> np.ndarray[Any, Any]:
        def turn_down(_module: nn.Module, args: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
            return (args[0].index_copy(2, torch.tensor([neuron]), args[0][..., [neuron]] * scale),)

        handle = out.register_forward_pre_hook(turn_down)
        with torch.inference_mode():
            given = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        handle.remove()
        return nn.functional.cross_entropy(given, batch["labels"], reduction="none").numpy()

    for neuron in (0, 17, 47):
        slope = (losses(neuron, 1 + 1e-5) - losses(neuron, 1 - 1e-5)) / 2e-5
        assert found.neurons[1, neuron].item() == pytest.approx(np.abs(slope).sum(), rel=1e-4)


def test_what_matters_most_stays() -> None:
    """The largest stay, in ascending order of index; of equal ones the earlier; never fewer than one."""
    values = torch.tensor([0.5, 3.0, 0.5, 2.0], dtype=torch.float64)
    assert prune._top(values, 0.5).tolist() == [1, 3]
    assert prune._top(values, 0.75).tolist() == [0, 1, 3]
    assert prune._top(values, 0.01).tolist() == [1]
    loaded = tiny("all-minilm-l6-v2")
    dull = layers_of(loaded.model, feature="test")[2]
    with torch.no_grad():
        # A layer whose two outputs are zero returns its input, up to normalization.
        for name in ("attention.output.dense", "output.dense"):
            dull.get_submodule(name).weight.zero_()
            dull.get_submodule(name).bias.zero_()
    pruned = prune.prune_structured(loaded.model, batches(loaded), ShrinkSettings(layers_kept=0.75))
    assert pruned.facts["layers_kept"] == [0, 1, 3]


def test_importance_leaves_the_model_alone_and_repeats() -> None:
    """Same model and batches, same numbers; no gradient is left and no mode changed. Frozen weights give them too."""
    loaded = tiny("all-minilm-l6-v2")
    loaded.model.train()
    first = prune.importance(loaded.model, batches(loaded))
    assert loaded.model.training
    assert all(parameter.grad is None for parameter in loaded.model.parameters())
    second = prune.importance(loaded.model.requires_grad_(True), batches(loaded))
    assert all(torch.equal(getattr(first, name), getattr(second, name)) for name in ("layers", "neurons", "heads"))
    assert (first.neurons > 0).any()


@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.5, 0.9])
def test_masks_hit_exactly_the_smallest_weights(sparsity: float) -> None:
    """Outside the head exactly round(sparsity x weights) of each matrix go, and none larger than one that stays."""
    loaded = tiny("all-minilm-l6-v2")
    masks = prune.magnitude_masks(loaded.model, ShrinkSettings(sparsity=sparsity), skipped=loaded.spec.head_modules)
    assert len(masks) == 4 * 6
    assert not any("pooler" in name or "classifier" in name for name in masks)
    for name, mask in masks.items():
        size = loaded.model.get_submodule(name).weight.detach().abs()
        assert int((~mask).sum()) == round(sparsity * mask.numel())
        if sparsity:
            assert size[~mask].max() <= size[mask].min()


def test_two_of_every_four() -> None:
    """The pattern 2:4 keeps the two largest of every four weights along the input."""
    loaded = tiny("all-minilm-l6-v2")
    masks = prune.magnitude_masks(loaded.model, ShrinkSettings(sparsity=0.5, pattern="2:4"), skipped=("pooler",))
    for name, mask in masks.items():
        if name == "classifier":
            continue
        size = loaded.model.get_submodule(name).weight.detach().abs().view(-1, 4)
        assert (mask.view(-1, 4).sum(dim=1) == 2).all()
        kept = size.masked_fill(~mask.view(-1, 4), 0).sum(dim=1)
        torch.testing.assert_close(kept, size.topk(2, dim=1).values.sum(dim=1))


def test_a_mask_survives_training_and_ends_as_plain_zeros() -> None:
    """Steps of AdamW move the other weights and never a masked one; afterwards the model has ordinary weights."""
    loaded = tiny("all-minilm-l6-v2")
    model: PreTrainedModel = loaded.model.requires_grad_(True)
    names = set(model.state_dict())
    masks = prune.magnitude_masks(model, ShrinkSettings(sparsity=0.5), skipped=loaded.spec.head_modules)
    before = {name: model.get_submodule(name).weight.detach().clone() for name in masks}
    with prune.masked(model, masks):
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.1)
        for batch in batches(loaded):
            model(**batch).loss.backward()
            optimizer.step()
    assert set(model.state_dict()) == names
    for name, mask in masks.items():
        weight = model.get_submodule(name).weight
        assert type(weight) is nn.Parameter
        assert (weight[~mask] == 0).all()
        assert not torch.equal(weight[mask], before[name][mask])
    assert prune.sparsity_facts(model, masks) == {"masked_modules": 24, "zero_share": pytest.approx(0.5)}
    assert model_bytes(model) == loaded.model_bytes
