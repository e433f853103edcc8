"""A classifier as an ONNX file: exported once for given weights, kept in the cache. Runs nothing.

The graph takes ``input_ids`` and ``attention_mask``, both (batch, tokens) of int64 with both axes free, and gives
``logits`` (batch, classes). Weights lie in a file beside the graph, since one protobuf message holds at most 2 GB.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import torch
from filelock import FileLock
from torch import nn
from transformers import PreTrainedModel

from emobench.errors import UnsupportedError
from emobench.files import cache_folder, write_bytes
from emobench.models.load import LoadedModel

OPSET = 20
"""Version of the ONNX operators the graph is written in."""

FORMAT = 1
"""Raised when this module writes another graph for the same model: part of an export's key."""

GRAPH_FILE = "model.onnx"
MARKER = "export.json"
"""Written last; names every file of the export and its size."""

INPUTS = ("input_ids", "attention_mask")
OUTPUT = "logits"

_EXAMPLE = (2, 3)
"""Rows and tokens the graph is traced with; 1 would be taken for a constant."""


@dataclass(frozen=True, kw_only=True)
class Exported:
    """An ONNX file on disk."""

    path: Path
    """Of the graph; its weights lie beside it."""
    bytes_on_disk: int
    """Of graph and weights."""
    seconds: float | None
    """Time of the export; None where it was in the cache."""


