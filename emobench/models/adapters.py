"""Which weights a method trains: head only, all, or LoRA adapters and the head. Loads nothing and trains nothing."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from emobench.errors import UnsupportedError
from emobench.models.architecture import in_modules, meta_classifier
from emobench.specs import MethodSpec, ModelSpec


def apply_method(model: PreTrainedModel, spec: ModelSpec, method: MethodSpec) -> PreTrainedModel:
    """Set what is trainable; for ``lora`` return the model wrapped by peft, its adapters drawn from torch's generator.

    The head modules are trained by every method; with ``lora`` they are in ``modules_to_save``, so that an adapter
    carries them.

    Raises:
        UnsupportedError: the method would train nothing of this model (its row names modules it has not).
    """
    if method.id == "full":
        model.requires_grad_(True)
        return model
    model.requires_grad_(False)
    if method.id == "lora":
        return _with_lora(model, spec, method)
    found = 0
    for name, parameter in model.named_parameters():
        if in_modules(name, spec.head_modules):
            parameter.requires_grad_(True)
            found += 1
    if not found:
        raise _no_modules(spec, "head modules", spec.head_modules)
    return model


def inside_adapters(model: nn.Module) -> nn.Module:
    """The model inside peft's adapters, or the model itself where it has none. Imports no peft, which takes seconds."""
    peft: Any = sys.modules.get("peft")
    if peft is None or not isinstance(model, peft.PeftModel):
        return model
    inner: nn.Module = model.get_base_model()
    return inner


def targets(spec: ModelSpec, method: MethodSpec) -> list[str]:
    """Name endings of the linear modules LoRA adapts, for the groups the method names."""
    return [name for group in method.targets for name in getattr(spec.lora_targets, group)]


def expected_trainable(spec: ModelSpec, method: MethodSpec, num_labels: int) -> int:
    """Trainable parameters by arithmetic: rank x (inputs + outputs) for each adapted linear module, and the head."""
    model = meta_classifier(spec, num_labels)
    if method.id == "full":
        return sum(parameter.numel() for parameter in model.parameters())
    head = sum(p.numel() for name, p in model.named_parameters() if in_modules(name, spec.head_modules))
    if method.id == "head":
        return head
    adapted = _adapted(model, spec, method)
    return head + sum(method.rank * (layer.in_features + layer.out_features) for layer in adapted)


def _adapted(model: nn.Module, spec: ModelSpec, method: MethodSpec) -> list[nn.Linear]:
    endings = tuple(f".{name}" for name in targets(spec, method))
    return [
        module for name, module in model.named_modules() if isinstance(module, nn.Linear) and name.endswith(endings)
    ]


def _with_lora(model: PreTrainedModel, spec: ModelSpec, method: MethodSpec) -> PreTrainedModel:
    from peft import LoraConfig, get_peft_model

    names = targets(spec, method)
    if not _adapted(model, spec, method):
        raise _no_modules(spec, "LoRA targets", names)
    config = LoraConfig(
        task_type="SEQ_CLS",
        r=method.rank,
        lora_alpha=method.alpha,
        lora_dropout=method.dropout,
        target_modules=names,
        modules_to_save=list(spec.head_modules),
    )
    with quiet_peft():
        wrapped: Any = get_peft_model(model, config)
    result: PreTrainedModel = wrapped
    return result


@contextmanager
def quiet_peft() -> Iterator[None]:
    """Hold back two warnings peft gives about its own calls and about merging, which nothing here does."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*gradient_checkpointing.*", category=FutureWarning)
        warnings.filterwarnings("ignore", message="TorchaoLoraLinear was instantiated", category=UserWarning)
        yield


def _no_modules(spec: ModelSpec, kind: str, names: object) -> UnsupportedError:
    return UnsupportedError(
        f"model {spec.id!r} has none of its row's {kind}",
        why=f"no module is named {', '.join(map(str, names)) if isinstance(names, list | tuple) else names}",
        fix=f"correct the {kind} of the row",
    )
