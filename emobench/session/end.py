"""End: what a session does when its tests have run: save the run, decide the gate, set the exit code."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from emobench.session.run_gate import gate_ended
from emobench.session.saved_run import save
from emobench.session.summary import unheeded

if TYPE_CHECKING:
    from emobench.session.run import Session


def end_session(session: pytest.Session, ours: Session) -> None:
    """Save the run and decide what was gated; both may change the exit code."""
    if session.exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED and ours.kept_from_before:
        session.exitstatus = pytest.ExitCode.OK
    if not save(ours):
        session.exitstatus = pytest.ExitCode.INTERNAL_ERROR
    elif session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        session.exitstatus = gate_ended(ours) or session.exitstatus
        if session.exitstatus == pytest.ExitCode.OK and ours.records and "--benchmark-compare-fail" in unheeded(ours):
            # A limit that nobody looked at is not kept.
            session.exitstatus = pytest.ExitCode.USAGE_ERROR
