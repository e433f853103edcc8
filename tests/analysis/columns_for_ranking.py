"""Columns of made-up cases, as the index of a run gives them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from emobench.outcomes import METRICS

TEXTS = {
    "status": "ok",
    "kind": "finetune",
    "model": "m",
    "dataset": "reviews",
    "precision": "fp32",
    "device": "cpu",
    "backend": "eager",
    "profile": "quick",
    "weights": "pretrained",
    "hardware": "Xeon",
}


def columns(*cases: dict[str, Any]) -> Any:
    """Each case: axes as in ``TEXTS``, ``batch`` and ``length``, and metrics as a value or (value, low, high)."""
    axes = {*TEXTS, "id", "batch", "length"}
    metrics = tuple(dict.fromkeys(name for case in cases for name in case if name not in axes))
    table = np.full((3, len(cases), len(metrics)), np.nan)
    for row, case in enumerate(cases):
        for column, name in enumerate(metrics):
            given = case.get(name)
            if given is not None:
                table[: 3 if isinstance(given, tuple) else 1, row, column] = given
    named = [{**TEXTS, "id": f"case-{row}", **case} for row, case in enumerate(cases)]
    return SimpleNamespace(
        **{name: np.array([case[name] for case in named], object) for name in (*TEXTS, "id")},
        batch_size=np.array([case.get("batch", 0) for case in cases], np.int64),
        length=np.array([case.get("length", 0) for case in cases], np.int64),
        metrics=metrics,
        better={name: METRICS[name].better if name in METRICS else "higher" for name in metrics},
        value=table[0],
        low=table[1],
        high=table[2],
    )
