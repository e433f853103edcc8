"""What runs a classifier's forward pass: torch as it is, torch.compile, or ONNX Runtime. Measures nothing.

Everything that happens once (compiling, exporting, loading a session) happens in :func:`prepare_backend`, which also
compares the answers with eager's on inputs of the very shape that will be timed. No backend gives way to another: one
that cannot run, or that quietly ran elsewhere, is an error.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Self, cast

import torch

from emobench.catalogue.backends import (
    ONNX_EXTRA,
    backend_absent_reason,
    backend_why_not,
    missing_onnx_packages,
)
from emobench.errors import ChangedAnswersError, UnsupportedError
from emobench.extras import require
from emobench.models.compiled import Inputs, compile_forward, graph_count
from emobench.models.load import LoadedModel
from emobench.models.onnx_export import OPSET, Exported, LogitsOnly, export_attention, kept_export, write_export
from emobench.models.onnx_session import Call, nodes_by_provider, open_session, session_call
from emobench.specs import Backend, Precision

TOLERANCES: Mapping[Precision, float] = MappingProxyType(
    {"fp32": 1e-3, "int8": 1e-3, "fp16": 2e-2, "bf16": 0.1, "int8-bnb": 0.1, "nf4": 0.1}
)
"""Largest difference allowed between the logits of two backends, as a share of the largest reference logit.

Measured on a CPU, as such shares: fp32 2e-6 (MiniLM and a two-layer model of every family, ONNX Runtime and
torch.compile); on MiniLM int8, computed in fp32, 2e-6 (both), fp16 1.2e-3 (ONNX Runtime), bf16 1.3e-2, nf4 1e-2 and
int8-bnb 4e-2 (torch.compile). The rest is room for deeper models, longer sums and other devices.
Quantizing weights changes answers more: that is judged by accuracy, not here.
"""

SMALLEST_SCALE = 1e-2
"""Logits below this are compared as if the largest were this: the rounding of a sum does not shrink with it."""


class Prepared:
    """A backend ready to be timed; ``close`` or the end of a ``with`` block drops its session and temporary files."""

    backend: Backend
    call: Call
    """Token ids and attention mask (batch, tokens) of int64 on the model's device to logits (batch, classes)."""
    seconds: float
    """Time to compile, or to export and load the session; 0 for eager."""
    bytes_on_disk: int | None
    """Of the ONNX file with its weights; None for the others."""
    facts: dict[str, Any]
    """What really ran, as plain values: threads, attention, providers, opset, graph breaks, largest difference."""
    notes: tuple[str, ...]
    """What a reader of the results must know."""

    def __init__(
        self,
        *,
        backend: Backend,
        call: Call,
        seconds: float,
        facts: dict[str, Any],
        bytes_on_disk: int | None = None,
        notes: tuple[str, ...] = (),
        cleanup: ExitStack | None = None,
        graphs: Callable[[], int] | None = None,
    ) -> None:
        self.backend = backend
        self.call = call
        self.seconds = seconds
        self.bytes_on_disk = bytes_on_disk
        self.facts = facts
        self.notes = notes
        self._cleanup = cleanup or ExitStack()
        self._graphs = graphs or (lambda: 0)
        self._graphs_before = self._graphs()

    def recompiles(self) -> int:
        """Graphs compiled in this process since the backend was prepared; above 0, a timed call may hold compiling."""
        return self._graphs() - self._graphs_before

    def close(self) -> None:
        """Drop session, compiled code and temporary files; calling it again does nothing."""
        self.call = _closed
        self._cleanup.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def prepare_backend(
    loaded: LoadedModel,
    backend: Backend,
    *,
    rows: int,
    length: int,
    keep: bool = True,
    progress: Callable[[str], None] | None = None,
) -> Prepared:
    """Make a loaded sequence classifier run on a backend, and check its answers against eager.

    The model is set to evaluation mode. ``compile`` is for batches of exactly ``rows`` x ``length`` tokens, the others
    take any shape. An export of pretrained weights that no method trained is kept in the cache unless ``keep`` is
    False; any other goes to a temporary folder.

    Raises:
        UnsupportedError: the backend cannot run this precision on this device, lacks a compiler, compiled nothing, or
            ran on another provider than the device's.
        MissingExtraError: the packages of the extra ``onnx`` are not installed.
        ChangedAnswersError: the logits differ from eager's by more than :data:`TOLERANCES`.
    """
    check_possible(loaded, backend)
    loaded.model.train(False)
    if backend == "eager":
        return Prepared(backend=backend, call=_eager_call(loaded), seconds=0.0, facts=_facts(loaded, backend))
    if backend == "compile":
        prepared = _compiled(loaded, rows, length)
    else:
        prepared = _onnx(loaded, rows, length, keep=keep, progress=progress)
    try:
        prepared.facts |= _compare(loaded, prepared.call, rows, length)
    except BaseException:
        prepared.close()
        raise
    return prepared


