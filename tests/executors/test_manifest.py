"""The manifest: written whole, read back equal, and its digest tells what decides results."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from emobench.errors import BrokenFileError
from emobench.executors.manifest import Manifest, Planned, read_manifest, write_manifest


def made() -> Manifest:
    cases = tuple(Planned(id=f"inference[a-b{n}]", node=f"benchmarks/test_a.py::t[{n}]", key=f"k{n}") for n in range(3))
    return Manifest(
        cases=cases, arguments=("--emo-profile=smoke",), commit={"id": "abc", "dirty": False}, profile="smoke"
    )


def test_it_comes_back(tmp_path: Path) -> None:
    """A manifest read back is the one that was written; a folder without one has none."""
    assert read_manifest(tmp_path) is None
    write_manifest(tmp_path, made())
    assert read_manifest(tmp_path) == made()


def test_the_digest_is_of_what_decides_results() -> None:
    """The order of cases and paths among the arguments do not change it; a key, a commit and a case do."""
    base = made()
    assert replace(base, cases=base.cases[::-1]).digest == base.digest
    assert replace(base, arguments=("--benchmark-storage=elsewhere",)).digest == base.digest
    others = [
        replace(base, cases=base.cases[:-1]),
        replace(base, commit={"id": "abd", "dirty": False}),
        replace(base, profile="quick"),
        replace(base, cases=(*base.cases[:-1], replace(base.cases[-1], key="other"))),
    ]
    assert len({base.digest, *(other.digest for other in others)}) == 5


@pytest.mark.parametrize("change", ["cut", "edit", "schema", "empty"])
def test_a_changed_manifest_is_refused(tmp_path: Path, change: str) -> None:
    """What is not whole is an error that names the file, never a shorter list of cases."""
    path = write_manifest(tmp_path, made())
    raw = json.loads(path.read_text())
    if change == "cut":
        path.write_text(path.read_text()[:-20])
    elif change == "edit":
        path.write_text(json.dumps({**raw, "cases": raw["cases"][:1]}))
    elif change == "schema":
        path.write_text(json.dumps({**raw, "schema": 2}))
    else:
        path.write_text("[]")
    with pytest.raises(BrokenFileError, match="is no usable manifest"):
        read_manifest(tmp_path)
