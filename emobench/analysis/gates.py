"""Gates: which cases of a run became worse than a limit allows, by one function for pytest and for the command line.

A case is worse when its point is beyond the limit and its interval, corrected by Bonferroni for all comparisons that
were planned, excludes zero. What was planned is known before anything runs, so that one case can be decided alone.
Whatever has no number is incomplete, never passed. Nothing here reads a file or fails a test.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from emobench.analysis.columns import Floats, Ints, Results
from emobench.analysis.corrections import bonferroni_level
from emobench.analysis.estimate_columns import Estimates
from emobench.analysis.estimates import close, estimate, resampled
from emobench.analysis.metric_kinds import is_quality, is_share, is_timed
from emobench.analysis.pairs import DOES_NOT_FIT, OK, Pairs, has_metric, pair, values_at
from emobench.analysis.power import examples_needed
from emobench.analysis.score_changes import FROM_EXAMPLES
from emobench.analysis.significance import gate_decisions
from emobench.outcomes import METRICS

ALPHA = 0.05
"""Chance of any false alarm among all planned comparisons."""

Outcome = Literal["better", "worse", "same", "inconclusive", "incomplete", "not gated"]
NUMBERS = ("base", "new", "point", "lower", "upper", "p")
"""Columns of an estimate that a decision tells."""
GATED = ("better", "worse", "same", "inconclusive")

REGRESSION, INCOMPLETE = 10, 11
"""Exit codes."""


class Limited(Protocol):
    """A limit, see ``catalogue.limits.Limit``."""

    @property
    def loss(self) -> float | None: ...
    @property
    def bound(self) -> float | None: ...
    @property
    def text(self) -> str: ...


@dataclass(frozen=True, kw_only=True)
class Gated:
    """A case and a metric that are gated."""

    case: str
    metric: str
    loss: float | None = None
    bound: float | None = None
    text: str = ""
    """The limit as it may be typed."""
    optional: bool = False
    """The base has no such value: gated, by its bound, only if the case has the metric."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is gated, known before anything runs."""

    gated: tuple[Gated, ...]
    comparisons: int
    """Changes that are tested: the number that the level is divided by."""
    vanished: tuple[str, ...] = ()
    """Cases that the base has and that were neither collected nor deselected."""
    notes: tuple[str, ...] = ()

    @property
    def confidence(self) -> float:
        """Of the intervals that decide."""
        return 1 - bonferroni_level(ALPHA, max(1, self.comparisons))


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What became of one gated pair; numbers are None where there are none."""

    case: str
    metric: str
    """Empty for a case that is not in the base and did not end ok."""
    outcome: Outcome
    base: float | None = None
    new: float | None = None
    point: float | None = None
    """new - base for shares, else new / base - 1."""
    lower: float | None = None
    upper: float | None = None
    confidence: float | None = None
    p: float | None = None
    limit: str = ""
    reason: str = ""
    """How the interval was made, or what is lacking."""


@dataclass(frozen=True, kw_only=True)
class Judgment:
    """All decisions of a run."""

    decisions: tuple[Decision, ...]
    inconclusive: Literal["pass", "fail"] = "pass"
    notes: tuple[str, ...] = ()

    def of(self, *outcomes: str) -> list[Decision]:
        """Decisions with one of these outcomes."""
        return [item for item in self.decisions if item.outcome in outcomes]

    @property
    def planned(self) -> int:
        """Gated pairs of the manifest and of what vanished."""
        return sum(1 for item in self.decisions if item.metric)

    @property
    def gated(self) -> int:
        """Pairs for which there was something to decide on."""
        return sum(1 for item in self.decisions if item.metric and item.outcome in GATED)

    @property
    def exit_code(self) -> int:
        """0, 10 for a regression, 11 where something is incomplete (or inconclusive, if that fails)."""
        if self.of("worse"):
            return REGRESSION
        lacking = ("incomplete", "inconclusive") if self.inconclusive == "fail" else ("incomplete",)
        return INCOMPLETE if self.of(*lacking) else 0


def make_plan(
    base: Sequence[Results],
    manifest: Sequence[str],
    limits_of: Callable[[str], Mapping[str, Limited]],
    *,
    deselected: Collection[str] = (),
    selection: str = "whole",
    only_cases: Collection[str] = (),
    only_metrics: Collection[str] = (),
) -> Plan:
    """What is gated of the cases in ``manifest``, and which cases of the base are missing from it.

    A pair is gated where an ok case of the base has the metric. ``selection`` says what was asked for: ``whole``,
    ``files`` (then only kinds of cases that were collected can be missing) or ``nodes`` (then none can).
    """
    known = set(manifest)
    base_cases = dict.fromkeys(name for run in base for name in run.id[run.status == OK])
    vanished = _vanished(base_cases, known, set(deselected), selection)
    if only_cases:
        vanished = [name for name in vanished if name in only_cases]
    has: dict[str, set[str]] = {}
    gated = []
    for case in (*manifest, *vanished):
        for metric, limit in limits_of(case).items():
            if (only_cases and case not in only_cases) or (only_metrics and metric not in only_metrics):
                continue
            if metric not in has:
                has[metric] = _cases_with(base, metric)
            there = case in has[metric]
            if there or (case not in base_cases and limit.bound is not None):
                loss = limit.loss if there else None
                gated.append(
                    Gated(
                        case=case,
                        metric=metric,
                        loss=loss,
                        bound=limit.bound,
                        text=limit.text,
                        optional=not there,
                    )
                )
    comparisons = sum(1 for item in gated if item.loss is not None)
    return Plan(gated=tuple(gated), comparisons=comparisons, vanished=tuple(vanished))


def _vanished(base: Mapping[str, None], manifest: set[str], deselected: set[str], selection: str) -> list[str]:
    if selection == "nodes":
        return []
    missing = [name for name in base if name not in manifest and name not in deselected]
    if selection == "files":
        kinds = {name.partition("[")[0] for name in (*manifest, *deselected)}
        missing = [name for name in missing if name.partition("[")[0] in kinds]
    return missing


def _cases_with(base: Sequence[Results], metric: str) -> set[str]:
    found: set[str] = set()
    for run in base:
        column = run.column(metric)
        if column is not None:
            found.update(run.id[np.isfinite(run.value[:, column]) & (run.status == OK)])
    return found


def decide(plan: Plan, base: Sequence[Results], new: Results, *, across: Collection[str] = ()) -> list[Decision]:
    """Decide every pair of the plan, in its order; call it with a part of the plan for what has run.

    Another hardware class keeps times and energy from being compared (``not gated``), but neither quality nor memory;
    another profile, other weights, or other data for quality, make a pair incomplete.
    """
    strict = pair(base, new, across=across)
    loose = pair(base, new, across={*across, "hardware"})
    numbers = {name: at for at, name in enumerate(strict.id)}
    by_metric: dict[str, list[int]] = {}
    for place, item in enumerate(plan.gated):
        by_metric.setdefault(item.metric, []).append(place)
    found: dict[int, Decision] = {}
    for metric, places in by_metric.items():
        pairs = strict if is_timed(metric) else loose
        made = _decide_metric(plan, metric, places, pairs, loose, numbers)
        found.update(made)
    return [found[place] for place in sorted(found)]


def new_and_broken(plan: Plan, base: Sequence[Results], new: Results) -> list[Decision]:
    """Cases that no pair of the plan stands for and that did not end ok: incomplete all the same."""
    covered = {item.case for item in plan.gated if not item.optional}
    known = {name for run in base for name in run.id}
    return [
        Decision(case=name, metric="", outcome="incomplete", reason=_how_it_ended(new, row))
        for row, name in enumerate(new.id)
        if new.status[row] not in (OK, DOES_NOT_FIT) and name not in covered and name not in known
    ]


def _decide_metric(
    plan: Plan, metric: str, places: Sequence[int], pairs: Pairs, loose: Pairs, numbers: Mapping[str, int]
) -> dict[int, Decision]:
    base_has, new_has = has_metric(pairs, metric)
    paired = pairs.paired & (pairs.same_data if is_quality(metric) else True)
    loosely = loose.paired if pairs is not loose else paired
    found: dict[int, Decision] = {}
    tested: list[int] = []
    for place in places:
        item = plan.gated[place]
        at = numbers.get(item.case)
        if at is not None and paired[at] and base_has[at] and new_has[at] and item.loss is not None:
            tested.append(place)
            continue
        decision = _without_test(item, pairs, at, compared=at is not None and bool(paired[at] or not item.loss))
        if decision is None:
            continue
        if decision.outcome == "incomplete" and at is not None and loosely[at] and not paired[at]:
            decision = Decision(
                case=item.case, metric=metric, outcome="not gated", limit=item.text, reason=str(pairs.apart[at])
            )
        found[place] = decision
    found.update(_tested(plan, metric, tested, pairs, numbers))
    return found


def _without_test(item: Gated, pairs: Pairs, at: int | None, *, compared: bool) -> Decision | None:
    """The decision on a pair whose change is not tested; None for an optional one that does not apply."""
    new, row = pairs.new, -1 if at is None else int(pairs.new_rows[at])

    def say(outcome: Outcome, reason: str, value: float | None = None) -> Decision:
        return Decision(case=item.case, metric=item.metric, outcome=outcome, new=value, limit=item.text, reason=reason)

    if row < 0:
        skipped = new.facts.skipped.get(item.case)
        return say("incomplete", f"skipped: {skipped}" if skipped else "the case has no record")
    status = str(new.status[row])
    if status == DOES_NOT_FIT and not item.optional:
        return say("worse", f"does not fit, and did at the base: {'; '.join(new.reasons(row))}".rstrip(": "))
    if status != OK:
        # A case that is not in the base counts once, not once a bound.
        return None if item.optional else say("incomplete", _how_it_ended(new, row))
    value = float(values_at(new.value, new.column(item.metric), np.array([row]))[0])
    if not np.isfinite(value):
        return None if item.optional else say("incomplete", f"the case has no {item.metric}")
    if item.loss is not None:
        assert at is not None
        return say(
            "incomplete", str(pairs.apart[at]) or _data_differs(pairs, at) or "the base has no such value", value
        )
    failed = _beyond_bound(item, value)
    return say("worse" if failed else "same", failed or "within its bound", value)


def _data_differs(pairs: Pairs, at: int) -> str:
    return "" if pairs.same_data[at] else "data differs from the base's"


def _how_it_ended(run: Results, row: int) -> str:
    return f"{str(run.status[row]).replace('_', ' ')}: {'; '.join(run.reasons(row)) or 'no reason was recorded'}"


def _beyond_bound(item: Gated, value: float) -> str:
    """Why the value does not reach its bound; empty where it does, or has none."""
    if item.bound is None:
        return ""
    lower_is_better = METRICS[item.metric].better == "lower"
    failed = value > item.bound if lower_is_better else value < item.bound
    return f"{value:.6g} is {'above' if lower_is_better else 'below'} {item.bound:g}" if failed else ""


def _tested(
    plan: Plan, metric: str, places: Sequence[int], pairs: Pairs, numbers: Mapping[str, int]
) -> dict[int, Decision]:
    if not places:
        return {}
    at = np.array([numbers[plan.gated[place].case] for place in places], np.int64)
    limit = np.array([plan.gated[place].loss for place in places], np.float64)
    confidence = plan.confidence
    wide = estimate(pairs, metric, at, confidence=1 - ALPHA)
    decisive = estimate(pairs, metric, at, confidence=confidence)
    _resample_close(decisive, pairs, metric, at, limit, confidence)
    known = np.isfinite(decisive.point)
    verdict = np.full(len(at), "inconclusive", object)
    verdict[known] = gate_decisions(
        decisive.point[known],
        decisive.lower[known],
        decisive.upper[known],
        limit[known],
        lower_is_better=METRICS[metric].better == "lower",
        resolution_lower=wide.lower[known],
        resolution_upper=wide.upper[known],
    )
    decisive.how[~known] = "the base is 0, so that there is no ratio"
    undecided = [place for place in np.flatnonzero(verdict == "inconclusive") if decisive.how[place] in FROM_EXAMPLES]
    if undecided:
        _say_what_is_needed(decisive, wide, pairs, metric, at, limit, np.array(undecided))
    columns = [getattr(decisive, name).tolist() for name in NUMBERS]
    rows = zip(places, verdict.tolist(), decisive.how.tolist(), *columns, strict=True)
    return {
        place: _decision(plan.gated[place], outcome, how, confidence, numbers) for place, outcome, how, *numbers in rows
    }


def _say_what_is_needed(
    found: Estimates, wide: Estimates, pairs: Pairs, metric: str, at: Ints, limit: Floats, places: Ints
) -> None:
    """Where the examples are too few to show the limit, say so and how many would show it."""
    n = pairs.new.predictions.n[pairs.new_rows[at[places]]]
    needed = examples_needed(n, wide.lower[places], wide.upper[places], limit[places])
    for place, few, many in zip(places, n, needed, strict=True):
        if few < many < np.inf:
            shown = shown_change(metric, float(limit[place])).lstrip("+")
            found.how[place] += f"; {few:,} rows cannot show {shown}, about {many:,.0f} can"


def _resample_close(found: Estimates, pairs: Pairs, metric: str, at: Ints, limit: Floats, confidence: float) -> None:
    """Resample what is beyond its limit where the closed form is not clear about zero: it counts nowhere else."""
    loss = found.point if METRICS[metric].better == "lower" else -found.point
    near = close(found)
    resampled(found, pairs, metric, at, near[loss[near] > limit[near]], confidence=confidence)


def _decision(item: Gated, outcome: Outcome, how: str, confidence: float, numbers: Sequence[float]) -> Decision:
    plain = {name: value if math.isfinite(value) else None for name, value in zip(NUMBERS, numbers, strict=True)}
    new = plain["new"]
    beyond = "" if new is None else _beyond_bound(item, new)
    return Decision(
        case=item.case,
        metric=item.metric,
        outcome="worse" if beyond else outcome,
        confidence=confidence,
        limit=item.text,
        reason=beyond or how,
        **plain,
    )


def shown_change(metric: str, value: float) -> str:
    """A change in the metric's own terms: ``-2.10 pt`` or ``+10.3 %``."""
    digits = 2 if is_share(metric) else 1
    # Adding 0 takes the sign off a rounded -0.0.
    return f"{round(100 * value, digits) + 0.0:+.{digits}f} {'pt' if is_share(metric) else '%'}"
