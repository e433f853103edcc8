"""Models and tokenizers from a row: pretrained or random weights, at a precision, ready for a method. Trains nothing.

The dtype is always explicit, what a load reports is looked at, and torch's generators are left as they were found.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from emobench import devices
from emobench.errors import BrokenFileError, DoesNotFitError, SpecError, UnsupportedError
from emobench.models import quantize
from emobench.models.adapters import apply_method, expected_trainable
from emobench.models.architecture import (
    in_modules,
    label_fields,
    linear_names,
    row_config,
    storage_dtype,
    weights_bytes,
)
from emobench.models.draws import seeded
from emobench.models.library_output import quiet_transformers
from emobench.models.locate import locate
from emobench.outcomes import Metric, metric
from emobench.specs import DeviceKind, MethodSpec, ModelSpec, Precision, Weights

_PRETRAINING_PARTS = (
    "cls",
    "lm_head",
    "pooler",
    "score",
    "classifier",
    "vocab_transform",
    "vocab_layer_norm",
    "vocab_projector",
    "discriminator_predictions",
    # Not weights: buffers that older releases saved and newer ones compute.
    "position_ids",
    "inv_freq",
)
"""What a checkpoint may hold that the model asked for does not use: heads of the task it was trained on."""


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """A model on its device, and what became of it."""

    model: PreTrainedModel
    """In evaluation mode; for ``lora`` wrapped by peft."""
    spec: ModelSpec
    revision: str
    """Commit or checksum of the weights; ``random`` where they were drawn."""
    weights: Weights
    seed: int
    method: MethodSpec | None
    class_names: tuple[str, ...]
    """Empty for a language model."""
    precision: Precision
    device: DeviceKind
    notes: tuple[str, ...]
    """What a reader of the results must know: fallbacks, parts of the checkpoint left out."""
    parameters: int
    """Of the whole model, adapters included; quantized weights count as what they stand for."""
    trainable_parameters: int
    model_bytes: int
    """Of parameters and buffers as they lie in memory, scales of quantized weights included."""
    load_seconds: float
    quantization: Mapping[str, Any] | None
    """What the modules became, see :func:`emobench.models.quantize.quantization_facts`; None where not quantized."""

    def metrics(self) -> list[Metric]:
        """Sizes and load time."""
        return [
            metric("load_seconds", self.load_seconds),
            metric("parameters", self.parameters),
            metric("trainable_parameters", self.trainable_parameters),
            metric("model_bytes", self.model_bytes),
        ]


def load_tokenizer(
    spec: ModelSpec, *, folder: Path | None = None, progress: Callable[[str], None] | None = None
) -> PreTrainedTokenizerFast:
    """Load a row's tokenizer, with the row's padding side and pad token and its context as the longest input.

    ``folder`` is a saved model of the same row, where the tokenizer is to come from there.

    Raises:
        NotOnMachineError: the row is not on this machine.
        SpecError: neither the tokenizer nor the row has a pad token.
    """
    path = folder or locate(spec, progress=progress).path
    with quiet_transformers():
        tokenizer: PreTrainedTokenizerFast = cast(Any, AutoTokenizer).from_pretrained(
            path, padding_side=spec.padding_side, model_max_length=spec.context, trust_remote_code=False
        )
    pad = spec.config.get("pad_token_id")
    if pad is not None:
        # The classifier finds a text's last token by this id, so row, tokenizer and model must agree on it.
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(int(pad))
    if tokenizer.pad_token_id is None:
        raise SpecError(
            f"the tokenizer of {spec.id!r} has no pad token",
            why="texts of different length cannot be batched without one",
            fix="set config.pad_token_id in the model's row",
        )
    return tokenizer


def load_classifier(
    spec: ModelSpec,
    *,
    num_labels: int,
    class_names: Sequence[str],
    method: MethodSpec | None = None,
    precision: Precision = "fp32",
    device: DeviceKind = "cpu",
    seed: int = 0,
    weights: Weights = "pretrained",
    progress: Callable[[str], None] | None = None,
) -> LoadedModel:
    """Load a sequence classifier with ``num_labels`` classes; ``method`` None is for inference.

    For training at bf16 or fp16 the weights stay fp32 (autocast computes); for inference they are cast. The head and
    the adapters are drawn from ``seed``: same seed, same weights.

    Raises:
        NotOnMachineError, BrokenFileError: see :func:`emobench.models.locate.locate`; also weights that are not the
            architecture's.
        DoesNotFitError: the weights do not fit in the device's free memory; nothing was allocated.
        UnsupportedError: the method cannot train quantized weights.
        MissingExtraError: the precision needs a package that is not installed.
    """
    names = tuple(class_names)
    _check_classes(num_labels, names)
    _check_method(method, precision)
    check_fits(spec, precision, device, num_labels=num_labels, method=method, weights=weights)
    _import_needed(method, precision)
    started = time.perf_counter()
    with quiet_transformers(), seeded(seed):
        loaded = _load(spec, names, method, precision, device, weights, progress)
        model = loaded.model
        if method is None:
            model.requires_grad_(False)
        else:
            if precision in quantize.QUANTIZED:
                quantize.prepare_for_training(model)
            model = apply_method(model, spec, method)
    model.train(False)
    return _describe(loaded, model, spec, names, method, precision, device, weights, seed, started)


def _import_needed(method: MethodSpec | None, precision: Precision) -> None:
    """Import what a method and a precision need and is installed, so that no load is charged with it."""
    needed = ["peft"] * (method is not None and method.id == "lora")
    needed += ["bitsandbytes"] * (precision in ("int8-bnb", "nf4"))
    for name in filter(devices.installed, needed):
        importlib.import_module(name)


def load_causal_lm(
    spec: ModelSpec,
    *,
    precision: Precision = "fp32",
    device: DeviceKind = "cpu",
    weights: Weights = "pretrained",
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> LoadedModel:
    """Load a language model for generation; errors as in :func:`load_classifier`."""
    if spec.kind != "decoder":
        raise UnsupportedError(
            f"model {spec.id!r} cannot generate text", why=f"it is an {spec.kind}", fix="take a decoder"
        )
    check_fits(spec, precision, device, causal=True, weights=weights)
    started = time.perf_counter()
    with quiet_transformers(), seeded(seed):
        loaded = _load(spec, None, None, precision, device, weights, progress)
    model = loaded.model.requires_grad_(False)
    model.train(False)
    return _describe(loaded, model, spec, (), None, precision, device, weights, seed, started)


def check_fits(
    spec: ModelSpec,
    precision: Precision,
    device: DeviceKind,
    *,
    num_labels: int = 2,
    causal: bool = False,
    method: MethodSpec | None = None,
    weights: Weights = "pretrained",
) -> None:
    """Raise :class:`DoesNotFitError` where the weights are more than the device's free memory.

    For a training method the gradients and Adam's two moments of what is trained count too, four bytes each;
    activations do not.
    """
    # bitsandbytes replaces pretrained weights file by file, but random ones and torchao's exist unquantized first.
    unquantized_first = precision == "int8" or (weights == "random" and precision in quantize.QUANTIZED)
    need = weights_bytes(
        spec, precision, num_labels=num_labels, causal=causal, method=method, while_loading=unquantized_first
    )
    if method is not None:
        need += 12 * expected_trainable(spec, method, num_labels)
    parts = "weights" if method is None else "weights, gradients and optimizer state"
    free = devices.free_memory_bytes(device)
    if need > free:
        raise DoesNotFitError(
            f"model {spec.id!r} at {precision} does not fit: its {parts} need {need / 1e9:.1f} GB "
            f"and {device} has {free / 1e9:.1f} GB free",
            why="nothing was allocated",
            fix="take a smaller model, a precision with fewer bytes, or free memory",
        )


def tensor_bytes(tensor: torch.Tensor) -> int:
    """Bytes a tensor holds in memory, those of a quantized tensor's parts included."""
    if hasattr(tensor, "__tensor_flatten__"):
        parts, _ = tensor.__tensor_flatten__()
        return sum(tensor_bytes(getattr(tensor, part)) for part in parts)
    return tensor.numel() * tensor.element_size() + quantize.state_bytes(tensor)


