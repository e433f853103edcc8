"""Hooks: the part of the plugin that has cases run in other processes, and tells pytest how they ended.

pytest collects, selects, reports and stops as ever; only where a test runs is different. What runs a process is in
``processes.fresh`` and ``jobs``, and where in ``local``, ``ray`` and ``slurm``.
"""

from __future__ import annotations

from typing import Any

import pytest

from emobench.errors import SpecError
from emobench.executors.manifest import Manifest, write_manifest
from emobench.executors.shards import Shard, ids_of, parse_shard

EXECUTORS = ("local", "ray", "slurm")
GROUPS = ("case", "model")
WHOLE = pytest.StashKey[Manifest]()
"""All cases of which this session runs a part."""


def add_options(add: Any) -> None:
    """Declare the options; ``add`` is ``addoption`` of the plugin's group."""
    add("--emo-isolate", action="store_true", help="run each case in a fresh process")
    add("--emo-time-limit", type=float, default=None, metavar="SECONDS", help="end an isolated case after so long")
    add("--emo-executor", choices=EXECUTORS, default=None, help="where cases run: each in a fresh process there")
    add(
        "--emo-address",
        default=None,
        metavar="ADDRESS",
        help="of a Ray cluster, auto or HOST:PORT (default: this machine alone); of submitit slurm or local",
    )
    add("--emo-gpus-per-case", type=float, default=1, metavar="N", help="GPUs of a case on cuda (default 1)")
    add("--emo-cpus-per-case", type=int, default=1, metavar="N", help="cores of a case elsewhere (default 1)")
    add(
        "--emo-group-by",
        choices=GROUPS,
        default="case",
        help="model: the cases of a model share a process, and the loaded model where they leave it as it was",
    )
    add("--emo-slurm", action="append", default=[], metavar="KEY=VALUE", help="one of submitit's parameters")
    add("--emo-shard", default=None, metavar="I/N", help="run the I-th of N equal parts of the cases")


def configure(config: pytest.Config) -> None:
    """Register what the options ask for; a process that runs a case for another session asks for nothing.

    Raises:
        pytest.UsageError: a shard or a time limit that cannot be used, or options that exclude each other.
    """
    if config.pluginmanager.has_plugin("emobench.executors.child"):
        return
    if config.getoption("emo_shard"):
        shard_of(config)
        config.pluginmanager.register(Sharding(config), "emobench-sharding")
    executor, limit = config.getoption("emo_executor"), config.getoption("emo_time_limit")
    if limit is not None and not limit > 0:
        raise pytest.UsageError(f"--emo-time-limit {limit:g}: no case can end in that; give seconds above 0, or none")
    if executor in ("ray", "slurm"):
        if config.getoption("dist", "no") != "no":
            raise pytest.UsageError(f"--emo-executor {executor} and -n exclude each other: it runs cases elsewhere")
        from emobench.executors.remote import Dispatching

        config.pluginmanager.register(Dispatching(config), "emobench-dispatching")
    elif executor == "local" or config.getoption("emo_isolate"):
        if config.getoption("emo_group_by") == "model":
            raise pytest.UsageError(
                "--emo-group-by model and isolation on this machine exclude each other: each case gets a process of "
                "its own; take --emo-executor ray or slurm, or pytest without --emo-isolate"
            )
        from emobench.executors.local import Isolating

        config.pluginmanager.register(Isolating(config), "emobench-isolating")
    elif limit is not None:
        raise pytest.UsageError("--emo-time-limit needs --emo-isolate: a case in this process cannot be ended")
    if executor or config.getoption("emo_isolate"):
        from emobench.executors.local import Lost

        config.pluginmanager.register(Lost(), "emobench-lost")


def shard_of(config: pytest.Config) -> Shard | None:
    """The part of the cases that was asked for.

    Raises:
        pytest.UsageError: it cannot be read.
    """
    text = config.getoption("emo_shard")
    try:
        return parse_shard(text) if text else None
    except SpecError as error:
        raise pytest.UsageError(f"--emo-shard: {error}") from error


def keep_shard(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect what other shards run; tests that are no cases are spread like cases."""
    from emobench.executors.job_plan import manifest_of
    from emobench.session.lookup import has_case, session_of

    shard = shard_of(config)
    if shard is None:
        return
    ours = session_of(config)
    config.stash[WHOLE] = manifest_of(ours, [item for item in items if has_case(item)], arguments=())
    names = [ours.spec_of(item).id if has_case(item) else item.nodeid for item in items]
    mine = ids_of(shard, names)
    left_out = [item for item, name in zip(items, names, strict=True) if name not in mine]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item, name in zip(items, names, strict=True) if name in mine]


class Sharding:
    """Writes the whole manifest into the folder of a shard's run, so that a merge knows what is missing."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self) -> None:
        from emobench.session.lookup import session_of

        if WHOLE in self.config.stash and not self.config.getoption("collectonly"):
            write_manifest(session_of(self.config).folder, self.config.stash[WHOLE])
