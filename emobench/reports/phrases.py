"""Phrases: the summary of a report as questions and answers, and captions of its pictures. It computes no figure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from emobench.analysis.findings import SkipGroup, Target
from emobench.analysis.rows import Pick, Row
from emobench.analysis.sweep import Measured
from emobench.analysis.tradeoff import LATENCY, QUALITY, Group, radar
from emobench.kinds import SHRINKING
from emobench.outcomes import METRICS, Status
from emobench.reports.content import Content
from emobench.reports.quantities import axis_title, figure_text, shown
from emobench.reports.tables import number

MOST = 8
"""Cases that a sentence names; the table has all."""
INTERVALS = "Figures in brackets are 95 % intervals."
OVERLAP = "Two cases are told apart here where their intervals do not overlap; emobench compare tests the difference."
_SAID = (Status.DOES_NOT_FIT, Status.INVALID, Status.FAILED, Status.TIMED_OUT, Status.LOST, Status.INTERRUPTED)

Lines = list[tuple[str, str]]
"""Question and answer."""


def summary_lines(content: Content) -> Lines:
    """Everything a reader wants first, in the order a person asks it."""
    overview = content.overview
    lines: Lines = [("cases", _cases(content))]
    for group in overview.groups:
        lines.append((f"best quality, {group.name}", _best(group)))
        lines.append((f"best trade-off, {group.name}", _trade_off(group)))
    if not overview.groups:
        lines.append(("best quality", "not measured: no fine-tuning, evaluation or shrinking case is ok"))
    for speed in overview.speeds:
        name = f", {speed.name}" if speed.name else ""
        lines.append((f"fastest{name}", _fastest(speed.fastest)))
        if speed.highest is not None:
            lines.append((f"highest throughput{name}", _highest(speed.highest)))
    if not overview.speeds:
        lines.append(("fastest", "not measured: no inference case is ok"))
    lines.append(("smallest", _smallest(overview.smallest)))
    if content.targets:
        lines.append(("targets", target_text(content.targets)))
    if content.traces:
        counts = Counter(trace.verdict for trace in content.traces)
        lines.append(
            ("main bottleneck", "; ".join(f"{kind} in {count} traced cases" for kind, count in counts.items()))
        )
    lines += [(status.value.replace("_", " "), _ended(content, status)) for status in _SAID if overview.count(status)]
    lines += [("not run", skip_text(group)) for group in content.skips[:MOST]]
    if len(content.skips) > MOST:
        lines.append(("not run", f"and for {len(content.skips) - MOST} more reasons"))
    return lines + [("note", note) for note in content.notes]


def name_of(row: Row, *, without: Sequence[str] = ()) -> str:
    """Model, data, method, precision, device, batch size and launch of a case, as far as it has them."""
    parts = []
    for axis in ("model", "dataset", "method", "precision", "device", "batch_size", "length", "backend", "launch"):
        value = row.case.get(axis)
        if value is None or axis in without or (axis == "backend" and value == "eager"):
            continue
        parts.append({"batch_size": f"batch {value}", "length": f"{value} tokens"}.get(axis, str(value)))
    if row.case.get("weights") == "random":
        parts.append("random weights")
    return ", ".join(parts) or row.id


def _cases(content: Content) -> str:
    counts = Counter(row.result.status for row in content.overview.rows)
    runs = len(content.records)
    told = ", ".join(f"{count} {status.value.replace('_', ' ')}" for status, count in counts.most_common())
    return f"{len(content.overview.rows)} in {runs} run{'s' if runs > 1 else ''}: {told or 'none'}"


def _best(group: Group) -> str:
    text = f"{name_of(group.best.row, without=['dataset'])}: accuracy {figure_text(QUALITY, group.best.item)}"
    if len(group.candidates) == 1:
        return f"{text}; the only case"
    return text + _tied(group.best.tied, of=len(group.candidates))


def _tied(labels: Sequence[str], *, of: int) -> str:
    if not labels:
        return ""
    return f"; the intervals do not tell {_some(labels)} ({len(labels) + 1} of {of} cases) from it"


def _some(names: Sequence[str]) -> str:
    named = [name or "the other" for name in names[:3]]
    return " and ".join([", ".join(named), f"{len(names) - 3} more"]) if len(names) > 3 else "; ".join(named)


def _trade_off(group: Group) -> str:
    pick = group.trade_off
    if pick is None:
        return "not known: the cases of the best quality have no latency, training time or memory"
    quality = next(item.quality for item in group.candidates if item.row is pick.row)
    title = shown(pick.quantity).title
    text = f"{name_of(pick.row, without=['dataset'])}: {title} {figure_text(pick.quantity, pick.item)}"
    text += f" at accuracy {figure_text(QUALITY, quality)}"
    if len(group.candidates) == 1:
        return text
    if all(item.costs[pick.quantity].value >= pick.item.value for item in group.shown):
        return f"{text}; no case has a lower {title}"
    if pick.row is group.best.row:
        return f"{text}; every case with a lower {title} is worse in quality beyond the intervals"
    text += f"; the lowest {title} among the cases whose quality the intervals do not tell from the best"
    return text + (f"; {_some(pick.tied)} the same" if pick.tied else "")


def _fastest(pick: Pick) -> str:
    text = f"{name_of(pick.row)}: {figure_text(LATENCY, pick.item)}, median of a batch"
    return text + (f"; the intervals do not tell {_some(pick.tied)} from it" if pick.tied else "")


def _highest(pick: Pick) -> str:
    return f"{name_of(pick.row)}: {figure_text('samples_per_second', pick.item)}"


def _smallest(pick: Pick | None) -> str:
    if pick is None:
        return "not recorded"
    unused = ["dataset", "device", "batch_size", "length", "backend"]
    without = unused if pick.row.case.get("kind") in SHRINKING else [*unused, "method"]
    return f"{name_of(pick.row, without=without)}: {figure_text('model_bytes', pick.item)} of weights"


def target_text(targets: Sequence[Target]) -> str:
    """How many cases meet each target."""
    parts = []
    for name in dict.fromkeys(target.metric for target in targets):
        found = [target for target in targets if target.metric == name]
        met = sum(target.met for target in found)
        parts.append(f"{limit_text(found[0])}: {met} of {len(found)} cases meet it")
    return "; ".join(parts)


def limit_text(target: Target) -> str:
    """Metric, direction and limit; one this version does not know is taken as it was judged."""
    if target.metric not in METRICS:
        return f"{target.metric} {number(target.limit)}"
    sign = "at least" if METRICS[target.metric].better == "higher" else "at most"
    return f"{shown(target.metric).title} {sign} {value_text(target.metric, target.limit)}"


def value_text(metric: str, value: float) -> str:
    """A value of a metric with its unit."""
    return figure_text(metric, Measured(value=value)) if metric in METRICS else number(value)


def target_rows(content: Content) -> list[tuple[str, str, str, str]]:
    """Of every target whether it was met, by which case, what it asked for and what was reached."""
    return [
        (
            "met" if item.met else "missed",
            case_of(content, item.row),
            limit_text(item),
            value_text(item.metric, item.value),
        )
        for item in content.targets
    ]


def case_of(content: Content, row: Row) -> str:
    """The id of a case, with its run where there are several."""
    return f"{row.id}, run {row.run}" if len(content.records) > 1 else row.id


def skip_rows(content: Content) -> list[tuple[str, str]]:
    """Why cases were skipped, and examples of them."""
    return [(skip_text(group), ", ".join(group.examples)) for group in content.skips]


def _ended(content: Content, status: Status) -> str:
    rows = [row for row in content.overview.rows if row.result.status is status]
    parts = [f"{row.id}: {'; '.join(row.result.reasons) or 'no reason was recorded'}" for row in rows[:MOST]]
    more = f" | and {len(rows) - MOST} more, in the table" if len(rows) > MOST else ""
    return " | ".join(parts) + more


def skip_text(group: SkipGroup) -> str:
    """How many cases were skipped for a reason."""
    runs = f" of run{'s' if len(group.runs) > 1 else ''} {', '.join(group.runs)}" if group.of_runs > 1 else ""
    return f"{group.count} case{'s' if group.count != 1 else ''}{runs}: {group.reason}"


def scatter_caption(group: Group) -> str:
    """Where the figures of a scatter come from, and what is not in it."""
    text = "Accuracy on the test rows"
    if not group.across:
        return f"{text}. No case has a latency, a training time or a memory to show it against."
    text += f" against {axis_title(group.across)}, both with 95 % intervals where there are any."
    if group.across == LATENCY:
        text += " " + _latency_source(group)
    elif any(LATENCY in item.costs for item in group.candidates):
        text += " The latency is the same for all that have one, so it is not shown."
    else:
        text += " No inference case of these models was run, so there is no latency."
    text += " On the Pareto line no case is better in both."
    if group.hidden:
        text += f" Not shown, for lack of it: {_some([item.label for item in group.hidden])}."
    return text


def _latency_source(group: Group) -> str:
    batches = sorted({item.latency_batch for item in group.shown if item.latency_batch is not None})
    own = sum(item.latency_case == item.row.id for item in group.shown)
    if own == len(group.shown):
        return "The latency is each case's own."
    sizes = " and ".join(map(str, batches)) or "unknown"
    return (
        f"The latency is that of the inference case of the same model, precision and device, at batch {sizes}; "
        "an adapter or a trained head adds to it what this does not show."
    )


def radar_caption(group: Group) -> str:
    """What the axes of a radar are."""
    quantities, rows = radar(group)
    if not rows:
        return ""
    left = len(group.candidates) - len(rows)
    text = f"Shares of the best of the group; 100 % is best on every axis. Cost is {shown(quantities[-1]).title}."
    return text + (f" {left} more cases are in the table." if left else "")


def history_caption() -> str:
    """What a line of the history is."""
    return "A line is one case: equal id, profile, weights and device. Of many cases those that changed most."
