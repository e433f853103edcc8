"""Trained classifiers on disk: a whole model or an adapter, with a record of what it is and the checksums of its files.

Safetensors only. The record is written last: a folder without it, or with a file that is not as recorded, is refused.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from pydantic import ValidationError
from safetensors import safe_open
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from emobench.devices import torch_dtype
from emobench.errors import BrokenFileError, SpecError
from emobench.files import sha256_of, write_bytes
from emobench.models import quantize
from emobench.models.adapters import quiet_peft
from emobench.models.architecture import in_modules
from emobench.models.library_output import quiet_transformers
from emobench.models.load import LoadedModel, load_classifier, model_bytes, read_pretrained
from emobench.models.locate import weight_files
from emobench.specs import DeviceKind, MethodSpec, ModelSpec, Precision, Weights

RECORD_FILE = "emobench.json"
ADAPTER_FILE = "adapter_model.safetensors"
SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class SavedRecord:
    """What ``emobench.json`` beside saved weights says."""

    kind: str
    """``model`` or ``adapter``."""
    spec: ModelSpec
    revision: str
    """Commit or checksum of the weights that training started from."""
    weights: Weights
    seed: int
    method: MethodSpec | None
    precision: Precision
    class_names: tuple[str, ...]
    dtype: str
    """Of the saved weights of a whole model."""
    files: Mapping[str, str]
    """File name to SHA-256."""
    extra: Mapping[str, Any]
    """What the caller added."""


def save_model(
    loaded: LoadedModel,
    tokenizer: PreTrainedTokenizerBase | None,
    folder: Path,
    *,
    extra: Mapping[str, Any] | None = None,
) -> Path:
    """Save a classifier so that :func:`reload_classifier` gives the same logits; return ``folder``.

    A peft model is saved as its adapter with the head, anything else whole. ``extra`` is kept in the record.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RECORD_FILE).unlink(missing_ok=True)
    with quiet_transformers(), quiet_peft():
        if is_adapter(loaded.model):
            _save_adapter(loaded, folder)
        else:
            loaded.model.save_pretrained(folder)
        if tokenizer is not None:
            tokenizer.save_pretrained(folder)
    names = sorted(path.name for path in folder.iterdir() if path.is_file())
    record = {
        "schema": SCHEMA,
        "kind": "adapter" if is_adapter(loaded.model) else "model",
        "base": {"id": loaded.spec.id, "revision": loaded.revision, "weights": loaded.weights, "seed": loaded.seed},
        "spec": loaded.spec.model_dump(mode="json"),
        "method": loaded.method.model_dump(mode="json") if loaded.method else None,
        "precision": loaded.precision,
        "class_names": list(loaded.class_names),
        "dtype": str(next(loaded.model.parameters()).dtype).removeprefix("torch."),
        "files": {name: sha256_of(folder / name) for name in names},
        "extra": dict(extra or {}),
    }
    write_bytes(folder / RECORD_FILE, json.dumps(record, indent=1, sort_keys=True).encode())
    return folder


def _save_adapter(loaded: LoadedModel, folder: Path) -> None:
    for config in cast(Any, loaded.model).peft_config.values():
        # Where the base lay on this machine means nothing on another.
        config.base_model_name_or_path = loaded.spec.hub_id
    # Base vocabularies are never resized here; peft would ask a hub whether this one was.
    loaded.model.save_pretrained(folder, save_embedding_layers=False)
    # A template of a model card in which nothing is filled in.
    (folder / "README.md").unlink(missing_ok=True)


def is_adapter(model: object) -> bool:
    """Whether a model is wrapped by peft."""
    return hasattr(model, "peft_config")


def read_record(folder: Path) -> SavedRecord:
    """Read a saved folder's record and verify every file it names.

    Raises:
        BrokenFileError: there is no record (saving did not finish), it cannot be read, or a file is missing or changed.
    """
    path = folder / RECORD_FILE
    if not path.is_file():
        raise _broken(folder, f"{RECORD_FILE}, which is written last, is missing")
    try:
        content = json.loads(path.read_bytes())
        record = _parse(content)
    except (ValueError, KeyError, TypeError, ValidationError) as error:
        raise _broken(folder, f"{RECORD_FILE} cannot be read ({error})".replace("\n", " ")) from error
    for name, expected in record.files.items():
        file = folder / name
        if not file.is_file():
            raise _broken(folder, f"{name} is missing")
        if sha256_of(file) != expected:
            raise _broken(folder, f"{name} was changed after it was saved")
    return record


def reload_classifier(
    folder: Path,
    *,
    device: DeviceKind = "cpu",
    base: ModelSpec | None = None,
    precision: Precision | None = None,
    progress: Callable[[str], None] | None = None,
) -> LoadedModel:
    """Load what :func:`save_model` saved, for inference.

    ``precision`` None keeps weights as they were trained, and the logits are those of the model that was saved; another
    one casts or quantizes them. An adapter is put on ``base``, or on the row it was trained from.

    Raises:
        BrokenFileError: see :func:`read_record`; also weights that lack the head or are not the model's, and a base
            whose revision is not the one the adapter was trained on.
        NotOnMachineError: the adapter's base is not here.
    """
    record = read_record(folder)
    spec = base or record.spec
    if record.kind == "adapter":
        return _reload_adapter(folder, record, spec, device, precision, progress)
    return _reload_whole(folder, record, spec, device, precision)


