"""Limits of a gate: how much worse a metric may become, and what it must reach. Compares nothing.

In ``emobench.toml``::

    [gates]                              # every case that has the metric
    accuracy = "1pt"                     # a share may lose one point
    latency_p50_seconds = "10%"          # any other metric may become this much worse, of its base
    f1_macro = ["2pt", ">=0.80"]         # and must reach 0.80 whatever the base is

    [gates.markers.cuda]                 # in place of the above, for cases with this marker
    latency_p50_seconds = "5%"

    [gates.cases."finetune[*-lora-*]"]   # in place of both; only * and ? are special
    accuracy = "off"

Which way is worse is the metric's own. Of several markers or patterns that fit, the last in the file counts. An option
stands in place of the first table's line for its metric; lines for markers and cases stay.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from emobench import errors
from emobench.outcomes import METRICS

OFF = "off"
_CHANGE = re.compile(r"(?P<number>[^\s%a-zA-Z]+)\s*(?P<unit>pt|%)")
_OPTION = re.compile(r"(?P<metric>[^:<>=]*?)\s*(?P<sign>:|>=|<=)\s*(?P<rest>.*)")
_FORMS = "write for example accuracy:1pt, latency_p50_seconds:10% or accuracy>=0.80"


@dataclass(frozen=True, kw_only=True)
class Limit:
    """What is asked of one metric; both may be given."""

    metric: str
    loss: float | None = None
    """How much worse is tolerated: a share (0.01 is a point) for shares, else relative to the base (0.1 is 10 %)."""
    bound: float | None = None
    """Least value, or the largest where lower is better, in the metric's unit."""

    @cached_property
    def text(self) -> str:
        """As it may be typed: ``1pt``, ``>=0.8``, or both."""
        share = METRICS[self.metric].unit == "share"
        sign = ">=" if METRICS[self.metric].better == "higher" else "<="
        change = "" if self.loss is None else f"{100 * self.loss:.6g}{'pt' if share else '%'}"
        return " and ".join(part for part in (change, "" if self.bound is None else f"{sign}{self.bound:g}") if part)


