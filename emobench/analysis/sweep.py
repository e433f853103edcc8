"""Sweeps: the timed cases of one configuration over its batch sizes, and the quantities that follow from them.

Every sweep is of one run: figures of two sessions are never joined into a line. Nothing here reads a file, compares
runs or puts anything into words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

import numpy as np

from emobench.kinds import FORWARD
from emobench.outcomes import METRICS, Better, Metric, Status

SPREAD_ROUNDS = 10
"""Fewest raw rounds for which a spread is given."""

AXES = ("model", "dataset", "method", "precision", "device", "length", "backend", "weights")
"""What is the same in all cases of a sweep."""


class Result(Protocol):
    """What is read of a record; a record fits it as it is."""

    @property
    def case(self) -> Mapping[str, Any]: ...
    @property
    def metrics(self) -> Sequence[Metric]: ...
    @property
    def status(self) -> Status: ...
    @property
    def reasons(self) -> Sequence[str]: ...
    @property
    def environment(self) -> Mapping[str, Any]: ...
    @property
    def details(self) -> Mapping[str, Any]: ...


@dataclass(frozen=True, kw_only=True)
class Source:
    """The results of one run."""

    name: str
    """What the run is called where several are shown; unique among them."""
    results: Sequence[Result]
    timings: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """Case id to its raw rounds in seconds."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A value and, where there is one, its 95 % interval."""

    value: float
    low: float | None = None
    high: float | None = None

    @property
    def bounds(self) -> tuple[float, float]:
        """The interval; without one, the value twice."""
        return (self.value if self.low is None else self.low, self.value if self.high is None else self.high)


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """A row of the table of quantities."""

    unit: str
    better: Better
    meaning: str


def _of_metric(name: str) -> Quantity:
    kind = METRICS[name]
    return Quantity(unit=kind.unit, better=kind.better, meaning=kind.meaning)


