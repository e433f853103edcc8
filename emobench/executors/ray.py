"""Ray: jobs as tasks of a Ray cluster, one fresh process each, tried once.

It starts a cluster of this machine alone, on the loopback address, unless it is given the address of another.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from emobench.errors import FetchError, UnsupportedError
from emobench.executors.jobs import Job, job_to_json, run_and_pack
from emobench.extras import require
from emobench.processes.fresh import End, Ending

SECONDS_BETWEEN_LOOKS = 10.0
"""How often a session that waits for tasks looks whether any machine is left that could run them."""
SECONDS_WITHOUT_MACHINES = 60.0
IN_FLIGHT_PER_SLOT, FEWEST_IN_FLIGHT = 3, 64
"""Tasks that Ray is handed at once: enough to keep every slot busy, few enough that looking at them is cheap."""

LOOPBACK = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""Variable that, when 0, has Ray listen on the loopback address alone."""
_IMPORTED_WITH: dict[str, str] = {}
"""The settings Ray was imported with here."""


@dataclass(frozen=True, kw_only=True)
class RayExecutor:
    """Runs jobs on a Ray cluster."""

    address: str | None = None
    """``auto``, or ``HOST:PORT`` of a running cluster; None starts one of this machine alone."""
    cpus: int | None = None
    """Of a cluster that is started here; None takes all there are."""
    patience: float = SECONDS_WITHOUT_MACHINES
    """Seconds without any machine that could run what is left, after which that is lost."""

    def run(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, bytes | Ending]]:
        """Run every job once, see :class:`emobench.executors.jobs.Executor`.

        Raises:
            MissingExtraError: Ray is not installed.
            FetchError: there is no cluster at the address, or it refuses the token.
            UnsupportedError: no machine of the cluster has what a job needs.
        """
        with connected(self) as ray:
            _check_room(ray, jobs)
            yield from Tasks(ray, patience=self.patience).run(jobs)


@contextlib.contextmanager
def connected(chosen: RayExecutor) -> Iterator[Any]:
    """Ray, imported and connected to the cluster that was chosen; the block's end disconnects it.

    Raises:
        MissingExtraError: Ray is not installed.
        FetchError: there is no cluster at the address, or it refuses the token.
    """
    with _environment(_settings_in_force(chosen.address)):
        ray = require("ray", feature="--executor ray", extra="ray")
        own = {"num_cpus": chosen.cpus, "include_dashboard": False}
        try:
            ray.init(
                address=chosen.address or "local",
                log_to_driver=False,
                logging_level=logging.ERROR,
                configure_logging=False,
                **({} if chosen.address else own),
            )
        except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            raise FetchError(
                f"no Ray cluster can be used at {chosen.address or 'this machine'}",
                why=" ".join(str(error).split()) or type(error).__name__,
                fix="start one with RAY_AUTH_MODE=token ray start --head, and give RAY_AUTH_TOKEN or its file here too",
            ) from error
        try:
            yield ray
        finally:
            ray.shutdown()


def _settings(address: str | None) -> dict[str, str]:
    """Environment variables that Ray is started with.

    Ray asks a server on the internet to count its users unless it is told not to. Without a token whoever reaches its
    ports runs code as this user; with one it still listens on every address of a machine. The last variable has it use
    the loopback address alone, as it does on macOS and Windows; ``_node_ip_address`` does not.
    """
    always = {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "RAY_AUTH_MODE": os.environ.get("RAY_AUTH_MODE", "token"),
    }
    if address is not None:
        return always
    return {**always, "RAY_AUTH_TOKEN": secrets.token_hex(32), LOOPBACK: "0"}


def _settings_in_force(address: str | None) -> dict[str, str]:
    """The settings for this connection: Ray reads them once, when it is imported, and tells its processes.

    Raises:
        UnsupportedError: Ray was imported with others.
    """
    wanted = _settings(address)
    if sys.modules.get("ray") is None:
        _IMPORTED_WITH.clear()
        _IMPORTED_WITH.update(wanted)
    given = {name: _IMPORTED_WITH.get(name, os.environ.get(name)) for name in wanted if name != "RAY_AUTH_TOKEN"}
    late = {name: value for name, value in wanted.items() if name in given and given[name] != value}
    if late or (LOOPBACK in _IMPORTED_WITH and LOOPBACK not in wanted):
        raise UnsupportedError(
            "Ray was imported before it could be told what to do",
            why=f"it has read {', '.join(late) or LOOPBACK} already",
            fix="run this in a new process that does not import ray; a conftest.py or a plugin does",
        )
    return {**wanted, **_IMPORTED_WITH}