Lines = Mapping[str, Limit | None]
"""Metric to its limit; None switches it off."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """All limits of a project and its options; empty where none were given."""

    general: Lines = field(default_factory=dict)
    markers: Mapping[str, Lines] = field(default_factory=dict)
    cases: Mapping[str, Lines] = field(default_factory=dict)
    """Pattern of case ids to limits."""

    def __bool__(self) -> bool:
        return any(line is not None for lines in self._all for line in lines.values())

    @property
    def _all(self) -> list[Lines]:
        return [self.general, *self.markers.values(), *self.cases.values()]

    @property
    def compares(self) -> bool:
        """Whether any limit is on a change, for which a baseline is needed."""
        return any(line is not None and line.loss is not None for lines in self._all for line in lines.values())

    def without(self, metrics: Collection[str]) -> Limits:
        """The limits on all other metrics."""
        return self._each(lambda lines: {name: line for name, line in lines.items() if name not in metrics})

    def bounds(self) -> Limits:
        """What needs no base: the limits without their tolerated changes; a line that has no more is left out."""
        return self._each(_bounds)

    def _each(self, change: Callable[[Lines], Lines]) -> Limits:
        return Limits(
            general=change(self.general),
            markers={name: change(lines) for name, lines in self.markers.items()},
            cases={name: change(lines) for name, lines in self.cases.items()},
        )

    @cached_property
    def _patterns(self) -> list[tuple[re.Pattern[str], Lines]]:
        return [(_pattern(text), lines) for text, lines in self.cases.items()]

    def of_case(self, case: str, markers: Collection[str] = ()) -> dict[str, Limit]:
        """Metric to limit for the case of this id and these markers."""
        found = dict(self.general)
        for name, lines in self.markers.items():
            if name in markers:
                found |= lines
        for pattern, lines in self._patterns:
            if pattern.fullmatch(case):
                found |= lines
        return {name: line for name, line in found.items() if line is not None}


def _bounds(lines: Lines) -> Lines:
    # A line that is off stays: it still switches off what a wider one says. So does one that only tolerates a change,
    # which stands in place of a wider bound.
    return {
        name: None if line is None or line.bound is None else replace(line, loss=None) for name, line in lines.items()
    }


def find_limits(table: Mapping[str, Any], asked: Sequence[str] = ()) -> Limits:
    """Limits of the project's table ``[gates]`` and of options: ``METRIC:LIMIT`` and ``METRIC>=VALUE`` texts.

    Raises:
        SpecError: an unknown metric (names the nearest), one without a direction, a unit that is not the metric's, or
            what is no limit.
    """
    place = "[gates]"
    general = {name: entry for name, entry in table.items() if name not in ("markers", "cases")}
    return Limits(
        general={**_lines(general, place), **_asked(asked)},
        markers=_tables(table, "markers"),
        cases=_tables(table, "cases"),
    )


def _tables(table: Mapping[str, Any], name: str) -> dict[str, Lines]:
    found = table.get(name, {})
    if not isinstance(found, Mapping):
        raise errors.SpecError(f"gates.{name} = {found!r}", why="it must be a table", fix=f"write [gates.{name}.NAME]")
    for key, entry in found.items():
        if not isinstance(entry, Mapping):
            raise errors.SpecError(
                f"gates.{name}.{key} = {entry!r}",
                why=f"a line of [gates.{name}] is a table of limits",
                fix=f'write [gates.{name}."{key}"] and the metrics below it',
            )
    return {key: _lines(entry, f"[gates.{name}.{key!r}]") for key, entry in found.items()}


def _lines(table: Mapping[str, Any], place: str) -> dict[str, Limit | None]:
    found: dict[str, Limit | None] = {}
    for name, entry in table.items():
        texts = entry if isinstance(entry, list) else [entry]
        if not texts or not all(isinstance(text, str) for text in texts):
            raise errors.SpecError(
                f"{name} = {entry!r} in {place} is no limit",
                why="a limit is a text with a unit, or a list of such",
                fix='write for example accuracy = "1pt", latency_p50_seconds = "10%" or accuracy = ">=0.80"',
            )
        check_metric(name, place)
        off = [text.strip() == OFF for text in texts]
        if any(off) and len(texts) > 1:
            raise errors.SpecError(f"{name} = {entry!r} in {place}", why=f"{OFF} stands alone", fix="keep one of them")
        found[name] = None if any(off) else _joined(name, [_parsed(name, text, f" in {place}") for text in texts])
    return found


def _asked(texts: Iterable[str]) -> dict[str, Limit]:
    found: dict[str, list[Limit]] = {}
    for text in texts:
        match = _OPTION.fullmatch(text.strip())
        if match is None:
            raise errors.SpecError(f"limit {text!r} cannot be read", why="the form is METRIC:LIMIT", fix=_FORMS)
        name, sign = match["metric"], match["sign"].strip(":")
        check_metric(name, "a limit")
        found.setdefault(name, []).append(_parsed(name, sign + match["rest"].strip(), ""))
    return {name: _joined(name, limits) for name, limits in found.items()}


def _joined(name: str, limits: Sequence[Limit]) -> Limit:
    joined = Limit(metric=name)
    for limit in limits:
        given = {key: value for key in ("loss", "bound") if (value := getattr(limit, key)) is not None}
        for key in given:
            if getattr(joined, key) is not None:
                raise errors.SpecError(
                    f"two limits of one kind for {name}",
                    why=f"{joined.text} and {limit.text} cannot both count",
                    fix="keep one of them",
                )
        joined = replace(joined, **given)
    return joined


def check_metric(name: str, place: str) -> None:
    """Raise :class:`errors.SpecError` for a metric that is unknown, or of which neither more nor less is better."""
    if name not in METRICS:
        raise errors.unknown_name(f"metric in {place}:", name, METRICS)
    if METRICS[name].better == "none":
        raise errors.SpecError(
            f"{name} in {place}", why="neither more nor less of it is better", fix="take another metric"
        )


def _parsed(name: str, text: str, place: str) -> Limit:
    """One limit: ``1pt``, ``10%``, ``>=0.8`` or ``<=0.05``."""
    text = text.strip()
    kind = METRICS[name]
    if text.startswith((">=", "<=")):
        return Limit(metric=name, bound=_bound(name, text, place))
    match = _CHANGE.fullmatch(text)
    number = _number(match["number"]) if match else None
    if match is None or number is None or number < 0:
        raise errors.SpecError(
            f"limit {text!r} for {name}{place} cannot be read",
            why="it takes a number of at least 0 and a unit, pt (points) or %",
            fix=_FORMS,
        )
    wanted = "pt" if kind.unit == "share" else "%"
    if match["unit"] != wanted:
        raise errors.SpecError(
            f"limit {text!r} for {name}{place} has another metric's unit",
            why=f"{name} is {'a share, and loses points' if wanted == 'pt' else 'no share, and changes by a ratio'}",
            fix=f"did you mean {name}:{match['number']}{wanted}?",
        )
    return Limit(metric=name, loss=number / 100)


def _bound(name: str, text: str, place: str) -> float:
    wanted = ">=" if METRICS[name].better == "higher" else "<="
    number = _number(text[2:])
    if number is None:
        raise errors.SpecError(
            f"limit {text!r} for {name}{place} cannot be read", why=f"after {text[:2]} stands a number", fix=_FORMS
        )
    if text[:2] != wanted:
        raise errors.SpecError(
            f"limit {name}{text}{place} asks for what is worse",
            why=f"of {name} {METRICS[name].better} is better",
            fix=f"did you mean {name}{wanted}{text[2:].strip()}?",
        )
    return number


def _number(text: str) -> float | None:
    try:
        found = float(text)
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def _pattern(text: str) -> re.Pattern[str]:
    # Case ids hold brackets, which fnmatch takes for sets of letters.
    return re.compile("".join({"*": ".*", "?": "."}.get(sign, re.escape(sign)) for sign in text), re.DOTALL)
