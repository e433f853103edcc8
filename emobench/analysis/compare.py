"""Comparison of a run with a base: a row a case and metric, with interval, p and verdict. It gates nothing.

A verdict needs an interval that excludes zero and a p that stays at most 5 % after Holm's correction over the whole
comparison; with only the first of the two it is ``inconclusive``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace

import numpy as np
import numpy.typing as npt

from emobench.analysis.columns import Floats, Ints, Results, Texts
from emobench.analysis.corrections import benjamini_hochberg, holm
from emobench.analysis.effects import rounds_effect, score_effect
from emobench.analysis.estimate_columns import Estimates
from emobench.analysis.estimates import EXACT_HOW, close, estimate, resampled
from emobench.analysis.metric_kinds import is_quality, is_share
from emobench.analysis.pairs import DOES_NOT_FIT, OK, Pairs, has_metric, pair, values_at
from emobench.analysis.power import detectable_change
from emobench.analysis.round_changes import FROM_ROUNDS
from emobench.analysis.significance import gate_decisions
from emobench.errors import unknown_name
from emobench.outcomes import METRICS

MAIN = (
    "accuracy",
    "f1_macro",
    "accuracy_difference",
    "latency_p50_seconds",
    "ttft_p50_seconds",
    "tpot_p50_seconds",
    "train_seconds",
    "evaluate_samples_per_second",
    "samples_per_second",
    "speedup",
    "device_memory_peak_bytes",
    "host_memory_growth_bytes",
    "model_bytes",
)
"""Metrics compared where none are named."""

VERDICTS = ("better", "worse", "same", "inconclusive", "new", "gone", "invalid")
AXES = ("model", "dataset", "method", "device")
LEVEL = 0.05
RESAMPLED_AT_MOST = 40
"""Close calls of one comparison that are resampled; with more of them all stay in closed form, which each row tells."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Rows:
    """One entry a case and metric; NaN where there is no such number. A row of a whole case has the metric ``""``."""

    case: Texts
    metric: Texts
    model: Texts
    dataset: Texts
    method: Texts
    device: Texts
    base: Floats
    new: Floats
    point: Floats
    """new - base for shares, else new / base - 1."""
    lower: Floats
    upper: Floats
    p: Floats
    p_holm: Floats
    p_bh: Floats
    detectable: Floats
    """Smallest true change that the data would have shown with a chance of 80 %, in the terms of ``point``."""
    effect: Floats
    """Cohen's h of scores, Cliff's delta of what follows from rounds, see ``effects``; NaN for other metrics."""
    verdict: Texts
    how: Texts
    """How the interval was made, or why there is none."""

    def __len__(self) -> int:
        return len(self.case)

    def where(self, keep: npt.NDArray[np.bool_] | Ints) -> Rows:
        """Some of the rows, or another order of them."""
        return Rows(**{column.name: getattr(self, column.name)[keep] for column in fields(self)})


@dataclass(frozen=True, kw_only=True, eq=False)
class Comparison:
    """One new run against the base."""

    base: str
    new: str
    rows: Rows
    apart: tuple[tuple[str, str], ...] = ()
    """Case id and why it is not compared though both runs have it."""
    notes: tuple[str, ...] = ()
    hidden: Mapping[str, int] = field(default_factory=dict)
    """Verdict to the number of rows that were left out of ``rows``."""

    def counts(self) -> dict[str, int]:
        """Verdict to its number of rows, hidden ones included, in the order of :data:`VERDICTS`; no zeros."""
        names, numbers = np.unique(self.rows.verdict.astype(str), return_counts=True)
        found = Counter(dict(zip(names.tolist(), numbers.tolist(), strict=True)))
        found.update(self.hidden)
        return {name: found[name] for name in VERDICTS if found[name]}