def check_head(names: set[str], spec: ModelSpec, folder: Path) -> None:
    """Raise :class:`BrokenFileError` where saved weights lack one of the head modules."""
    for module in spec.head_modules:
        if not any(in_modules(name, (module,)) for name in names):
            raise _broken(folder, f"the weights of the head ({module}) are not among the saved ones")


def _parse(content: Mapping[str, Any]) -> SavedRecord:
    if content["schema"] != SCHEMA or content["kind"] not in ("model", "adapter"):
        raise ValueError(f"schema {content['schema']!r}, kind {content['kind']!r}")
    base = content["base"]
    method = content["method"]
    return SavedRecord(
        kind=content["kind"],
        spec=ModelSpec.model_validate(content["spec"]),
        revision=base["revision"],
        weights=base["weights"],
        seed=base["seed"],
        method=MethodSpec.model_validate(method) if method else None,
        precision=content["precision"],
        class_names=tuple(content["class_names"]),
        dtype=content["dtype"],
        files=dict(content["files"]),
        extra=dict(content["extra"]),
    )


def _reload_whole(
    folder: Path, record: SavedRecord, spec: ModelSpec, device: DeviceKind, precision: Precision | None
) -> LoadedModel:
    names = {name for file in weight_files(folder) for name in _tensor_names(file)}
    # Asked for another precision the load would take the folder for a body and draw a head.
    check_head(names, spec, folder)
    # Read as the row of its own folder: one way to load, quantize and describe.
    own = spec.model_copy(update={"path": str(folder), "packaged": None})
    with quiet_transformers():
        if precision is not None:
            loaded = load_classifier(
                own,
                num_labels=len(record.class_names),
                class_names=record.class_names,
                precision=precision,
                device=device,
                seed=record.seed,
            )
        else:
            loaded = _as_saved(folder, record, own, device)
    return replace(loaded, spec=spec, revision=record.revision, weights=record.weights, method=record.method)


def _as_saved(folder: Path, record: SavedRecord, spec: ModelSpec, device: DeviceKind) -> LoadedModel:
    started = time.perf_counter()
    dtype: torch.dtype = getattr(torch, record.dtype)
    model, notes = read_pretrained(
        folder, spec, record.class_names, dtype=dtype, device=device, options={}, head_may_be_missing=False
    )
    model.requires_grad_(False).train(False)
    return LoadedModel(
        model=model,
        spec=spec,
        revision=record.revision,
        weights=record.weights,
        seed=record.seed,
        method=record.method,
        class_names=record.class_names,
        precision=record.precision,
        device=device,
        notes=notes,
        parameters=sum(p.numel() for p in model.parameters()),
        trainable_parameters=0,
        model_bytes=model_bytes(model),
        load_seconds=time.perf_counter() - started,
        quantization=None,
    )


def _reload_adapter(
    folder: Path,
    record: SavedRecord,
    spec: ModelSpec,
    device: DeviceKind,
    precision: Precision | None,
    progress: Callable[[str], None] | None,
) -> LoadedModel:
    if record.method is None:
        raise _broken(folder, "an adapter's record names no method")
    with safe_open(folder / ADAPTER_FILE, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dictionary
    check_head(set(tensors), spec, folder)
    loaded = load_classifier(
        spec,
        num_labels=len(record.class_names),
        class_names=record.class_names,
        method=record.method,
        precision=precision or record.precision,
        device=device,
        seed=record.seed,
        weights=record.weights,
        progress=progress,
    )
    if loaded.revision != record.revision:
        raise BrokenFileError(
            f"the adapter in {folder} was trained on {record.spec.id!r} at revision {record.revision}",
            why=f"the base here is {spec.id!r} at {loaded.revision}",
            fix=f"fetch that revision of {record.spec.id!r}, or train the adapter again",
        )
    _set_adapter(loaded.model, tensors, folder)
    loaded.model.requires_grad_(False)
    if precision is not None and precision not in quantize.QUANTIZED:
        loaded.model.to(torch_dtype(precision))  # type: ignore[arg-type]  # stubs of .to know no bare dtype
    return replace(loaded, trainable_parameters=0, model_bytes=model_bytes(loaded.model))


def _tensor_names(path: Path) -> list[str]:
    with safe_open(path, framework="pt") as file:
        return list(file.keys())


def _set_adapter(model: PreTrainedModel, tensors: Mapping[str, torch.Tensor], folder: Path) -> None:
    from peft import get_peft_model_state_dict, set_peft_model_state_dict

    expected = get_peft_model_state_dict(model, save_embedding_layers=False)
    shapes = {name: tuple(tensor.shape) for name, tensor in expected.items()}
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if shapes != found:
        wrong = sorted(set(shapes.items()) ^ set(found.items()))
        raise _broken(folder, f"{len(wrong)} of the adapter's weights are not the base's, first {wrong[0][0]}")
    with quiet_peft():
        set_peft_model_state_dict(model, dict(tensors))


def _broken(folder: Path, why: str) -> BrokenFileError:
    if not folder.is_dir():
        raise SpecError(
            f"{folder} is no folder of a saved model", why="it does not exist", fix="name a folder that was saved"
        )
    return BrokenFileError(f"the saved model in {folder} cannot be used", why=why, fix="save or train it again")
