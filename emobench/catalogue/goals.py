"""What the user wants and pays: a target per metric, a price per device hour. Judges and prices metrics; measures none.

In ``emobench.toml``::

    [targets]                       # any metric; which way is better is the metric's own
    latency_p50_seconds = 0.05
    accuracy = 0.80

    [price]                         # of an hour of the device
    currency = "EUR"
    cuda = 2.50
    cpu = 0.08
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

from emobench import errors
from emobench.catalogue.limits import check_metric
from emobench.outcomes import Metric, metric
from emobench.specs import DeviceKind

DEVICES: tuple[DeviceKind, ...] = get_args(DeviceKind)


@dataclass(frozen=True, kw_only=True)
class Goals:
    """Targets and prices; empty where none were given."""

    targets: Mapping[str, float] = field(default_factory=dict)
    """Metric to the value it should reach."""
    prices: Mapping[str, float] = field(default_factory=dict)
    """Device kind to the price of an hour of it."""
    currency: str = ""


def find_goals(
    targets: Mapping[str, Any], price: Mapping[str, Any], *, asked: Sequence[str] = (), hourly: float | None = None
) -> Goals:
    """Goals of the project's tables and of the options, which win: ``METRIC:VALUE`` texts and one price an hour.

    Raises:
        SpecError: an unknown metric, device or key, or a value that is no number above 0.
    """
    found = {**targets}
    for text in asked:
        name, colon, value = text.partition(":")
        if not colon:
            raise errors.SpecError(
                f"target {text!r} has no value",
                why="the form is METRIC:VALUE",
                fix="write for example latency_p50_seconds:0.05",
            )
        found[name.strip()] = value
    for name in found:
        check_metric(name, "a target")
    for name in price:
        if name not in (*DEVICES, "currency"):
            raise errors.unknown_name("key in [price]:", name, (*DEVICES, "currency"))
    prices: dict[str, Any] = dict.fromkeys(DEVICES, hourly) if hourly is not None else {}
    prices = {**{name: value for name, value in price.items() if name != "currency"}, **prices}
    return Goals(
        targets={name: _number(f"target {name}", value) for name, value in found.items()},
        prices={name: _number(f"price of {name}", value) for name, value in prices.items()},
        currency=str(price.get("currency", "")),
    )


def costs(metrics: Sequence[Metric], *, per_hour: float) -> list[Metric]:
    """What a case costs at a price per device hour: of one training run, a thousand examples, a million real tokens.

    Each from the metrics it follows from, where they are there: wall time times price, nothing for idle time.
    """
    values = {item.name: item.value for item in metrics}
    per_second = per_hour / 3600
    found: list[Metric] = []
    if "train_seconds" in values:
        found.append(metric("cost_per_run", per_second * (values["train_seconds"] + values.get("evaluate_seconds", 0))))
    samples = values.get("samples_per_second") or values.get("evaluate_samples_per_second")
    if samples:
        found.append(metric("cost_per_thousand_samples", per_second * 1000 / samples))
    if values.get("tokens_per_second"):
        found.append(metric("cost_per_million_tokens", per_second * 1e6 / values["tokens_per_second"]))
    return found


def judged(metrics: Sequence[Metric], targets: Mapping[str, float]) -> dict[str, dict[str, Any]]:
    """Each target the case has a value for: the limit, the value, and whether it is met."""
    found = {}
    for item in metrics:
        if item.name in targets:
            limit = targets[item.name]
            met = item.value >= limit if item.better == "higher" else item.value <= limit
            found[item.name] = {"target": limit, "value": item.value, "met": bool(met)}
    return found


def _number(what: str, value: Any) -> float:
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not (math.isfinite(number) and number > 0):
        raise errors.SpecError(
            f"{what} is {value!r}", why="it takes a number above 0", fix="correct it in emobench.toml or the option"
        )
    return number
