"""Gate: baselines, limits and runs brought together, for the plugin and for the command line.

The verdicts are those of ``analysis.gates``; here they get their runs, and a case that just ended is read as it will be
read from its saved run.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from emobench.catalogue.limits import Limit, Limits, find_limits
from emobench.errors import BaselineError, EmoBenchError, SpecError

if TYPE_CHECKING:
    import pytest

    from emobench.analysis.compare import Comparison
    from emobench.analysis.gates import Judgment, Plan
    from emobench.records.baselines import Baseline
    from emobench.records.index import RunIndex
    from emobench.records.record import Record

BASELINE_UNUSABLE = 12
"""Exit code."""
Choice = Literal["pass", "fail"]
QUANTIZED = frozenset({"int8", "int8-bnb", "nf4"})
"""Precisions whose cases carry the marker ``quantized``."""
SHOWN_AT_MOST = 40
"""Rows of a comparison that a pytest summary shows; of more only those that are not the same."""


def find_base(name: str, storage: Path) -> Baseline:
    """The baseline of this name, folder or file, or the run that this number or start of a name means.

    Raises:
        BaselineError: there is none, it cannot be used, or ``latest`` was asked for: the newest run does not become
            the baseline by itself.
    """
    from emobench.records.baselines import load_baseline
    from emobench.records.store import find_run

    if name == "latest":
        raise BaselineError(
            "latest is no baseline",
            why="it would compare a run with one that may itself have become worse",
            fix="name a blessed baseline, or a run by its number",
        )
    try:
        return load_baseline(name, storage)
    except BaselineError as error:
        if (storage / "baselines" / name).exists() or Path(name).exists():
            raise
        try:
            path = find_run(storage, name)
        except SpecError:
            raise error from None
    return load_baseline(path, storage)


def limits_by_case(limits: Limits, markers: Mapping[str, Collection[str]]) -> Callable[[str], Mapping[str, Limit]]:
    """Limits of a case id, given the markers of each."""
    return lambda case: limits.of_case(case, markers.get(case, ()))


def own_markers(index: RunIndex) -> dict[str, set[str]]:
    """Markers that follow from a case's axes: kind, device, ``quantized``; with those that the run noted."""
    found = {
        name: {str(kind), str(device), *(["quantized"] if precision in QUANTIZED else [])}
        for name, kind, device, precision in zip(index.id, index.kind, index.device, index.precision, strict=True)
    }
    noted = index.facts.settings.get("markers")
    for marker, cases in noted.items() if isinstance(noted, Mapping) else ():
        for case in cases if isinstance(cases, list) else ():
            found.setdefault(str(case), set()).add(str(marker))
    return found


def judge(
    limits: Limits, base: Baseline | None, new: RunIndex, *, inconclusive: Choice = "pass", across: Collection[str] = ()
) -> Judgment:
    """Gate a saved run: what the plugin finds while it runs."""
    settings = new.facts.settings
    deselected = settings.get("deselected")
    plan = plan_of(
        limits,
        base,
        new.facts.manifest or tuple(str(name) for name in new.id),
        own_markers(new),
        deselected=deselected if isinstance(deselected, list) else (),
        selection=str(settings.get("selection") or "whole"),
    )
    return judgment(plan, base, new, inconclusive=inconclusive, across=across)


def plan_of(
    limits: Limits,
    base: Baseline | None,
    manifest: Sequence[str],
    markers: Mapping[str, Collection[str]],
    *,
    deselected: Collection[str] = (),
    selection: str = "whole",
) -> Plan:
    """What is gated of these cases against the baseline, and which of its cases are missing."""
    from emobench.analysis.gates import make_plan

    indexes = base.indexes if base else ()
    every = {**{name: marks for index in indexes for name, marks in own_markers(index).items()}, **markers}
    plan = make_plan(
        indexes,
        manifest,
        limits_by_case(limits, every),
        deselected=deselected,
        selection=selection,
        only_cases=frozenset(base.cases) if base else (),
        only_metrics=frozenset(base.metrics) if base else (),
    )
    return replace(plan, notes=(*plan.notes, *_unused(limits, plan)))


def _unused(limits: Limits, plan: Plan) -> list[str]:
    used = {item.metric for item in plan.gated}
    idle = [f"{name} ({limit.text})" for name, limit in limits.general.items() if limit and name not in used]
    return [f"no case is gated by: {', '.join(idle)}; the baseline has no such value of these cases"] if idle else []


