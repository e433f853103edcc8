"""ONNX Runtime sessions: opened on the provider asked for or not at all, and called with torch tensors.

ONNX Runtime goes on with the CPU where another provider does not start, and puts single nodes there; both are looked
for and are errors. Exports nothing.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from emobench.devices import synchronize
from emobench.errors import DoesNotFitError, UnsupportedError
from emobench.extras import require
from emobench.models.onnx_export import INPUTS, OUTPUT
from emobench.specs import DeviceKind

PROVIDERS: Mapping[DeviceKind, str] = MappingProxyType({"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"})
"""What a device's session must report as its first provider."""

HEAVY_NODES = frozenset(
    {"MatMul", "Gemm", "FusedMatMul", "FusedGemm", "Attention", "MultiHeadAttention", "Softmax", "LayerNormalization"}
)
"""Operators that must run on the provider asked for; ONNX Runtime puts arithmetic on shapes on the CPU by design."""

Call = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def open_session(path: Path, device: DeviceKind, *, threads: int, profile: Path | None = None) -> Any:
    """Load an ONNX file on the device's provider, with ``threads`` intra-op threads.

    ``profile`` is where a trace of every node begins its file name, see :func:`nodes_by_provider`.

    Raises:
        MissingExtraError: onnxruntime is not installed.
        UnsupportedError: the provider is not in this build, did not start, or lacks an operator of the graph.
    """
    ort = require("onnxruntime", feature="backend onnxruntime", extra="onnx")
    provider = PROVIDERS[device]
    available = ort.get_available_providers()
    if provider not in available:
        raise UnsupportedError(
            f"onnxruntime {ort.__version__} has no {provider}",
            why=f"this build has {', '.join(available)}",
            fix="run: pip uninstall onnxruntime, then pip install onnxruntime-gpu",
        )
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Errors only: it prints of each graph which weights it leaves out.
    options.log_severity_level = 3
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile)
    chosen = [(provider, _provider_options(device))]
    try:
        session = ort.InferenceSession(str(path), options, providers=chosen, enable_fallback=0)
    except _failures() as error:
        raise _as_error(error, f"onnxruntime cannot load the exported graph on {provider}") from error
    check_provider(session, provider)
    return session


def check_provider(session: Any, provider: str) -> None:
    """Raise :class:`UnsupportedError` where a session's first provider is not the one asked for."""
    used = session.get_providers()
    if not used or used[0] != provider:
        raise UnsupportedError(
            f"onnxruntime runs on {used[0] if used else 'no provider'}, not on {provider}",
            why="the provider asked for did not start, and onnxruntime went on without it",
            fix="install the CUDA and cuDNN versions this onnxruntime was built for",
        )


def _provider_options(device: DeviceKind) -> dict[str, str]:
    if device == "cpu":
        return {}
    # By default it rounds fp32 products to TF32, which torch does only when told to.
    tf32 = torch.backends.cuda.matmul.allow_tf32
    return {"device_id": str(torch.cuda.current_device()), "use_tf32": "1" if tf32 else "0"}


def session_call(session: Any, device: DeviceKind) -> Call:
    """A call of token ids and mask (batch, tokens) that returns logits (batch, classes) on the same device."""
    return _host_call(session) if device == "cpu" else _bound_call(session, device)


def _host_call(session: Any) -> Call:
    names = [OUTPUT]
    failures = _failures()

    def call(input_ids_BT: torch.Tensor, attention_mask_BT: torch.Tensor) -> torch.Tensor:
        feeds = {INPUTS[0]: input_ids_BT.numpy(), INPUTS[1]: attention_mask_BT.numpy()}
        try:
            return torch.from_numpy(session.run(names, feeds)[0])
        except failures as error:
            raise _as_error(error, f"onnxruntime failed on a batch of {_shape(input_ids_BT)} tokens") from error

    return call


