"""Child: the part of the plugin inside a process that runs one case for another session.

It is loaded with ``-p`` by :func:`emobench.executors.jobs.command`, and by nothing else. What the case gives goes to
the folder that its parent named; no run is saved here.
"""

from __future__ import annotations

import faulthandler
import json
import os
from pathlib import Path

import pytest

from emobench.executors.delivery import REPORTS
from emobench.executors.jobs import OUTPUTS, take_told
from emobench.executors.manifest import FILE_NAME
from emobench.files import append_line
from emobench.processes.fresh import STACKS
from emobench.processes.parent import end_with_parent
from emobench.progress import STDERR
from emobench.session.place import Told


def shared_folder(told: Told) -> Path | None:
    """The run's own folder, where this machine has it too and may look into it; its name is of no other run."""
    return told.home if told.home is not None and os.path.exists(told.home / FILE_NAME) else None


class Child:
    """Writes what the parent reads: pytest's reports. The case's record is in its journal."""

    def __init__(self, config: pytest.Config, told: Told) -> None:
        self.config = config
        self.told = told
        self.folder: Path = told.folder / OUTPUTS / told.job

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:
        from emobench.session.lookup import session_of

        ours = session_of(self.config)
        ours.work_for(self.told)
        if self.told.elsewhere:
            ours.storage = self.told.folder.parent
            ours.place.home = shared_folder(self.told)
        if self.told.lease is not None:
            from emobench.processes.leases import Lease

            ours.place.lease = Lease(**{**self.told.lease, "cores": tuple(self.told.lease["cores"])})

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        data = self.config.hook.pytest_report_to_serializable(config=self.config, report=report)
        append_line(self.folder / REPORTS, json.dumps(data, default=str).encode())


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    told = take_told(os.environ)
    if told is None:
        raise pytest.UsageError(f"-p {__name__} belongs to a process that runs one case for another: use --emo-isolate")
    end_with_parent(told.parent)
    if STACKS is not None:
        faulthandler.register(STACKS, file=config.stash[STDERR], all_threads=True)
    for name in ("lfplugin", "nfplugin", "stepwiseplugin"):
        # They would write down that this one case is all there was.
        if config.pluginmanager.has_plugin(name):
            config.pluginmanager.unregister(name=name)
    config.pluginmanager.register(Child(config, told), "emobench-child")
