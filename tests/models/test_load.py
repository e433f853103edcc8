"""Loading: dtypes, seeds, labels, what a load reports, and memory looked at before anything is allocated."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForMaskedLM
from transformers.utils import logging as transformers_logging

from emobench import devices
from emobench.catalogue.model_rows import MODELS
from emobench.errors import BrokenFileError, DoesNotFitError, SpecError, UnsupportedError
from emobench.models import load
from emobench.models.architecture import row_config, weights_bytes
from emobench.models.load import load_causal_lm, load_classifier, load_tokenizer
from emobench.models.locate import locate
from emobench.specs import MethodSpec, ModelSpec, Precision
from tests.models.models_under_test import FULL, HEAD, LORA, MINILM, NAMES, text_batch, token_batch, two_layers


@pytest.mark.parametrize(
    ("method", "precision", "dtype"),
    [
        (None, "fp32", torch.float32),
        (None, "bf16", torch.bfloat16),
        (None, "fp16", torch.float16),
        (FULL, "bf16", torch.float32),
        (HEAD, "fp16", torch.float32),
        (LORA, "bf16", torch.float32),
    ],
)
def test_dtype_of_weights(method: MethodSpec | None, precision: Precision, dtype: torch.dtype) -> None:
    """Inference casts the weights; training at bf16 or fp16 keeps them fp32, and says so."""
    loaded = load_classifier(MINILM, num_labels=2, class_names=NAMES, method=method, precision=precision)
    assert {parameter.dtype for parameter in loaded.model.parameters()} == {dtype}
    noted = any("weights are fp32" in note for note in loaded.notes)
    assert noted == (method is not None and precision != "fp32")
    assert loaded.quantization is None
    assert not loaded.model.training


def test_same_weights_as_transformers() -> None:
    """The body is what transformers itself reads, to the bit, and the logits are finite."""
    loaded = load_classifier(MINILM, num_labels=2, class_names=NAMES)
    tensors = load_file(locate(MINILM).path / "model.safetensors")
    body = loaded.model.base_model.state_dict()
    assert all(torch.equal(body[name], tensor) for name, tensor in tensors.items() if "position_ids" not in name)
    with torch.inference_mode():
        assert loaded.model(**text_batch()).logits.isfinite().all()


def test_head_follows_the_seed() -> None:
    """Equal seeds draw equal heads, other seeds other heads, and torch's own generator is left as it was."""
    torch.manual_seed(123)
    state = torch.get_rng_state()
    heads = [
        load_classifier(MINILM, num_labels=2, class_names=NAMES, method=FULL, seed=seed).model.classifier.weight
        for seed in (1, 1, 2)
    ]
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])
    assert torch.equal(torch.get_rng_state(), state)


def test_labels_are_in_the_configuration() -> None:
    """Class names are kept in the order of their index, in both directions."""
    config = load_classifier(MINILM, num_labels=3, class_names=("no", "perhaps", "yes")).model.config
    assert config.num_labels == 3
    assert config.id2label == {0: "no", 1: "perhaps", 2: "yes"}
    assert config.label2id == {"no": 0, "perhaps": 1, "yes": 2}


@pytest.mark.parametrize(("count", "names"), [(3, ("a", "b")), (1, ("a",)), (2, ("a", "a"))])
def test_classes_must_make_sense(count: int, names: tuple[str, ...]) -> None:
    """One class, a missing name, or the same name twice is an error before anything is loaded."""
    with pytest.raises(SpecError, match=f"num_labels={count} with class names"):
        load_classifier(MINILM, num_labels=count, class_names=names)


def test_counts_and_bytes() -> None:
    """Parameters and bytes are those of the tensors; the meta device foretells the bytes of the parameters."""
    loaded = load_classifier(MINILM, num_labels=2, class_names=NAMES, precision="bf16")
    assert loaded.parameters == 22_713_216 + 2 * 384 + 2
    buffers = sum(buffer.nbytes for buffer in loaded.model.buffers())
    assert loaded.model_bytes == 2 * loaded.parameters + buffers
    assert weights_bytes(MINILM, "bf16") == 2 * loaded.parameters
    assert loaded.trainable_parameters == 0
    assert loaded.load_seconds > 0


def damaged(tmp_path: Path, change: str) -> ModelSpec:
    """A copy of MiniLM whose weights file was changed."""
    folder = tmp_path / "model"
    shutil.copytree(locate(MINILM).path, folder)
    tensors = load_file(folder / "model.safetensors")
    name = "encoder.layer.3.attention.self.query.weight"
    if change == "missing":
        del tensors[name]
    elif change == "shape":
        tensors[name] = tensors[name][:100].contiguous()
    else:
        tensors["encoder.layer.6.attention.self.query.weight"] = tensors[name].clone()
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return MINILM.model_copy(update={"path": str(folder), "packaged": None})


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ("missing", "missing: bert.encoder.layer.3"),
        ("shape", "of another shape: "),
        ("extra", "not part of the model: "),
    ],
)
def test_weights_of_another_architecture_are_refused(tmp_path: Path, change: str, text: str) -> None:
    """A tensor of the body that is missing, left over or misshapen is an error, where transformers only warns."""
    with pytest.raises(BrokenFileError, match=text):
        load_classifier(damaged(tmp_path, change), num_labels=2, class_names=NAMES)


