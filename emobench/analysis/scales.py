"""Scales: a metric as a number from 0 (worst of the ranked cases) to 1 (best); ``ranking`` says which map it gets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from emobench.analysis.candidates import Figures
from emobench.analysis.columns import Floats, Ints
from emobench.analysis.rows import MEMORY
from emobench.outcomes import METRICS


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Maps a metric to 0 (worst) to 1 (best)."""

    logarithmic: bool
    worst: float
    best: float

    @classmethod
    def of(cls, name: str, better: str, values: Floats) -> Scale:
        unit = "bytes" if name == MEMORY else METRICS[name].unit if name in METRICS else ""
        logarithmic = unit not in ("share", "") and bool((values > 0).all())
        scaled = np.log(values) if logarithmic else values
        if len(scaled) == 0:
            return cls(logarithmic=False, worst=0.0, best=0.0)
        low, high = float(scaled.min()), float(scaled.max())
        worst, best = (low, high) if better == "higher" else (high, low)
        return cls(logarithmic=logarithmic, worst=worst, best=best)

    def scaled(self, values: Floats) -> Floats:
        if not self.logarithmic:
            return values
        # An interval may reach down to 0, whose logarithm has no end.
        return np.log(np.maximum(values, np.finfo(float).tiny))

    def of_scaled(self, values: Floats) -> Floats:
        width = self.best - self.worst
        return np.ones_like(values) if width == 0 else (values - self.worst) / width

    def of_values(self, values: Floats) -> Floats:
        return self.of_scaled(self.scaled(values))


def halves(figures: Figures, at: Ints, scale: Scale) -> tuple[Floats, Floats]:
    """How far the interval reaches below and above the value, on the metric's scale; 0 where there is none."""
    middle = scale.scaled(figures.value[at])
    low, high = scale.scaled(figures.low[at]), scale.scaled(figures.high[at])
    return np.nan_to_num(np.maximum(middle - low, 0.0)), np.nan_to_num(np.maximum(high - middle, 0.0))


def bars(
    figures: Mapping[str, Figures],
    at: Ints,
    scales: Mapping[str, Scale],
    weights: Mapping[str, float],
    score: Floats,
) -> tuple[Floats, Floats]:
    below, above = np.zeros_like(score), np.zeros_like(score)
    for name, weight in weights.items():
        scale = scales[name]
        if scale.best == scale.worst:
            continue
        down, up = halves(figures[name], at, scale)
        if scale.best < scale.worst:
            down, up = up, down
        width = abs(scale.best - scale.worst)
        below += (weight * down / width) ** 2
        above += (weight * up / width) ** 2
    return np.sqrt(below), np.sqrt(above)