class LogitsOnly(nn.Module):
    """A classifier that takes token ids and a mask and returns logits (batch, classes), without a KV cache."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model
        # Of this wrapper only: the exporter warns of a wrapper in training mode.
        self.training = False
        # Encoders do not know the argument; a classifier calls nothing twice, so decoders need no cache.
        self.options = {"use_cache": False} if getattr(model.config, "use_cache", None) else {}

    def forward(self, input_ids_BT: torch.Tensor, attention_mask_BT: torch.Tensor) -> torch.Tensor:
        """Logits (batch, classes) of token ids and mask (batch, tokens)."""
        output = self.model(input_ids=input_ids_BT, attention_mask=attention_mask_BT, **self.options)
        return cast(torch.Tensor, output.logits)


def kept_export(loaded: LoadedModel, *, progress: Callable[[str], None] | None = None) -> Exported:
    """The export of these weights from the cache, made first where it is not there.

    The key holds a checksum of every weight, so that a model changed since (trained, pruned, another head) never meets
    the export of the one it came from. An export is built beside its place and renamed: a half-written one is not used.

    Raises:
        UnsupportedError: see :func:`write_export`.
    """
    say = progress or (lambda line: None)
    folder = cache_folder("onnx", f"{loaded.spec.id}-{loaded.precision}-{export_key(loaded)}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Two runs that start together export once: the second waits and finds the file.
    with FileLock(folder.with_name(f".{folder.name}.lock")):
        seconds = None
        if not is_whole(folder):
            say(f"{loaded.spec.id}: exporting to ONNX")
            seconds = _make(loaded, folder)
    return Exported(path=folder / GRAPH_FILE, bytes_on_disk=size_of(folder), seconds=seconds)


def _make(loaded: LoadedModel, folder: Path) -> float:
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as name:
        target = Path(name, "export")
        exported = write_export(loaded, target)
        sizes = {path.name: path.stat().st_size for path in sorted(target.iterdir())}
        write_bytes(target / MARKER, json.dumps({"revision": loaded.revision, "files": sizes}).encode())
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(target, folder)
    assert exported.seconds is not None
    return exported.seconds


def is_whole(folder: Path) -> bool:
    """Whether a folder holds an export that was finished, every file as long as it was written."""
    marker = folder / MARKER
    if not marker.is_file():
        return False
    try:
        sizes = dict(json.loads(marker.read_bytes())["files"])
    except (ValueError, KeyError, TypeError):
        return False
    found = {path.name: path.stat().st_size for path in folder.iterdir() if path.name != MARKER}
    return GRAPH_FILE in sizes and sizes == found


def write_export(loaded: LoadedModel, folder: Path) -> Exported:
    """Export a classifier into a folder, which is made.

    Raises:
        UnsupportedError: the model has an operation that the exporter cannot write; names model, precision and cause.
    """
    folder.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    ids_BT = torch.ones(_EXAMPLE, dtype=torch.int64, device=loaded.device)
    axes = {0: "batch", 1: "tokens"}
    with torch.no_grad(), plain_attention(loaded.model), quiet_export():
        try:
            program = torch.onnx.export(
                LogitsOnly(loaded.model),
                (ids_BT, torch.ones_like(ids_BT)),
                dynamo=True,
                opset_version=OPSET,
                dynamic_shapes=(axes, dict(axes)),
                input_names=list(INPUTS),
                output_names=[OUTPUT],
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            raise _not_exportable(loaded, error) from error
        assert program is not None
        program.save(folder / GRAPH_FILE, external_data=True)
    return Exported(path=folder / GRAPH_FILE, bytes_on_disk=size_of(folder), seconds=time.perf_counter() - started)


def size_of(folder: Path) -> int:
    """Bytes of the graph and its weights."""
    return sum(path.stat().st_size for path in folder.iterdir() if path.name != MARKER)


def export_key(loaded: LoadedModel) -> str:
    """Hash of what decides the file: every weight, the configuration, precision, device and versions."""
    digest = hashlib.sha256()
    versions = {name: version(name) for name in ("torch", "transformers", "onnx", "onnxscript")}
    config = loaded.model.config.to_json_string(use_diff=False)
    kind, attention = type(loaded.model).__name__, export_attention(loaded.model)
    described = (FORMAT, OPSET, loaded.revision, loaded.precision, loaded.device, kind, attention)
    digest.update(json.dumps([described, versions, config], sort_keys=True).encode())
    for name, tensor in (*loaded.model.named_parameters(), *loaded.model.named_buffers()):
        digest.update(name.encode())
        _add_tensor(digest, tensor.detach())
    return digest.hexdigest()[:32]


def _add_tensor(digest: Any, tensor: torch.Tensor) -> None:
    if hasattr(tensor, "__tensor_flatten__"):
        for part in tensor.__tensor_flatten__()[0]:
            _add_tensor(digest, getattr(tensor, part))
        return
    digest.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
    digest.update(tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)


def export_attention(model: PreTrainedModel) -> str:
    """The attention a model is exported with: its own, or torch's where it has EmoBench's, which is timed for eager."""
    own = str(model.config._attn_implementation)
    return own if own in ("sdpa", "eager") else "sdpa"


@contextmanager
def plain_attention(model: PreTrainedModel) -> Iterator[None]:
    """Give a model :func:`export_attention` inside the block."""
    before = str(model.config._attn_implementation)
    if before == export_attention(model):
        yield
        return
    model.set_attn_implementation(export_attention(model))
    try:
        yield
    finally:
        model.set_attn_implementation(before)


@contextmanager
def quiet_export() -> Iterator[None]:
    """Hold back what the exporter says of its own workings; errors still show."""
    registration = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = registration.level
    # It warns of every operator of torchvision, which no text model has.
    registration.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            # torch's own call of its own deprecated class, made while it copies a graph.
            warnings.filterwarnings("ignore", message=".*LeafSpec", category=FutureWarning, module="copyreg")
            # Both inputs share both axes, as they must; the exporter tells that one name is enough.
            warnings.filterwarnings("ignore", message="# The axis name", category=UserWarning, module=r"torch\.onnx\.")
            yield
    finally:
        registration.setLevel(level)


def _not_exportable(loaded: LoadedModel, error: BaseException) -> UnsupportedError:
    cause = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    lines = str(cause).splitlines() or [type(cause).__name__]
    return UnsupportedError(
        f"model {loaded.spec.id!r} at {loaded.precision} cannot be exported to ONNX",
        why=f"{type(cause).__name__}: {lines[0][:300]}",
        fix="take backend eager or compile",
    )