def model_bytes(model: nn.Module) -> int:
    """Bytes of all parameters and buffers; shared ones count once."""
    return sum(tensor_bytes(tensor) for tensor in (*model.parameters(), *model.buffers()))


@dataclass(frozen=True, kw_only=True)
class _Loaded:
    model: PreTrainedModel
    revision: str
    notes: tuple[str, ...]


def _load(
    spec: ModelSpec,
    names: tuple[str, ...] | None,
    method: MethodSpec | None,
    precision: Precision,
    device: DeviceKind,
    weights: Weights,
    progress: Callable[[str], None] | None,
) -> _Loaded:
    """Weights on the device at the precision; ``names`` None makes a language model."""
    skipped = spec.head_modules if names is not None else ("lm_head",)
    dtype = storage_dtype(precision, method)
    if weights == "random":
        config = row_config(spec, names)
        auto: Any = AutoModelForCausalLM if names is None else AutoModelForSequenceClassification
        with torch.device(device):
            model: PreTrainedModel = auto.from_config(config, dtype=dtype)
        quantize.quantize_loaded(model, precision, skipped=skipped)
        return _Loaded(model=model, revision="random", notes=("weights are random: speed and memory only",))
    located = locate(spec, progress=progress)
    options = quantize.load_options(precision, skipped=lambda: linear_names(spec, names, skipped))
    model, notes = read_pretrained(located.path, spec, names, dtype=dtype, device=device, options=options)
    if not options:
        quantize.quantize_loaded(model, precision, skipped=skipped)
    return _Loaded(model=model, revision=located.revision, notes=notes)


