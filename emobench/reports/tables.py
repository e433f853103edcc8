"""Tables: records, skipped cases and saved runs as plain text of at most 120 columns. It computes no new figure."""

from __future__ import annotations

import math
import textwrap
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from tabulate import SEPARATING_LINE, tabulate

from emobench.kinds import in_order
from emobench.outcomes import METRICS, Metric, Status
from emobench.records.record import Record
from emobench.records.store import RunHeader

WIDTH = 120
MIB = 2**20

_AXES = ("model", "dataset", "method", "precision", "device", "batch_size", "length", "backend", "launch")
_AXIS_HEADS = {"dataset": "data", "batch_size": "batch", "length": "tokens"}
_USUAL = (None, "eager")
"""An axis where every case has one of these is not shown."""
_NAME_LENGTH = 18
"""To which a model's or data set's name is cut where the table would be too wide."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """A metric as a column; shown where any row of the table has it."""

    metric: str
    head: str
    """Two lines: what it is, and the unit."""
    show: Callable[[Metric], str]


def number(value: float) -> str:
    """A figure with three significant digits: ``0.00123``, ``12.3``, ``27,100``; else an exponent."""
    rounded = float(f"{value:.2e}")
    if rounded == 0:
        return "0"
    if not 1e-4 <= abs(rounded) < 1e9:
        return f"{rounded:.2e}"
    decimals = max(0, 2 - math.floor(math.log10(abs(rounded))))
    return f"{rounded:,.{decimals}f}"


def one_line(text: str) -> str:
    """The text on one line, control characters as question marks: a name must not steer a terminal."""
    return "".join(char if char.isprintable() else "?" for char in " ".join(text.split()))


def shortened(text: str, *, most: int = 800) -> str:
    """The text on one line; of a longer one than ``most`` the middle is left out."""
    line = one_line(text)
    return line if len(line) <= most else f"{line[: most // 2]} ... {line[-most // 2 :]}"


def share(item: Metric) -> str:
    """A share with three decimals, and the larger side of its interval as ±."""
    if item.ci is None:
        return f"{item.value:.3f}"
    return f"{item.value:.3f} ±{max(item.value - item.ci[0], item.ci[1] - item.value):.3f}"


def _times(factor: float) -> Callable[[Metric], str]:
    return lambda item: number(item.value * factor)


COLUMNS = (
    Column(metric="accuracy", head="accuracy\n±95 %", show=share),
    Column(metric="f1_macro", head="F1\nmacro", show=lambda item: f"{item.value:.3f}"),
    Column(metric="train_seconds", head="train\ns", show=_times(1)),
    Column(metric="evaluate_seconds", head="evaluate\ns", show=_times(1)),
    Column(metric="ttft_p50_seconds", head="1st token\np50 ms", show=_times(1e3)),
    Column(metric="tpot_p50_seconds", head="per token\np50 ms", show=_times(1e3)),
    Column(metric="latency_p50_seconds", head="latency\np50 ms", show=_times(1e3)),
    Column(metric="latency_p90_seconds", head="latency\np90 ms", show=_times(1e3)),
    Column(metric="latency_p99_seconds", head="latency\np99 ms", show=_times(1e3)),
    Column(metric="train_samples_per_second", head="train\nsamples/s", show=_times(1)),
    Column(metric="samples_per_second", head="speed\nsamples/s", show=_times(1)),
    Column(metric="tokens_per_second", head="speed\ntokens/s", show=_times(1)),
    Column(metric="evaluate_samples_per_second", head="evaluate\nsamples/s", show=_times(1)),
    Column(metric="speedup", head="speed\nx original", show=_times(1)),
    Column(metric="memory_ratio", head="weights\nx original", show=lambda item: f"{item.value:.3f}"),
    Column(metric="accuracy_difference", head="accuracy -\noriginal", show=share),
    Column(metric="cost_per_run", head="cost\na run", show=_times(1)),
    Column(metric="cost_per_thousand_samples", head="cost per\n1000 samples", show=_times(1)),
    Column(metric="cost_per_million_tokens", head="cost per\nM tokens", show=_times(1)),
    Column(metric="device_memory_peak_bytes", head="device\nMiB peak", show=_times(1 / MIB)),
    Column(metric="host_memory_growth_bytes", head="host\nMiB more", show=_times(1 / MIB)),
)

_DISPENSABLE = (
    "evaluate_samples_per_second",
    "train_samples_per_second",
    "f1_macro",
    "latency_p90_seconds",
    "samples_per_second",
    "evaluate_seconds",
)
"""Left out one after another where the table would be too wide, before names are shortened; a line below says so."""

_SHORTEN = "names"


def results_table(records: Sequence[Record]) -> str:
    """One table a kind of case, one row a case, with the reasons of cases that are not ok below.

    Columns stand where any row has a value. Empty text where there are no records.
    """
    kinds = in_order({str(record.case.get("kind")) for record in records})
    members = [[record for record in records if str(record.case.get("kind")) == kind] for kind in kinds]
    return "\n\n".join(_kind_table(kind, rows) for kind, rows in zip(kinds, members, strict=True))


def _kind_table(kind: str, records: Sequence[Record]) -> str:
    columns = [column for column in COLUMNS if any(record.metric(column.metric) for record in records)]
    axes = [axis for axis in _AXES if any(record.case.get(axis) not in _USUAL for record in records)]
    title, left_out, length = kind, [], 0
    table = _render(records, axes, columns, length)
    if _width(table) > WIDTH:
        # What is the same in every row is said once.
        same = [axis for axis in axes if axis != "model" and len({_axis(record, axis) for record in records}) == 1]
        title += "".join(f", {_AXIS_HEADS.get(axis, axis)} {shortened(_axis(records[0], axis))}" for axis in same)
        axes = [axis for axis in axes if axis not in same]
        table = _render(records, axes, columns, length)
    rest = [column.metric for column in reversed(columns[1:]) if column.metric not in _DISPENSABLE]
    for step in (*_DISPENSABLE, _SHORTEN, *rest):
        if _width(table) <= WIDTH:
            break
        length = _NAME_LENGTH if step == _SHORTEN else length
        left_out += [column.head.replace("\n", " ") for column in columns if column.metric == step]
        columns = [column for column in columns if column.metric != step]
        table = _render(records, axes, columns, length)
    return "\n".join([*wrapped(title), table, *_notes(records, left_out)])


def _render(records: Sequence[Record], axes: Sequence[str], columns: Sequence[Column], length: int) -> str:
    with_status = any(record.status is not Status.OK for record in records)
    heads = [_AXIS_HEADS.get(axis, axis) for axis in axes] + [column.head for column in columns]
    names = {axis: short_names({_name(record, axis) for record in records}, length) for axis in axes}
    rows = []
    for record in records:
        row = [_axis(record, axis, names[axis]) for axis in axes]
        found = [record.metric(column.metric) for column in columns]
        row += [column.show(item) if item else "" for column, item in zip(columns, found, strict=True)]
        rows.append(row + ([record.status.value.replace("_", " ")] if with_status else []))
    align = ["right" if axis == "batch_size" else "left" for axis in axes] + ["right"] * len(columns) + ["left"]
    return grid([*heads, "status"] if with_status else heads, rows, align)


def grid(heads: Sequence[str], rows: Sequence[Sequence[str]], align: Sequence[str]) -> str:
    """Rows under their heads and a line; a head may have two lines. ``align`` has at least one entry a column."""
    # As tabulate's own headers they would make each column two wider than its content.
    upper = [head.partition("\n") for head in heads]
    top = [[first if second else "" for first, _, second in upper]] if any(second for *_, second in upper) else []
    bottom = [second or first for first, _, second in upper]
    table = tabulate(
        [*top, bottom, SEPARATING_LINE, *rows],
        tablefmt="simple",
        colalign=align[: len(heads)],
        disable_numparse=True,
    )
    # The format also draws a line above the first and below the last row.
    return "\n".join(line.rstrip() for line in table.splitlines()[1:-1])


def _name(record: Record, axis: str) -> str:
    value = record.case.get(axis)
    return "" if value is None else one_line(str(value))


def _axis(record: Record, axis: str, names: Mapping[str, str] | None = None) -> str:
    text = _name(record, axis)
    text = text if names is None else names[text]
    return f"{text} (random)" if axis == "model" and record.case.get("weights") == "random" else text


def short_names(names: Collection[str], length: int) -> dict[str, str]:
    """Each name cut to ``length`` characters (0: as it is); what was different stays different.

    Of names that would look alike what they begin with is left out, up to a separator; where that is not enough they
    are numbered.
    """
    found = {name: _without_middle(name, length) for name in names}
    alike: dict[str, list[str]] = {}
    for name in sorted(names):
        alike.setdefault(found[name], []).append(name)
    for group in alike.values():
        if len(group) > 1:
            # What the first and the last in order begin with, all do.
            same = [left == right for left, right in zip(group[0], group[-1], strict=False)]
            start = group[0][: (*same, False).index(False)]
            cut = max(start.rfind(sign) for sign in "/-_ ") + 1
            found |= {name: _without_middle(f"..{name[cut:]}", length) for name in group}
    counts = Counter(found.values())
    rest = [name for name in sorted(names) if counts[found[name]] > 1]
    return found | {name: f"{name[: length - 7]}..({place})" for place, name in enumerate(rest, start=1)}


def _without_middle(name: str, length: int) -> str:
    return f"{name[: length - 9]}..{name[-7:]}" if length and len(name) > length else name


def _width(text: str) -> int:
    return max(len(line) for line in text.splitlines())


def _notes(records: Sequence[Record], left_out: Sequence[str]) -> list[str]:
    lines = []
    if any(record.case.get("weights") == "random" for record in records):
        lines.append("(random): weights drawn at random; speed and memory only, not comparable with pretrained ones")
    if left_out:
        lines.append(f"left out for width: {', '.join(left_out)}; the saved run has them")
    for record in records:
        if record.status is not Status.OK:
            status = record.status.value.replace("_", " ")
            reasons = "; ".join(record.reasons) or "no reason was recorded"
            lines.append(f"{status}: {shortened(record.id, most=WIDTH)}: {shortened(reasons)}")
    return [line for text in lines for line in wrapped(text)]


def wrapped(text: str, *, indent: str = "") -> list[str]:
    """A text as lines of at most 120 columns, those after the first indented four more."""
    return textwrap.wrap(text, WIDTH, initial_indent=indent, subsequent_indent=indent + "    ", break_on_hyphens=False)


@dataclass(frozen=True, kw_only=True)
class Skip:
    """Why one case was skipped. Cases whose ``reason`` and ``fix`` are equal are told in one line."""

    case_id: str
    reason: str
    """May hold ``{subject}``: the part that differs from case to case."""
    fix: str = ""
    """What to do, in the same form; empty where nothing can be done."""
    subject: str = ""

    @property
    def text(self) -> str:
        """The reason of this case alone."""
        return self.reason.replace("{subject}", self.subject)

    @property
    def remedy(self) -> str:
        """The fix of this case alone."""
        return self.fix.replace("{subject}", self.subject)


def skip_lines(skipped: Sequence[Skip]) -> list[str]:
    """Skipped cases by reason, the largest group first, each with its count, subjects and fix."""
    groups: dict[tuple[str, str], list[Skip]] = {}
    for skip in skipped:
        groups.setdefault((skip.reason, skip.fix), []).append(skip)
    lines = []
    for (reason, fix), group in sorted(groups.items(), key=lambda entry: -len(entry[1])):
        subjects = list(dict.fromkeys(skip.subject for skip in group if skip.subject))
        text = f"{len(group)} skipped: {reason.replace('{subject}', _some(subjects))}"
        if fix:
            text += f"; {fix.replace('{subject}', subjects[0] if subjects else '')}"
        if "{subject}" in fix and len(subjects) > 1:
            text += f" (or {subjects[1]}{', ...' if len(subjects) > 2 else ''})"
        lines += wrapped(text, indent="  ")
    return lines


def _some(names: Sequence[str]) -> str:
    if len(names) <= 3:
        return ", ".join(names)
    return f"{names[0]}, {names[1]} and {len(names) - 2} more"


def target_lines(records: Sequence[Record]) -> list[str]:
    """One line a target: how many cases meet it, and which of the rest come closest."""
    lines = []
    names = list(dict.fromkeys(name for record in records for name in record.details.get("targets", {})))
    for name in names:
        found = [
            (record, record.details["targets"][name]) for record in records if name in record.details.get("targets", {})
        ]
        kind = METRICS[name]
        sign = ">=" if kind.better == "higher" else "<="
        missed = [(record.id, entry["value"]) for record, entry in found if not entry["met"]]
        text = f"target {name} {sign} {number(found[0][1]['target'])} {kind.unit}: "
        text += f"{len(found) - len(missed)} of {len(found)} met"
        if missed:
            missed.sort(key=lambda pair: pair[1], reverse=kind.better == "higher")
            text += "; missed: " + ", ".join(f"{case} ({number(value)})" for case, value in missed[:3])
            text += f" and {len(missed) - 3} more" if len(missed) > 3 else ""
        lines += wrapped(text, indent="  ")
    return lines


def runs_table(headers: Sequence[RunHeader]) -> str:
    """Saved runs, one a row, in the order given; one that cannot be read shows its problem in place of its cases."""
    rows = []
    for header in headers:
        # Outside a repository pytest-benchmark gives a word, which would be no word when cut.
        cut = header.commit[:9] if set(header.commit) <= set("0123456789abcdef") else header.commit
        commit = cut + ("+" if header.dirty else "")
        saved = header.datetime[:16].replace("T", " ")
        rows.append([one_line(cell) for cell in (header.number, saved, commit, _cases(header), header.machine)])
    lines = grid(["run", "saved (UTC)", "commit", "cases", "machine"], rows, ["left"] * 5).splitlines()
    if any(header.dirty for header in headers):
        lines.append("+: with uncommitted changes")
    return "\n".join(lines)


def _cases(header: RunHeader) -> str:
    if header.problem:
        return textwrap.shorten(f"unreadable: {header.problem}", 50, placeholder=" ...")
    counts = [f"{count} {status.replace('_', ' ')}" for status, count in sorted(header.statuses.items(), key=_ok_first)]
    others = header.benchmarks if not counts else 0
    return ", ".join(counts) or (f"{others} not of EmoBench" if others else "none")


def _ok_first(entry: tuple[str, int]) -> tuple[bool, str]:
    return entry[0] != Status.OK.value, entry[0]
