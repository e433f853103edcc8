"""Record: one case's metrics, status, environment and pointers, as plain values that JSON can hold.

It writes no file (see ``store`` and ``journal``) and compares nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from os import PathLike, fspath
from statistics import fmean, stdev
from typing import Any

import numpy as np

from emobench.errors import BrokenFileError
from emobench.outcomes import Metric, Status, is_finite
from emobench.records.schemas import schema_fix

SCHEMA = 1
"""Version of the record's JSON form; a reader refuses one it does not know."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """What is kept of one case."""

    case: Mapping[str, Any]
    """``CaseSpec.summary()`` and the case's ``key``; ``id`` must be there."""
    metrics: tuple[Metric, ...] = ()
    status: Status = Status.OK
    reasons: tuple[str, ...] = ()
    """Why the status is not ``ok``, one sentence each."""
    artifacts: Mapping[str, str] = field(default_factory=dict)
    """Name to path, relative to the run's folder: what is too big for JSON."""
    environment: Mapping[str, Any] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)
    """Plain values nobody joins on: metrics per seed, confusion matrix, per class, loss curve."""

    @property
    def id(self) -> str:
        """The case's id: what runs are joined by."""
        return str(self.case["id"])

    def metric(self, name: str) -> Metric | None:
        """The metric of that name, or None where the case has none."""
        return next((item for item in self.metrics if item.name == name), None)

    def to_json(self) -> dict[str, Any]:
        """The record as plain values, made finite by :func:`checked`.

        Raises:
            TypeError: a value is neither plain nor a numpy number (a programmer's mistake; the place is named).
        """
        record = checked(self)
        return {
            "schema": SCHEMA,
            "case": record.case,
            "metrics": {item.name: _metric_to_json(item) for item in record.metrics},
            "status": record.status.value,
            "reasons": list(record.reasons),
            "artifacts": record.artifacts,
            "environment": record.environment,
            "details": record.details,
        }


def checked(record: Record) -> Record:
    """Return the record with plain Python values only, every number of it finite.

    A metric whose value or interval is NaN or infinite is taken out; such a number in the other fields becomes None.
    Each is named in ``reasons``, and a status ``ok`` becomes ``invalid``. Another status stays: it tells how the case
    ended, which a missing number does not change.
    """
    problems: list[str] = []
    metrics = []
    for item in (_plain_metric(item) for item in record.metrics):
        if is_finite(item):
            metrics.append(item)
        else:
            interval = f" (interval {item.ci[0]} to {item.ci[1]})" if item.ci else ""
            problems.append(f"{item.name} is {item.value}{interval}, not a finite number")
    fields = {}
    for name in ("case", "environment", "details", "artifacts"):
        found: list[str] = []
        fields[name] = plain(getattr(record, name), place=name, non_finite=found)
        problems += [f"{place} is not a finite number" for place in found]
    invalid = bool(problems) and record.status is Status.OK
    return replace(
        record,
        metrics=tuple(metrics),
        status=Status.INVALID if invalid else Status(record.status),
        reasons=(*record.reasons, *(problem for problem in problems if problem not in record.reasons)),
        **fields,
    )


def plain(value: Any, *, place: str, non_finite: list[str]) -> Any:
    """Copy ``value`` as dicts with text keys, lists, text, bools, None and finite Python numbers.

    Numpy numbers and arrays, enums and paths are converted. A NaN or an infinity becomes None and its place (such as
    ``details.loss[3]``) is appended to ``non_finite``.

    Raises:
        TypeError: another kind of object; the message names the place.
    """
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        if math.isfinite(value):
            return float(value)
        non_finite.append(place)
        return None
    if isinstance(value, Mapping):
        return {_key(key): plain(item, place=f"{place}.{key}", non_finite=non_finite) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, place=f"{place}[{index}]", non_finite=non_finite) for index, item in enumerate(value)]
    if isinstance(value, PathLike):
        return str(fspath(value))
    raise TypeError(f"{place} is a {type(value).__name__}, which JSON cannot hold")


def _key(key: object) -> str:
    return str(key.value) if isinstance(key, Enum) else str(key)


def _plain_number(value: Any) -> int | float:
    number = value.item() if isinstance(value, np.generic) else value
    return int(number) if isinstance(number, int) else float(number)


def _plain_metric(item: Metric) -> Metric:
    ci = None if item.ci is None else (float(item.ci[0]), float(item.ci[1]))
    return replace(item, value=_plain_number(item.value), ci=ci, n=None if item.n is None else int(item.n))


def _metric_to_json(item: Metric) -> dict[str, Any]:
    ci = None if item.ci is None else list(item.ci)
    return {"value": item.value, "unit": item.unit, "better": item.better, "ci": ci, "n": item.n}


