"""peft adapters that EmoBench did not save: a classifier's head and its adapters on a base of the catalogue."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emobench.errors import BrokenFileError
from emobench.specs import DeviceKind, ModelSpec, Precision

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from emobench.models.load import LoadedModel

_OUTPUT = ("out_proj", "classifier", "score")
"""Names of the layer that gives the logits."""


def adapter_classes(folder: Path, spec: ModelSpec) -> tuple[str, ...]:
    """Names of an adapter's classes: the base's where it is a ready classifier of as many, else ``LABEL_<index>``.

    Raises:
        BrokenFileError: no safetensors adapter, or one without the head that the base lacks.
    """
    from emobench.commands.label_names import generic_names

    outputs = [
        tensor.shape[0]
        for name, tensor in _tensors(folder).items()
        if name.removesuffix(".weight").rpartition(".")[2] in _OUTPUT and tensor.ndim == 2 and "lora_" not in name
    ]
    if spec.labels is not None and outputs in ([], [len(spec.labels)]):
        return spec.labels
    if not outputs:
        raise BrokenFileError(
            f"the adapter in {folder} cannot be used",
            why=f"it holds no head ({' or '.join(spec.head_modules)}) and its base {spec.id!r} has none",
            fix="save it with modules_to_save naming the head",
        )
    return generic_names(outputs[0])


def load_adapter(
    folder: Path,
    spec: ModelSpec,
    class_names: tuple[str, ...],
    *,
    device: DeviceKind,
    precision: Precision,
    say: Callable[[str], None],
) -> LoadedModel:
    """The base with the adapter on it, for inference.

    Raises:
        BrokenFileError: the adapter's weights are not those that its configuration asks for on this base.
    """
    from peft import PeftConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict

    from emobench.models.adapters import quiet_peft
    from emobench.models.load import load_classifier, model_bytes

    loaded = load_classifier(
        spec, num_labels=len(class_names), class_names=class_names, precision=precision, device=device, progress=say
    )
    found = _tensors(folder)
    with quiet_peft():
        config: Any = PeftConfig.from_pretrained(str(folder))
        # peft warns where this is not the folder that the base lies in here.
        config.base_model_name_or_path = None
        model: Any = get_peft_model(loaded.model, config)
        expected = get_peft_model_state_dict(model, save_embedding_layers=False)
        wrong = sorted({(k, v.shape) for k, v in expected.items()} ^ {(k, v.shape) for k, v in found.items()})
        if wrong:
            raise BrokenFileError(
                f"the adapter in {folder} does not belong on {spec.id!r}",
                why=f"{len(wrong)} of its weights are missing, left over or of another shape, first {wrong[0][0]}",
                fix="name the base it was trained on: --base MODEL",
            )
        set_peft_model_state_dict(model, found)
    model.requires_grad_(False)
    model.eval()
    return replace(
        loaded,
        model=model,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        trainable_parameters=0,
        model_bytes=model_bytes(model),
    )


def _tensors(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from emobench.models.save import ADAPTER_FILE

    path = folder / ADAPTER_FILE
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise BrokenFileError(
            f"{path} cannot be read",
            why=f"{error}; only safetensors are read",
            fix="save the adapter with safetensors",
        ) from error
