"""Local: each case in a fresh process of this machine, one after another, so that no two are measured side by side."""

from __future__ import annotations

from typing import Any

import pytest

from emobench.executors.delivery import LOST, Delivery
from emobench.executors.job_plan import ARGUMENTS, jobs_of
from emobench.executors.jobs import run_job
from emobench.executors.verdicts import INCOMPLETE
from emobench.session.lookup import has_case, session_of


class Isolating:
    """Has every case of a session run in a fresh process; other tests run in this one."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.count = 0
        self.made: Delivery | None = None

    @property
    def delivery(self) -> Delivery:
        """Made when the first case runs."""
        if self.made is None:
            self.made = Delivery(session_of(self.config))
        return self.made

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> bool | None:
        if not has_case(item):
            return None
        session = session_of(self.config)
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        if not self.delivery.skipped(item):
            ((job, members),) = jobs_of(session, [item], elsewhere=False, first=self.count)
            self.count += 1
            session.folder.mkdir(parents=True, exist_ok=True)
            self.delivery.job(job, members, run_job(job, session.folder))
        return True

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        node.workerinput[ARGUMENTS] = [str(argument) for argument in self.config.invocation_params.args]


class Lost:
    """Gives a session that lost a case the exit code that says so, unless it has one that says more."""

    def __init__(self) -> None:
        self.cases: set[str] = set()

    @pytest.hookimpl
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        case = dict(report.user_properties).get(LOST)
        if case is not None:
            self.cases.add(str(case))

    @pytest.hookimpl
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.cases and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
            session.exitstatus = INCOMPLETE