def _bound_call(session: Any, device: DeviceKind) -> Call:
    """On the device inputs and outputs are bound where they lie: nothing is copied to the host and back."""
    output = session.get_outputs()[0]
    num_labels = int(output.shape[1])
    dtype = {"float": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}[
        output.type.removeprefix("tensor(").removesuffix(")")
    ]
    failures = _failures()

    def call(input_ids_BT: torch.Tensor, attention_mask_BT: torch.Tensor) -> torch.Tensor:
        logits_BK = torch.empty((len(input_ids_BT), num_labels), dtype=dtype, device=input_ids_BT.device)
        binding = session.io_binding()
        inputs = [tensor.contiguous() for tensor in (input_ids_BT, attention_mask_BT)]
        for name, tensor in zip(INPUTS, inputs, strict=True):
            binding.bind_input(name, *_place(tensor, device))
        binding.bind_output(OUTPUT, *_place(logits_BK, device))
        # The session has a stream of its own, which does not wait for torch's; it waits for itself at the end.
        synchronize(device)
        try:
            session.run_with_iobinding(binding)
        except failures as error:
            raise _as_error(error, f"onnxruntime failed on a batch of {_shape(input_ids_BT)} tokens") from error
        return logits_BK

    return call


_ONNX_TYPES: Mapping[torch.dtype, int] = MappingProxyType(
    {torch.float32: 1, torch.int64: 7, torch.float16: 10, torch.bfloat16: 16}
)
"""The numbers of ``onnx.TensorProto.DataType``; numpy, whose types would do as well, has no bf16."""


def _place(tensor: torch.Tensor, device: DeviceKind) -> tuple[str, int, int, list[int], int]:
    return device, tensor.device.index or 0, _ONNX_TYPES[tensor.dtype], list(tensor.shape), tensor.data_ptr()


def _shape(tensor: torch.Tensor) -> str:
    return " x ".join(map(str, tensor.shape))


def _failures() -> tuple[type[Exception], ...]:
    """Onnxruntime's exceptions, which share no base of their own."""
    state = require("onnxruntime.capi.onnxruntime_pybind11_state", feature="backend onnxruntime", extra="onnx")
    return (state.Fail, state.NotImplemented, state.RuntimeException, state.EPFail, state.InvalidGraph)


def _as_error(error: Exception, problem: str) -> DoesNotFitError | UnsupportedError:
    text = str(error)
    why = next(iter(text.splitlines()), type(error).__name__)[:300]
    if "Failed to allocate memory" in text or "bad_alloc" in text:
        return DoesNotFitError(problem, why=why, fix="take a smaller batch or a shorter length")
    return UnsupportedError(problem, why=why, fix="take another precision, or backend eager")


def nodes_by_provider(path: Path, device: DeviceKind, inputs: tuple[torch.Tensor, torch.Tensor]) -> dict[str, int]:
    """How many nodes of the graph ran on each provider, from a traced call in a session of its own.

    Raises:
        UnsupportedError: a node of :data:`HEAVY_NODES` ran elsewhere than on the device's provider.
    """
    with tempfile.TemporaryDirectory() as folder:
        session = open_session(path, device, threads=1, profile=Path(folder, "nodes"))
        session_call(session, device)(*inputs)
        events = json.loads(Path(session.end_profiling()).read_bytes())
    return check_nodes(events, PROVIDERS[device])


def check_nodes(events: list[dict[str, Any]], provider: str) -> dict[str, int]:
    """Count a trace's nodes by provider; raises as :func:`nodes_by_provider` does."""
    nodes = {
        event["name"]: (event["args"]["op_name"], event["args"]["provider"])
        for event in events
        if event.get("cat") == "Node" and event.get("args", {}).get("provider")
    }
    strays = sorted(
        {f"{kind} on {place}" for kind, place in nodes.values() if kind in HEAVY_NODES and place != provider}
    )
    if strays:
        raise UnsupportedError(
            f"onnxruntime runs a part of the model elsewhere than on {provider}",
            why=", ".join(strays),
            fix="take another precision, or backend eager",
        )
    return dict(Counter(place for _, place in nodes.values()))