def check_possible(loaded: LoadedModel, backend: Backend) -> None:
    """Raise where a backend cannot run a model here, before anything is compiled or exported."""
    problem = f"backend {backend!r} cannot run {loaded.spec.id!r} at {loaded.precision} on {loaded.device}"
    if reason := backend_why_not(backend, loaded.precision, loaded.device):
        raise UnsupportedError(problem, why=reason, fix="take backend eager")
    if backend == "onnxruntime":
        for package in missing_onnx_packages():
            require(package, feature="backend onnxruntime", extra=ONNX_EXTRA)
    if absent := backend_absent_reason(backend, loaded.device):
        raise UnsupportedError(problem, why=absent[0], fix=absent[1])


def check_answers(reference_logits: torch.Tensor, logits: torch.Tensor, precision: Precision) -> float:
    """The largest absolute difference between logits of equal shape, where it is within the precision's tolerance.

    Raises:
        ChangedAnswersError: it is larger, the shapes differ, or a logit is NaN or infinite.
    """
    if reference_logits.shape != logits.shape:
        shapes = [" x ".join(map(str, tensor.shape)) for tensor in (logits, reference_logits)]
        raise _changed(f"the logits have shape {shapes[0]} where the reference has {shapes[1]}", "")
    reference, found = (tensor.detach().double().cpu() for tensor in (reference_logits, logits))
    if not (reference.isfinite().all() and found.isfinite().all()):
        counts = [int((~tensor.isfinite()).sum()) for tensor in (found, reference)]
        raise _changed(f"{counts[0]} logits are not finite, and {counts[1]} of the reference", "")
    difference = float((found - reference).abs().max())
    scale = max(float(reference.abs().max()), SMALLEST_SCALE)
    if difference > TOLERANCES[precision] * scale:
        share = TOLERANCES[precision]
        raise _changed(
            f"the largest logit difference is {difference:.3g}",
            f"the tolerance at {precision} is {share * scale:.3g}, {share:g} of the largest logit ({scale:.3g})",
        )
    return difference


