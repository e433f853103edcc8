"""Saving and reloading: the same logits to the bit, head included, and nothing incomplete or altered is used."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from emobench.errors import BrokenFileError, SpecError
from emobench.files import sha256_of
from emobench.models.load import LoadedModel, load_classifier, load_tokenizer
from emobench.models.save import RECORD_FILE, read_record, reload_classifier, save_model
from emobench.specs import MethodSpec, Precision
from tests.models.models_under_test import FULL, HEAD, LORA, MINILM, NAMES, text_batch, token_batch, two_layers


def trained(method: MethodSpec, precision: Precision = "fp32") -> LoadedModel:
    """A model whose trainable weights are no longer those it was loaded with."""
    loaded = load_classifier(MINILM, num_labels=2, class_names=NAMES, method=method, precision=precision)
    torch.manual_seed(7)
    with torch.no_grad():
        for parameter in loaded.model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.05)
    return loaded


def logits(loaded: LoadedModel) -> torch.Tensor:
    with torch.inference_mode():
        result: torch.Tensor = loaded.model(**text_batch()).logits
    return result


def reseal(folder: Path) -> None:
    """Make the record agree with files that were changed, so that only their content can give a fault away."""
    record = json.loads((folder / RECORD_FILE).read_text())
    record["files"] = {name: sha256_of(folder / name) for name in record["files"]}
    (folder / RECORD_FILE).write_text(json.dumps(record))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "precision"),
    [(HEAD, "fp32"), (FULL, "bf16"), (LORA, "fp32"), (LORA, "int8"), (LORA, "int8-bnb"), (LORA, "nf4")],
    ids=["head", "full", "lora", "lora-int8", "lora-int8-bnb", "lora-nf4"],
)
def test_reloaded_logits_are_identical(tmp_path: Path, method: MethodSpec, precision: Precision) -> None:
    """Every method and precision reloads to the same logits to the bit, and they are not the untrained model's."""
    loaded = trained(method, precision)
    before = logits(loaded)
    save_model(loaded, load_tokenizer(MINILM), tmp_path)
    again = reload_classifier(tmp_path)
    assert torch.equal(logits(again), before)
    assert not torch.equal(before, logits(load_classifier(MINILM, num_labels=2, class_names=NAMES)))
    assert (again.class_names, again.revision, again.precision) == (NAMES, loaded.revision, precision)
    assert again.model.config.id2label == dict(enumerate(NAMES))
    assert again.trainable_parameters == 0
    assert not [path for path in tmp_path.iterdir() if path.suffix in {".bin", ".pt", ".pkl"}]


def test_planted_fault_head_not_saved(tmp_path: Path) -> None:
    """An adapter without its head, its checksums in order, is refused; with a fresh head the logits would differ."""
    loaded = trained(LORA)
    save_model(loaded, None, tmp_path)
    path = tmp_path / "adapter_model.safetensors"
    tensors = load_file(path)
    kept = {name: tensor for name, tensor in tensors.items() if "classifier" not in name}
    assert len(kept) == len(tensors) - 2
    save_file(kept, path)
    reseal(tmp_path)
    with pytest.raises(BrokenFileError, match=r"weights of the head \(classifier\) are not among the saved ones"):
        reload_classifier(tmp_path)
    fresh = load_classifier(MINILM, num_labels=2, class_names=NAMES, seed=99).model.classifier
    tensors["base_model.model.classifier.weight"] = fresh.weight.detach().clone()
    save_file(tensors, path)
    reseal(tmp_path)
    assert not torch.equal(logits(reload_classifier(tmp_path)), logits(loaded))


@pytest.mark.slow
def test_planted_fault_head_missing_from_a_whole_model(tmp_path: Path) -> None:
    """A whole model without its classifier is refused rather than given a freshly drawn one."""
    save_model(trained(FULL), None, tmp_path)
    path = tmp_path / "model.safetensors"
    tensors = {name: tensor for name, tensor in load_file(path).items() if "classifier" not in name}
    save_file(tensors, path, {"format": "pt"})
    reseal(tmp_path)
    for precision in (None, "bf16"):
        with pytest.raises(BrokenFileError, match="classifier"):
            reload_classifier(tmp_path, precision=precision)