QUANTITIES: Mapping[str, Quantity] = {
    **{
        name: _of_metric(name)
        for name in (
            "latency_p50_seconds",
            "latency_p90_seconds",
            "latency_p99_seconds",
            "latency_per_sample_seconds",
            "samples_per_second",
            "batches_per_second",
            "tokens_per_second",
        )
    },
    "memory_bytes": Quantity(
        unit="bytes",
        better="lower",
        meaning="Peak of the device's memory; on a CPU what resident memory grew by during the passes.",
    ),
    "scaling_efficiency": Quantity(
        unit="share",
        better="higher",
        meaning="Throughput over that of the smallest batch times the ratio of the batch sizes.",
    ),
    "spread": Quantity(
        unit="share", better="lower", meaning="Interquartile range of the raw rounds over their median."
    ),
    "utilization": Quantity(
        unit="share", better="none", meaning="GPU utilization; on a CPU the share of its cores this process used."
    ),
}


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a trace found to be the limit."""

    kind: str
    advice: str
    largest: tuple[tuple[str, float], ...] = ()
    """Name and share of the time of the largest bottlenecks, largest first."""


@dataclass(frozen=True, kw_only=True)
class Level:
    """One batch size of a sweep."""

    batch_size: int
    case_id: str
    status: Status
    reasons: tuple[str, ...] = ()
    values: Mapping[str, Measured] = field(default_factory=dict)
    """Quantity to its value; empty where the case is not ok: an invalid figure is no figure."""
    rounds: int = 0
    """Raw rounds that are kept."""
    peak_bytes: float | None = None
    """Memory reached, whatever the status: the device's peak, else the process's."""
    largest_fitted: int | None = None
    """Of a batch that did not fit: the largest that had fitted by then, as its record says."""
    verdict: Verdict | None = None

    def value(self, name: str) -> float | None:
        """The value of a quantity, or None."""
        return self.values[name].value if name in self.values else None


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """The cases of one configuration in one run, by batch size."""

    run: str
    axes: Mapping[str, Any]
    """The :data:`AXES`."""
    levels: tuple[Level, ...]
    """Ascending in batch size."""
    memory_kind: Literal["device", "host"]
    """Whose memory ``memory_bytes`` is."""
    device_name: str = ""
    model_bytes: float | None = None

    @property
    def measured(self) -> tuple[Level, ...]:
        """The levels that have figures."""
        return tuple(level for level in self.levels if level.values)


def sweeps(sources: Sequence[Source]) -> list[Sweep]:
    """Group the inference results of each run by everything but the batch size, in order of appearance.

    A configuration with a single batch size is a sweep too. Results of other kinds, or without a batch size, are not
    looked at.
    """
    found = []
    for source in sources:
        groups: dict[tuple[Any, ...], list[Result]] = {}
        for result in source.results:
            if result.case.get("kind") in FORWARD and result.case.get("batch_size") is not None:
                groups.setdefault(tuple(_axis(result, name) for name in AXES), []).append(result)
        found += [_sweep(source, key, members) for key, members in groups.items()]
    return found


def _axis(result: Result, name: str) -> Any:
    # Records made before a field existed had its only value.
    default = {"backend": "eager", "weights": "pretrained"}.get(name)
    return result.case.get(name, default)


def _sweep(source: Source, key: tuple[Any, ...], members: Sequence[Result]) -> Sweep:
    on_device = any(_metric(result, "device_memory_peak_bytes") for result in members)
    memory = "device_memory_peak_bytes" if on_device else "host_memory_growth_bytes"
    levels = [_level(result, source.timings.get(str(result.case["id"]), ()), memory=memory) for result in members]
    models = [item.value for result in members if (item := _metric(result, "model_bytes"))]
    return Sweep(
        run=source.name,
        axes=dict(zip(AXES, key, strict=True)),
        levels=tuple(_with_efficiency(sorted(levels, key=lambda level: level.batch_size))),
        memory_kind="device" if on_device else "host",
        device_name=str(members[0].environment.get("device_name") or ""),
        model_bytes=max(models, default=None),
    )


def _metric(result: Result, name: str) -> Metric | None:
    return next((item for item in result.metrics if item.name == name), None)


def _level(result: Result, rounds: Sequence[float], *, memory: str) -> Level:
    peak = _metric(result, "device_memory_peak_bytes") or _metric(result, "host_memory_peak_bytes")
    fitted = _metric(result, "largest_batch_fitted")
    return Level(
        batch_size=int(result.case["batch_size"]),
        case_id=str(result.case["id"]),
        status=result.status,
        reasons=tuple(result.reasons),
        values=_values(result, rounds, memory=memory) if result.status is Status.OK else {},
        rounds=len(rounds),
        peak_bytes=None if peak is None else peak.value,
        largest_fitted=None if fitted is None else int(fitted.value),
        verdict=_verdict(result),
    )


def _values(result: Result, rounds: Sequence[float], *, memory: str) -> dict[str, Measured]:
    """The quantities one result gives alone. Intervals of rates follow from that of the median latency."""
    batch = int(result.case["batch_size"])
    recorded = {item.name: item for item in result.metrics}
    values: dict[str, Measured] = {}
    for percent in (50, 90, 99):
        if item := recorded.get(f"latency_p{percent}_seconds"):
            low, high = item.ci or (None, None)
            values[item.name] = Measured(value=item.value, low=low, high=high)
    median = values.get("latency_p50_seconds")
    if median is None and len(rounds):
        median = values["latency_p50_seconds"] = Measured(value=float(np.median(rounds)))
    if median is not None and median.value > 0:
        values["latency_per_sample_seconds"] = _times(median, 1 / batch)
        values["samples_per_second"] = _rate(median, batch)
        values["batches_per_second"] = _rate(median, 1)
        if item := recorded.get("tokens_per_second"):
            values["tokens_per_second"] = _rate(median, item.value * median.value)
    if item := recorded.get(memory):
        values["memory_bytes"] = Measured(value=item.value)
    utilization = "gpu_utilization" if result.case.get("device") == "cuda" else "cpu_utilization"
    if item := recorded.get(utilization):
        values["utilization"] = Measured(value=item.value)
    if len(rounds) >= SPREAD_ROUNDS:
        lower, middle, upper = np.percentile(np.asarray(rounds, dtype=np.float64), (25, 50, 75))
        values["spread"] = Measured(value=float((upper - lower) / middle))
    return values


def _times(item: Measured, factor: float) -> Measured:
    low, high = (None if end is None else end * factor for end in (item.low, item.high))
    return Measured(value=item.value * factor, low=low, high=high)


def _rate(seconds: Measured, count: float) -> Measured:
    """``count`` over a time: the interval's ends change places."""
    low, high = (None if not end else count / end for end in (seconds.high, seconds.low))
    return Measured(value=count / seconds.value, low=low, high=high)


