"""Names that mean something to a browser, a spreadsheet, a terminal, Markdown, Plotly or a file system."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from emobench.outcomes import Status
from emobench.records.record import Record
from emobench.records.store import Run
from tests.reports.made_runs import ENVIRONMENT, a_run, timed, trained

PWNED = "document.title='pwned'"
NAMES = (
    f"<script>{PWNED}</script>",
    f"</script><script>{PWNED}</script>",
    f"</title></style></textarea><svg onload={PWNED}>",
    f'"><img src=x onerror="{PWNED}">',
    f"' onmouseover='{PWNED}' x='",
    "<img src=http://example.test/a.png><link rel=stylesheet href=http://example.test/b.css>",
    '<a href="http://example.test/">link</a><b>bold</b><br>',
    "<base href=http://example.test/><meta http-equiv=refresh content=0>",
    f"javascript:{PWNED}",
    "{{ 7*7 }}{% for x in y %}{# c #}",
    "%{x}<extra></extra>$\\frac{1}{0}$",
    '=cmd|"/c calc"!A1',
    "+1+1",
    "-1+1",
    "@SUM(A1)",
    "\t=1",
    "a|b\\|c`d`*e*_f_[g](http://h)![i](http://j)\n# heading",
    "../../etc/passwd",
    "C:\\..\\x",
    "nul\x00 esc\x1b[31m bell\x07 del\x7f c1\x9b",
    "\u202eright\u2066to left\u200bno width",
    "half \ud800 a character",
    "&lt;script&gt;<!-- ]]> --!>",
    "x" * 3000,
    "\u6a21\u578b \U0001f600",
)


def marked(index: int, benign: bool) -> str:
    """A hostile name, or an innocent one in its place."""
    return f"name{index}" if benign else NAMES[index % len(NAMES)] + f" {index}"


def hostile_runs(*, benign: bool = False, indices: Sequence[int] = range(len(NAMES))) -> dict[str, Run]:
    """Two runs in which every text that data can set is hostile; ``benign`` puts an innocent name in each place.

    Each of ``indices`` gives three cases a run.
    """

    def name(index: int) -> str:
        return marked(index, benign)

    records = [record for index in indices for record in _records(index, name)]
    skipped = ({"reason": name(3), "count": 2, "cases": [name(1), name(4)]},)
    fields: dict[str, Any] = {
        "skipped": skipped,
        "notes": (name(2),),
        "commit_info": {"id": name(5), "branch": name(6), "dirty": True},
        "machine_info": {"cpu": {"brand_raw": name(3), "count": 2}, "python_version": name(1)},
        "settings": {"profile": name(8), "arguments": [name(0), name(1)]},
    }
    first, second = name(1), name(3)
    return {first: a_run(records, day=1, **fields), second: a_run(records, day=2, **fields)}


def _records(index: int, name: Callable[[int], str]) -> list[Record]:
    """A training and an inference case of one model, both with names in every field; and one that failed."""
    text = name(index)
    base = trained(text, name(1), name(index + 1))
    details: dict[str, Any] = {
        **base.details,
        "per_class": [{"name": text}, {"name": name(0)}],
        "trace": {"verdict": text, "achieved_share": 0.5, "advice": text, "largest": [{"name": text, "share": 0.5}]},
        "targets": {text: {"target": 1, "value": 0.5, "met": False}},
        "price": {"per_hour": 1.0, "currency": text},
    }
    environment = {**ENVIRONMENT, "device_name": name(3), "versions": {text: text}}
    case = {**base.case, "profile": name(1), "precision": name(2)}
    trainings = Record(case=case, metrics=base.metrics, environment=environment, details=details)
    fast = timed(text, 1 + index % 2)
    timing = Record(
        case={**fast.case, "precision": name(2), "profile": name(1)}, metrics=fast.metrics, environment=environment
    )
    broken = timed(text, 64, status=Status.FAILED, reasons=(text, name(0)))
    return [trainings, timing, broken]