def judgment(
    plan: Plan,
    base: Baseline | None,
    new: RunIndex,
    *,
    inconclusive: Choice = "pass",
    across: Collection[str] = (),
) -> Judgment:
    """All decisions of a plan on a run."""
    from emobench.analysis.gates import Decision, Judgment, decide, new_and_broken

    indexes = base.indexes if base else ()
    decisions = decide(plan, indexes, new, across=across)
    decided = {item.case for item in decisions}
    decisions += [
        Decision(case=name, metric="", outcome="incomplete", reason="the baseline has it; it was not collected")
        for name in plan.vanished
        if name not in decided
    ]
    decisions += new_and_broken(plan, indexes, new)
    return Judgment(decisions=tuple(decisions), inconclusive=inconclusive, notes=plan.notes)


@dataclass(kw_only=True)
class Gate:
    """The gate of a pytest session."""

    limits: Limits
    base: Baseline | None
    storage: Path
    inconclusive: Choice = "pass"
    notes: tuple[str, ...] = ()
    """What is not gated, and why."""
    plan: Plan | None = None
    found: Judgment | None = None
    """All decisions, once the session has ended."""

    @property
    def name(self) -> str:
        """What the baseline is called."""
        if self.base is None:
            return ""
        return self.base.name or self.base.runs[0].source

    def collected(
        self,
        manifest: Sequence[str],
        markers: Mapping[str, Collection[str]],
        *,
        deselected: Collection[str],
        selection: str,
    ) -> None:
        """Fix what is gated, before the first case runs."""
        self.plan = plan_of(self.limits, self.base, manifest, markers, deselected=deselected, selection=selection)

    def check(self, record: Record, seconds: Sequence[float], run: Mapping[str, Any], machine: Any) -> list[str]:
        """Decide the case that just ended; returns a line for each gated metric that fails it."""
        from emobench.analysis.gates import decide
        from emobench.reports.comparison import decision_text

        assert self.plan is not None
        if not self.limits:
            return []
        mine = replace(self.plan, gated=tuple(item for item in self.plan.gated if item.case == record.id), notes=())
        if not mine.gated:
            return []
        index = index_of_case(record, seconds, run, machine, self.storage)
        failing = ("worse", "incomplete", *(["inconclusive"] if self.inconclusive == "fail" else []))
        decisions = decide(mine, self.base.indexes if self.base else (), index)
        return [decision_text(item) for item in decisions if item.outcome in failing]

    def does_not_fit(self, record: Record) -> str | None:
        """Why a case that does not fit is worse: it fitted at the base."""
        assert self.plan is not None
        gated = [item.metric for item in self.plan.gated if item.case == record.id and not item.optional]
        if not gated:
            return None
        return f"does not fit, and did at the base ({self.name}): {', '.join(gated)} cannot be gated"

    def ended(self, new: RunIndex) -> int:
        """Decide all of the run that was saved; returns the exit code."""
        assert self.plan is not None
        if not self.limits:
            return 0  # a baseline alone is compared with, and gates nothing
        self.found = judgment(self.plan, self.base, new, inconclusive=self.inconclusive)
        return self.found.exit_code

    def lines(self) -> list[str]:
        """What the terminal summary says."""
        from emobench.reports.comparison import gate_lines

        if self.found is None or self.plan is None:
            return []
        lines = [*gate_lines(self.found, base=self.name), *self.notes]
        if self.plan.comparisons:
            tested = f"{self.plan.comparisons} comparisons" if self.plan.comparisons > 1 else "1 comparison"
            lines.append(f"intervals are those of {100 * self.plan.confidence:.6g} % (5 % over {tested})")
        return lines


def find_gate(
    table: Mapping[str, Any],
    asked: Sequence[str],
    baseline: str | None,
    storage: Path,
    *,
    inconclusive: Choice = "pass",
) -> Gate | None:
    """The gate that options and the table ``[gates]`` ask for; None where they ask for nothing that can be gated.

    Without a baseline the table's bounds count, and its tolerated changes do not: the gate's ``notes`` say so.

    Raises:
        SpecError: a limit that cannot be read, or an option's one on a change without a baseline.
        BaselineError: the baseline cannot be used.
    """
    limits, notes = find_limits(table, asked), []
    if baseline is None:
        if find_limits({}, asked).compares:
            raise SpecError(
                f"--emo-gate {next(text for text in asked if find_limits({}, [text]).compares)} has no baseline",
                why="a change is one against something",
                fix="add --emo-baseline NAME, or give a bound such as accuracy>=0.80",
            )
        if not limits.bounds():
            return None
        if limits.compares:
            notes.append("changes are not gated, there is no baseline: add --emo-baseline NAME")
        limits = limits.bounds()
    base = None if baseline is None else find_base(baseline, storage)
    return Gate(limits=limits, base=base, storage=storage, inconclusive=inconclusive, notes=tuple(notes))


