"""A case's state while it runs: its spec and clock, and what it gave so far. It measures, trains and loads nothing.

How a case ended is decided by the session, which sees the exceptions.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emobench.cases.names import CHECKPOINTS, LOCK, file_name, forget_checkpoints, mark_of
from emobench.catalogue.goals import Goals
from emobench.files import try_lock
from emobench.outcomes import Evaluation, Metric, metric
from emobench.progress import Progress
from emobench.specs import CaseSpec

if TYPE_CHECKING:
    from filelock import BaseFileLock
    from pytest_benchmark.fixture import BenchmarkFixture

    from emobench.cases.shared_model import KeptModel
    from emobench.data.material import Material
    from emobench.measurement.usage import Usage
    from emobench.models.backends import Prepared
    from emobench.models.load import LoadedModel
    from emobench.processes.leases import Lease
    from emobench.training.plan import FitPlan

CHECKPOINT_SECONDS = 60.0
"""Least time between two checkpoints of a training."""


class CaseState:
    """One case while it runs. Metrics are added as they become known and folded over seeds at the end."""

    def __init__(
        self,
        spec: CaseSpec,
        benchmark: BenchmarkFixture,
        *,
        folder: Path,
        progress: Progress,
        save_models: bool = False,
        tracing: bool = False,
        goals: Goals | None = None,
        plan_key: str = "",
        home: Path | None = None,
        lease: Lease | None = None,
        silenced: Collection[str] = (),
        kept_model: KeptModel | None = None,
    ) -> None:
        self.spec = spec
        self.benchmark = benchmark
        self.folder = folder
        self.progress = progress
        self.save_models = save_models
        self.tracing = tracing
        self.goals = goals or Goals()
        self.plan_key = plan_key
        self.home = home
        """Folder of the run where this process has one of its own that goes away with it."""
        self.lease = lease
        self.silenced = silenced
        """Preflight checks that are not asked."""
        self.kept_model = kept_model
        """Where the session keeps a model for the next case; None where every case loads its own."""
        self.kept = False
        """True once a record of it is kept."""
        self.details: dict[str, Any] = {}
        self.artifacts: dict[str, str] = {}
        self.reasons: list[str] = []
        self.data_fingerprint = ""
        self.model_revision = ""
        self.settled = False
        """True once the timed part has ended without an exception: only then is its time worth keeping."""
        self.went_on = False
        """True where a training went on from an earlier session's checkpoint: its time is not that of a training."""
        self.disturbances: list[str] = []
        """What makes the timed part invalid although nothing raised; another try may do better."""
        self.per_seed: dict[int, list[Metric]] = {}
        self.predictions: list[tuple[int, Evaluation]] = []
        self.encoded: Material
        """Rows the case trains on and is scored on, encoded; not there before they were read."""
        self.trained: LoadedModel | None = None
        self._lock: BaseFileLock | None = None
        self._held_bytes: int | None = None
        """What device (CPU: process) held before the latest model was loaded."""

    @property
    def file_name(self) -> str:
        """Name of its files in the run's folder, without what tells them apart."""
        return file_name(self.spec.id, self._node)

    @property
    def _node(self) -> str:
        return getattr(self.benchmark, "fullname", "")

    def add(self, metrics: Sequence[Metric], *, seed: int | None = None) -> None:
        """Keep metrics of one seed (the first one where the case has no seeds to tell apart)."""
        self.per_seed.setdefault(self.spec.seeds[0] if seed is None else seed, []).extend(metrics)

    def note(self, text: str) -> None:
        """Keep a fallback or a choice that a reader of the record must know of."""
        notes = self.details.setdefault("notes", [])
        if text not in notes:
            notes.append(text)

    def with_checkpoints(self, plan: FitPlan, *, label: str = "") -> FitPlan:
        """The plan with checkpoints beside the journal; it goes on from the last complete one that is there.

        ``label`` tells the trainings of one case apart.
        """
        from emobench.training.checkpoint import newest_complete

        if not self.plan_key:
            return plan
        self._hold_checkpoints()
        place = self.checkpoints / f"{label}seed{plan.seed}"
        resume = newest_complete(place) is not None
        return replace(plan, folder=place, checkpoint_seconds=CHECKPOINT_SECONDS, resume=resume)

    @property
    def checkpoints(self) -> Path:
        """Where an interrupted training of this case and test left its checkpoints; any other has another folder."""
        return (self.home or self.folder) / CHECKPOINTS / f"{self.plan_key}{mark_of(self._node)}"

    def _hold_checkpoints(self) -> None:
        """Keep others out of checkpoints in a shared folder; where they cannot be kept out, take a folder alone.

        On this machine the run itself is held by one session; a job of a cluster may outlive the session that gave it.
        """
        if self.home is None or self._lock is not None:
            return
        why = "another process trains this case"
        try:
            self.checkpoints.mkdir(parents=True, exist_ok=True)
            self._lock = try_lock(self.checkpoints / LOCK)
        except OSError as error:
            why = str(error)
        if self._lock is None:
            self.note(f"checkpoints in {self.home} were left alone: {why}")
            self.home = None

    def forget_checkpoints(self) -> None:
        """Remove the checkpoints of a case that has ended: it is not gone on with.

        In a shared folder that is left to the session, when it has the record.
        """
        if self.plan_key and self.home is None:
            forget_checkpoints(self.folder, self.checkpoints.name)

    def begin_anew(self) -> None:
        """Before the case is measured once more: the next attempt goes on with nothing, and holds what it keeps."""
        if not self.plan_key:
            return
        for place in self.checkpoints.glob("*seed*"):
            shutil.rmtree(place)
        if self._lock is not None:
            self._lock.release()

    def describe_model(self, loaded: LoadedModel, *, seed: int | None = None) -> None:
        """Keep what was loaded: sizes, load time, revision, what quantization became, notes."""
        self.model_revision = loaded.revision
        if loaded.quantization is not None:
            self.details["quantization"] = dict(loaded.quantization)
        for text in loaded.notes:
            self.note(text)
        elsewhere = "model_loaded_by" in self.details
        self.add([item for item in loaded.metrics() if not (elsewhere and item.name == "load_seconds")], seed=seed)

    def shared(self, loader: Callable[..., LoadedModel], *arguments: Any, **keywords: Any) -> LoadedModel | None:
        """The model that an earlier case of the group loaded with the same arguments, and says so; None without one."""
        found = None if self.kept_model is None else self.kept_model.get(self.spec, loader, *arguments, **keywords)
        if found is not None and self.kept_model is not None:
            self.details["model_loaded_by"] = self.kept_model.case_id
            self.note(
                f"model loaded by {self.kept_model.case_id}: no load time here, its bytes count as taken here too"
            )
        return found

    def share(
        self, loaded: LoadedModel, loader: Callable[..., LoadedModel], *arguments: Any, **keywords: Any
    ) -> LoadedModel:
        """Leave a loaded model to the next case, where the session keeps one."""
        if self.kept_model is not None:
            self.kept_model.keep(loaded, self.spec, loader, *arguments, **keywords)
        return loaded

    def describe_backend(self, prepared: Prepared) -> None:
        """Keep what a backend did to run the model: compile or export time, providers, graph breaks, notes."""
        self.details["backend"] = {"seconds": round(prepared.seconds, 3), **prepared.facts}
        for text in prepared.notes:
            self.note(text)

    @contextlib.contextmanager
    def watching(self, seed: int | None = None) -> Iterator[None]:
        """Add the memory peaks of the block, however it ends."""
        from emobench.measurement.usage import watch_memory

        usage: Usage | None = None
        try:
            with watch_memory(self.spec.device) as usage:
                yield
        finally:
            if usage is not None:
                self.add(usage.metrics(), seed=seed)
                if self._held_bytes is not None and (peak := usage.peak(self.spec.device)) is not None:
                    self.add([metric("memory_taken_bytes", max(0, peak - self._held_bytes))], seed=seed)

    def release_memory(self) -> None:
        """Give memory of earlier work back before a model is loaded, or what it held would count as taken."""
        from emobench.measurement.usage import give_back_free_memory, held_bytes

        give_back_free_memory(self.spec.device)
        self._held_bytes = held_bytes(self.spec.device)
