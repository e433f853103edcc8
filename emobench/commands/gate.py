"""Gating a saved run: the same verdicts that pytest gives with ``--emo-gate``, and their exit code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from emobench.catalogue.limits import find_limits
from emobench.commands.compare import check_form
from emobench.commands.project_place import Place
from emobench.errors import SpecError, unknown_name
from emobench.outcomes import METRICS
from emobench.session.gate import Choice, find_base, judge

if TYPE_CHECKING:
    from emobench.analysis.gates import Judgment

CHOICES: dict[str, Choice] = {"pass": "pass", "fail": "fail"}


@dataclass(frozen=True, kw_only=True)
class Gated:
    """What was found, as a page and as an exit code."""

    text: str
    summary: str
    """The line with the counts."""
    exit_code: int


def gate_run(
    base: str,
    new: str,
    limits: Sequence[str],
    place: Place,
    *,
    inconclusive: str = "pass",
    across: bool = False,
    times: bool = True,
    form: str = "text",
) -> Gated:
    """Gate a run against a baseline with the limits given and those of the project.

    Without ``times`` what depends on the machine (times, speeds, energy, price) is not gated, whatever its limits.

    Raises:
        SpecError: no such run, a limit that cannot be read, or none at all.
        BaselineError: the baseline cannot be used.
        BrokenFileError: the run cannot be read.
    """
    from emobench.analysis.metric_kinds import is_timed
    from emobench.analysis.pairs import EVERYTHING
    from emobench.records.index import read_index
    from emobench.records.store import find_run

    check_form(form)
    if inconclusive not in CHOICES:
        raise unknown_name("choice for --inconclusive:", inconclusive, CHOICES)
    wanted = find_limits(place.project.settings.get("gates", {}), limits)
    if not wanted:
        raise SpecError(
            "no limit is given",
            why="neither --limit nor the table [gates] of the project names one",
            fix="add for example --limit accuracy:1pt",
        )
    if not times:
        wanted = wanted.without({name for name in METRICS if is_timed(name)})
    storage = place.root / "results"
    baseline = find_base(base, storage)
    index = read_index(find_run(storage, new))
    found = judge(
        wanted,
        baseline,
        index,
        inconclusive=CHOICES[inconclusive],
        across=EVERYTHING if across else (),
    )
    name = baseline.name or baseline.runs[0].source
    return _page(found, form, base=name, new=index.facts.name)


def _page(found: Judgment, form: str, *, base: str, new: str) -> Gated:
    from emobench.reports import comparison as pages

    makers = {
        "text": lambda: "\n".join(pages.gate_lines(found, base=base)),
        "markdown": lambda: pages.gate_markdown(found, base=base, new=new),
        "csv": lambda: pages.gate_csv(found),
        "json": lambda: pages.gate_json(found, base=base, new=new),
    }
    return Gated(text=makers[form](), summary=pages.gated_line(found, base=base), exit_code=found.exit_code)
