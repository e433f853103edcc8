"""Where a case's checkpoints lie: in the run's own folder, also from a machine that only shares it, and never twice."""

from __future__ import annotations

import errno
import os
import types
from pathlib import Path

import pytest

from emobench.cases.case import Case
from emobench.cases.names import forget_checkpoints
from emobench.catalogue.model_rows import find_model
from emobench.catalogue.profiles import PROFILES
from emobench.executors.child import shared_folder
from emobench.session.place import Told
from emobench.specs import CaseSpec
from emobench.training.checkpoint import mark_complete
from emobench.training.plan import FitPlan

PLAN = FitPlan(device="cpu", precision="fp32", seed=3, epochs=1, learning_rate=1e-3)


def a_case(folder: Path, shared: Path | None, *, node: str = "") -> Case:
    spec = CaseSpec(
        kind="inference", model=find_model("all-minilm-l6-v2", {}), precision="fp32", device="cpu", batch_size=1,
        profile=PROFILES["smoke"],
    )  # fmt: skip
    benchmark = types.SimpleNamespace(extra_info={}, fullname=node)
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


def test_a_folder_that_may_not_be_looked_into_is_not_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker's user may lack the rights of the session's."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "stat", refuse)
    assert shared_folder(told(tmp_path)) is None


def leave_checkpoint(plan: FitPlan) -> None:
    assert plan.folder is not None
    kept = plan.folder / "checkpoint-7"
    kept.mkdir(parents=True)
    (kept / "weights").write_bytes(b"w")
    mark_complete(kept, {})


def end_process(case: Case) -> None:
    """What its end does to a case's lock."""
    assert case._lock is not None
    case._lock.release()


def test_a_training_goes_on_where_another_machine_left_it(tmp_path: Path) -> None:
    """Its checkpoints lie in the run's folder and outlive the process's own, until the session has the record."""
    home = tmp_path / "home"
    first = a_case(tmp_path / "own", home)
    plan = first.with_checkpoints(PLAN)
    assert plan.folder == home / "checkpoints" / "k" / "seed3"
    assert not plan.resume
    leave_checkpoint(plan)
    end_process(first)
    second = a_case(tmp_path / "other", home)
    assert second.with_checkpoints(PLAN).resume
    assert "notes" not in second.details
    second.forget_checkpoints()
    assert second.with_checkpoints(PLAN).resume
    forget_checkpoints(home, "k")
    assert not (home / "checkpoints").exists()


def test_a_case_that_ended_leaves_no_checkpoints(tmp_path: Path) -> None:
    """In a run's own folder: none of its own, and those of other cases stay."""
    (tmp_path / "checkpoints" / "other").mkdir(parents=True)
    case = a_case(tmp_path, None)
    leave_checkpoint(case.with_checkpoints(PLAN))
    case.forget_checkpoints()
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["other"]


@pytest.mark.parametrize("shared", [True, False])
def test_a_case_that_is_measured_once_more_begins_anew(tmp_path: Path, shared: bool) -> None:
    """A disturbed training is not gone on with: its time would not be that of a training."""
    home = tmp_path / "home" if shared else None
    case = a_case(tmp_path / "own", home)
    leave_checkpoint(case.with_checkpoints(PLAN))
    case.begin_anew()
    again = a_case(tmp_path / "own", home)
    assert not again.with_checkpoints(PLAN).resume
    assert "notes" not in again.details


def test_two_processes_do_not_write_into_one_folder(tmp_path: Path) -> None:
    """While one trains the case, another that was started for it keeps its own checkpoints and says so."""
    first, second = a_case(tmp_path / "a", tmp_path), a_case(tmp_path / "b", tmp_path)
    first.with_checkpoints(PLAN)
    plan = second.with_checkpoints(PLAN)
    assert plan.folder == tmp_path / "b" / "checkpoints" / "k" / "seed3"
    assert second.details["notes"] == [f"checkpoints in {tmp_path} were left alone: another process trains this case"]
    second.forget_checkpoints()
    assert first.checkpoints.exists()
    assert first.with_checkpoints(PLAN).folder == tmp_path / "checkpoints" / "k" / "seed3"


@pytest.mark.parametrize("shared", [True, False])
def test_two_tests_of_one_case_train_apart(tmp_path: Path, shared: bool) -> None:
    """Each has a folder of its own, finds it again, and takes no other's with it when it ends."""
    home = tmp_path if shared else None
    first, second = (a_case(tmp_path, home, node=f"test_mine.py::test_{name}") for name in "ab")
    for case in (first, second):
        leave_checkpoint(case.with_checkpoints(PLAN))
        assert "notes" not in case.details
        if shared:
            end_process(case)
    assert first.checkpoints != second.checkpoints
    assert a_case(tmp_path, home, node="test_mine.py::test_b").with_checkpoints(PLAN).resume
    forget_checkpoints(tmp_path, second.checkpoints.name)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == [first.checkpoints.name]


def test_the_shipped_test_has_the_case_s_own_folder(tmp_path: Path) -> None:
    """Its name is the plan's key alone."""
    case = a_case(tmp_path, None, node="benchmarks/test_inference.py::test_inference[all-minilm-l6-v2-fp32-cpu-b1]")
    assert case.checkpoints == tmp_path / "checkpoints" / "k"


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """What cannot be held is not shared."""
    fcntl = pytest.importorskip("fcntl", reason="locks of POSIX")

    def refuse(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)
    case = a_case(tmp_path / "a", tmp_path)
    assert case.with_checkpoints(PLAN).folder == tmp_path / "a" / "checkpoints" / "k" / "seed3"
    assert case.details["notes"][0].startswith(f"checkpoints in {tmp_path} were left alone: ")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_left_alone(tmp_path: Path) -> None:
    """The training goes on with checkpoints of its own."""
    (tmp_path / "home").mkdir(mode=0o555)
    case = a_case(tmp_path / "a", tmp_path / "home")
    assert case.with_checkpoints(PLAN).folder == tmp_path / "a" / "checkpoints" / "k" / "seed3"


def test_a_home_that_is_a_file_is_left_alone(tmp_path: Path) -> None:
    """As one that cannot be written, also for root."""
    (tmp_path / "home").touch()
    case = a_case(tmp_path / "a", tmp_path / "home")
    assert case.with_checkpoints(PLAN).folder == tmp_path / "a" / "checkpoints" / "k" / "seed3"
    assert "were left alone" in case.details["notes"][0]