@contextlib.contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _room(ray: Any) -> list[dict[str, float]]:
    return [dict(node["Resources"]) for node in ray.nodes() if node["Alive"]]


def _fits(job: Job, machine: dict[str, float]) -> bool:
    return machine.get("CPU", 0) >= job.cpus and machine.get("GPU", 0) >= job.gpus


def _check_room(ray: Any, jobs: Sequence[Job]) -> None:
    room = _room(ray)
    for job in jobs:
        if not any(_fits(job, machine) for machine in room):
            most = {name: max((machine.get(name, 0) for machine in room), default=0) for name in ("CPU", "GPU")}
            raise UnsupportedError(
                f"no machine of the Ray cluster has {job.cpus} CPUs and {job.gpus:g} GPUs",
                why=f"{len(room)} machines, the largest with {most['CPU']:g} CPUs and {most['GPU']:g} GPUs",
                fix="give --gpus-per-case and --cpus-per-case that fit, or add machines",
            )


class Tasks:
    """The tasks that Ray has been handed and has not yet answered."""

    def __init__(self, ray: Any, *, patience: float, function: Callable[..., bytes] = run_and_pack) -> None:
        self.ray = ray
        self.patience = patience
        self.flying: dict[Any, Job] = {}
        # A worker of Ray's may be used again, also one with GPUs: it starts a process for each job and holds nothing.
        self.task = ray.remote(max_retries=0, max_calls=0)(function)

    def run(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, bytes | Ending]]:
        """Yield each job as its task ends; closing the iterator ends the tasks that still run."""
        waiting = list(reversed(jobs))
        idle = 0.0
        try:
            while waiting or self.flying:
                self._hand_out(waiting)
                ready, _ = self.ray.wait(list(self.flying), num_returns=1, timeout=SECONDS_BETWEEN_LOOKS)
                if ready:
                    # All that are ready at once: to look for one at a time would take the square of their number.
                    ready, _ = self.ray.wait(list(self.flying), num_returns=len(self.flying), timeout=0)
                    idle = 0.0
                    for reference in ready:
                        yield self.flying[reference], self._answer(reference)
                        del self.flying[reference]
                    continue
                idle = 0.0 if self._any_machine() else idle + SECONDS_BETWEEN_LOOKS
                if idle >= self.patience:
                    yield from self._give_up(waiting)
        finally:
            for reference in self.flying:
                self.ray.cancel(reference, force=True)

    def _hand_out(self, waiting: list[Job]) -> None:
        slots = sum(machine.get("CPU", 0) for machine in _room(self.ray)) if waiting else 0
        while waiting and len(self.flying) < max(FEWEST_IN_FLIGHT, IN_FLIGHT_PER_SLOT * slots):
            job = waiting.pop()
            reference = self.task.options(num_cpus=job.cpus, num_gpus=job.gpus, name=job.name).remote(job_to_json(job))
            self.flying[reference] = job

    def _answer(self, reference: Any) -> bytes | Ending:
        try:
            answer: bytes = self.ray.get(reference)
        except self.ray.exceptions.OutOfMemoryError as error:
            return Ending(end=End.OUT_OF_MEMORY, detail=f"Ray ended its worker for want of host memory: {_line(error)}")
        except self.ray.exceptions.RayError as error:
            return Ending(end=End.LOST, detail=f"Ray lost it: {type(error).__name__}: {_line(error)}")
        return answer

    def _any_machine(self) -> bool:
        room = _room(self.ray)
        return any(_fits(job, machine) for job in self.flying.values() for machine in room)

    def _give_up(self, waiting: list[Job]) -> Iterator[tuple[Job, bytes | Ending]]:
        gone = Ending(end=End.LOST, detail=f"no machine of the cluster could run it for {self.patience:g} s")
        for reference, job in list(self.flying.items()):
            self.ray.cancel(reference, force=True)
            del self.flying[reference]
            yield job, gone
        while waiting:
            yield waiting.pop(), gone


def _line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines and isinstance(error, RuntimeError) else (lines[0] if lines else "nothing said")
