"""The EmoBench side of one pytest session: its options, which case a test is, and the run that is saved.

Whether a case can run here is told in ``skips``, how it begins in ``start`` and how it ends in ``ending``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from emobench.cases.shared_model import KeptModel
from emobench.collector import look_again
from emobench.errors import SpecError
from emobench.kinds import Kind
from emobench.progress import STDERR, Progress
from emobench.session.folder import FOLDERS
from emobench.session.gate import gate_asked_for
from emobench.session.interrupts import Watch
from emobench.session.place import REFUSED, Told, find_run_place, place_for, plain_node_id, shown, storage_of
from emobench.session.settings import resolve
from emobench.specs import CaseSpec

if TYPE_CHECKING:
    from emobench.cases.keys import PlanKeys
    from emobench.records.journal import Journal
    from emobench.records.record import Record
    from emobench.reports.tables import Skip

SESSION = pytest.StashKey["Session"]()
SPEC = pytest.StashKey[CaseSpec]()

AXES = ("model", "dataset", "method", "precision", "device", "batch_size", "length", "backend", "launch")


class Session:
    """What a session is set to, where it works, and everything its cases gave."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.settings = resolve(config)
        self.kept_model = KeptModel() if config.getoption("emo_group_by") == "model" else None
        self.gate = gate_asked_for(config, self.settings.project.settings.get("gates", {}), self.storage)
        self.deselected: list[pytest.Item] = []
        self.markers: dict[str, set[str]] = {}
        self.manifest: list[str] = []
        self.records: list[Record] = []
        self.unmeasured: list[Record] = []
        self.skips: list[Skip] = []
        self.benchmarks: list[Any] = []
        self.saved: Path | None = None
        self.problem: str | None = None
        self.interrupted: str | None = None
        """What interrupted the session, such as ``SIGTERM``."""
        self.place = find_run_place(config, self.storage)
        self.done: set[pytest.Item] = set()
        self.froze = False
        """Whether it keeps what is imported out of collections."""
        self.kept_from_before = 0
        """Cases that are not run, as the run that is gone on with has their results."""
        config.pluginmanager.register(Watch(self.note_interrupt), "emobench-interrupts")

    def note_interrupt(self, what: str | None) -> None:
        """Keep what interrupted the session, such as ``SIGTERM``."""
        self.interrupted = what

    @cached_property
    def progress(self) -> Progress:
        return Progress(self.config.stash[STDERR])

    @cached_property
    def storage(self) -> Path:
        """Folder of saved runs, see :func:`emobench.session.place.storage_of`."""
        return storage_of(self.config)

    @cached_property
    def folder(self) -> Path:
        """This run's own folder, made when it is first asked for; concurrent runs never share one."""
        return self.place.open(self.storage)

    def kind_of(self, node: Any) -> Kind | None:
        """The kind whose marker a test, or the definition of one, has."""
        return next((kind for kind in self.settings.kinds.values() if node.get_closest_marker(kind.marker)), None)

    def spec_of(self, item: pytest.Item) -> CaseSpec:
        """The case of a test: its kind from its marker, its axes from its parameters."""
        if SPEC not in item.stash:
            kind = self.kind_of(item)
            params = getattr(getattr(item, "callspec", None), "params", {})
            if kind is None or not {"model", "precision", "device"} <= set(params):
                raise SpecError(
                    f"{item.nodeid} uses the fixture case without saying what it measures",
                    why="a case needs the fixtures model, precision and device and one of the markers "
                    + ", ".join(kind.marker for kind in self.settings.kinds.values()),
                    fix="add them as in benchmarks/test_finetune.py",
                )
            item.stash[SPEC] = self.settings.case(kind, **{name: params[name] for name in AXES if name in params})
        return item.stash[SPEC]

    def collected(self, items: Sequence[pytest.Item]) -> None:
        """Keep the ids of all cases that were not deselected."""
        self.manifest = [self.spec_of(item).id for item in items]
        if self.gate is not None:
            self.markers = {self.spec_of(item).id: {mark.name for mark in item.iter_markers()} for item in items}
            self.gate.collected(
                self.manifest, self.markers, deselected=self.deselected_ids(), selection=self.selection()
            )

    def already_done(self, items: Sequence[pytest.Item]) -> list[pytest.Item]:
        """Cases that the run being resumed has an ok record of, with the same plan key."""
        if self.place.resumed is None:
            return []
        done = self.place.done()
        names = ((item, (self.spec_of(item).id, plain_node_id(item))) for item in items)
        found = [item for item, name in names if name in done and done[name] == self.plan_keys.key(self.spec_of(item))]
        self.kept_from_before = len(found)
        self.done = set(found)
        return found

    def going_on(self) -> str | None:
        """Which run is gone on with, and how much of it is done; None where nothing was to be gone on with."""
        if self.place.anew:
            return f"--emo-resume: no run has begun in {shown(self.storage / FOLDERS)}, so this is a new one"
        if self.place.resumed is None:
            return None
        name, count = self.place.resumed.name, len(self.manifest)
        # The process that xdist's workers work for collects nothing.
        done = f": {self.kept_from_before} of {count} cases are done" if count else ""
        return f"going on with run {name}{done}"

    def note_deselected(self, items: Sequence[pytest.Item]) -> None:
        """Keep what was left out on purpose, which is not missing at a gate; cases done before are not left out."""
        self.deselected += [item for item in items if item not in self.done]

    def take_lease(self, items: Sequence[pytest.Item]) -> None:
        """Under xdist: a worker with cases to run takes cores, and a GPU where one of them needs it."""
        if items and not self.config.getoption("collectonly"):
            share = bool(self.config.getoption("emo_share_device"))
            self.place.take_lease({self.spec_of(item).device for item in items}, share=share)

    @cached_property
    def plan_keys(self) -> PlanKeys:
        """Makes the keys that tell before a case runs whether its result is known."""
        from emobench.cases.keys import PlanKeys

        return PlanKeys()

    def deselected_ids(self) -> list[str]:
        """Ids of the cases that ``-k``, ``-m`` and their like left out; a test that is no proper case has none."""
        found = []
        for item in self.deselected:
            with contextlib.suppress(SpecError):
                found.append(self.spec_of(item).id)
        return found

    def selection(self) -> str:
        """Whether all cases were asked for, see ``gating.selection_of``."""
        from emobench.session.gate import selection_of

        option = self.config.getoption
        return selection_of(
            (str(argument) for argument in self.config.args),
            last_failed=bool(option("lf", False) or option("stepwise", False)),
            ignoring=bool(option("ignore", None) or option("ignore_glob", None)),
        )

    def stop(self, item: pytest.Item, problem: str) -> NoReturn:
        """End the session: no case can be measured, or none kept."""
        if self.place.worker is None:
            pytest.exit(problem, returncode=pytest.ExitCode.INTERNAL_ERROR)
        # The process that this worker works for ends the session, and shows what several of them say once.
        item.session.shouldstop = "no case can be measured: see the error above"
        item.user_properties.append((REFUSED, problem))
        pytest.fail(problem, pytrace=False)

    @property
    def measures_elsewhere(self) -> bool:
        """Whether cases run in other processes, see ``executors.hooks``."""
        return any(map(self.config.pluginmanager.has_plugin, ("emobench-isolating", "emobench-dispatching")))

    @cached_property
    def journal(self) -> Journal:
        """What the session is, and a line for each case that starts or ends, on disk before anything else happens."""
        from emobench.records.journal import create

        return create(self.folder, self.place.part())

    @property
    def began(self) -> bool:
        """Whether there is a run: a case was started, here or in a process for this one, or a run is gone on with."""
        return "folder" in self.__dict__ or self.place.resumed is not None

    @property
    def generation(self) -> int:
        """How many sessions have worked on the run, this one included."""
        return self.place.generation

    def work_for(self, told: Told) -> None:
        """Run cases for another session: into its folder, and saving no run."""
        self.place = place_for(told)

    @cached_property
    def machine_info(self) -> dict[str, Any]:
        """The machine as pytest-benchmark describes it."""
        hook, config = self.config.hook, self.config
        machine: dict[str, Any] = hook.pytest_benchmark_generate_machine_info(config=config)
        hook.pytest_benchmark_update_machine_info(config=config, machine_info=machine)
        return machine

    def close(self) -> None:
        """Give back what stays open while cases run."""
        if self.froze:
            look_again()
        if self.kept_model is not None:
            self.kept_model.let_go()
        if "progress" in self.__dict__:
            self.progress.close()
        self.place.close()
