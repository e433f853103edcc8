"""Manifest: what one collection found, so that cases can run anywhere and be put together again.

It stands beside the journal of every run whose cases run elsewhere. It runs nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from emobench.errors import BrokenFileError
from emobench.files import write_bytes

SCHEMA = 1
FILE_NAME = "manifest.json"


@dataclass(frozen=True, kw_only=True)
class Planned:
    """One case that is to run."""

    id: str
    node: str
    """pytest's node id, relative to the project's root."""
    key: str
    """Of the specs alone: data and weights are known only where the case runs."""
    group: str = ""
    """Cases of one group may share a process."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """All cases of one collection, and what decides their results."""

    cases: Sequence[Planned]
    arguments: Sequence[str]
    """pytest's arguments for each case."""
    commit: Mapping[str, Any]
    """As pytest-benchmark describes it: ``id``, ``dirty``, ``branch``."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Packages that decide a result."""
    profile: str = ""
    weights: str = "pretrained"

    @property
    def digest(self) -> str:
        """Of what decides the results, independent of the order of the cases; paths among the arguments do not."""
        return _digest({**_content(self), "arguments": []})

    def __len__(self) -> int:
        return len(self.cases)


def _content(manifest: Manifest) -> dict[str, Any]:
    cases = sorted(([case.id, case.node, case.key, case.group] for case in manifest.cases), key=lambda row: row[1])
    return {
        "schema": SCHEMA,
        "cases": cases,
        "arguments": list(manifest.arguments),
        "commit": dict(manifest.commit),
        "versions": dict(manifest.versions),
        "profile": manifest.profile,
        "weights": manifest.weights,
    }


def _digest(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def write_manifest(folder: Path, manifest: Manifest) -> Path:
    """Write the manifest into a run's folder, with its digest, and return its path."""
    content = _content(manifest)
    path = folder / FILE_NAME
    write_bytes(path, json.dumps({**content, "digest": _digest(content)}, default=str, indent=1).encode())
    return path


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of a run's folder; None where it has none.

    Raises:
        BrokenFileError: it is incomplete, was changed, or is of another schema.
    """
    path = folder / FILE_NAME
    if not path.exists():
        return None
    try:
        raw = json.loads(path.read_bytes())
        digest = raw.pop("digest")
        if raw["schema"] != SCHEMA:
            raise _broken(path, f"its schema is {raw['schema']!r} and this EmoBench reads {SCHEMA}")
        if _digest(raw) != digest:
            raise _broken(path, "its content is not what its digest is of")
        return Manifest(
            cases=tuple(Planned(id=row[0], node=row[1], key=row[2], group=row[3]) for row in raw["cases"]),
            arguments=tuple(raw["arguments"]),
            commit=raw["commit"],
            versions=raw["versions"],
            profile=raw["profile"],
            weights=raw["weights"],
        )
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise _broken(path, f"it cannot be read ({type(error).__name__}: {error})") from error


def _broken(path: Path, why: str) -> BrokenFileError:
    return BrokenFileError(f"{path} is no usable manifest", why=why, fix="collect again, or restore the file")