def from_json(raw: object, *, source: str = "a record") -> Record:
    """Read a record back from its JSON form; ``source`` names the file in errors.

    Raises:
        BrokenFileError: the schema is unknown, or a field is missing or of the wrong kind.
    """
    if not isinstance(raw, Mapping):
        raise _broken(source, f"a record is a {type(raw).__name__} and should be an object")
    if raw.get("schema") != SCHEMA:
        raise BrokenFileError(
            f"{source}: record schema {raw.get('schema')!r} is unknown",
            why=f"this EmoBench reads schema {SCHEMA}",
            fix=schema_fix(raw.get("schema"), SCHEMA, "read it with the EmoBench that wrote it, or run the case again"),
        )
    try:
        return Record(
            case=_mapping(raw, "case", needs="id"),
            metrics=tuple(_metric_from_json(name, item) for name, item in _mapping(raw, "metrics").items()),
            status=Status(raw["status"]),
            reasons=tuple(str(reason) for reason in raw["reasons"]),
            artifacts=_mapping(raw, "artifacts"),
            environment=_mapping(raw, "environment"),
            details=_mapping(raw, "details"),
        )
    except KeyError as error:
        raise _broken(source, f"the field {error.args[0]!r} is missing") from error
    except (TypeError, ValueError, OverflowError) as error:
        raise _broken(source, str(error)) from error


def _broken(source: str, why: str) -> BrokenFileError:
    return BrokenFileError(f"{source} holds no readable record", why=why, fix="restore the file or run the case again")


def _mapping(raw: Mapping[str, Any], name: str, *, needs: str | None = None) -> dict[str, Any]:
    value = raw[name]
    if not isinstance(value, Mapping):
        raise TypeError(f"the field {name!r} is a {type(value).__name__} and should be an object")
    if needs is not None and needs not in value:
        raise KeyError(f"{name}.{needs}")
    return dict(value)


def _metric_from_json(name: str, raw: Mapping[str, Any]) -> Metric:
    value, ci, n = raw["value"], raw["ci"], raw["n"]
    for number in (value, *(ci or ()), *([] if n is None else [n])):
        if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
            raise TypeError(f"the metric {name!r} holds {number!r} where a finite number should be")
    if ci is not None and len(ci) != 2:
        raise ValueError(f"the interval of metric {name!r} has {len(ci)} ends and should have 2")
    if raw["better"] not in ("higher", "lower", "none"):
        raise ValueError(f"the direction of metric {name!r} is {raw['better']!r}")
    return Metric(
        name=name,
        value=value,
        unit=str(raw["unit"]),
        better=raw["better"],
        ci=None if ci is None else (float(ci[0]), float(ci[1])),
        n=n,
    )


def flat_mirrors(record: Record) -> dict[str, float]:
    """Metric name to value, for readers of ``extra_info`` that know nothing of EmoBench; finite ones only."""
    return {item.name: item.value for item in checked(record).metrics}


def mean_over_seeds(per_seed: Sequence[Sequence[Metric]]) -> list[Metric]:
    """Average the metrics of a case's seeds; a metric that some seed lacks is left out (it stays in the details).

    One seed: the metrics as they are. Several: the value is the mean, and the 95 % interval the wider of two on each
    side: Student's t over the seeds' values (how training varies), and the mean of the seeds' own intervals (how the
    test examples vary: all seeds share them, so more seeds do not narrow it). Ends are cut at 0, and at 1 for shares.
    ``n`` is the sum over the seeds: measurements made, the same test example counted once a seed.

    A non-finite seed makes the mean non-finite, so the record becomes invalid.
    """
    if not per_seed:
        return []
    if len(per_seed) == 1:
        return list(per_seed[0])
    tables = [{item.name: item for item in metrics} for metrics in per_seed]
    shared = [name for name in tables[0] if all(name in table for table in tables)]
    return [_mean_metric([table[name] for table in tables]) for name in shared]


def _mean_metric(items: Sequence[Metric]) -> Metric:
    values = [item.value for item in items]
    counts = [item.n for item in items]
    same = all(value == values[0] for value in values)
    mean = values[0] if same else fmean(values)
    return replace(
        items[0],
        value=mean,
        ci=_interval(items, mean) if math.isfinite(mean) else None,
        n=None if None in counts else sum(count for count in counts if count is not None),
    )


def _interval(items: Sequence[Metric], mean: float) -> tuple[float, float] | None:
    from scipy.special import stdtrit  # slow to import, and collecting tests imports this module

    values = [item.value for item in items]
    spread = stdev(values)
    own = [item.ci for item in items if item.ci is not None]
    if spread == 0 and len(own) < len(items):
        return None  # a constant, such as a parameter count
    half = float(stdtrit(len(values) - 1, 0.975)) * spread / math.sqrt(len(values))
    low, high = mean - half, mean + half
    if len(own) == len(items):
        low, high = min(low, fmean(ci[0] for ci in own)), max(high, fmean(ci[1] for ci in own))
    return max(0.0, low), min(1.0, high) if items[0].unit == "share" else high
