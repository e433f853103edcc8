"""Folding: a saved run is made of journals alone, and every case in it stands once, as it really ended."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emobench.errors import BrokenFileError
from emobench.outcomes import Status, metric
from emobench.records.fold import CUT_OFF, NO_WORD, fold, gather, save, standing
from emobench.records.hardware import hardware_class
from emobench.records.journal import Journal, create
from emobench.records.record import Record
from emobench.records.store import load_run

HEAD = {
    "machine_info": {"node": "one", "machine": "x86_64", "cpu": {"brand_raw": "Xeon", "count": 2}},
    "commit_info": {"id": "abc", "dirty": False},
    "machine_id": "Linux-CPython-3.11-64bit",
    "version": "5.3.1",
    "run": {"profile": "quick", "seeds": [0]},
    "manifest": ["a", "b", "c"],
}
ROUNDS = [0.1, 1 / 3, 2e-9]


def record(name: str, status: Status = Status.OK, **case: Any) -> Record:
    return Record(case={"id": name, **case}, metrics=(metric("accuracy", 0.5),), status=status)


def row(name: str) -> dict[str, Any]:
    return {"name": name, "fullname": f"t.py::{name}", "extra_info": {"accuracy": 0.5}, "stats": {"data": ROUNDS}}


def journal(folder: Path, part: str = "", *, generation: int = 1, role: str = "main", **head: Any) -> Journal:
    folder.mkdir(parents=True, exist_ok=True)
    made = create(folder, part)
    made.head({**HEAD, **head}, generation=generation, role=role)
    return made


def ran(made: Journal, name: str, status: Status = Status.OK, *, node: str = "", timed: bool = True) -> None:
    made.started(name, key=f"key-{name}", node=node, case={"id": name, "kind": "inference"})
    made.append(
        record(name, status, plan_key=f"key-{name}").to_json(), benchmark=row(name) if timed else None, node=node
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "runs" / "one"


def statuses(storage: Path, *folders: Path, **options: Any) -> dict[str, str]:
    return {item.id: item.status.value for item in fold(storage, folders, **options).records}


def test_a_run_needs_nothing_but_its_journal(tmp_path: Path, folder: Path) -> None:
    """Records, raw rounds to the last bit, machine, commit, settings, manifest and skips are those of the journal."""
    made = journal(folder)
    ran(made, "a")
    ran(made, "b", Status.FAILED, timed=False)
    made.ended({"skipped": [{"reason": "no GPU", "count": 1, "cases": ["c"]}]})
    path = save(tmp_path, fold(tmp_path, [folder]))
    run = load_run(path)
    assert path.parent.name == HEAD["machine_id"]
    assert [item.id for item in run.records] == ["a", "b"]
    assert run.timings == {"a": tuple(ROUNDS)}
    assert run.machine_info == HEAD["machine_info"]
    assert run.commit_info == HEAD["commit_info"]
    assert run.settings == {**HEAD["run"], "folder": "runs/one"}
    assert run.manifest == ("a", "b", "c")
    assert run.skipped == ({"reason": "no GPU", "count": 1, "cases": ["c"]},)
    (bench,) = json.loads(path.read_bytes())["benchmarks"]
    assert bench["extra_info"]["accuracy"] == 0.5
    assert bench["fullname"] == "t.py::a"


def test_what_has_no_end_is_lost_or_interrupted(tmp_path: Path, folder: Path) -> None:
    """A case that started and has no record is lost; where the session was interrupted, so was the case."""
    made = journal(folder)
    ran(made, "a")
    made.started("b", case={"id": "b", "kind": "inference"})
    found = fold(tmp_path, [folder])
    assert [(item.id, item.status, item.reasons) for item in found.records[1:]] == [("b", Status.LOST, (NO_WORD,))]
    assert found.records[1].case == {"id": "b", "kind": "inference"}
    assert found.content["emobench"]["run"]["interrupted"] == CUT_OFF
    made.ended({"interrupted": "SIGTERM", "skipped": []})
    found = fold(tmp_path, [folder])
    assert found.records[1].status is Status.INTERRUPTED
    assert found.content["emobench"]["run"]["interrupted"] == "SIGTERM"


def test_a_case_that_was_put_down_is_not_there(tmp_path: Path, folder: Path) -> None:
    """A case that skipped itself has no record and is not lost."""
    made = journal(folder)
    made.started("a")
    made.dropped("a")
    assert statuses(tmp_path, folder) == {}


def test_what_never_ran_is_lost_where_all_should_have(tmp_path: Path, folder: Path) -> None:
    """``missing="lost"`` makes rows of the manifest's other cases, but not of those that were skipped."""
    made = journal(folder)
    ran(made, "a")
    made.ended({"skipped": [{"reason": "r", "count": 1, "cases": ["c"]}]})
    assert statuses(tmp_path, folder) == {"a": "ok"}
    assert statuses(tmp_path, folder, missing="lost") == {"a": "ok", "b": "lost"}


