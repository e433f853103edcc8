"""The table of backends, and what is said of one that is not installed."""

from __future__ import annotations

import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import get_args

import pytest

from emobench import errors
from emobench.catalogue import backends
from emobench.catalogue.backends import backend_absent_reason, backend_why_not
from emobench.catalogue.combinations import PRECISIONS, is_allowed
from emobench.kinds import INFERENCE
from emobench.specs import DeviceKind

ALLOWED = {
    ("cpu", "fp32"): ("eager", "compile", "onnxruntime"),
    ("cpu", "bf16"): ("eager", "compile"),
    ("cpu", "int8"): ("eager", "compile", "onnxruntime"),
    ("cpu", "nf4"): ("eager", "compile"),
    ("cuda", "fp32"): ("eager", "compile", "onnxruntime"),
    ("cuda", "bf16"): ("eager", "compile", "onnxruntime"),
    ("cuda", "fp16"): ("eager", "compile", "onnxruntime"),
    ("cuda", "int8"): ("eager", "compile", "onnxruntime"),
    ("cuda", "nf4"): ("eager", "compile"),
}


def test_backends_are_allowed_as_documented() -> None:
    """The table says what the written-out one says; what it refuses has a reason naming precision or device."""
    for device, precision in product(get_args(DeviceKind), PRECISIONS):
        allowed = ALLOWED.get((device, precision), ("eager",))
        found = [name for name in backends.BACKENDS if backend_why_not(name, precision, device) is None]
        assert tuple(found) == allowed
        for backend in set(backends.BACKENDS) - set(allowed):
            reason = backend_why_not(backend, precision, device)
            assert reason is not None
            assert precision in reason or device in reason
            advice = reason.split("; take ")[1].split(" or ") if "; take " in reason else []
            assert all(is_allowed(INFERENCE, None, word, device) for word in advice)


def test_an_unknown_backend_gets_the_nearest() -> None:
    """A misspelt backend is answered with the nearest one."""
    with pytest.raises(errors.SpecError, match=r"unknown backend 'onnx'; .* did you mean 'onnxruntime'\?"):
        backend_why_not("onnx", "fp32", "cpu")


def test_a_missing_package_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing package of the extra is named, with the command that installs it."""
    monkeypatch.setattr(backends, "installed", lambda name: name != "onnxscript")
    assert backend_absent_reason("onnxruntime", "cpu") == (
        "backend onnxruntime needs onnxscript, which is not installed",
        'run: pip install "emobench[onnx]"',
    )


def test_a_cpu_build_of_onnxruntime_is_no_cuda_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    """On CUDA a build of onnxruntime without that provider's library is absent, with the package to take instead."""
    monkeypatch.setattr(backends, "installed", lambda name: True)
    monkeypatch.setattr(backends, "_CUDA_PROVIDER_FILES", ("no such library",))
    reason, fix = backend_absent_reason("onnxruntime", "cuda") or ("", "")
    assert "no CUDA provider" in reason
    assert "pip install onnxruntime-gpu" in fix
    monkeypatch.setattr(backends, "_CUDA_PROVIDER_FILES", ("__init__.py",))
    assert backend_absent_reason("onnxruntime", "cuda") is None


def test_a_missing_compiler_or_header_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without compiler, without Python's headers and without triton, compile is absent; with all three it is here."""
    monkeypatch.setattr(backends, "installed", lambda name: True)
    monkeypatch.setattr(backends.sys, "platform", "linux")
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    reason, fix = backend_absent_reason("compile", "cpu") or ("", "")
    assert "g++ is not on the PATH" in reason
    assert "CXX" in fix
    compiler = tmp_path / "g++"
    compiler.touch(mode=0o755)
    monkeypatch.setattr(backends, "_python_header", lambda: tmp_path / "Python.h")
    assert "Python.h is not on this machine" in (backend_absent_reason("compile", "cpu") or [""])[0]
    (tmp_path / "Python.h").touch()
    assert backend_absent_reason("compile", "cpu") is None
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert "no-such-compiler is not on the PATH" in (backend_absent_reason("compile", "cpu") or [""])[0]
    monkeypatch.setattr(backends, "installed", lambda name: name != "triton")
    assert "'triton'" in (backend_absent_reason("compile", "cuda") or [""])[0]


def test_asking_imports_nothing_heavy() -> None:
    """Whether a backend is here is found without importing torch or onnxruntime."""
    code = (
        "import sys; from emobench.catalogue.backends import backend_absent_reason as ask; "
        "[ask(name, kind) for name in ('compile', 'onnxruntime') for kind in ('cpu', 'cuda')]; "
        "assert not {'torch', 'onnx', 'onnxscript', 'onnxruntime', 'triton'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
