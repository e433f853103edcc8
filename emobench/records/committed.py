"""Committed: what of a saved run may go into a baseline, which is committed and shared.

A list says what stays; ``secrets`` goes over the texts of that, and the values of environment variables that are named
like a secret are taken out. A secret of no known form that no such variable holds is not found.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from emobench.records.secrets import HIDDEN, redact
from emobench.records.store import SCHEMA, Run

_MACHINE = (
    "processor",
    "machine",
    "python_compiler",
    "python_implementation",
    "python_implementation_version",
    "python_version",
    "python_build",
    "release",
    "system",
)
_COMMIT = ("id", "time", "author_time", "dirty", "project", "branch")
_RUN = ("version", "profile", "seeds", "weights")
_ENVIRONMENT = (
    "device_name",
    "device_memory_bytes",
    "fast_bf16",
    "threads",
    "python",
    "platform",
    "versions",
    "shared",
    "machine",
)
_BENCH = ("group", "name", "fullname", "params", "param", "options", "stats")
"""What is kept of each part. The host's name, the arguments and what other plugins added are not."""

_SECRET_NAME = re.compile(r"(?i)token|secret|passw|credential|api_?key|access_?key|private_?key")
_SHORTEST = 8
"""Shorter values of environment variables are words that stand in ordinary text."""


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A run's content that may be kept, and how much had to go."""

    content: dict[str, Any]
    texts: int
    """Texts that held a credential or a home folder."""


class _Cleaner:
    """Replaces credentials and home folders in texts, and counts the texts."""

    def __init__(self) -> None:
        values = {value for name, value in os.environ.items() if _SECRET_NAME.search(name) and len(value) >= _SHORTEST}
        self._values = sorted(values, key=len, reverse=True)
        self.texts = 0

    def clean(self, value: Any) -> Any:
        if isinstance(value, str):
            found = value
            for secret in self._values:
                found = found.replace(secret, HIDDEN)
            found = redact(found)
            self.texts += found != value
            return found
        if isinstance(value, Mapping):
            return {self.clean(key): self.clean(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            if value and all(type(item) is float for item in value):
                return value
            return [self.clean(item) for item in value]
        return value


def clean(value: Any) -> Any:
    """Plain values without the credentials and home folders that their texts hold."""
    return _Cleaner().clean(value)


def kept_content(raw: Mapping[str, Any], run: Run) -> Kept:
    """The run's content as it may be kept: machine, commit, settings, benchmarks with their records, manifest.

    Pointers to artifacts go, as the artifacts are not kept. ``raw`` is the file's content and ``run`` what was read of
    it, so that a case that stands twice is kept once.

    Raises:
        ValueError: a case's id holds what must not be kept; it could not be joined by another name.
    """
    cleaner = _Cleaner()
    ours = raw.get("emobench")
    benchmarks: list[dict[str, Any]] = []
    seen: set[str] = set()
    # From the end: of a case that stands twice the last one counts.
    for bench in reversed(raw["benchmarks"]):
        record = (bench.get("extra_info") or {}).get("emobench")
        name = str(record["case"]["id"] if record else bench.get("fullname") or bench.get("name"))
        if name not in seen:
            seen.add(name)
            benchmarks.append(_bench(bench, record))
    content: dict[str, Any] = {
        "machine_info": _machine(run.machine_info),
        "commit_info": _picked(run.commit_info, _COMMIT),
        "benchmarks": benchmarks[::-1],
        "datetime": raw.get("datetime"),
        "version": raw.get("version"),
    }
    if ours is not None:
        untimed = [record for record in run.records if record.id not in seen]
        content["emobench"] = {
            "schema": SCHEMA,
            "run": _picked(run.settings, _RUN),
            "unmeasured": [_record(record.to_json()) for record in untimed],
            "skipped": list(run.skipped),
            "manifest": list(run.manifest),
        }
    cleaned = cleaner.clean(content)
    _check_ids([*seen, *(record.id for record in run.records), *run.manifest])
    return Kept(content=cleaned, texts=cleaner.texts)


def _picked(values: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: values[name] for name in names if name in values}


def _machine(info: Mapping[str, Any]) -> dict[str, Any]:
    # pytest-benchmark prints the node, so the key stays.
    cpu = info.get("cpu")
    return {"node": "", **_picked(info, _MACHINE), "cpu": dict(cpu) if isinstance(cpu, Mapping) else {}}


def _bench(bench: Mapping[str, Any], record: Mapping[str, Any] | None) -> dict[str, Any]:
    given = bench.get("extra_info") or {}
    extra: dict[str, Any] = {name: value for name, value in given.items() if isinstance(value, int | float)}
    if record is not None:
        extra["emobench"] = _record(record)
    return {**_picked(bench, _BENCH), "extra_info": extra}


def _record(record: Mapping[str, Any]) -> dict[str, Any]:
    return {**record, "artifacts": {}, "environment": _picked(record["environment"], _ENVIRONMENT)}


def _check_ids(names: Sequence[str]) -> None:
    cleaner = _Cleaner()
    for name in names:
        if cleaner.clean(name) != name:
            raise ValueError(f"the id of a case holds a credential or a home folder: {cleaner.clean(name)!r}")
