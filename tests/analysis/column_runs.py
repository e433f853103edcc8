"""Runs as columns only, made in memory: thousands of cases with predictions and rounds, without a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from emobench.records.rounds import summarize


@dataclass(frozen=True, kw_only=True)
class Scored:
    labels: np.ndarray
    predicted: np.ndarray
    class_names: tuple[str, ...] = ("a", "b")
    seeds: tuple[int, ...] = (0,)


class Predictions:
    """Predictions of shape (cases, n) about the same labels; none where ``right`` is None."""

    def __init__(self, cases: int, labels: np.ndarray | None, right: np.ndarray | None) -> None:
        self.labels, self.right = labels, right
        there = right is not None
        self.examples = np.full(cases, "examples" if there else "", object)
        self.n = np.full(cases, 0 if labels is None else len(labels), np.int64)
        self.num_seeds = np.full(cases, int(there), np.int64)

    def case(self, row: int) -> Scored | None:
        if self.right is None or self.labels is None:
            return None
        return Scored(labels=self.labels, predicted=np.where(self.right[row], self.labels, 1 - self.labels)[None])

    def correct_bits(self, rows: np.ndarray) -> np.ndarray:
        assert self.right is not None
        return np.packbits(self.right[rows], axis=1)[:, None]


@dataclass(frozen=True, kw_only=True)
class Figures:
    n: np.ndarray
    median: np.ndarray
    low: np.ndarray
    high: np.ndarray
    lag1: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Facts:
    name: str = "run"
    seeds: tuple[int, ...] = (0,)
    manifest: tuple[str, ...] = ()
    skipped: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)


class ColumnRun:
    """Scored or timed cases; every other column can be set."""

    def __init__(
        self,
        ids: Sequence[str],
        *,
        labels: np.ndarray | None = None,
        right: np.ndarray | None = None,
        seconds: np.ndarray | None = None,
        values: Mapping[str, Sequence[float]] | None = None,
        name: str = "run",
        seeds: tuple[int, ...] = (0,),
        **columns: Any,
    ) -> None:
        size = len(ids)
        self.facts = Facts(name=name, manifest=tuple(ids), seeds=seeds)
        self.id = np.array(ids, object)
        given = {name: np.asarray(column, float) for name, column in (values or {}).items()}
        figures = {key: np.full(size, np.nan) for key in ("median", "low", "high", "lag1")}
        if seconds is not None:
            found = summarize(seconds)
            figures = {key: found[key] for key in figures}
            given["latency_p50_seconds"] = found["median"]
            given["samples_per_second"] = 8 / found["median"]
        if right is not None:
            given["accuracy"] = right.mean(axis=1)
        self.seconds = seconds
        self.rounds = Figures(n=np.full(size, 0 if seconds is None else seconds.shape[1]), **figures)
        self.metrics = tuple(given)
        self.value = np.stack([*given.values()], axis=1) if given else np.zeros((size, 0))
        self.low, self.high = np.full(self.value.shape, np.nan), np.full(self.value.shape, np.nan)
        self.predictions = Predictions(size, labels, right)
        usual = {
            "status": "ok", "kind": "inference", "model": "m", "dataset": "d", "method": "", "device": "cpu",
            "precision": "fp32", "hardware": "box", "profile": "quick", "weights": "pretrained",
            "data_fingerprint": "x",
        }  # fmt: skip
        for key, value in usual.items():
            given_column = columns.get(key, value)
            column = [given_column] * size if isinstance(given_column, str) else list(given_column)
            setattr(self, key, np.array(column, object))
        self.per_seed: dict[tuple[int, str], list[float]] = {}

    @cached_property
    def rows(self) -> dict[str, int]:
        return {name: row for row, name in enumerate(self.id)}

    def column(self, metric: str) -> int | None:
        return self.metrics.index(metric) if metric in self.metrics else None

    def reasons(self, row: int) -> tuple[str, ...]:
        return ("planted",)

    def seed_values(self, row: int, metric: str) -> np.ndarray:
        column = self.column(metric)
        return np.array(self.per_seed.get((row, metric), [] if column is None else [self.value[row, column]]))

    def raw_rounds(self, row: int) -> np.ndarray:
        return np.zeros(0) if self.seconds is None else self.seconds[row]
