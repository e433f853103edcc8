"""Answers: what a sweep tells someone who deploys the model, as facts. The words are made by the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from emobench.analysis.sweep import Level, Result, Source, Sweep, Verdict
from emobench.kinds import SCORING
from emobench.outcomes import Status


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """The highest accuracy of a model on one data set."""

    dataset: str
    method: str
    precision: str
    value: float
    interval: tuple[float, float] | None
    of: int
    """Results it is the highest of."""


@dataclass(frozen=True, kw_only=True)
class Answers:
    """The answers a sweep gives; None or empty where it has none."""

    baseline: Level | None
    """The smallest batch that has figures."""
    best: Level | None
    """The batch size to deploy: the smallest whose throughput is not worse than the highest beyond the error bars."""
    tied: tuple[int, ...]
    """Other batch sizes whose throughput the error bars do not tell from the highest."""
    highest: Level | None
    """The highest throughput as measured, within the target or not."""
    fastest: Level | None
    """The lowest latency of a batch."""
    target_seconds: float | None
    """Largest median latency of a batch that the best batch size may have."""
    without_interval: tuple[int, ...]
    """Batch sizes whose latency has no interval: for them ties cannot be told."""
    bottleneck: tuple[Level, Verdict] | None
    """The verdict of a trace, that of the best batch size where it was traced."""
    accuracies: tuple[Accuracy, ...]
    does_not_fit: tuple[Level, ...]
    largest_fitted: int | None
    invalid: tuple[Level, ...]
    unfinished: tuple[Level, ...]
    """Cases that failed, timed out, were lost or interrupted."""


def answer(sweep: Sweep, sources: Sequence[Source], *, target_seconds: float | None = None) -> Answers:
    """Answer the questions of a sweep; accuracy comes from the results of its own run, of the same model.

    Two throughputs are told apart where their 95 % intervals do not overlap; the best batch size is the smallest of
    those that overlap with the highest one's. With ``target_seconds`` only batches whose median latency is within it
    are candidates; ``best`` is None where there are none.
    """
    timed = [level for level in sweep.levels if "samples_per_second" in level.values]
    within = [level for level in timed if target_seconds is None or _median(level) <= target_seconds]
    tied = _ties(within)
    best = tied[0] if tied else None
    of_run = [result for source in sources if source.name == sweep.run for result in source.results]
    return Answers(
        baseline=timed[0] if timed else None,
        best=best,
        tied=tuple(level.batch_size for level in tied[1:]),
        highest=max(timed, key=_throughput, default=None),
        fastest=min(timed, key=_median, default=None),
        target_seconds=target_seconds,
        without_interval=tuple(level.batch_size for level in timed if level.values["latency_p50_seconds"].low is None),
        bottleneck=_bottleneck(sweep, best),
        accuracies=_accuracies(sweep, of_run),
        does_not_fit=tuple(level for level in sweep.levels if level.status is Status.DOES_NOT_FIT),
        largest_fitted=_largest_fitted(sweep),
        invalid=tuple(level for level in sweep.levels if level.status is Status.INVALID),
        unfinished=tuple(
            level for level in sweep.levels if level.status not in (Status.OK, Status.DOES_NOT_FIT, Status.INVALID)
        ),
    )


def _largest_fitted(sweep: Sweep) -> int | None:
    """The largest batch that fitted: by its own record, or by that of one that did not."""
    measured = [level.batch_size for level in sweep.levels if level.status is Status.OK]
    said = [level.largest_fitted for level in sweep.levels if level.largest_fitted is not None]
    return max([*measured, *said], default=None)


def _throughput(level: Level) -> float:
    return level.values["samples_per_second"].value


def _median(level: Level) -> float:
    return level.values["latency_p50_seconds"].value


def _ties(levels: Sequence[Level]) -> list[Level]:
    """The levels whose throughput the error bars do not tell from the highest, ascending in batch size."""
    if not levels:
        return []
    top = max(levels, key=_throughput).values["samples_per_second"]
    return [level for level in levels if level.values["samples_per_second"].bounds[1] >= top.bounds[0]]


def _bottleneck(sweep: Sweep, best: Level | None) -> tuple[Level, Verdict] | None:
    traced = [level for level in sweep.levels if level.verdict is not None]
    chosen = best if best is not None and best.verdict is not None else next(iter(reversed(traced)), None)
    return None if chosen is None or chosen.verdict is None else (chosen, chosen.verdict)


def _accuracies(sweep: Sweep, results: Sequence[Result]) -> tuple[Accuracy, ...]:
    """The highest accuracy a data set of the sweep's model; at the sweep's precision where there are any."""
    scored = [
        result
        for result in results
        if result.case.get("kind") in SCORING
        and result.case.get("model") == sweep.axes["model"]
        and result.status is Status.OK
        and _accuracy(result) is not None
    ]
    same = [result for result in scored if result.case.get("precision") == sweep.axes["precision"]]
    by_data: dict[str, list[Result]] = {}
    for result in same or scored:
        by_data.setdefault(str(result.case.get("dataset") or ""), []).append(result)
    return tuple(_highest(name, members) for name, members in by_data.items())


def _accuracy(result: Result) -> Any:
    return next((item for item in result.metrics if item.name == "accuracy"), None)


def _highest(dataset: str, members: Sequence[Result]) -> Accuracy:
    top = max(members, key=lambda result: float(_accuracy(result).value))
    found = _accuracy(top)
    return Accuracy(
        dataset=dataset,
        method=str(top.case.get("method") or ""),
        precision=str(top.case.get("precision") or ""),
        value=found.value,
        interval=found.ci,
        of=len(members),
    )