def _with_efficiency(levels: Sequence[Level]) -> list[Level]:
    """Add the scaling efficiency, against the smallest batch that has a throughput; that one is 1 by definition.

    The interval joins the ends of both throughputs' intervals, so it covers at least 95 %.
    """
    base = next((level for level in levels if "samples_per_second" in level.values), None)
    if base is None:
        return list(levels)
    single = base.values["samples_per_second"]
    done = []
    for level in levels:
        rate = level.values.get("samples_per_second")
        if rate is not None:
            growth = level.batch_size / base.batch_size
            share = Measured(value=rate.value / (single.value * growth))
            if level is not base and None not in (rate.low, rate.high, single.low, single.high):
                low, high = rate.bounds[0] / (single.bounds[1] * growth), rate.bounds[1] / (single.bounds[0] * growth)
                share = replace(share, low=low, high=high)
            level = replace(level, values={**level.values, "scaling_efficiency": share})
        done.append(level)
    return done


def _verdict(result: Result) -> Verdict | None:
    """What the case's trace found, as ``measurement.trace`` leaves it in the details."""
    trace = result.details.get("trace")
    if not isinstance(trace, Mapping) or not trace.get("verdict"):
        return None
    largest = [(str(part["name"]), float(part["share"])) for part in trace.get("largest", ())]
    return Verdict(kind=str(trace["verdict"]), advice=str(trace.get("advice", "")), largest=tuple(largest))


def normalized(shown: Sequence[Sweep], name: str) -> list[dict[int, float]]:
    """A quantity as a share of the best value of all sweeps given: one dict a sweep, batch size to 0..1, 1 is best.

    The share is value over best where higher is better, best over value where lower is; a best value of 0 gives 0 to
    all others. Ratios keep small differences small, which scaling from worst to best would not.

    Raises:
        ValueError: neither direction of the quantity is better.
    """
    better = QUANTITIES[name].better
    if better == "none":
        raise ValueError(f"{name} has no better direction")
    tables = [
        {level.batch_size: level.values[name].value for level in sweep.levels if name in level.values}
        for sweep in shown
    ]
    values = [value for table in tables for value in table.values()]
    if not values:
        return tables
    best = max(values) if better == "higher" else min(values)
    return [{batch: _share(value, best, better) for batch, value in table.items()} for table in tables]


def _share(value: float, best: float, better: Better) -> float:
    if value == best:
        return 1.0
    over, under = (value, best) if better == "higher" else (best, value)
    return max(0.0, over / under) if under > 0 else 0.0


def names(shown: Sequence[Sweep]) -> tuple[str, list[str]]:
    """What all sweeps have in common, and for each one what tells it from the others.

    A single sweep has no name of its own: everything is common. The model is in the second part where models differ.
    """
    parts = [_parts(sweep) for sweep in shown]
    same = [key for key in parts[0] if len({part[key] for part in parts}) == 1] if parts else []
    common = ", ".join(parts[0][key] for key in same if parts[0][key] and key != "run") if parts else ""
    own = [", ".join(text for key, text in part.items() if text and key not in same) for part in parts]
    return common, own


def full_name(sweep: Sweep) -> str:
    """Everything but the run that tells a sweep from others."""
    return ", ".join(text for key, text in _parts(sweep).items() if text and key != "run")


def _parts(sweep: Sweep) -> dict[str, str]:
    axes = sweep.axes
    texts = {name: "" if axes[name] is None else str(axes[name]) for name in AXES}
    texts["length"] = f"{axes['length']} tokens" if axes["length"] is not None else ""
    texts["weights"] = "" if axes["weights"] == "pretrained" else f"{axes['weights']} weights"
    return {**texts, "run": f"run {sweep.run}"}
