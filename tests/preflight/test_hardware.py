"""Precision and quantization against the device."""

from __future__ import annotations

from typing import Any

import pytest

from emobench.preflight.hardware import precision, quantization
from tests.preflight.planned_cases import a_case, only, planned

CUDA: dict[str, Any] = {"kind": "cuda", "name": "a GPU", "fast_bf16": True, "capability": (8, 0)}


def test_what_runs_is_not_mentioned() -> None:
    """fp32 on a CPU, bf16 where it is fast and nf4 with LoRA on a GPU are nobody's problem."""
    assert not list(precision(planned()))
    assert not list(precision(planned(a_case(precision="bf16"), fast_bf16=True)))
    case = a_case(precision="nf4", method="lora", device="cuda")
    assert not list(quantization(planned(case, **CUDA)))
    assert not list(precision(planned(case, **CUDA)))


def test_emulated_bf16_is_a_warning() -> None:
    """On a CPU without the instructions bf16 runs, and slowly."""
    found = only(precision(planned(a_case(precision="bf16"))))
    assert found.level == "warn"
    assert "precision bf16 on cpu is emulated" in found.problem
    assert "neither amx_bf16 nor avx512_bf16" in found.why
    assert found.fixes[0].setting == '-k "fp32"'


def test_an_old_gpu_is_told_where_bf16_begins() -> None:
    """bf16 on a GPU of capability 7.5 is emulated; fp16 is what it is good at."""
    turing = {**CUDA, "fast_bf16": False, "capability": (7, 5)}
    found = only(precision(planned(a_case(precision="bf16", device="cuda"), **turing)))
    assert "compute capability 8.0" in found.why
    assert found.fixes[0].setting == '-k "fp16"'


def test_fp16_on_a_cpu_stops() -> None:
    """fp16 is not run on a CPU, for the reason the table of combinations gives."""
    found = only(precision(planned(a_case(precision="fp16"))))
    assert (found.check, found.level) == ("precision", "stop")
    assert "no fast kernels on the cpu" in found.why


@pytest.mark.parametrize(("model", "expected"), [("gemma-3-270m", ["warn"]), ("qwen2.5-1.5b", [])])
def test_fp16_overflows_in_gemma(model: str, expected: list[str]) -> None:
    """The families whose activations fp16 cannot hold are warned of; others are not."""
    found = list(precision(planned(a_case(model=model, precision="fp16", device="cuda"), **CUDA)))
    assert [item.level for item in found] == expected


def test_quantized_weights_are_trained_through_adapters_only() -> None:
    """Full fine-tuning at nf4 stops under the name of quantization, not of precision."""
    case = a_case(precision="nf4", device="cuda")
    found = only(quantization(planned(case, **CUDA)))
    assert (found.check, found.level) == ("quantization", "stop")
    assert "take lora" in found.why
    assert not list(precision(planned(case, **CUDA)))


def test_a_gpu_below_what_the_kernels_need_stops() -> None:
    """int8-bnb needs capability 7.5; both numbers are named."""
    case = a_case(precision="int8-bnb", method="lora", device="cuda")
    found = only(quantization(planned(case, **{**CUDA, "capability": (7, 0)})))
    assert "needs compute capability 7.5 and a GPU has 7.0" in found.why


def test_a_missing_package_is_one_command() -> None:
    """Quantization without its package stops with the command that installs it."""
    case = a_case(precision="int8", method="lora")
    found = only(quantization(planned(case, packages=frozenset())))
    assert "lacks the package torchao" in found.problem
    assert found.fixes[0].setting == 'pip install "emobench[quant]"'


def test_what_was_tried_counts_more_than_what_is_allowed() -> None:
    """A precision whose operator did not run here stops, whatever the table says; one that ran does not."""
    case = a_case(precision="bf16")
    found = only(precision(planned(case, fast_bf16=True, precisions={"bf16": False})))
    assert found.level == "stop"
    assert "a small operator in bf16 did not run on a processor" in found.why
    assert not list(precision(planned(case, fast_bf16=True, precisions={"bf16": True})))
