"""Jobs: one fresh process that runs one case, or a group of cases, and the folder it leaves.

Where a job runs is the executors' business, and what becomes of its folder that of the session that gave it.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import tempfile
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from emobench.cases.names import CHECKPOINTS, ORIGINALS
from emobench.errors import NotOnMachineError
from emobench.executors.parcel import pack
from emobench.files import write_bytes
from emobench.processes.fresh import End, Ending, ending_from_json, run_process
from emobench.session.place import Told

ENDING = "ending.json"
CHILD_PLUGIN = "emobench.executors.child"
OUTPUTS = "outputs"
"""Folder, inside a run's, of what each process printed and reported."""
VARIABLE = "EMOBENCH_CASE"
"""What a process that runs a case is told beside its arguments, see ``session.place.Told``."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What one fresh process runs."""

    name: str
    """A file's name, different for every job."""
    nodes: tuple[str, ...]
    """pytest's node ids with absolute paths, in the order they run."""
    arguments: tuple[str, ...]
    cwd: str
    """The folder that the arguments are relative to: the same path on every machine."""
    time_limit: float | None = None
    """Seconds for each of its cases; the process has the sum."""
    generation: int = 1
    """Of the session it works for, see ``records.journal``."""
    elsewhere: bool = False
    """Whether it may run on another machine than its session."""
    home: str | None = None
    """The run's folder on the session's machine: its checkpoints lie there where the machines share it."""
    lease: Mapping[str, Any] | None = None
    """What of the machine its session holds, under xdist."""
    gpus: float = 0
    cpus: int = 1


class Executor(Protocol):
    """Runs jobs somewhere."""

    def run(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, bytes | Ending]]:
        """Yield each job as it ends: its folder's files (:func:`packing.pack`), or why nothing came back.

        Closing the iterator ends what still runs.
        """
        ...


def run_job(job: Job, folder: Path) -> Ending:
    """Run a job's cases in one fresh process and keep its ending.

    ``folder`` is a run's: the process adds a journal and its artifacts to it, and what it printed to :func:`outputs`.

    Raises:
        NotOnMachineError: the project is not on this machine.
    """
    if not Path(job.cwd).is_dir():
        raise NotOnMachineError(
            f"{job.cwd} is not on {platform.node()}",
            why="every machine of a distributed run has the project at the same path",
            fix="clone it there, or share the folder",
        )
    own = outputs(folder, job)
    limit = None if job.time_limit is None else job.time_limit * len(job.nodes)
    ending = run_process(
        command(job), folder=own, cwd=Path(job.cwd), environment=environment(os.environ, job, folder), time_limit=limit
    )
    write_bytes(own / ENDING, json.dumps(ending.to_json()).encode())
    return ending


def outputs(folder: Path, job: Job) -> Path:
    """Where the process of a job leaves what it printed and reported."""
    return folder / OUTPUTS / job.name


def command(job: Job) -> list[str]:
    """The process that runs a job's cases: pytest, with the part of the plugin that belongs there."""
    return [sys.executable, "-m", "pytest", *job.arguments, "-p", CHILD_PLUGIN, *job.nodes]


def environment(given: Mapping[str, str], job: Job, folder: Path) -> dict[str, str]:
    """The environment of such a process: this one's, without what xdist and Ray tell their workers (Ray a token)."""
    kept = {name: value for name, value in given.items() if not name.startswith(("PYTEST_XDIST", "RAY_"))}
    told = {
        "folder": str(folder),
        "job": job.name,
        "generation": job.generation,
        "parent": os.getpid(),
        "elsewhere": job.elsewhere,
        "home": job.home,
        "lease": job.lease,
    }
    return {**kept, VARIABLE: json.dumps(told)}


def take_told(environment: MutableMapping[str, str]) -> Told | None:
    """What this process was told, taken out: a process that the case itself starts is not this one."""
    raw = environment.pop(VARIABLE, None)
    if raw is None:
        return None
    told = json.loads(raw)
    home = told["home"] and Path(told["home"])
    return Told(**{**told, "folder": Path(told["folder"]), "home": home})


def read_ending(folder: Path, job: Job) -> Ending:
    """How the process of a job ended; lost, where its folder does not say."""
    path = outputs(folder, job) / ENDING
    if not path.exists():
        return Ending(end=End.LOST, detail="its results do not say how its process ended")
    return ending_from_json(json.loads(path.read_bytes()))


def run_and_pack(job: Mapping[str, Any]) -> bytes:
    """On another machine: run a job (:func:`job_to_json`) in a temporary folder and return what it left."""
    with tempfile.TemporaryDirectory(prefix="emobench-case-") as folder:
        run_job(job_from_json(job), Path(folder))
        # Trained originals and checkpoints serve other cases of the same folder only.
        return pack(Path(folder), without=(ORIGINALS, CHECKPOINTS))


def job_to_json(job: Job) -> dict[str, Any]:
    """A job as plain values."""
    return {**asdict(job), "nodes": list(job.nodes), "arguments": list(job.arguments)}


def job_from_json(raw: Mapping[str, Any]) -> Job:
    """Read :func:`job_to_json` back."""
    return Job(**{**raw, "nodes": tuple(raw["nodes"]), "arguments": tuple(raw["arguments"])})