def test_altered_or_unfinished_saves_are_refused(tmp_path: Path) -> None:
    """A changed byte, a lost file and a missing record each are an error that names it."""
    save_model(trained(LORA), load_tokenizer(MINILM), tmp_path)
    path = tmp_path / "adapter_model.safetensors"
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    with pytest.raises(BrokenFileError, match=r"adapter_model.safetensors was changed after it was saved"):
        reload_classifier(tmp_path)
    path.unlink()
    with pytest.raises(BrokenFileError, match=r"adapter_model.safetensors is missing"):
        reload_classifier(tmp_path)
    (tmp_path / RECORD_FILE).write_text('{"schema": 1')
    with pytest.raises(BrokenFileError, match=r"emobench.json cannot be read"):
        reload_classifier(tmp_path)
    (tmp_path / RECORD_FILE).unlink()
    with pytest.raises(BrokenFileError, match=r"emobench.json, which is written last, is missing"):
        reload_classifier(tmp_path)
    with pytest.raises(SpecError, match="does not exist"):
        reload_classifier(tmp_path / "nowhere")


def test_a_save_that_breaks_leaves_no_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Saving over an older save removes its record first: a crash in between leaves nothing that passes for whole."""
    loaded = trained(HEAD)
    save_model(loaded, None, tmp_path)

    def full_disk(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(loaded.model, "save_pretrained", full_disk)
    with pytest.raises(OSError, match="No space left"):
        save_model(loaded, None, tmp_path)
    with pytest.raises(BrokenFileError, match="written last, is missing"):
        read_record(tmp_path)


def test_an_adapter_needs_its_base(tmp_path: Path) -> None:
    """On other base weights an adapter is refused, with both revisions named."""
    save_model(trained(LORA), None, tmp_path)
    record = json.loads((tmp_path / RECORD_FILE).read_text())
    record["base"]["revision"] = "sha256:" + "0" * 64
    (tmp_path / RECORD_FILE).write_text(json.dumps(record))
    with pytest.raises(BrokenFileError, match=r"at revision sha256:0{64}; the base here is .* at sha256:53aa51"):
        reload_classifier(tmp_path)


@pytest.mark.slow
def test_another_precision_is_near(tmp_path: Path) -> None:
    """Asked for another precision, a saved model is cast: the dtype changes and the logits by little."""
    for method in (FULL, LORA):
        loaded = trained(method)
        folder = save_model(loaded, None, tmp_path / method.id)
        again = reload_classifier(folder, precision="bf16")
        assert {parameter.dtype for parameter in again.model.parameters()} == {torch.bfloat16}
        assert 0 < (logits(again).float() - logits(loaded)).abs().max() < 0.05
        assert again.precision == "bf16"


def test_record_holds_no_path_of_this_machine(tmp_path: Path) -> None:
    """Nothing saved beside an adapter says where the base lay on the machine that trained it."""
    save_model(trained(LORA), None, tmp_path, extra={"step": 12})
    text = (tmp_path / "adapter_config.json").read_text() + (tmp_path / RECORD_FILE).read_text()
    assert "site-packages" not in text
    assert read_record(tmp_path).extra == {"step": 12}


def test_decoder_on_random_weights(tmp_path: Path) -> None:
    """An adapter on random weights is rebuilt from the recorded seed, to the same logits."""
    spec = two_layers("tinyllama-1.1b")
    loaded = load_classifier(spec, num_labels=2, class_names=NAMES, method=LORA, weights="random", seed=5)
    with torch.no_grad():
        for parameter in loaded.model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1)
    save_model(loaded, None, tmp_path)
    again = reload_classifier(tmp_path)
    with torch.inference_mode():
        assert torch.equal(again.model(**token_batch()).logits, loaded.model(**token_batch()).logits)
