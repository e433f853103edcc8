"""Probes: a precision counts as running when its product and gradient ran and were right, and for no other reason."""

from __future__ import annotations

import logging
import warnings

import pytest
import torch
from torch import nn

from emobench.catalogue.combinations import PRECISIONS
from emobench.devices import find_device
from emobench.measurement import probes
from emobench.measurement.probes import TOLERANCE, Probe, linear, probe, probe_device
from emobench.specs import Precision


@pytest.mark.parametrize("precision", PRECISIONS)
def test_each_precision_runs_on_this_cpu(precision: Precision) -> None:
    """With every package installed product and gradient of each precision are right on the CPU, emulated or not."""
    found = probe(precision, "cpu")
    assert found.error is None
    assert found.ok
    assert found.relative_speed is not None
    assert found.relative_speed > 0
    assert (found.relative_speed == 1) or precision != "fp32"


@pytest.mark.cuda
@pytest.mark.parametrize("precision", PRECISIONS)
def test_each_precision_runs_on_cuda(precision: Precision) -> None:
    """With every package installed product and gradient of each precision are right on an NVIDIA GPU."""
    if find_device("cuda") is None:
        pytest.skip("no CUDA device")
    assert probe(precision, "cuda").error is None


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_tolerance_is_that_of_the_precision(precision: Precision) -> None:
    """The product's error is below the tolerance, and where the precision rounds at all not by a factor over 30."""
    draw = torch.Generator().manual_seed(3)
    weight_OI, inputs_BI = (torch.randn(64, 64, generator=draw) for _ in range(2))
    layer = linear(weight_OI, precision, "cpu")
    out_BO = layer(inputs_BI.to(probes.torch_dtype(precision)))
    error = probes._relative_error(out_BO, inputs_BI.double() @ weight_OI.double().T)
    assert error < TOLERANCE[precision]
    assert precision == "fp32" or error > TOLERANCE[precision] / 30


def test_fast_and_wrong_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that gives a wrong answer is an error that says by how much."""

    def wrong(weight_OI: torch.Tensor, precision: Precision, device: str) -> nn.Module:
        return linear(2 * weight_OI, "fp32", "cpu")

    monkeypatch.setattr(probes, "linear", wrong)
    assert probe("fp32", "cpu").error == "the product is wrong by 100% of its size"


def test_a_wrong_gradient_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """A right product with half its gradient is no precision to train in."""

    class Half(nn.Module):
        def forward(self, given_BI: torch.Tensor) -> torch.Tensor:
            mixed_BI = (given_BI + given_BI.detach()) / 2
            return mixed_BI @ self.weight_OI.T

    def half(weight_OI: torch.Tensor, precision: Precision, device: str) -> nn.Module:
        layer = Half()
        layer.weight_OI = weight_OI
        return layer

    monkeypatch.setattr(probes, "linear", half)
    assert probe("fp32", "cpu").error == "its gradient is wrong by 50% of its size"


def test_not_a_number_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that is NaN is not within any tolerance."""
    monkeypatch.setattr(probes, "linear", lambda weight, *others: linear(weight * float("nan"), "fp32", "cpu"))
    assert probe("fp32", "cpu").error == "the product is wrong by nan% of its size"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (RuntimeError("no kernel\nimage"), "RuntimeError: no kernel"),
        (NotImplementedError("mul for Half"), "NotImplementedError: mul for Half"),
        (OSError("libcudart.so: cannot open"), "OSError: libcudart.so: cannot open"),
        (AssertionError(), "AssertionError"),
    ],
)
def test_what_fails_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch, error: Exception, text: str) -> None:
    """What the operator raises is the probe's error; the other precisions are probed all the same."""
    kept = linear

    def failing(weight_OI: torch.Tensor, precision: Precision, device: str) -> nn.Module:
        if precision == "bf16":
            raise error
        return kept(weight_OI, precision, "cpu")

    monkeypatch.setattr(probes, "linear", failing)
    found = probe_device("cpu", ("bf16", "fp32"))
    assert [item.error for item in found] == [text, None]
    assert found[0].relative_speed is None


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its package a quantized precision is not tried."""
    monkeypatch.setattr(probes, "installed", lambda module: module != "bitsandbytes")
    assert probe("nf4", "cpu") == Probe(precision="nf4", device="cpu", error="bitsandbytes is not installed")


def test_a_device_that_is_not_here_is_an_error_and_no_crash() -> None:
    """Asked of a device that torch cannot use, the probe says what torch says."""
    if find_device("cuda") is not None:
        pytest.skip("this machine has one")
    error = probe("fp32", "cuda").error
    assert error is not None
    assert error.startswith(("AssertionError: Torch not compiled", "RuntimeError: "))


def test_nothing_is_changed_for_others() -> None:
    """Random numbers, log levels and warning filters are as before."""
    state, filters = torch.get_rng_state(), list(warnings.filters)
    level = logging.getLogger("bitsandbytes").level
    probe("int8-bnb", "cpu")
    assert torch.equal(state, torch.get_rng_state())
    assert warnings.filters == filters
    assert logging.getLogger("bitsandbytes").level == level
