"""int8 after training: embedding tables row by row, linear layers by torchao; such a model saved and read back.

A table of a small model is half of its bytes, and torchao's int8 leaves it alone. Nothing is trained here, and heads
stay as they are.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import safe_open
from safetensors.torch import save as safetensors_bytes
from torch import nn
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedModel

from emobench.errors import BrokenFileError, UnsupportedError
from emobench.extras import require
from emobench.files import sha256_of, write_bytes
from emobench.models.architecture import in_modules
from emobench.models.library_output import quiet_transformers
from emobench.models.quantize import parameter_count, quantization_facts, quantize_loaded
from emobench.specs import DeviceKind

RECORD_FILE = "int8.json"
WEIGHTS_FILE = "model.safetensors"
LARGEST = 127
"""Largest int8 number used: the range is symmetric, so that zero stays zero."""


class QuantizedEmbedding(nn.Module):
    """An embedding table in int8 with one fp32 scale a row; only the rows that are looked up are ever dequantized.

    Each element is off by at most half its row's scale, which is the row's largest magnitude over 127.
    """

    table: torch.Tensor
    scale: torch.Tensor

    def __init__(self, table_VD: torch.Tensor, scale_V: torch.Tensor, *, padding_idx: int | None) -> None:
        super().__init__()
        self.register_buffer("table", table_VD)
        self.register_buffer("scale", scale_V)
        self.num_embeddings, self.embedding_dim = table_VD.shape
        # Position numbers of RoBERTa are counted from the padding row's.
        self.padding_idx = padding_idx

    @classmethod
    def of(cls, table: nn.Embedding) -> QuantizedEmbedding:
        """Quantize a table; a row of zeros stays zeros."""
        weight_VD = table.weight.detach().float()
        largest_V = weight_VD.abs().amax(dim=1)
        scale_V = torch.where(largest_V > 0, largest_V / LARGEST, torch.ones_like(largest_V))
        # A row of denormal numbers has a scale that rounds to zero; it is too small to matter and becomes zeros.
        scale_V = torch.where(scale_V > 0, scale_V, torch.ones_like(scale_V))
        table_VD = (weight_VD / scale_V[:, None]).round().clamp(-LARGEST, LARGEST).to(torch.int8)
        return cls(table_VD, scale_V, padding_idx=table.padding_idx)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Rows of ``ids`` (any shape), dequantized: that shape with the width behind it, fp32."""
        return self.table[ids].to(self.scale.dtype) * self.scale[ids].unsqueeze(-1)

    def extra_repr(self) -> str:
        """What ``print(model)`` shows."""
        return f"{self.num_embeddings}, {self.embedding_dim}, int8"


def quantize_int8(model: PreTrainedModel, *, skipped: Sequence[str]) -> dict[str, Any]:
    """Put int8 in the place of every linear layer and embedding outside ``skipped`` modules; gives what they became.

    Raises:
        MissingExtraError: torchao is not installed.
        UnsupportedError: an embedding that computes more than a lookup, or shares its weights with another module.
    """
    names = _tables(model, skipped)
    quantize_loaded(model, "int8", skipped=skipped)
    for name in names:
        table = cast(nn.Embedding, model.get_submodule(name))
        _put(model, name, QuantizedEmbedding.of(table))
    return int8_facts(model)


def int8_facts(model: PreTrainedModel) -> dict[str, Any]:
    """What the modules are, read off the modules: that of :func:`quantization_facts`, and under ``embeddings`` counts
    by class, the share of all embedding weights that is int8, and bytes with scales.

    Raises:
        UnsupportedError: no linear module or no embedding is quantized.
    """
    kinds: Counter[str] = Counter()
    done = total = taken = 0
    for module in model.modules():
        if isinstance(module, QuantizedEmbedding):
            kinds[f"{type(module).__name__}[{str(module.table.dtype).removeprefix('torch.')}]"] += 1
            done += module.table.numel()
            total += module.table.numel()
            taken += module.table.nbytes + module.scale.nbytes
        elif isinstance(module, nn.Embedding):
            kinds[type(module).__name__] += 1
            total += module.weight.numel()
    if not done:
        raise UnsupportedError(
            "no embedding was quantized", why=f"the model's embeddings are {dict(kinds)}", fix="take another method"
        )
    embeddings = {"modules": dict(kinds), "quantized_share": done / total, "bytes": taken}
    return {**quantization_facts(model), "embeddings": embeddings}


def weight_count(model: nn.Module) -> int:
    """Weights of a model, quantized ones counted as what they stand for."""
    tables = sum(module.table.numel() for module in model.modules() if isinstance(module, QuantizedEmbedding))
    return tables + sum(parameter_count(parameter) for parameter in model.parameters())


def read_all(model: nn.Module) -> None:
    """Read every byte of parameters and buffers once, so that a mapped file is in memory as a whole."""

    def read(tensor: torch.Tensor) -> None:
        if hasattr(tensor, "__tensor_flatten__"):
            for part in tensor.__tensor_flatten__()[0]:
                read(getattr(tensor, part))
        else:
            tensor.max()

    for tensor in (*model.parameters(), *model.buffers()):
        read(tensor)


