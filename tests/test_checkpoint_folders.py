"""Where a case's checkpoints lie: in the run's own folder, also from a machine that only shares it, and never twice."""

from __future__ import annotations

import types
from pathlib import Path

import filelock
import pytest

from emobench.case import Case
from emobench.catalogue.models import find_model
from emobench.catalogue.profiles import PROFILES
from emobench.executors.child import shared_folder
from emobench.executors.jobs import Told
from emobench.specs import CaseSpec
from emobench.training.checkpoint import mark_complete
from emobench.training.fit import FitPlan

PLAN = FitPlan(device="cpu", precision="fp32", seed=3, epochs=1, learning_rate=1e-3)


def a_case(folder: Path, shared: Path | None) -> Case:
    spec = CaseSpec(
        kind="inference", model=find_model("all-minilm-l6-v2", {}), precision="fp32", device="cpu", batch_size=1,
        profile=PROFILES["smoke"],
    )  # fmt: skip
    benchmark = types.SimpleNamespace(extra_info={})
    progress = types.SimpleNamespace(step=lambda *_: None, note=lambda *_: None)
    return Case(spec, benchmark, folder=folder, progress=progress, plan_key="k", home=shared)  # type: ignore[arg-type]  # doubles


def told(home: Path | None) -> Told:
    return Told(folder=Path("away"), job="j", generation=1, parent=1, elsewhere=True, home=home, lease=None)


def test_a_folder_is_shared_where_the_run_is_seen(tmp_path: Path) -> None:
    """The manifest of the run tells; a machine without it keeps checkpoints of its own."""
    assert shared_folder(told(None)) is None
    assert shared_folder(told(tmp_path)) is None
    (tmp_path / "manifest.json").write_text("{}")
    assert shared_folder(told(tmp_path)) == tmp_path


def test_a_training_goes_on_where_another_machine_left_it(tmp_path: Path) -> None:
    """Its checkpoints lie in the run's folder and outlive the process's own; a case that ended leaves none."""
    own, home = tmp_path / "own", tmp_path / "home"
    first = a_case(own, home)
    plan = first.with_checkpoints(PLAN)
    assert plan.folder == home / "checkpoints" / "k" / "seed3"
    assert not plan.resume
    kept = plan.folder / "checkpoint-7"
    kept.mkdir(parents=True)
    (kept / "weights").write_bytes(b"w")
    mark_complete(kept, {})
    assert first._lock is not None
    first._lock.release()  # as the end of its process does
    second = a_case(tmp_path / "other", home)
    assert second.with_checkpoints(PLAN).resume
    assert "notes" not in second.details
    second.forget_checkpoints()
    assert not second.checkpoints.exists()


def test_two_processes_do_not_write_into_one_folder(tmp_path: Path) -> None:
    """While one trains the case, another that was started for it keeps its own checkpoints and says so."""
    first, second = a_case(tmp_path / "a", tmp_path), a_case(tmp_path / "b", tmp_path)
    first.with_checkpoints(PLAN)
    plan = second.with_checkpoints(PLAN)
    assert plan.folder == tmp_path / "b" / "checkpoints" / "k" / "seed3"
    assert second.details["notes"] == [
        f"checkpoints in {tmp_path} were left alone: another process trains this case"
    ]  # fmt: skip
    second.forget_checkpoints()
    assert first.checkpoints.exists()
    assert first.with_checkpoints(PLAN).folder == tmp_path / "checkpoints" / "k" / "seed3"


def test_a_file_system_without_locks_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be held is not shared."""

    def refuse(*_: object, **__: object) -> None:
        raise NotImplementedError

    monkeypatch.setattr(filelock.FileLock, "acquire", refuse)
    case = a_case(tmp_path / "a", tmp_path)
    assert case.with_checkpoints(PLAN).folder == tmp_path / "a" / "checkpoints" / "k" / "seed3"
    assert case.details["notes"][0].endswith("its file system has no locks")