def check_inputs(loaded: LoadedModel, rows: int, length: int) -> tuple[Inputs, Inputs]:
    """Two batches of token ids and mask (rows, length): one without padding, one padded by up to half a row.

    Ids are drawn from a fixed seed, none of them the pad token, and padded on the side the model's row says.
    """
    vocabulary, pad = int(loaded.spec.config["vocab_size"]), int(loaded.model.config.pad_token_id or 0)
    generator = torch.Generator().manual_seed(0)
    low = min(100, vocabulary // 2)
    full_BT = torch.randint(low, vocabulary, (rows, length), generator=generator)
    full_BT[full_BT == pad] = low + 1 if pad == low else low
    count_B1 = torch.tensor([[(row + 1) * (length // 2) // rows] for row in range(rows)])
    place_T = torch.arange(length)
    if loaded.spec.padding_side == "right":
        place_T = place_T.flip(0)
    mask_BT = (place_T >= count_B1).long()
    padded_BT = torch.where(mask_BT.bool(), full_BT, torch.full_like(full_BT, pad))
    device = loaded.device
    full, padded = (full_BT, torch.ones_like(full_BT)), (padded_BT, mask_BT)
    return (full[0].to(device), full[1].to(device)), (padded[0].to(device), padded[1].to(device))


def _compare(loaded: LoadedModel, call: Call, rows: int, length: int) -> dict[str, Any]:
    reference = _eager_call(loaded)
    differences = [
        check_answers(reference(*inputs), call(*inputs), loaded.precision)
        for inputs in check_inputs(loaded, rows, length)
    ]
    return {"largest_logit_difference": max(differences), "tolerance_share": TOLERANCES[loaded.precision]}


def _facts(loaded: LoadedModel, backend: Backend) -> dict[str, Any]:
    attention = str(loaded.model.config._attn_implementation)
    return {"backend": backend, "threads": torch.get_num_threads(), "attention": attention}


def _eager_call(loaded: LoadedModel) -> Call:
    model = LogitsOnly(loaded.model)

    def call(input_ids_BT: torch.Tensor, attention_mask_BT: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            return cast(torch.Tensor, model(input_ids_BT, attention_mask_BT))

    return call


def _compiled(loaded: LoadedModel, rows: int, length: int) -> Prepared:
    compiled = compile_forward(loaded, rows, length, check_inputs(loaded, rows, length))
    breaks = compiled.facts["graph_breaks"]
    return Prepared(
        backend="compile",
        call=compiled.call,
        seconds=compiled.seconds,
        facts=_facts(loaded, "compile") | compiled.facts,
        notes=(f"torch.compile broke the graph {breaks} times",) if breaks else (),
        graphs=graph_count,
    )


def _onnx(
    loaded: LoadedModel, rows: int, length: int, *, keep: bool, progress: Callable[[str], None] | None
) -> Prepared:
    started = time.perf_counter()
    device, threads = loaded.device, torch.get_num_threads()
    with ExitStack() as stack:
        exported = _export(loaded, stack, keep=keep, progress=progress)
        session_started = time.perf_counter()
        session = open_session(exported.path, device, threads=threads)
        session_seconds = time.perf_counter() - session_started
        call = session_call(session, device)
        facts = {
            "backend": "onnxruntime",
            "threads": threads,
            "attention": export_attention(loaded.model),
            "provider": session.get_providers()[0],
            "providers": list(session.get_providers()),
            "opset": OPSET,
            "bytes_on_disk": exported.bytes_on_disk,
            "from_cache": exported.seconds is None,
            "export_seconds": exported.seconds,
            "session_seconds": session_seconds,
            "io_binding": device != "cpu",
        }
        seconds = time.perf_counter() - started
        if device != "cpu":
            facts["nodes_by_provider"] = nodes_by_provider(exported.path, device, check_inputs(loaded, rows, length)[1])
        return Prepared(
            backend="onnxruntime",
            call=call,
            seconds=seconds,
            bytes_on_disk=exported.bytes_on_disk,
            facts=facts,
            notes=("the export was in the cache: its time is not in the seconds",) if exported.seconds is None else (),
            cleanup=stack.pop_all(),
        )


def _export(loaded: LoadedModel, stack: ExitStack, *, keep: bool, progress: Callable[[str], None] | None) -> Exported:
    if keep and loaded.weights == "pretrained" and loaded.method is None:
        return kept_export(loaded, progress=progress)
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="emobench-onnx-"))
    if progress is not None:
        progress(f"{loaded.spec.id}: exporting to ONNX")
    return write_export(loaded, Path(folder, "export"))


def _closed(input_ids_BT: torch.Tensor, attention_mask_BT: torch.Tensor) -> torch.Tensor:
    raise ValueError("this backend was closed; prepare it again")


def _changed(what: str, tolerance: str) -> ChangedAnswersError:
    return ChangedAnswersError(
        f"the answers are not those of the original: {what}",
        why=tolerance or "no tolerance allows that",
        fix="take backend eager, or another precision",
    )
