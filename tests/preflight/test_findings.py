"""All checks together: their names, silencing, what stops the rest, and that none ever raises."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emobench.catalogue.datasets import DATASETS
from emobench.catalogue.model_rows import MODELS
from emobench.errors import SpecError
from emobench.preflight.findings import CHECKS, NAMES, check_case, find_silenced
from emobench.preflight.planned import Disk, worst
from tests.preflight.planned_cases import a_case, a_machine, some_data

BAD: dict[str, Any] = {
    "rows": {"train": 90, "validation": 10, "test": 50},
    "class_counts": {"train": {"negative": 85, "positive": 5}, "test": {"negative": 45, "positive": 5}},
    "share_truncated": 0.5,
    "longest_input": None,
    "duplicates": 40,
    "conflicting": 3,
    "overlap": {"test": 4},
    "near_duplicates": 30,
    "leaks": {"test": 9},
    "unknown_share": 0.3,
    "tokens_per_word": 5.0,
}


def everything_wrong() -> tuple[Any, Any, Any]:
    disk = Disk(holds=frozenset({"results", "cache", "temporary"}), folder="/data", free_bytes=10**6)
    case = a_case(precision="bf16", train={"learning_rate": 0.1, "batch_size": 64}, profile="standard")
    return case, a_machine(free_memory_bytes=10**8, disks=(disk,)), some_data(**BAD)


def test_every_check_has_a_name_of_its_own_and_a_meaning() -> None:
    """Names are unique, typable after an option, and each says in a few words what it looks for."""
    names = [check.name for check in CHECKS]
    assert len(set(names)) == len(names)
    assert all(name == name.lower().strip() and " " not in name for name in names)
    assert all(5 < len(check.meaning) < 60 for check in CHECKS)


def test_a_case_with_everything_wrong_hears_of_everything() -> None:
    """Each check finds its own, with numbers, a reason, a fix with its price, and the one switch that silences it."""
    case, machine, data = everything_wrong()
    found = check_case(case, machine=machine, data=data, silenced=["disk"])
    lacking = {check.name for check in CHECKS} - {item.check for item in found}
    assert lacking == {"width", "quantization", "labels", "disk"}
    order = [check.name for check in CHECKS]
    assert [order.index(item.check) for item in found] == sorted(order.index(item.check) for item in found)
    for item in found:
        assert item.case_id == case.id
        assert item.problem
        assert item.why
        assert item.numbers
        assert item.silence == f"--emo-silence {item.check}"
        assert item.fixes
        assert all(fix.text and fix.trade_off for fix in item.fixes)
        assert any(fix.setting for fix in item.fixes), f"{item.problem}: no line to copy"
        assert json.loads(json.dumps(item.as_dict())) == item.as_dict()


@pytest.mark.parametrize("name", [check.name for check in CHECKS])
def test_one_switch_silences_one_check(name: str) -> None:
    """A silenced check is gone and the others stay."""
    case, machine, data = everything_wrong()
    before = check_case(case, machine=machine, data=data)
    after = check_case(case, machine=machine, data=data, silenced=[name])
    assert [item for item in before if item.check != name and item.check != "disk"] == [
        item for item in after if item.check != "disk"
    ]


def test_numbers_that_do_not_go_together_stop_the_rest() -> None:
    """A row that cannot be built is not computed with, whether its finding is silenced or not."""
    case = a_case(config={"num_attention_heads": 0})
    found = check_case(case, machine=a_machine(), data=some_data(**BAD))
    assert [item.check for item in found] == ["width"]
    assert check_case(case, machine=a_machine(), data=some_data(**BAD), silenced=["width"]) == ()


def test_memory_is_not_computed_for_what_cannot_run() -> None:
    """A precision that is not run says so once, without a second finding on its memory or its files."""
    found = check_case(a_case(precision="fp16"), machine=a_machine(free_memory_bytes=1, disks=()), data=None)
    assert [item.check for item in found] == ["precision"]


def test_a_name_that_is_no_check_is_an_error() -> None:
    """Silencing something unknown names the nearest check."""
    assert find_silenced(["leaks", "disk"]) == {"leaks", "disk"}
    with pytest.raises(SpecError, match=r"unknown check to silence: 'leak'; known are .*did you mean 'leaks'\?"):
        find_silenced(["leak"])
    assert {check.name for check in CHECKS} < set(NAMES)


def test_the_worst_level() -> None:
    """A stop outranks a warning, a warning a note, and nothing has none."""
    case, machine, data = everything_wrong()
    found = check_case(case, machine=machine, data=data)
    assert worst(found) == "stop"
    assert worst([item for item in found if item.level == "note"]) == "note"
    assert worst([]) is None


FACTS = st.fixed_dictionaries(
    {
        "rows": st.dictionaries(st.sampled_from(["train", "validation", "test"]), st.integers(0, 10**7)),
        "class_counts": st.dictionaries(
            st.sampled_from(["train", "test"]), st.dictionaries(st.text(max_size=3), st.integers(0, 10**6), max_size=4)
        ),
        "share_truncated": st.one_of(st.none(), st.floats(0, 1)),
        "max_length": st.one_of(st.none(), st.integers(1, 10**6)),
        "longest_input": st.one_of(st.none(), st.integers(0, 512)),
        "duplicates": st.one_of(st.none(), st.integers(0, 10**6)),
        "conflicting": st.one_of(st.none(), st.integers(0, 10**6)),
        "near_duplicates": st.one_of(st.none(), st.integers(0, 10**6)),
        "leaks": st.dictionaries(st.sampled_from(["validation", "test"]), st.integers(0, 10**6)),
        "unknown_share": st.one_of(st.none(), st.floats(0, 1)),
        "tokens_per_word": st.one_of(st.none(), st.floats(0, 1e4)),
        "tokens_per_character": st.one_of(st.none(), st.floats(0, 10)),
        "languages": st.one_of(st.none(), st.dictionaries(st.text(max_size=4), st.floats(0, 1), max_size=3)),
    }
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(
    model=st.sampled_from([name for name in MODELS if name != "phi-3-mini"]),
    dataset=st.sampled_from(list(DATASETS)),
    kind=st.sampled_from(["finetune", "inference", "generation", "evaluation"]),
    method=st.sampled_from(["full", "lora", "head"]),
    precision=st.sampled_from(["fp32", "bf16", "fp16", "int8", "int8-bnb", "nf4"]),
    rate=st.one_of(st.none(), st.floats(1e-12, 1e6)),
    batch=st.integers(1, 10**6),
    free=st.integers(0, 10**13),
    facts=st.one_of(st.none(), FACTS),
)
def test_no_case_raises(
    model: str,
    dataset: str,
    kind: str,
    method: str,
    precision: str,
    rate: float | None,
    batch: int,
    free: int,
    facts: dict[str, Any] | None,
) -> None:
    """Any case on any data with any free memory is answered by findings that JSON can hold, with a line to copy."""
    if kind == "generation" and MODELS[model].kind != "decoder":
        kind = "inference"
    timed = kind in ("inference", "generation")
    case = a_case(
        kind=kind,
        model=model,
        dataset=None if timed else dataset,
        method=method if kind == "finetune" else None,
        precision=precision,
        batch_size=8 if timed else None,
        train={"learning_rate": rate, "batch_size": batch},
    )
    disk = Disk(holds=frozenset({"results", "cache", "temporary"}), folder="/data", free_bytes=free)
    data = None if facts is None else some_data(**facts)
    machine = a_machine(free_memory_bytes=free, disks=(disk,))
    found = check_case(case, machine=machine, data=data, save_models=True)
    json.dumps([item.as_dict() for item in found], allow_nan=False)
    assert all("\n" not in item.problem + item.why for item in found)
    for item in found:
        lines = [fix.setting for fix in item.fixes if fix.setting]
        assert lines, f"{item.problem}: no line to copy"
        assert not any("..." in line for line in lines)