def read_pretrained(
    path: Path,
    spec: ModelSpec,
    names: tuple[str, ...] | None,
    *,
    dtype: torch.dtype,
    device: DeviceKind,
    options: Mapping[str, Any],
    head_may_be_missing: bool = True,
) -> tuple[PreTrainedModel, tuple[str, ...]]:
    """Read a folder of safetensors onto the device and look at what the load reports; gives model and notes.

    Raises:
        BrokenFileError: weights of the body are missing, left over, or of another shape.
    """
    config = AutoConfig.from_pretrained(
        path, trust_remote_code=False, **(label_fields(names) if names is not None else {})
    )
    if spec.config.get("pad_token_id") is not None:
        config.pad_token_id = spec.config["pad_token_id"]
    auto: Any = AutoModelForCausalLM if names is None else AutoModelForSequenceClassification
    model, info = auto.from_pretrained(
        path,
        config=config,
        dtype=dtype,
        device_map=None if device == "cpu" else {"": device},
        output_loading_info=True,
        # Only a head may differ in shape (another number of classes); _check_report refuses the rest.
        ignore_mismatched_sizes=True,
        use_safetensors=True,
        trust_remote_code=False,
        **options,
    )
    head = spec.head_modules if names is not None and head_may_be_missing else ()
    return model, _check_report(info, path, spec, head)


def _check_report(info: Mapping[str, Any], path: Path, spec: ModelSpec, head: Sequence[str]) -> tuple[str, ...]:
    missing = {name for name in info["missing_keys"] if not in_modules(name, head)}
    left_over = {name for name in info["unexpected_keys"] if not in_modules(name, _PRETRAINING_PARTS)}
    mismatched = {str(item[0]) for item in info["mismatched_keys"] if not in_modules(str(item[0]), head)}
    bad = {"missing": missing, "not part of the model": left_over, "of another shape": mismatched}
    found = [f"{kind}: {_some(names)}" for kind, names in bad.items() if names]
    if found or info["error_msgs"]:
        raise BrokenFileError(
            f"the weights in {path} are not those of {spec.id!r}",
            why="; ".join([*found, *map(str, info["error_msgs"])]),
            fix=f"fetch the model again, or correct the row's architecture (model_type {spec.config['model_type']})",
        )
    dropped = sorted({name.split(".")[0] for name in info["unexpected_keys"]})
    notes = [f"left out of the checkpoint: {', '.join(dropped)}"] if dropped else []
    if head and not any(in_modules(name, head) for name in info["missing_keys"]) and not info["mismatched_keys"]:
        notes.append("the head comes with the weights")
    return tuple(notes)


def _some(names: set[str]) -> str:
    ordered = sorted(names)
    return ", ".join(ordered[:3]) + (f" and {len(ordered) - 3} more" if len(ordered) > 3 else "")


def _describe(
    loaded: _Loaded,
    model: PreTrainedModel,
    spec: ModelSpec,
    names: tuple[str, ...],
    method: MethodSpec | None,
    precision: Precision,
    device: DeviceKind,
    weights: Weights,
    seed: int,
    started: float,
) -> LoadedModel:
    devices.synchronize(device)
    notes = list(loaded.notes)
    if method is not None and precision in ("bf16", "fp16"):
        notes.append(f"weights are fp32; {precision} is the dtype of autocast")
    if precision == "int8-bnb":
        notes.append("bitsandbytes casts the inputs of int8 products to fp16")
    return LoadedModel(
        model=model,
        spec=spec,
        revision=loaded.revision,
        weights=weights,
        seed=seed,
        method=method,
        class_names=names,
        precision=precision,
        device=device,
        notes=tuple(notes),
        parameters=sum(quantize.parameter_count(p) for p in model.parameters()),
        trainable_parameters=sum(p.numel() for p in model.parameters() if p.requires_grad),
        model_bytes=model_bytes(model),
        load_seconds=time.perf_counter() - started,
        quantization=quantize.quantization_facts(model) if precision in quantize.QUANTIZED else None,
    )


def _check_classes(num_labels: int, names: tuple[str, ...]) -> None:
    if num_labels != len(names) or num_labels < 2 or len(set(names)) != num_labels:
        raise SpecError(
            f"num_labels={num_labels} with class names {list(names)}",
            why="a classifier needs two or more classes with one name each",
            fix="give one different name per class",
        )


def _check_method(method: MethodSpec | None, precision: Precision) -> None:
    if method is not None and method.id != "lora" and precision in quantize.QUANTIZED:
        raise UnsupportedError(
            f"method {method.id!r} at precision {precision!r}",
            why="quantized weights are trained through adapters only",
            fix="take method lora, or precision fp32 or bf16",
        )