def compare(
    base: Sequence[Results],
    new: Results,
    *,
    metrics: Sequence[str] = MAIN,
    across: Collection[str] = (),
    name: str = "",
) -> Comparison:
    """Compare a run with one or several base runs, oldest first; ``name`` is what the base is called.

    Raises:
        SpecError: a metric is in no table.
    """
    for metric in metrics:
        if metric not in METRICS:
            raise unknown_name("metric", metric, METRICS)
    pairs = pair(base, new, across=across)
    whole = [_whole_cases(pairs)]
    blocks = [block for metric in metrics for block in _blocks(pairs, metric)]
    rows = _joined([*whole, *blocks], pairs)
    apart = [(str(pairs.id[at]), str(pairs.apart[at])) for at in np.flatnonzero(pairs.apart != "")]
    apart += _other_data(pairs, metrics)
    return Comparison(
        base=name or ", ".join(run.facts.name for run in base),
        new=new.facts.name,
        rows=_corrected(rows),
        apart=tuple(apart),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Block:
    """Rows of one metric."""

    at: Ints
    """Cases, as numbers in the pairs."""
    metric: str
    found: Estimates
    verdict: Texts
    effect: Floats


def _block(at: Ints, metric: str, verdict: str, how: str | Texts, *, base: Floats, new: Floats) -> _Block:
    found = Estimates.empty(len(at))
    found.base[:], found.new[:], found.how[:] = base, new, how
    verdicts, effect = np.full(len(at), verdict, object), np.full(len(at), np.nan)
    return _Block(at=at, metric=metric, found=found, verdict=verdicts, effect=effect)


def _whole_cases(pairs: Pairs) -> _Block:
    """Cases that are only on one side, or did not end ok on either."""
    there = {"base": pairs.base_status != "", "new": pairs.new_rows >= 0}
    ok = {"base": pairs.base_status == OK, "new": pairs.new_status == OK}
    skipped = np.array([name in pairs.new.facts.skipped for name in pairs.id], bool)
    verdict = np.select(
        [
            ok["base"] & ok["new"],
            there["base"] & ~there["new"],
            ok["base"] & (pairs.new_status == DOES_NOT_FIT),
            (pairs.base_status == DOES_NOT_FIT) & ok["new"],
            ~there["base"] & ok["new"],
            (pairs.base_status == DOES_NOT_FIT) & (pairs.new_status == DOES_NOT_FIT),
        ],
        ["", "gone", "worse", "better", "new", "same"],
        "invalid",
    ).astype(object)
    at = np.flatnonzero(verdict != "")
    how = [_why(pairs, int(case), bool(skipped[case])) for case in at]
    empty = np.full(len(at), np.nan)
    return replace(_block(at, "", "", np.array(how, object), base=empty, new=empty), verdict=verdict[at])


def _why(pairs: Pairs, case: int, skipped: bool) -> str:
    base, new = str(pairs.base_status[case]), str(pairs.new_status[case])
    if not new:
        return f"skipped: {pairs.new.facts.skipped[pairs.id[case]]}" if skipped else "no record in the new run"
    if not base:
        return "" if new == OK else _reason(pairs, case, new)
    words = f"{base.replace('_', ' ')} at the base, {new.replace('_', ' ')} now"
    return words if new == OK else f"{words}: {_reason(pairs, case, new)}"


def _reason(pairs: Pairs, case: int, status: str) -> str:
    return "; ".join(pairs.new.reasons(int(pairs.new_rows[case]))) or status


def _blocks(pairs: Pairs, metric: str) -> list[_Block]:
    base_has, new_has = has_metric(pairs, metric)
    paired = pairs.paired & (pairs.same_data if is_quality(metric) else True)
    values = _shown_values(pairs, metric)
    found = []
    for verdict, which in (("gone", base_has & ~new_has), ("new", new_has & ~base_has)):
        at = np.flatnonzero(paired & which)
        if len(at):
            side = "the new run" if verdict == "gone" else "the base"
            how = f"{side} has no {metric} of this case"
            found.append(_block(at, metric, verdict, how, base=values[0][at], new=values[1][at]))
    at = np.flatnonzero(paired & base_has & new_has)
    if len(at):
        changes = estimate(pairs, metric, at)
        verdicts = _verdicts(changes, pairs, metric, at)
        effect = _effects(changes, pairs, metric, at)
        found.append(_Block(at=at, metric=metric, found=changes, verdict=verdicts, effect=effect))
    return found


def _effects(found: Estimates, pairs: Pairs, metric: str, at: Ints) -> Floats:
    if is_quality(metric):
        return score_effect(found.base, found.new)
    nothing = np.full(len(at), np.nan)
    if metric not in FROM_ROUNDS:
        return nothing
    # Without an interval the metric did not follow from the rounds.
    return np.where(np.isnan(found.lower), nothing, rounds_effect(pairs, at, found.point))


def _shown_values(pairs: Pairs, metric: str) -> tuple[Floats, Floats]:
    new = values_at(pairs.new.value, pairs.new.column(metric), pairs.new_rows)
    base = np.full(len(new), np.nan)
    for run, rows in zip(pairs.base, pairs.base_rows, strict=True):
        found = values_at(run.value, run.column(metric), rows)
        base = np.where(np.isfinite(found), found, base)
    return base, new


def _verdicts(found: Estimates, pairs: Pairs, metric: str, at: Ints) -> Texts:
    near = close(found)
    if len(near) <= RESAMPLED_AT_MOST:
        resampled(found, pairs, metric, at, near, confidence=1 - LEVEL)
    known = np.isfinite(found.point)
    found.how[~known] = "the base is 0, so that there is no ratio"
    better = METRICS[metric].better
    verdict = np.full(len(at), "inconclusive", object)
    if better == "none":
        verdict[known & (found.lower <= 0) & (found.upper >= 0)] = "same"
        return verdict
    verdict[known] = gate_decisions(
        found.point[known], found.lower[known], found.upper[known], np.nan, lower_is_better=better == "lower"
    )
    return verdict


def _other_data(pairs: Pairs, metrics: Sequence[str]) -> list[tuple[str, str]]:
    found = []
    names = [metric for metric in metrics if is_quality(metric)]
    has = np.zeros(len(pairs.id), bool)
    for metric in names:
        has |= np.logical_and(*has_metric(pairs, metric))
    for at in np.flatnonzero(pairs.paired & ~pairs.same_data & has):
        found.append((str(pairs.id[at]), "data differs: quality is not compared"))
    return found


def _joined(blocks: Sequence[_Block], pairs: Pairs) -> Rows:
    at = np.concatenate([block.at for block in blocks]).astype(np.int64)
    order = np.argsort(at, kind="stable")
    columns = {
        name: np.concatenate([getattr(block.found, name) for block in blocks])[order]
        for name in ("base", "new", "point", "lower", "upper", "p", "how")
    }
    metric = np.concatenate([np.full(len(block.at), block.metric, object) for block in blocks])[order]
    share = np.concatenate([np.full(len(block.at), is_share(block.metric)) for block in blocks])[order]
    verdict = np.concatenate([block.verdict for block in blocks])[order]
    missing = np.full(len(at), np.nan)
    shown = detectable_change(columns["lower"], columns["upper"], relative=~share, confidence=1 - LEVEL)
    return Rows(
        case=pairs.id[at[order]],
        metric=metric,
        model=_axis(pairs, "model")[at[order]],
        dataset=_axis(pairs, "dataset")[at[order]],
        method=_axis(pairs, "method")[at[order]],
        device=_axis(pairs, "device")[at[order]],
        **columns,
        p_holm=missing,
        p_bh=missing,
        detectable=np.where(columns["how"] == EXACT_HOW, np.nan, shown),
        effect=np.concatenate([block.effect for block in blocks])[order],
        verdict=verdict,
    )


def _axis(pairs: Pairs, name: str) -> Texts:
    found = np.full(len(pairs.id), "", object)
    sides = [*pairs.base, pairs.new]
    for run in sides:
        column = getattr(run, name)
        if len(column):
            rows = pairs.new_rows if run is pairs.new else _all_rows(run, pairs.id)
            found = np.where(rows >= 0, column[rows], found)
    return found


def _all_rows(run: Results, ids: Texts) -> Ints:
    if run.id is ids:
        return np.arange(len(ids))
    return np.array([run.rows.get(name, -1) for name in ids], np.int64)


def _corrected(rows: Rows) -> Rows:
    tested = np.flatnonzero(np.isfinite(rows.p) & (rows.how != EXACT_HOW))
    p_holm, p_bh, verdict = rows.p_holm.copy(), rows.p_bh.copy(), rows.verdict.copy()
    if len(tested):
        p_holm[tested], p_bh[tested] = holm(rows.p[tested]), benjamini_hochberg(rows.p[tested])
    nominal = (p_holm > LEVEL) & np.isin(verdict.astype(str), ("better", "worse"))
    verdict[nominal] = "inconclusive"
    return replace(rows, p_holm=p_holm, p_bh=p_bh, verdict=verdict)