def save_int8(model: PreTrainedModel, folder: Path) -> Path:
    """Save a model of :func:`quantize_int8` as safetensors and configuration; the record that names them comes last."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RECORD_FILE).unlink(missing_ok=True)
    tensors: dict[str, torch.Tensor] = {}
    linears = []
    for name, tensor in model.state_dict().items():
        if hasattr(tensor, "__tensor_flatten__"):
            linears.append(name.removesuffix(".weight"))
            for part in tensor.__tensor_flatten__()[0]:
                tensors[f"{name}.{part}"] = getattr(tensor, part).detach().contiguous().cpu()
        else:
            tensors[name] = tensor.detach().contiguous().cpu()
    write_bytes(folder / WEIGHTS_FILE, safetensors_bytes(tensors, metadata={"format": "pt"}))
    with quiet_transformers():
        model.config.save_pretrained(folder)
    tables = {
        name: module.padding_idx for name, module in model.named_modules() if isinstance(module, QuantizedEmbedding)
    }
    files = {name: sha256_of(folder / name) for name in (WEIGHTS_FILE, "config.json")}
    record = {"linears": linears, "tables": tables, "files": files}
    write_bytes(folder / RECORD_FILE, json.dumps(record, indent=1, sort_keys=True).encode())
    return folder


def load_int8(folder: Path, *, device: DeviceKind = "cpu") -> PreTrainedModel:
    """Read what :func:`save_int8` saved, for inference. Only one matrix at a time is ever there in full precision.

    Raises:
        BrokenFileError: there is no record, or a file is missing or was changed.
        MissingExtraError: torchao is not installed.
    """
    record = _read_record(folder)
    model = _without_weights(folder)
    with safe_open(folder / WEIGHTS_FILE, framework="pt") as file:
        stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dictionary
    for name, padding in record["tables"].items():
        made = QuantizedEmbedding(stored.pop(f"{name}.table"), stored.pop(f"{name}.scale"), padding_idx=padding)
        _put(model, name, made)
    for name in record["linears"]:
        _put(model, name, _stored_linear(cast(nn.Linear, model.get_submodule(name)), name, stored))
    model.load_state_dict(stored, strict=False, assign=True)
    left = [name for name, tensor in model.state_dict().items() if tensor.is_meta]
    if left:
        raise _broken(folder, f"weights are missing, first {left[0]}")
    model.requires_grad_(False).train(False)
    return cast(PreTrainedModel, cast(Any, model).to(device))


def _stored_linear(empty: nn.Linear, name: str, stored: dict[str, torch.Tensor]) -> nn.Linear:
    """A torchao linear with the stored numbers in it; taken out of ``stored``."""
    torchao = require("torchao.quantization", feature="method quantize-int8", extra="quant")
    has_bias = empty.bias is not None
    made = nn.Linear(empty.in_features, empty.out_features, bias=has_bias)
    torchao.quantize_(made, torchao.Int8WeightOnlyConfig())
    weight: Any = made.weight
    names, described = weight.__tensor_flatten__()
    parts = {part: stored.pop(f"{name}.weight.{part}") for part in names}
    rebuilt = type(weight).__tensor_unflatten__(parts, described, weight.size(), weight.stride())
    made.weight = nn.Parameter(rebuilt, requires_grad=False)
    if has_bias:
        made.bias = nn.Parameter(stored.pop(f"{name}.bias"), requires_grad=False)
    return made


def _without_weights(folder: Path) -> PreTrainedModel:
    """The architecture with its weights on the meta device; what is computed and never saved is real."""
    from accelerate import init_empty_weights

    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    with quiet_transformers(), init_empty_weights(include_buffers=False):
        model: PreTrainedModel = cast(Any, AutoModelForSequenceClassification).from_config(config, dtype=torch.float32)
    return model


def _tables(model: PreTrainedModel, skipped: Sequence[str]) -> list[str]:
    """Names of the embeddings to quantize."""
    users: Counter[int] = Counter(
        id(parameter) for module in model.modules() for parameter in module.parameters(recurse=False)
    )
    names = []
    for name, module in model.named_modules():
        if not isinstance(module, nn.Embedding) or in_modules(name, skipped):
            continue
        why = None
        if type(module) is not nn.Embedding or module.max_norm is not None:
            why = f"{type(module).__name__} does more than look rows up"
        elif users[id(module.weight)] > 1:
            why = "its weights belong to another module too"
        if why:
            raise UnsupportedError(
                f"{name} of {model.config.model_type!r} cannot be quantized to int8",
                why=why,
                fix="take another method, or a model with a plain embedding",
            )
        names.append(name)
    return names


def _put(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, module)


def _read_record(folder: Path) -> dict[str, Any]:
    path = folder / RECORD_FILE
    if not path.is_file():
        raise _broken(folder, f"{RECORD_FILE}, which is written last, is missing")
    try:
        record: dict[str, Any] = json.loads(path.read_bytes())
        files = dict(record["files"])
    except (ValueError, KeyError, TypeError) as error:
        raise _broken(folder, f"{RECORD_FILE} cannot be read ({error})") from error
    for name, expected in files.items():
        if not (folder / name).is_file():
            raise _broken(folder, f"{name} is missing")
        if sha256_of(folder / name) != expected:
            raise _broken(folder, f"{name} was changed after it was saved")
    return record


def _broken(folder: Path, why: str) -> BrokenFileError:
    return BrokenFileError(f"the int8 model in {folder} cannot be used", why=why, fix="save or quantize it again")