def index_of_case(
    record: Record, seconds: Sequence[float], run: Mapping[str, Any], machine: Any, storage: Path
) -> RunIndex:
    """One case as its saved run will give it; ``run`` is what the session notes of itself, ``machine`` its machine."""
    from emobench.records.index import index_of

    bench = {"extra_info": {"emobench": record.to_json()}, "stats": {"data": list(seconds)}}
    timed = bool(seconds)
    content = {
        "machine_info": machine,
        "commit_info": {},
        "datetime": "",
        "benchmarks": [bench] if timed else [],
        "emobench": {
            "schema": 1,
            "run": dict(run),
            "unmeasured": [] if timed else [record.to_json()],
            "skipped": [],
            "manifest": [record.id],
        },
    }
    return index_of(storage / "unsaved" / "unsaved.json", content)


def index_of_session(storage: Path, ours: Mapping[str, Any]) -> RunIndex:
    """A session that saved no run, as one: nothing was timed in it."""
    from emobench.records.index import index_of

    content = {"machine_info": {}, "commit_info": {}, "datetime": "", "benchmarks": [], "emobench": dict(ours)}
    return index_of(storage / "unsaved" / "unsaved.json", content)


def selection_of(arguments: Iterable[str], *, last_failed: bool, ignoring: bool) -> str:
    """What was asked for: ``nodes``, ``files`` or ``whole``, see ``analysis.gates.make_plan``."""
    given = list(arguments)
    if last_failed or any("::" in argument for argument in given):
        return "nodes"
    return "files" if ignoring or any(Path(argument).is_file() for argument in given) else "whole"


def comparison_lines(base: Sequence[RunIndex], name: str, new: RunIndex) -> list[str]:
    """A comparison for a terminal summary: all of a small one, of a large one what is not the same."""
    from emobench.analysis.compare import VERDICTS, compare
    from emobench.reports.comparison import chosen, comparison_text

    found: Comparison = compare(base, new, name=name)
    if len(found.rows) > SHOWN_AT_MOST:
        found = chosen(found, [verdict for verdict in VERDICTS if verdict != "same"])
    return comparison_text(found).splitlines()


def compared_with(wanted: object, saved: Path, storage: Path) -> list[str]:
    """The comparison that ``--benchmark-compare`` asks for: with a run by its number, or with the last one before.

    What cannot be compared is said in a line: pytest-benchmark, whose option it is, goes on then.
    """
    from emobench.records.index import read_index
    from emobench.records.store import find_run, run_files

    try:
        if wanted is True:
            earlier = [path for path in run_files(saved.parent) if path != saved]
            if not earlier:
                return ["nothing to compare with: this is the first run here"]
            path = earlier[-1]
        else:
            path = _run_named(str(wanted), saved, storage, find_run)
        return comparison_lines([read_index(path)], path.stem, read_index(saved))
    except EmoBenchError as error:
        return [f"not compared: {error}"]


def _run_named(wanted: str, saved: Path, storage: Path, find_run: Callable[[Path, str], Path]) -> Path:
    # Numbers are given out a machine: that of this machine is meant.
    try:
        return find_run(saved.parent, wanted)
    except SpecError:
        return find_run(storage, wanted)


def gate_asked_for(config: pytest.Config, table: Mapping[str, Any], storage: Path) -> Gate | None:
    """The gate that a session's options and the table ``[gates]`` ask for; None where they ask for none.

    Raises:
        SpecError: a limit that cannot be read.
        BaselineError: the baseline cannot be used.
    """
    asked, baseline = config.getoption("emo_gate"), config.getoption("emo_baseline")
    if not (asked or table) and baseline is None:
        return None
    return find_gate(table, asked, baseline, storage, inconclusive=config.getoption("emo_inconclusive"))
