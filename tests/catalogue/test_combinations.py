"""The table of allowed combinations, against a second writing of it."""

from __future__ import annotations

import tomllib
from itertools import product
from pathlib import Path
from typing import get_args

import pytest

from emobench import errors
from emobench.catalogue import combinations
from emobench.catalogue.combinations import (
    NEEDS,
    PRECISIONS,
    QUANTIZED,
    is_allowed,
    why_not,
)
from emobench.kinds import KINDS, find_kind
from emobench.specs import DeviceKind, MethodName, ShrinkName

ALL = ("head", "full", "lora")
TRAINING = {
    *product(ALL, ("fp32", "bf16"), ("cpu",)),
    ("lora", "int8", "cpu"),
    *product(ALL, ("fp32", "bf16", "fp16"), ("cuda",)),
    *product(("lora",), ("int8", "int8-bnb", "nf4"), ("cuda",)),
    *product(ALL, ("fp32",), ("mps",)),
}
INFERENCE = {
    "cpu": ("fp32", "bf16", "int8"),
    "cuda": ("fp32", "bf16", "fp16", "int8", "int8-bnb", "nf4"),
    "mps": ("fp32", "fp16"),
}


def test_training_is_allowed_as_documented() -> None:
    """The allowed training combinations are the documented ones."""
    every = product(get_args(MethodName), PRECISIONS, get_args(DeviceKind))
    assert {row for row in every if is_allowed(KINDS["finetune"], *row)} == TRAINING


def test_inference_is_allowed_as_documented() -> None:
    """The precisions a model is timed in are the documented ones, for generation as for inference."""
    for device, precisions in INFERENCE.items():
        for precision in PRECISIONS:
            for kind in (KINDS["inference"], KINDS["generation"]):
                assert is_allowed(kind, None, precision, device) == (precision in precisions)


def test_shrinking_is_allowed_as_documented() -> None:
    """Every shrinking method starts from fp32, on the cpu and on cuda; training methods shrink nothing."""
    for method, precision, device in product(get_args(ShrinkName), PRECISIONS, get_args(DeviceKind)):
        allowed = precision == "fp32" and device != "mps"
        assert is_allowed(KINDS["shrink"], method, precision, device) == allowed
        reason = why_not(KINDS["shrink"], method, precision, device)
        assert (reason is None) == allowed
        assert reason is None or precision in reason
    with pytest.raises(errors.SpecError, match="unknown method 'full'; known are distill, prune-magnitude"):
        is_allowed(KINDS["shrink"], "full", "fp32", "cpu")
    with pytest.raises(errors.SpecError, match="unknown method 'distill'; known are full, head, lora"):
        is_allowed(KINDS["finetune"], "distill", "fp32", "cpu")


def test_every_refusal_has_a_reason_and_nothing_else_has() -> None:
    """why_not is None exactly where is_allowed says yes; every reason names the precision or the method."""
    for method, precision, device in product(ALL, PRECISIONS, get_args(DeviceKind)):
        reason = why_not(KINDS["finetune"], method, precision, device)
        assert (reason is None) == ((method, precision, device) in TRAINING)
        assert (reason is None) == is_allowed(KINDS["finetune"], method, precision, device)
        if reason is not None:
            assert precision in reason
            assert "; " in reason or ": " in reason


@pytest.mark.parametrize(
    ("combination", "reason"),
    [
        (("finetune", "lora", "nf4", "cpu"), "nf4 (bitsandbytes) is benchmarked on cuda only"),
        (("finetune", "full", "nf4", "cuda"), "method full needs them in fp32 or bf16; take lora"),
        (("finetune", "head", "int8", "cpu"), "int8 weights cannot be trained: method head"),
        (("finetune", "full", "bf16", "mps"), "training on mps is fp32 only"),
        (("inference", None, "bf16", "mps"), "bf16 is not timed on mps; take fp32 or fp16"),
        (("generation", None, "nf4", "mps"), "nf4 has no kernels on mps"),
        (("finetune", "lora", "fp16", "cpu"), "fp16 has no fast kernels on the cpu; take bf16 or fp32"),
    ],
)
def test_reasons_in_words(combination: tuple[str, str | None, str, str], reason: str) -> None:
    """A refused case says why, and what to take instead."""
    kind, *rest = combination
    assert reason in why_not(KINDS[kind], *rest)


def test_advice_is_itself_allowed() -> None:
    """Every precision a reason tells the user to take is allowed for the same method and device."""
    for method, precision, device in product((*ALL, None), PRECISIONS, get_args(DeviceKind)):
        kind = KINDS["finetune" if method else "inference"]
        reason = why_not(kind, method, precision, device) or ""
        advice = reason.split("; take ")[1].split(" or ") if "; take " in reason else []
        for word in advice:
            if word in PRECISIONS:
                assert is_allowed(kind, method, word, device), reason
            else:
                assert is_allowed(kind, word, precision, device), reason


def test_unknown_names_get_the_nearest() -> None:
    """A misspelt precision, device, method or kind is answered with the nearest one."""
    with pytest.raises(errors.SpecError, match=r"unknown precision 'fp61'; .* did you mean 'fp16'\?"):
        is_allowed(KINDS["finetune"], "lora", "fp61", "cpu")
    with pytest.raises(errors.SpecError, match=r"unknown device 'cuda:0'; .* did you mean 'cuda'\?"):
        is_allowed(KINDS["finetune"], "lora", "fp16", "cuda:0")
    with pytest.raises(errors.SpecError, match=r"unknown method 'loraa'; .* did you mean 'lora'\?"):
        is_allowed(KINDS["finetune"], "loraa", "fp16", "cuda")
    with pytest.raises(errors.SpecError, match=r"unknown kind 'fine-tune'; .* did you mean 'finetune'\?"):
        find_kind("fine-tune")
    with pytest.raises(errors.SpecError, match="unknown method ''"):
        is_allowed(KINDS["finetune"], None, "fp32", "cpu")


def test_quantized_precisions_name_a_package_the_extra_installs() -> None:
    """Each quantized precision needs a package, and pyproject's extra of that name installs it."""
    assert set(NEEDS) == QUANTIZED
    project = tomllib.loads(Path(__file__).parents[2].joinpath("pyproject.toml").read_text())
    for need in NEEDS.values():
        installed = project["project"]["optional-dependencies"][need.extra]
        assert any(line.startswith(need.package) for line in installed)


def test_printed_rows_say_the_same() -> None:
    """The printed table has a row for each device and case, and says yes where a case is allowed."""
    rows = combinations.rows()
    assert len(rows) == len(get_args(DeviceKind)) * (len(get_args(MethodName)) + 2)
    for row in rows:
        kind = row["case"].split()[0]
        assert kind in ("finetune", "inference", "shrink")
        method = {"inference": None, "shrink": "distill"}.get(kind, row["case"].removeprefix("finetune "))
        for precision in PRECISIONS:
            assert row[precision] == ("yes" if is_allowed(KINDS[kind], method, precision, row["device"]) else "-")