def test_a_language_model_head_may_be_left_out(tmp_path: Path) -> None:
    """A checkpoint with the head of its pretraining task loads as a classifier, and the notes say what was left out."""
    spec = two_layers("roberta-base")
    AutoModelForMaskedLM.from_config(row_config(spec), dtype=torch.float32).save_pretrained(tmp_path)
    loaded = load_classifier(
        spec.model_copy(update={"path": str(tmp_path)}), num_labels=2, class_names=NAMES, method=HEAD
    )
    assert "left out of the checkpoint: lm_head" in loaded.notes


def test_a_ready_head_is_kept_and_noted(tmp_path: Path) -> None:
    """A saved classifier keeps its head, another number of classes draws a new one."""
    spec = two_layers("intent-qwen2-0.5b")
    saved = load_classifier(spec, num_labels=2, class_names=NAMES, weights="random", seed=4)
    saved.model.save_pretrained(tmp_path)
    own = spec.model_copy(update={"path": str(tmp_path)})
    again = load_classifier(own, num_labels=2, class_names=NAMES, seed=9)
    assert "the head comes with the weights" in again.notes
    assert torch.equal(again.model.score.weight, saved.model.score.weight)
    other = load_classifier(own, num_labels=3, class_names=("a", "b", "c"), seed=9)
    assert other.notes == ()
    assert other.model.score.weight.shape == (3, 32)


@pytest.mark.slow
@pytest.mark.parametrize("model_id", sorted(MODELS))
def test_random_weights_of_every_row(model_id: str) -> None:
    """Two-layer copies of every row build without a file, run, and follow their seed."""
    spec = two_layers(model_id)
    runs = []
    for seed in (0, 0, 1):
        loaded = load_classifier(spec, num_labels=2, class_names=NAMES, weights="random", seed=seed)
        assert loaded.revision == "random"
        with torch.inference_mode():
            runs.append(loaded.model(**token_batch()).logits)
    assert runs[0].isfinite().all()
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])


def test_building_changes_no_row() -> None:
    """transformers writes into the dictionaries of a configuration; the catalogue's stay as they are."""
    for model_id in ("phi-3-mini", "gemma-3-270m"):
        before = json.dumps(dict(MODELS[model_id].config), sort_keys=True)
        weights_bytes(MODELS[model_id], "bf16")
        assert json.dumps(dict(MODELS[model_id].config), sort_keys=True) == before


def test_what_does_not_fit_is_refused_before_allocating(monkeypatch: pytest.MonkeyPatch) -> None:
    """With less free memory than the weights need, nothing is built, and the error gives both numbers."""
    monkeypatch.setattr(devices, "free_memory_bytes", lambda kind: 5_000_000_000)
    monkeypatch.setattr("emobench.models.load._load", lambda *a: pytest.fail("something was allocated"))
    with pytest.raises(
        DoesNotFitError, match=r"'phi-3-mini' at bf16 does not fit: its weights need 7.4 GB and cpu has 5"
    ):
        load_classifier(MODELS["phi-3-mini"], num_labels=2, class_names=NAMES, precision="bf16", weights="random")
    with pytest.raises(DoesNotFitError, match=r"'phi-3-mini' at fp32 does not fit: its weights need 15.3 GB"):
        load_causal_lm(MODELS["phi-3-mini"], weights="random")


def test_loading_prints_nothing_and_keeps_settings(capfd: pytest.CaptureFixture[str]) -> None:
    """No table, no progress bar; verbosity and bars are afterwards what they were."""
    before = (transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled())
    capfd.readouterr()
    load_classifier(MINILM, num_labels=2, class_names=NAMES)
    assert capfd.readouterr() == ("", "")
    assert (transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()) == before


def test_tokenizer_follows_the_row() -> None:
    """Pad token, padding side and longest input are the row's."""
    tokenizer = load_tokenizer(MINILM.model_copy(update={"padding_side": "left", "context": 100}))
    assert (tokenizer.pad_token_id, tokenizer.padding_side, tokenizer.model_max_length) == (0, "left", 100)
    ids = tokenizer(["one two three", "one"], padding=True)["input_ids"]
    assert ids[1][0] == 0
    assert ids[1][-1] != 0


def test_encoders_do_not_generate() -> None:
    """A language model is asked of decoders only."""
    with pytest.raises(UnsupportedError, match="'all-minilm-l6-v2' cannot generate text; it is an encoder"):
        load_causal_lm(MINILM)


@pytest.mark.parametrize(
    ("method", "precision", "names"),
    [(None, "fp32", []), (FULL, "fp32", []), (LORA, "fp32", ["peft"]), (LORA, "nf4", ["peft", "bitsandbytes"])],
)
def test_what_is_imported_before_the_clock_starts(
    monkeypatch: pytest.MonkeyPatch, method: MethodSpec | None, precision: Precision, names: list[str]
) -> None:
    """A load that is the first to need adapters or quantization is not charged with importing them."""
    imported: list[str] = []
    monkeypatch.setattr(load.importlib, "import_module", imported.append)
    load._import_needed(method, precision)
    assert imported == names
