"""Cases, machines and data profiles as the tests of the checks need them: plain facts, nothing loaded."""

from __future__ import annotations

from typing import Any

from emobench.catalogue.datasets import find_dataset
from emobench.catalogue.methods import find_method
from emobench.catalogue.model_rows import find_model
from emobench.catalogue.profiles import find_profile
from emobench.data_profile import DataProfile, TokenLengths
from emobench.preflight.planned import Disk, Finding, Machine, Planned
from emobench.specs import CaseSpec, TrainSettings

GB = 10**9


def a_machine(**facts: Any) -> Machine:
    """A CPU with 8 GB of which 6 are free, and a disk with 100 GB free."""
    disk = Disk(holds=frozenset({"results", "cache", "temporary"}), folder="/data", free_bytes=100 * GB)
    usual: dict[str, Any] = {
        "kind": "cpu",
        "name": "a processor",
        "memory_bytes": 8 * GB,
        "free_memory_bytes": 6 * GB,
        "fast_bf16": False,
        "disks": (disk,),
        "packages": frozenset({"torchao", "bitsandbytes"}),
    }
    return Machine(**{**usual, **facts})


def a_case(
    *,
    kind: str = "finetune",
    model: str = "all-minilm-l6-v2",
    dataset: str | None = "rotten_tomatoes-train",
    method: str | None = "full",
    precision: str = "fp32",
    device: str = "cpu",
    profile: str = "quick",
    sizes: dict[str, Any] | None = None,
    train: dict[str, Any] | None = None,
    config: dict[str, Any] | None = None,
    **fields: Any,
) -> CaseSpec:
    """A case by names; ``sizes``, ``train`` and ``config`` replace single values."""
    row = find_model(model)
    if config is not None:
        row = row.model_copy(update={"config": {**row.config, **config}})
    return CaseSpec(
        kind=kind,  # type: ignore[arg-type]  # a test's own word
        model=row,
        dataset=find_dataset(dataset) if dataset else None,
        method=find_method(method) if method else None,
        precision=precision,  # type: ignore[arg-type]
        device=device,  # type: ignore[arg-type]
        profile=find_profile(profile).model_copy(update=sizes or {}),
        train=TrainSettings(**(train or {})),
        **fields,
    )


def some_data(**facts: Any) -> DataProfile:
    """A balanced data set of short texts in which nothing is wrong."""
    lengths = TokenLengths(
        texts=256, sampled=True, mean=27.0, p50=25, p90=40, p99=55, longest=60, share_over={32: 0.3, 64: 0.0, 128: 0.0}
    )
    usual: dict[str, Any] = {
        "dataset": "reviews",
        "class_names": ("negative", "positive"),
        "fingerprint": "f",
        "rows": {"train": 2000, "validation": 500, "test": 1000},
        "class_counts": {
            "train": {"negative": 1000, "positive": 1000},
            "validation": {"negative": 250, "positive": 250},
            "test": {"negative": 500, "positive": 500},
        },
        "lengths": lengths,
        "max_length": 128,
        "share_truncated": 0.0,
        "longest_input": 60,
        "duplicates": 0,
        "conflicting": 0,
        "overlap": {"test": 0, "validation": 0},
        "near_duplicates": 0,
        "leaks": {"validation": 0, "test": 0},
        "unknown_share": 0.0,
        "tokens_per_word": 1.3,
        "tokens_per_character": 0.25,
    }
    return DataProfile(**{**usual, **facts})


def planned(case: CaseSpec | None = None, *, data: DataProfile | None = None, **machine: Any) -> Planned:
    """What a check is asked."""
    return Planned(case=case or a_case(), machine=a_machine(**machine), data=data)


def only(findings: Any) -> Finding:
    """The one finding there is."""
    (found,) = findings
    assert isinstance(found, Finding)
    return found
