"""Prints what each model of the catalogue is estimated to take on a device, as a table. Loads and measures nothing.

Run it as ``python docs/memory_per_model.py DEVICE``; pages under docs/ show what it prints.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import get_args

from emobench.catalogue.datasets import find_dataset
from emobench.catalogue.methods import find_method
from emobench.catalogue.model_rows import MODELS
from emobench.catalogue.profiles import find_profile
from emobench.estimate.memory import estimate_memory, plan_of
from emobench.specs import CaseSpec, DeviceKind, ModelSpec, Precision

Column = tuple[str, Precision]
COLUMNS: Mapping[DeviceKind, Sequence[Column]] = {
    "cpu": (("time", "fp32"), ("time", "bf16"), ("head", "fp32"), ("lora", "fp32"), ("full", "fp32")),
    "cuda": (("time", "bf16"), ("time", "nf4"), ("lora", "nf4"), ("lora", "bf16"), ("full", "bf16")),
    "mps": (("time", "fp16"), ("time", "fp32"), ("head", "fp32"), ("lora", "fp32"), ("full", "fp32")),
}
"""What is worth a column: a latency case, or a training method, at a precision that the device is run at."""


def estimated_bytes(model: ModelSpec, work: str, precision: Precision, device: DeviceKind) -> int:
    """The peak at profile quick: one text of 128 tokens, or training on imdb in batches of 32."""
    profile = find_profile("quick")
    if work == "time":
        case = CaseSpec(
            kind="inference", model=model, precision=precision, device=device, batch_size=1, profile=profile
        )
    else:
        case = CaseSpec(
            kind="finetune",
            model=model,
            dataset=find_dataset("imdb"),
            method=find_method(work),
            precision=precision,
            device=device,
            profile=profile,
        )
    return estimate_memory(plan_of(case)).total


def memory_table(device: DeviceKind) -> str:
    """A line a model that can be trained, in GB of 10^9 bytes."""
    columns = COLUMNS[device]
    lines = [["GB", *(work for work, _ in columns)], ["", *(precision for _, precision in columns)]]
    for model in (row for row in MODELS.values() if row.labels is None):
        found = (estimated_bytes(model, work, precision, device) / 1e9 for work, precision in columns)
        lines.append([model.id, *(f"{value:.1f}" for value in found)])
    return "\n".join(f"{name:<16}{''.join(f'{cell:>8}' for cell in cells)}" for name, *cells in lines)


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in get_args(DeviceKind):
        sys.exit(f"python docs/memory_per_model.py {'|'.join(get_args(DeviceKind))}")
    print(memory_table(sys.argv[1]))  # type: ignore[arg-type]  # it is one of the three
