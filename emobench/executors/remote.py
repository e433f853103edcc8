"""Remote: all cases of a session as jobs of an executor that runs them elsewhere; what comes back is checked."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Sequence, Set
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from emobench import __version__
from emobench.errors import BrokenFileError, EmoBenchError, SpecError
from emobench.executors.delivery import Delivery
from emobench.executors.job_plan import jobs_of, manifest_of
from emobench.executors.jobs import ENDING, OUTPUTS, Executor, Job, read_ending
from emobench.executors.manifest import Manifest, write_manifest
from emobench.executors.parcel import unpack
from emobench.files import sync_folder
from emobench.processes.fresh import End, Ending
from emobench.session.lookup import has_case, session_of

if TYPE_CHECKING:
    from emobench.session.run import Session


class Dispatching:
    """Has the cases of a session run by an executor; other tests run in this process, before them."""

    def __init__(self, config: pytest.Config, executor: Executor | None = None) -> None:
        self.config = config
        self.executor = executor

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        collected_badly = session.testsfailed and not session.config.option.continue_on_collection_errors
        if collected_badly or session.config.option.collectonly:
            return None  # pytest's own loop says so
        cases = [item for item in session.items if has_case(item)]
        others = [item for item in session.items if not has_case(item)]
        for item, following in zip_longest(others, others[1:]):
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            _stop_if_asked(session)
        if cases:
            self._run(session, cases)
        return True

    def _run(self, session: pytest.Session, cases: Sequence[pytest.Item]) -> None:
        ours = session_of(self.config)
        delivery = Delivery(ours)
        wanted = []
        for item in cases:
            item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
            if not delivery.skipped(item, other_machine=_on_other_machines(self.config)):
                wanted.append(item)
        if not wanted:
            return
        planned = jobs_of(ours, wanted, elsewhere=True)
        manifest = manifest_of(ours, wanted, arguments=planned[0][0].arguments)
        write_manifest(ours.folder, manifest)
        members = {job.name: items for job, items in planned}
        executor = self.executor or executor_of(ours)
        arrived: set[Path] = set()
        try:
            with contextlib.closing(executor.run([job for job, _ in planned])) as answers:  # type: ignore[type-var]  # a generator
                for job, answer in answers:
                    ending = (
                        answer
                        if isinstance(answer, Ending)
                        else accepted(answer, job, ours.folder, manifest, arrived=arrived)
                    )
                    delivery.job(job, members[job.name], ending)
                    _stop_if_asked(session)
        except EmoBenchError as error:
            raise pytest.UsageError(str(error)) from error


def _on_other_machines(config: pytest.Config) -> bool:
    """Whether cases may run on machines that have what this one lacks."""
    address = config.getoption("emo_address")
    if config.getoption("emo_executor") == "slurm":
        return bool(address != "local")
    return address is not None


def _stop_if_asked(session: pytest.Session) -> None:
    if session.shouldfail:
        raise session.Failed(session.shouldfail)
    if session.shouldstop:
        raise session.Interrupted(session.shouldstop)


def executor_of(session: Session) -> Executor:
    """The executor that the options name.

    Raises:
        SpecError: a parameter of Slurm that cannot be read.
    """
    option = session.config.getoption
    if option("emo_executor") == "ray":
        from emobench.executors.ray import RayExecutor

        return RayExecutor(address=option("emo_address"))
    from emobench.executors.slurm import SlurmExecutor

    return SlurmExecutor(
        folder=session.folder / "slurm",
        cluster=option("emo_address") or "slurm",
        parameters=dict(_parameter(text) for text in option("emo_slurm")),
    )


def _parameter(text: str) -> tuple[str, Any]:
    name, given, value = text.partition("=")
    if not given or not name.isidentifier():
        raise SpecError(
            f"--emo-slurm {text!r} cannot be read",
            why="it is not KEY=VALUE",
            fix="give one of submitit's parameters, such as slurm_partition=gpu",
        )
    return name, int(value) if value.isdigit() else value


def accepted(data: bytes, job: Job, folder: Path, manifest: Manifest, *, arrived: set[Path] | None = None) -> Ending:
    """Move what came back of a job into the run's folder, and say how its process ended.

    What was cut or changed on the way, or was made by other code than this run's, is left out: its cases are lost.
    ``arrived`` holds the files that this session's jobs have brought so far, and gets this one's: none of them is
    replaced. What an earlier session left of a case that is run again is, as where it runs on this machine.

    Raises:
        OSError: the disk did not take it. What is there of it then is in the way of no other try.
    """
    arrived = set() if arrived is None else arrived
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".arriving-") as arriving:
        place = Path(arriving)
        try:
            unpack(data, place, source=job.name)
            refused = foreign(place, job, manifest)
        except BrokenFileError as error:
            refused = str(error)
        if refused is not None:
            return Ending(end=End.LOST, detail=refused)
        files = {path.relative_to(place) for path in place.rglob("*") if path.is_file()}
        own = {path for path in files if path in _own_files(job) and (folder / path).exists()}
        if there := own or files & arrived:
            return Ending(end=End.LOST, detail=f"it brought {min(there)}, which is there already")
        ending = read_ending(place, job)
        journals = {path for path in files if path.suffix == ".jsonl" and len(path.parts) == 1}
        _move(files - journals, place, folder)
        # Journals last: what a journal tells of is there then, also after a power cut.
        _move(journals, place, folder)
    arrived |= files
    return ending


def _own_files(job: Job) -> set[Path]:
    """Files that no other job brings."""
    return {Path(f"journal-{job.name}.jsonl"), Path(OUTPUTS, job.name, ENDING)}


def _move(files: Set[Path], place: Path, folder: Path) -> None:
    for path in files:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        os.replace(place / path, folder / path)
    for changed in sorted({above for path in files for above in path.parents}):
        sync_folder(folder / changed)


def foreign(place: Path, job: Job, manifest: Manifest) -> str | None:
    """Why what came back is not of this run: another commit, another EmoBench, a case that was not asked for."""
    from emobench.records.journal import journal_files, read_part

    asked = {case.id for case in manifest.cases if any(node.endswith(f"/{case.node}") for node in job.nodes)}
    for path in journal_files(place):
        if path.stem != f"journal-{job.name}":
            return f"it brought the journal {path.name}, which is not its own"
        part = read_part(path)
        head = part.body("head").get("head") or {}
        commit = head.get("commit_info") or {}
        for name in ("id", "dirty"):
            if commit.get(name) != manifest.commit.get(name):
                return f"it ran at commit {_shown(commit)}, and this run is of {_shown(manifest.commit)}"
        version = (head.get("run") or {}).get("version")
        if version != __version__:
            return f"it ran with EmoBench {version}, and this run is of {__version__}"
        if strange := {line.id for line in part.lines if line.id} - asked:
            return f"it brought the case {min(strange)}, which was not asked for"
    return None


def _shown(commit: Any) -> str:
    return f"{commit.get('id')}{' with uncommitted changes' if commit.get('dirty') else ''}"
