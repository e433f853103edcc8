"""Slurm: jobs as one array of Slurm jobs through submitit, one fresh process each, tried once.

Results come back as files in the run's folder, which every machine must share; nothing is unpickled here.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from emobench.errors import UnsupportedError
from emobench.executors.jobs import Job, job_to_json, run_and_pack
from emobench.extras import require
from emobench.files import write_bytes
from emobench.processes.fresh import End, Ending

SECONDS_BETWEEN_LOOKS = 5.0
LOCAL = "local"
SECONDS_FOR_FILES = 30.0
"""How long a file that a finished job wrote may take to be seen through a shared file system."""
SPARE_MINUTES = 5
"""Added to a job's own limit, so that the job and not Slurm ends a case that takes too long."""
UNLIMITED_MINUTES = 7 * 24 * 60


@dataclass(frozen=True, kw_only=True)
class SlurmExecutor:
    """Runs jobs through submitit."""

    folder: Path
    """For scripts, logs and results; on a file system that every machine shares."""
    cluster: str = "slurm"
    """submitit's name: ``slurm``, or ``local`` for processes of this machine."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """More of submitit's parameters, such as ``slurm_partition``."""
    seconds_between_looks: float = SECONDS_BETWEEN_LOOKS

    def run(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, bytes | Ending]]:
        """Run every job once, see :class:`emobench.executors.jobs.Executor`.

        Raises:
            MissingExtraError: submitit is not installed.
            UnsupportedError: Slurm's commands are not on this machine.
        """
        submitit = require("submitit", feature="--executor slurm", extra="slurm")
        submitted: dict[int, Any] = {}
        try:
            for alike in _alike(jobs):
                submitted |= self._submit(submitit, {index: jobs[index] for index in alike})
            seen: dict[int, float] = {}
            while submitted:
                for index, handle in submitted.items():
                    if index not in seen and handle.done():
                        seen[index] = time.monotonic()
                ready = [index for index in seen if self._is_settled(submitted[index], jobs[index], seen[index])]
                for index in ready:
                    del seen[index]
                    yield jobs[index], self._answer(submitted.pop(index), self._result(jobs[index]))
                if submitted and not ready:
                    soon = bool(seen) or self.cluster == LOCAL
                    time.sleep(min(self.seconds_between_looks, 1.0) if soon else self.seconds_between_looks)
        finally:
            for handle in submitted.values():
                handle.cancel()

    def _submit(self, submitit: Any, jobs: Mapping[int, Job]) -> dict[int, Any]:
        first = next(iter(jobs.values()))
        minutes = UNLIMITED_MINUTES
        if first.time_limit is not None:
            minutes = math.ceil(first.time_limit * len(first.nodes) / 60) + SPARE_MINUTES
        try:
            executor = submitit.AutoExecutor(folder=self.folder / "jobs", cluster=self.cluster)
        except RuntimeError as error:
            raise UnsupportedError(
                f"submitit cannot use {self.cluster!r} here",
                why=str(error),
                fix="run it where sbatch and srun are, or give --address local",
            ) from error
        executor.update_parameters(
            name="emobench",
            timeout_min=minutes,
            cpus_per_task=first.cpus,
            gpus_per_node=math.ceil(first.gpus),
            **({"slurm_additional_parameters": {"no-requeue": True}} if self.cluster == "slurm" else {}),
            **self.parameters,
        )
        inputs = [(job_to_json(job), str(self._result(job))) for job in jobs.values()]
        handles = executor.map_array(run_to_file, *zip(*inputs, strict=True))
        return dict(zip(jobs, handles, strict=True))

    def _result(self, job: Job) -> Path:
        return self.folder / "returned" / f"{job.name}.packed"

    def _is_settled(self, handle: Any, job: Job, ended: float) -> bool:
        """Whether nothing more is to be expected of a job that has ended.

        One that ended well has written its file, which a shared file system may show a little later.
        """
        waited = self.cluster == LOCAL or time.monotonic() - ended >= SECONDS_FOR_FILES
        return waited or self._result(job).exists() or not _ended_well(handle)

    def _answer(self, handle: Any, result: Path) -> bytes | Ending:
        if result.exists():
            answer = result.read_bytes()
            result.unlink()
            return answer
        said = (handle.stderr() or "").strip().splitlines()
        last = f": {said[-1]}" if said else ""
        end = End.OUT_OF_MEMORY if "OUT_OF_ME" in str(handle.state) else End.LOST
        return Ending(end=end, detail=f"Slurm's job {handle.job_id} ended as {handle.state}{last}")


def run_to_file(job: Mapping[str, Any], path: str) -> None:
    """In a Slurm job: run a job and write what it left to a file that the submitting machine reads."""
    write_bytes(Path(path), run_and_pack(job))


def _ended_well(handle: Any) -> bool:
    return str(handle.state).upper() in ("COMPLETED", "FINISHED", "DONE")


def _alike(jobs: Sequence[Job]) -> list[list[int]]:
    """Indexes of jobs that need the same of a machine: one array has one set of limits."""
    found: dict[tuple[object, ...], list[int]] = {}
    for index, job in enumerate(jobs):
        found.setdefault((job.cpus, job.gpus, job.time_limit, len(job.nodes)), []).append(index)
    return list(found.values())
