"""Workers: what xdist's controller and its workers do for one run. The workers measure, the controller saves.

Each worker journals into the run's folder and holds a lease; the controller folds the journals when all have ended.
"""

from __future__ import annotations

import os
import platform
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from emobench.session import folder as run_folder
from emobench.session.end import end_session
from emobench.session.interrupts import what_interrupted
from emobench.session.lookup import session_of
from emobench.session.place import INPUT, REFUSED, storage_of
from emobench.session.saved_run import open_journal

if TYPE_CHECKING:
    from emobench.session.run import Session

OUTPUT = "emobench"
"""What a worker tells its controller when it ends stands under this name in its ``workeroutput``."""


class Controller:
    """The part of the plugin in a session that distributes its tests; it costs nothing where no case is among them."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.skips: dict[str, list[str]] = {}
        self.told: dict[str, Any] = {}
        self.interrupted: str | None = None
        self.refused: set[str] = set()
        """Why workers could not measure."""
        self.holding = False

    @cached_property
    def folder(self) -> Path:
        """The run's folder, made by the first worker that has a case."""
        session = self.session
        if session is not None and session.place.resumed is not None:
            return session.place.resumed
        return storage_of(self.config) / run_folder.FOLDERS / run_folder.new_name()

    @property
    def session(self) -> Session | None:
        """The EmoBench side of this session, where an option asked for it."""
        from emobench.session.run import SESSION

        return self.config.stash.get(SESSION, None)

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        node.workerinput[INPUT] = {
            "folder": str(self.folder),
            "generation": self.session.generation if self.session else 1,
            "workers": node.workerinput["workercount"],
            "node": platform.node() if node.gateway.spec.popen else "",
            "pid": os.getpid(),
        }

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        self.told |= getattr(node, "workeroutput", {}).get(OUTPUT, {})

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._say_once(report)
        skip = dict(getattr(report, "user_properties", ())).get("emobench_skip")
        if report.skipped and skip:
            self.skips[skip[0]] = list(skip)
        if not self.holding and self.folder.is_dir():
            self.hold()

    def _say_once(self, report: pytest.TestReport) -> None:
        # Every worker is refused for the same reason: the first report shows it, before pytest's own summary takes it.
        problem = dict(getattr(report, "user_properties", ())).get(REFUSED)
        if report.failed and problem in self.refused:
            path, line, _ = report.location
            report.outcome, report.longrepr = "skipped", (path, line or 0, "Skipped: refused as the one before")
        elif report.failed and problem:
            self.refused.add(str(problem))

    @pytest.hookimpl
    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        self.interrupted = what_interrupted(excinfo.value)

    # After xdist has ended its workers.
    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.config.getoption("collectonly"):
            return
        if not self.folder.is_dir() and not self.skips and self.session is None and not self.told:
            return
        from emobench.reports.tables import Skip

        ours = session_of(self.config)
        ours.interrupted = self.interrupted
        ours.skips = [Skip(case_id=name, reason=why, fix=fix, subject=of) for name, why, fix, of in self.skips.values()]
        ours.kept_from_before = int(self.told.get("kept_from_before") or 0)
        if ours.gate is not None and "manifest" in self.told:
            marks = {name: set(marks) for name, marks in self.told["markers"].items()}
            left_out, selection = self.told["deselected"], self.told["selection"]
            ours.gate.collected(self.told["manifest"], marks, deselected=left_out, selection=selection)
        if self.folder.is_dir():
            self.hold()
        end_session(session, ours)
        if self.told.get("refused"):
            session.exitstatus = pytest.ExitCode.USAGE_ERROR

    def hold(self) -> None:
        """Take the run that the workers have begun: it is this session's to end, also when it is terminated."""
        self.holding = True
        ours = session_of(self.config)
        ours.place.given = self.folder
        try:
            open_journal(ours)
        except OSError as error:
            # The saving at the end writes what is owed, or says that it cannot.
            ours.progress.note(f"the run's journal could not be begun in {self.folder}: {error}")


def tell_controller(ours: Session) -> None:
    """At a worker's end: what the controller cannot know, as it collects nothing."""
    told: dict[str, Any] = {"kept_from_before": ours.kept_from_before}
    told |= {"refused": ours.place.problem} if ours.place.problem else {}
    if ours.gate is not None:
        told |= {
            "manifest": ours.manifest,
            "markers": {name: sorted(marks) for name, marks in ours.markers.items()},
            "deselected": ours.deselected_ids(),
            "selection": ours.selection(),
        }
    ours.config.workeroutput[OUTPUT] = told  # type: ignore[attr-defined]  # xdist's word for its workers


def switch(item: pytest.Item, *, on: bool) -> str | None:
    """Let pytest-benchmark measure this case, or not the next test; returns why it cannot be done.

    Under xdist it runs benchmarks and measures nothing, as nobody keeps its workers apart; here a lease does. It has no
    public way to say so.
    """
    theirs: Any = getattr(item.config, "_benchmarksession", None)
    if not (
        isinstance(getattr(theirs, "disabled", None), bool) and isinstance(getattr(theirs, "benchmarks", None), list)
    ):
        return (
            "pytest-benchmark cannot be switched on under xdist; this release of it keeps its state elsewhere; "
            "run pytest benchmarks without -n, or install another release of it"
        )
    option = item.config.getoption
    asked_off = bool(option("benchmark_disable", False)) and not option("benchmark_enable", False)
    theirs.disabled = asked_off or not on
    # What it warns of is not so for cases, and what it would save or print is its controller's.
    theirs.xdist_benchmark_found = False
    theirs.benchmarks.clear()
    return None


def switch_clock(session: Session, item: pytest.Item, *, on: bool) -> None:
    """In a worker of xdist: have pytest-benchmark measure a case, and nothing else."""
    problem = switch(item, on=on)
    if problem is not None:
        session.stop(item, problem)
