"""Job plan: a session's collected cases as a manifest, and as jobs for fresh processes."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pytest

from emobench.cases.keys import deciding_versions
from emobench.cases.shared_model import model_key
from emobench.estimate.slow import expected_seconds
from emobench.executors.arguments import case_arguments
from emobench.executors.jobs import Job
from emobench.executors.manifest import Manifest, Planned
from emobench.session.place import plain_node_id
from emobench.session.skips import slow_asked_for

if TYPE_CHECKING:
    from emobench.session.run import Session

ARGUMENTS = "emobench_arguments"
"""Name, in xdist's ``workerinput``, of the arguments of its controller."""
LONGEST_NAME = 120
"""Characters of a case's id in the name of its job: file names have an end."""


def manifest_of(session: Session, items: Sequence[pytest.Item], *, arguments: Sequence[str]) -> Manifest:
    """The manifest of these cases."""
    versions: dict[str, str] = {}
    cases = []
    for item in items:
        spec = session.spec_of(item)
        own = deciding_versions(spec)
        versions |= own
        cases.append(
            Planned(id=spec.id, node=plain_node_id(item), key=spec.key(versions=own), group=group_of(session, item))
        )
    return Manifest(
        cases=tuple(cases),
        arguments=tuple(arguments),
        commit=commit_of(session.config),
        versions=versions,
        profile=session.settings.profile.id,
        weights=session.settings.weights,
    )


def commit_of(config: pytest.Config) -> dict[str, Any]:
    """The commit of the project as pytest-benchmark describes it: what stands in every journal's head."""
    from emobench.records.secrets import redacted

    info = redacted(config.hook.pytest_benchmark_generate_commit_info(config=config))
    config.hook.pytest_benchmark_update_commit_info(config=config, commit_info=info)
    return {name: info.get(name) for name in ("id", "dirty", "branch")}


def group_of(session: Session, item: pytest.Item) -> str:
    """Cases of one group share a process: with ``--emo-group-by model`` those of a model on a kind of device."""
    if session.config.getoption("emo_group_by") != "model":
        return ""
    spec = session.spec_of(item)
    return f"{spec.model.id}-{spec.device}"


def jobs_of(
    session: Session, items: Sequence[pytest.Item], *, elsewhere: bool, first: int = 0
) -> list[tuple[Job, list[pytest.Item]]]:
    """One job for each case, or for each group, with its cases; what is expected to take longest comes first.

    A long case that begins last keeps one device busy while all others wait.
    """
    groups: dict[str, list[pytest.Item]] = {}
    for item in items:
        groups.setdefault(group_of(session, item) or item.nodeid, []).append(item)
    config = session.config
    # Under xdist a worker is not told what its controller was given.
    given = getattr(config, "workerinput", {}).get(ARGUMENTS, config.invocation_params.args)
    arguments = case_arguments(given, config.args, elsewhere=elsewhere)
    if config.pluginmanager.has_plugin("xdist"):
        arguments.append("-n0")
    if slow_asked_for(session) and "--emo-slow" not in arguments:
        arguments.append("--emo-slow")
    arguments.append(f"--rootdir={config.rootpath}")
    token = secrets.token_hex(3)
    found = []
    for number, members in enumerate(groups.values(), start=first):
        # Cases of one model one after another: only the last one loaded is kept.
        members.sort(key=lambda item: str(model_key(session.spec_of(item))))
        spec = session.spec_of(members[0])
        name = spec.id if len(members) == 1 else group_of(session, members[0])
        job = Job(
            name=f"{token}-{number:05}-{_as_file(name)}",
            nodes=tuple(f"{config.rootpath}/{plain_node_id(item)}" for item in members),
            arguments=tuple(arguments),
            cwd=str(config.invocation_params.dir),
            time_limit=config.getoption("emo_time_limit"),
            generation=session.place.generation,
            elsewhere=elsewhere,
            home=str(session.folder.resolve()) if elsewhere else None,
            lease=session.place.lease.facts() if session.place.lease is not None else None,
            gpus=config.getoption("emo_gpus_per_case") if spec.device == "cuda" else 0,
            cpus=config.getoption("emo_cpus_per_case"),
        )
        found.append((job, members))
    return sorted(found, key=lambda pair: -sum(expected_seconds(session.spec_of(item)) for item in pair[1]))


def _as_file(name: str) -> str:
    plain = name.replace("[", "__").replace("]", "")
    return "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in plain)[:LONGEST_NAME]
