"""Delivery: what a case's process left, told to pytest and to the session that waited for it."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from emobench.cases.names import forget_checkpoints, mark_of
from emobench.executors.jobs import OUTPUTS, Job, outputs
from emobench.executors.verdicts import Verdict, last_words, without_record
from emobench.outcomes import Status, metric
from emobench.processes.fresh import Ending
from emobench.reports.tables import Skip
from emobench.session.ending import largest_that_fitted
from emobench.session.place import plain_node_id
from emobench.session.saved_run import begin
from emobench.session.skips import refuse_or_skip, slow_asked_for

if TYPE_CHECKING:
    from emobench.records.journal import Line
    from emobench.session.run import Session

REPORTS = "reports.jsonl"
LOST = "emobench_lost"
"""Property of the report of a case whose result nobody knows."""


class Delivery:
    """Tells how cases ended."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def skipped(self, item: pytest.Item, *, other_machine: bool = False) -> bool:
        """Report a case that is not to be run; False where it is. What another machine lacks is found there.

        Before the first that is run the session's journal begins.
        """
        try:
            if other_machine:
                self._skip_slow(item)
            else:
                refuse_or_skip(self.session, item)
            begin(self.session, item)
        except pytest.skip.Exception as error:
            self._report(item, "skipped", str(error))
            return True
        except pytest.fail.Exception as error:
            self._report(item, "failed", str(error))
            return True
        return False

    def _skip_slow(self, item: pytest.Item) -> None:
        from emobench.estimate.slow import why_slow

        spec = self.session.spec_of(item)
        picked = self.session.settings.picked
        wanted = slow_asked_for(self.session) or (picked is not None and picked.has(spec))
        slow = None if wanted else why_slow(spec)
        if slow:
            fix = "add --emo-slow or -m slow"
            item.user_properties.append(("emobench_skip", [spec.id, slow, fix, ""]))
            self.session.skips.append(Skip(case_id=spec.id, reason=slow, fix=fix))
            pytest.skip(f"{slow}; {fix}")

    def job(self, job: Job, items: Sequence[pytest.Item], ending: Ending) -> None:
        """Report every case of a job whose files lie in the session's folder."""
        own = outputs(self.session.folder, job)
        reports = _reports(own, self.session.config)
        lines = _lines(self.session.folder, job)
        for item in items:
            case = self.session.spec_of(item).id
            mine = [line for line in lines if line.id == case and line.node in ("", plain_node_id(item))]
            events = {line.event for line in mine}
            told = reports.get(plain_node_id(item), [])
            for line in mine:
                if line.event == "finished" and line.key and line.status != Status.INTERRUPTED.value:
                    forget_checkpoints(self.session.folder, line.key + mark_of(plain_node_id(item)))
            if _is_whole(told):
                self._take_skip(told)
                self._deliver(item, told)
            elif "finished" in events:
                status = next(line.status for line in reversed(mine) if line.event == "finished")
                self._deliver(item, _completed(item, told, status))
            else:
                others = [other for other in items if other is not item]
                verdict = without_record(ending, started="started" in events, others=[item.nodeid for item in others])
                self._judge(item, verdict, ending, own)

    def _judge(self, item: pytest.Item, verdict: Verdict, ending: Ending, own: Path) -> None:
        from emobench.records.record import Record

        spec = self.session.spec_of(item)
        misfit = verdict.status is Status.DOES_NOT_FIT
        fitted = largest_that_fitted(self.session, spec) if misfit else None
        kept = [name for name in ("stdout.txt", "stderr.txt") if (own / name).exists()]
        record = Record(
            case={**spec.summary(), "key": spec.key()},
            status=verdict.status,
            metrics=() if fitted is None else (metric("largest_batch_fitted", fitted),),
            reasons=(verdict.reason,),
            artifacts={Path(name).stem: f"{OUTPUTS}/{own.name}/{name}" for name in kept},
            details={"process": ending.to_json()},
        )
        # Another test may measure the same case: without its name the record would stand in that one's place.
        self.session.journal.append(record.to_json(), node=plain_node_id(item))
        if verdict.status is Status.LOST:
            item.user_properties.append((LOST, spec.id))
        worse = None
        if verdict.status is Status.DOES_NOT_FIT:
            worse = self.session.gate.does_not_fit(record) if self.session.gate is not None else None
            if worse is None:
                self._report(item, "skipped", f"does not fit: {verdict.reason}")
                return
        words = last_words(own)
        said = f"{verdict.status.value}: {verdict.reason}{f'; {worse}' if worse else ''}"
        self._report(item, "failed", f"{said}\n{words}" if words else said)

    def _take_skip(self, reports: Sequence[pytest.TestReport]) -> None:
        for report in reports:
            told = dict(report.user_properties).get("emobench_skip")
            if told and report.skipped and isinstance(told, list):
                self.session.skips.append(Skip(case_id=told[0], reason=told[1], fix=told[2], subject=told[3]))

    def _report(self, item: pytest.Item, outcome: str, text: str) -> None:
        self._deliver(item, made_reports(item, outcome, text))

    def _deliver(self, item: pytest.Item, reports: Sequence[pytest.TestReport]) -> None:
        for report in reports:
            # Under xdist with groups the test has another name here than in its process.
            report.nodeid = item.nodeid
            item.ihook.pytest_runtest_logreport(report=report)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)


def made_reports(item: pytest.Item, outcome: str, text: str) -> list[pytest.TestReport]:
    """Reports of a test that did not run in this process: set up, called with this outcome, and torn down."""
    path, line, _ = item.location
    longrepr: Any = (path, line or 0, f"Skipped: {text}") if outcome == "skipped" else text or None
    return [
        _report(item, "setup", "passed", None),
        _report(item, "call", outcome, longrepr),
        _report(item, "teardown", "passed", None),
    ]


def _report(item: pytest.Item, when: Any, outcome: Any, longrepr: Any) -> pytest.TestReport:
    now = time.time()
    return pytest.TestReport(
        nodeid=item.nodeid,
        location=item.location,
        keywords=dict.fromkeys(item.keywords, 1),
        outcome=outcome,
        longrepr=longrepr,
        when=when,
        user_properties=list(item.user_properties),
        start=now,
        stop=now,
    )


def _is_whole(reports: Sequence[pytest.TestReport]) -> bool:
    return bool(reports) and reports[-1].when == "teardown"


def _completed(item: pytest.Item, told: Sequence[pytest.TestReport], status: str) -> list[pytest.TestReport]:
    """Reports of a case that has a record, and whose process died before pytest had said all."""
    given = {report.when: report for report in told}
    outcome = {"ok": "passed", "does_not_fit": "skipped"}.get(status, "failed")
    made = made_reports(item, outcome, "" if outcome == "passed" else f"{status}; its process died after that")
    return [given.get(report.when, report) for report in made]


def _reports(own: Path, config: pytest.Config) -> dict[str, list[pytest.TestReport]]:
    """A process's reports by test; the last line may be cut off."""
    path = own / REPORTS
    found: dict[str, list[pytest.TestReport]] = {}
    for line in path.read_bytes().splitlines(keepends=True) if path.exists() else ():
        if line.endswith(b"\n"):
            report = config.hook.pytest_report_from_serializable(config=config, data=json.loads(line))
            found.setdefault(report.nodeid, []).append(report)
    return found


def _lines(folder: Path, job: Job) -> Sequence[Line]:
    from emobench.records.journal import Journal, read_part

    path = Journal(folder, job.name).path
    return read_part(path).lines if path.exists() else ()
