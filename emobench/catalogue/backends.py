"""Which backend runs which precision on which device, and what each needs to be installed. Imports nothing heavy.

Whether a precision is timed on a device at all is the question of :mod:`emobench.catalogue.combinations`.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import get_args

from emobench import errors
from emobench.catalogue.combinations import PRECISIONS
from emobench.devices import installed
from emobench.specs import Backend, DeviceKind, Precision

BACKENDS: tuple[Backend, ...] = get_args(Backend)

ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
"""Import names, which are the distributions' names too but for GPU builds of onnxruntime."""

ONNX_EXTRA = "onnx"
"""EmoBench extra that installs them."""

_ALLOWED: Mapping[tuple[Backend, DeviceKind], tuple[Precision, ...]] = MappingProxyType(
    {
        ("compile", "cpu"): ("fp32", "bf16", "int8", "nf4"),
        ("compile", "cuda"): ("fp32", "bf16", "fp16", "int8", "nf4"),
        ("onnxruntime", "cpu"): ("fp32", "int8"),
        ("onnxruntime", "cuda"): ("fp32", "bf16", "fp16", "int8"),
    }
)
"""What is not here is refused, but for eager, which runs whatever was loaded."""

_CUDA_PROVIDER_FILES = ("libonnxruntime_providers_cuda.so", "onnxruntime_providers_cuda.dll")


def backend_why_not(backend: Backend, precision: Precision, device: DeviceKind) -> str | None:
    """The reason in words why a backend cannot run a precision on a device, or None where it can.

    Raises :class:`errors.SpecError` for a name that is in no table.
    """
    tables = (
        ("backend", backend, BACKENDS),
        ("precision", precision, PRECISIONS),
        ("device", device, get_args(DeviceKind)),
    )
    for kind, given, known in tables:
        if given not in known:
            raise errors.unknown_name(kind, given, known)
    if backend == "eager" or precision in _ALLOWED.get((backend, device), ()):
        return None
    return _reason(backend, precision, device)


def backend_absent_reason(backend: Backend, device: DeviceKind) -> tuple[str, str] | None:
    """What a backend lacks on this machine as (reason, fix), found without importing torch; None where it is here."""
    if backend == "compile":
        return _compile_lacks(device)
    if backend == "onnxruntime":
        return _onnx_lacks(device)
    return None


def missing_onnx_packages() -> tuple[str, ...]:
    """The packages of :data:`ONNX_PACKAGES` that are not installed."""
    return tuple(name for name in ONNX_PACKAGES if not installed(name))


def _reason(backend: Backend, precision: Precision, device: DeviceKind) -> str:
    if device == "mps":
        return (
            f"{backend} is not offered on mps: torch's compiler is a prototype there and ONNX Runtime has no provider"
        )
    if precision == "fp16":
        return f"fp16 has no fast kernels on the {device}; take fp32"
    if backend == "compile":
        return (
            f"{precision} (bitsandbytes) breaks the graph at every layer: its kernels have shapes that depend on data"
        )
    if precision in ("int8-bnb", "nf4"):
        return f"{precision} (bitsandbytes) has kernels of its own, which are no ONNX operators; take int8 or fp32"
    return f"ONNX Runtime's CPU provider has no {precision} kernels; take fp32"


def _compile_lacks(device: DeviceKind) -> tuple[str, str] | None:
    if device == "cuda" and not installed("triton"):
        return "torch.compile on cuda needs the package 'triton', which is not installed", "run: pip install triton"
    names, variable = _compilers(device)
    if not any(shutil.which(name) for name in names):
        return (
            f"torch.compile on {device} needs a compiler, and {' or '.join(names)} is not on the PATH",
            f"install a C and C++ compiler (Debian: apt install g++), or name one in {variable}",
        )
    if not _python_header().is_file():
        return (
            f"torch.compile builds Python modules, and {_python_header().name} is not on this machine",
            "install Python's headers (Debian: apt install python3-dev)",
        )
    return None


def _compilers(device: DeviceKind) -> tuple[tuple[str, ...], str]:
    """Names of compilers, one of which must be there, and the variable that overrides them.

    On the CPU torch writes C++; on CUDA triton builds its launchers in C.
    """
    variable = "CC" if device == "cuda" else "CXX"
    if given := os.environ.get(variable):
        return (given,), variable
    if device == "cuda":
        return ("gcc", "clang", "cc"), variable
    return ({"darwin": "clang++", "win32": "cl"}.get(sys.platform, "g++"),), variable


def _python_header() -> Path:
    return Path(sysconfig.get_paths()["include"], "Python.h")


def _onnx_lacks(device: DeviceKind) -> tuple[str, str] | None:
    if missing := missing_onnx_packages():
        are = "is" if len(missing) == 1 else "are"
        return (
            f"backend onnxruntime needs {' and '.join(missing)}, which {are} not installed",
            f'run: pip install "emobench[{ONNX_EXTRA}]"',
        )
    if device == "cuda" and not _has_cuda_provider():
        return (
            "the onnxruntime that is installed has no CUDA provider",
            "run: pip uninstall onnxruntime, then pip install onnxruntime-gpu",
        )
    return None


def _has_cuda_provider() -> bool:
    spec = importlib.util.find_spec("onnxruntime")
    if spec is None or spec.origin is None:
        return False
    return any(Path(spec.origin).parent.joinpath("capi", name).is_file() for name in _CUDA_PROVIDER_FILES)