def test_the_last_session_counts(tmp_path: Path, folder: Path) -> None:
    """A retry replaces the record of an earlier session, also where the retry itself is lost; the rest stays."""
    first = journal(folder)
    ran(first, "a")
    ran(first, "b", Status.FAILED, timed=False)
    ran(first, "c", Status.FAILED, timed=False)
    second = journal(folder, "resume2", generation=2, manifest=["a", "b", "c", "d"])
    ran(second, "b")
    second.started("c")
    second.ended({"skipped": []})
    found = fold(tmp_path, [folder])
    assert {item.id: item.status.value for item in found.records} == {"a": "ok", "b": "ok", "c": "lost"}
    assert found.content["emobench"]["manifest"] == ["a", "b", "c", "d"]
    assert found.content["emobench"]["run"]["sessions"] == 2
    assert standing(folder, before=2) == {
        ("a", ""): ("key-a", "ok"),
        ("b", ""): ("key-b", "failed"),
        ("c", ""): ("key-c", "failed"),
    }
    assert standing(folder, before=3)[("c", "")] == ("", "lost")


def test_workers_of_a_session_make_one_run(tmp_path: Path, folder: Path) -> None:
    """Cases stand in the manifest's order; the process that ends the run knows better how one ended."""
    for name in ("b", "a"):
        worker = journal(folder, f"gw-{name}", role="worker", machine_info={}, run={"deselected": ["x"]})
        ran(worker, name)
    dying = journal(folder, "gw-c", role="worker", machine_info={})
    dying.started("c", case={"id": "c"})
    main = journal(folder, manifest=[])
    assert statuses(tmp_path, folder) == {"a": "ok", "b": "ok", "c": "lost"}
    main.append(record("c", Status.TIMED_OUT).to_json())
    main.ended({"skipped": []})
    found = fold(tmp_path, [folder])
    assert [(item.id, item.status.value) for item in found.records] == [("a", "ok"), ("b", "ok"), ("c", "timed_out")]
    assert found.content["emobench"]["run"]["deselected"] == ["x"]


def test_two_tests_of_one_case_both_stand(tmp_path: Path, folder: Path) -> None:
    """The case's id joins runs; within one, each test that measured it has its row."""
    made = journal(folder)
    ran(made, "a", node="t.py::one")
    ran(made, "a", Status.FAILED, node="t.py::two", timed=False)
    found = fold(tmp_path, [folder])
    assert [item.status.value for item in found.records] == ["ok", "failed"]
    assert set(standing(folder, before=2)) == {("a", "t.py::one"), ("a", "t.py::two")}


def test_folders_are_gathered_and_doubles_named(tmp_path: Path) -> None:
    """Of several folders one is made with all artifacts; what finished in two of them is named."""
    sources = [tmp_path / "runs" / name for name in ("left", "right")]
    for folder, name in zip(sources, ("a", "b"), strict=True):
        made = journal(folder, manifest=[name, "both"])
        place = folder / "predictions" / f"{name}.parquet"
        place.parent.mkdir()
        place.write_bytes(name.encode())
        made.append(Record(case={"id": name}, artifacts={"p": f"predictions/{name}.parquet"}).to_json())
        made.append(record("both").to_json())
    assert fold(tmp_path, sources).duplicates == {"both": tuple(sources)}
    into = tmp_path / "runs" / "merged"
    into.mkdir()
    gather(sources, into)
    found = fold(tmp_path, [into])
    assert {item.id for item in found.records} == {"a", "b", "both"}
    for item in found.records:
        for place in item.artifacts.values():
            assert (into / place).read_bytes() == item.id.encode()


def test_a_case_keeps_the_hardware_it_ran_on(tmp_path: Path, folder: Path) -> None:
    """A worker on another machine than the run's says so, and its record has the class of that machine."""
    other = {"node": "two", "machine": "aarch64", "cpu": {"brand_raw": "Graviton", "count": 64}}
    worker = journal(folder, "far", role="worker", machine_info=other)
    ran(worker, "a")
    main = journal(folder)
    ran(main, "b")
    far, near = fold(tmp_path, [folder]).records
    assert hardware_class(far.environment, HEAD["machine_info"]) == "Graviton, aarch64, 64 cores"  # type: ignore[arg-type]
    assert "machine" not in near.environment
    assert "two" not in json.dumps(far.environment)


def test_all_cases_asked_for_once_is_all(tmp_path: Path, folder: Path) -> None:
    """A whole suite that was gone on with by name is still whole, and nothing that was run counts as left out."""
    journal(folder, run={"deselected": ["a", "x"]})
    journal(folder, "resume2", generation=2, manifest=["a"], run={"deselected": ["a", "x"], "selection": "nodes"})
    settings = fold(tmp_path, [folder]).content["emobench"]["run"]
    assert settings["deselected"] == ["x"]
    assert "selection" not in settings


def test_a_folder_without_a_head_is_no_run(tmp_path: Path, folder: Path) -> None:
    """What is no run is said to be none."""
    folder.mkdir(parents=True)
    with pytest.raises(BrokenFileError, match=r"holds no run; no journal there says what the session was"):
        fold(tmp_path, [folder])


@given(st.integers(0, 400))
def test_a_cut_anywhere_in_the_last_line_loses_that_line_alone(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    """However much of the last line is on the disk, the run folds with what was finished before."""
    storage = tmp_path_factory.mktemp("storage")
    folder = storage / "runs" / "one"
    made = journal(folder)
    ran(made, "a")
    ran(made, "b")
    whole = made.path.read_bytes()
    last = whole.rindex(b"\n", 0, -1) + 1
    made.path.write_bytes(whole[: min(last + cut, len(whole) - 1)])
    assert statuses(storage, folder) == {"a": "ok", "b": "lost"}
