"""Where a session works: in a run of its own, in one it goes on with, or for another process that ends the run.

A process that works for another one journals into that run's folder and saves nothing.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from emobench.errors import UnsupportedError
from emobench.processes.parent import end_with_parent
from emobench.session import folder as run_folder

if TYPE_CHECKING:
    from filelock import BaseFileLock

    from emobench.processes.leases import Lease
    from emobench.specs import DeviceKind

INPUT = "emobench"
"""What an xdist controller tells its workers stands under this name in their ``workerinput``."""
UNCHOSEN = "file://./.benchmarks"
"""pytest-benchmark's storage where no option names one."""
REFUSED = "emobench_refused"
"""Property of the report of a case that its worker could not measure, nor any other one."""


@dataclass(frozen=True, kw_only=True)
class Told:
    """What the process of a job is told."""

    folder: Path
    """The run's."""
    job: str
    """Name of its job, and so of its journal."""
    generation: int
    """Of the session it works for, see ``records.journal``."""
    parent: int
    """Process id of the one that started it, and must not outlive."""
    elsewhere: bool
    """Whether the session it works for is on another machine."""
    home: Path | None
    """The run's folder on the session's machine, where the case may run elsewhere."""
    lease: Mapping[str, Any] | None
    """What of the machine its session holds (``Lease.facts``), under xdist."""


@dataclass(kw_only=True)
class Place:
    """The run that a session works on."""

    worker: str | None = None
    """Name of this process among those that work for another one; None for a process that ends its run itself."""
    given: Path | None = None
    """The run's folder, where another process chose it."""
    resumed: Path | None = None
    """Folder of a run that is gone on with."""
    anew: bool = False
    """Whether a run was to be gone on with and there was none."""
    generation: int = 1
    """How many sessions have worked on the run, this one included."""
    workers: int = 0
    """How many workers measure at once, where xdist started them."""
    number: int = 0
    """This one's number among them."""
    journal: str = ""
    """Name of its journal, where the process that it works for chose it."""
    node: str | None = None
    """Name of the machine of the process that this one works for."""
    lease: Lease | None = None
    home: Path | None = None
    """Folder of the run on the machine of its session, where this one has it too; None where it is ``given``."""
    problem: str | None = None
    """Why nothing can be measured here."""
    held: BaseFileLock | None = field(default=None, repr=False)

    def open(self, storage: Path) -> Path:
        """The run's folder, made where it is a new one, and held by the process that ends the run.

        Raises:
            OSError: the storage cannot be written to.
        """
        if self.given is not None:
            self.given.mkdir(parents=True, exist_ok=True)
        folder = self.given or self.resumed or run_folder.make(storage)
        if self.worker is None and self.held is None:
            self.held = run_folder.hold(folder)
        return folder

    def part(self) -> str:
        """Name of this session's journal in the folder."""
        if self.worker is not None:
            return self.journal or run_folder.worker_part(self.worker)
        return f"resume{self.generation}" if self.generation > 1 else ""

    def done(self) -> Mapping[tuple[str, str], str]:
        """Case id and test to plan key of what earlier sessions of the run finished well."""
        from emobench.records.fold import standing

        if self.resumed is None:
            return {}
        found = standing(self.resumed, before=self.generation)
        return {name: key for name, (key, status) in found.items() if status == "ok" and key}

    def is_on_its_machine(self) -> bool:
        """Whether another process of this machine says what the machine is."""
        return self.worker is not None and self.node == platform.node()

    def take_lease(self, devices: Collection[DeviceKind], *, share: bool) -> None:
        """Under xdist: cores and a GPU of this worker's own; what refuses them is told by :meth:`why_refused`."""
        if not self.workers or self.lease is not None:
            return
        from emobench.processes.leases import apply, take

        try:
            self.lease = take(self.workers, self.number, devices, share=share)
            apply(self.lease)
        except UnsupportedError as error:
            self.problem = str(error)

    def why_refused(self) -> str | None:
        """Why no case can be measured here, or None."""
        return self.problem

    def close(self) -> None:
        """Give back what is held."""
        if self.held is not None:
            self.held.release()
        if self.lease is not None:
            self.lease.release()


def find_run_place(config: pytest.Config, storage: Path) -> Place:
    """The place that options, or the process that started this one, give a session.

    Raises:
        SpecError: there is no run to go on with, or it is still running.
    """
    told: Mapping[str, Any] | None = getattr(config, "workerinput", {}).get(INPUT)
    if told is not None:
        if told["node"] == platform.node() and os.getppid() == told["pid"]:
            # A worker that outlived its controller would measure and write beside the session that goes on.
            end_with_parent(told["pid"])
        name = config.workerinput["workerid"]  # type: ignore[attr-defined]  # xdist's word for its workers
        folder = Path(told["folder"])
        return Place(
            worker=name,
            given=folder,
            resumed=folder if told["generation"] > 1 else None,
            generation=told["generation"],
            workers=told["workers"],
            number=int("".join(filter(str.isdigit, name)) or 0),
            node=told["node"],
        )
    wanted = config.getoption("emo_resume", None)
    if wanted is None:
        return Place()
    found = run_folder.find_unfinished(storage, wanted)
    if found is None:
        return Place(anew=True)
    held = run_folder.hold(found)
    if held is None:
        raise run_folder.still_running(found)
    return Place(resumed=found, generation=run_folder.generations(found) + 1, held=held)


def place_for(told: Told) -> Place:
    """The place of a process that runs a case for another session."""
    node = None if told.elsewhere else platform.node()
    return Place(worker=told.job, given=told.folder, generation=told.generation, node=node, journal=told.job)


def plain_node_id(item: pytest.Item) -> str:
    """The test's id as without ``--dist loadgroup``, under which xdist appends the group to it."""
    grouped = item.config.getoption("loadgroup", False) and item.get_closest_marker("xdist_group")
    name, mark, _ = item.nodeid.rpartition("@")
    return name if grouped and mark else item.nodeid


def storage_of(config: pytest.Config) -> Path:
    """Folder of saved runs: pytest-benchmark's storage where that is a folder, else ``results``.

    ``results`` too where nobody chose a storage and the folder is of EmoBench: its commands look there.
    """
    uri = str(config.getoption("benchmark_storage", None) or "")
    if uri == UNCHOSEN and (config.rootpath / "emobench.toml").is_file():
        uri = ""
    is_folder = uri.startswith("file://") or (bool(uri) and "://" not in uri and not uri.startswith("elasticsearch"))
    place = uri.removeprefix("file://") if is_folder else "results"
    return (config.rootpath / place).resolve()


def shown(path: Path) -> str:
    """A path relative to the working folder where it lies in it."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
