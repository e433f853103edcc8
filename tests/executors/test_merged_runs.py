"""Merging: what belongs together becomes one run, and everything else is refused with nothing left behind."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from emobench.commands.merge import MergedText, merge_runs
from emobench.commands.project_place import Place, find_place
from emobench.errors import SpecError
from emobench.executors.manifest import Manifest, Planned, write_manifest
from emobench.executors.merged_runs import find_source, merge
from emobench.executors.shards import Shard, ids_of
from emobench.outcomes import Status, metric
from emobench.records.fold import fold, save
from emobench.records.index import read_index
from emobench.records.journal import create
from emobench.records.record import Record
from emobench.records.store import load_run

IDS = [f"inference[made-fp32-cpu-b{size}]" for size in range(1, 8)]
HERE = {"node": "one", "machine": "x86_64", "cpu": {"brand_raw": "Made CPU", "count": 4}}
THERE = {"node": "two", "machine": "aarch64", "cpu": {"brand_raw": "Other CPU", "count": 64}}
COMMIT = {"id": "abc123", "dirty": False, "branch": "main"}
RUN = {"version": "0.1.0", "profile": "smoke", "seeds": [0], "weights": "pretrained"}


def record(
    case: str, *, value: float = 1.0, status: Status = Status.OK, artifacts: Mapping[str, str] | None = None
) -> Record:
    return Record(
        case={"id": case, "kind": "inference", "key": "k"},
        metrics=(metric("latency_p50_seconds", value),) if status is Status.OK else (),
        status=status,
        reasons=() if status is Status.OK else ("made so",),
        environment={"threads": 2},
        artifacts=artifacts or {},
    )


def row(case: str, value: float) -> dict[str, Any]:
    stats = {"data": [value, value], "median": value, "rounds": 2}
    return {
        "group": None,
        "name": case,
        "fullname": case,
        "params": {},
        "extra_info": {},
        "options": {},
        "stats": stats,
    }


Maker = Callable[..., Path]


@pytest.fixture
def made(tmp_path: Path) -> Maker:
    """Makes a run's folder of these records; with a shard it also writes the manifest of all cases."""

    def make(
        name: str,
        records: Sequence[Record],
        *,
        machine: Mapping[str, Any] = HERE,
        commit: Mapping[str, Any] = COMMIT,
        run: Mapping[str, Any] = RUN,
        shard: str | None = None,
        keys: str = "k",
        skipped: Sequence[Mapping[str, Any]] = (),
        started: Sequence[str] = (),
        ends: bool = True,
        files: Mapping[str, str] | None = None,
    ) -> Path:
        folder = tmp_path / "elsewhere" / "runs" / name
        folder.mkdir(parents=True)
        journal = create(folder)
        facts = {**run, "folder": f"runs/{name}", **({"shard": shard} if shard else {})}
        ids = [item.id for item in records] + list(started)
        head = {"machine_info": machine, "commit_info": commit, "machine_id": "Linux", "version": "5", "run": facts}
        journal.head({**head, "manifest": ids})
        for item in records:
            journal.started(item.id)
            timed = item.status is Status.OK
            journal.append(item.to_json(), benchmark=row(item.id, item.metrics[0].value) if timed else None)
        for case in started:
            journal.started(case)
        if ends:
            journal.ended({"skipped": list(skipped)})
        if shard:
            cases = tuple(Planned(id=case, node=f"t::{case}", key=keys) for case in IDS)
            write_manifest(folder, Manifest(cases=cases, arguments=(), commit=commit, profile="smoke"))
        for path, text in (files or {}).items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text)
        return folder

    return make


@pytest.fixture
def place(tmp_path: Path) -> Place:
    (tmp_path / "project").mkdir()
    return find_place(tmp_path / "project")


def merged(place: Place, *given: Path, **options: Any) -> tuple[MergedText, Any]:
    found = merge_runs([str(path) for path in given], place, **options)
    (path,) = (place.root / "results").glob("Linux/0*.json")
    return found, load_run(path)


def left(place: Place) -> list[Path]:
    return [path for path in (place.root / "results").rglob("*") if path.is_file()]


def test_shards_become_one_complete_run(made: Maker, place: Place) -> None:
    """All shards: every case once, with its rounds, files and the hardware it ran on, and exit code 0."""
    folders = []
    for index, machine in ((1, HERE), (2, THERE)):
        mine = sorted(ids_of(Shard(index=index, count=2), IDS))
        folders.append(
            made(
                f"r{index}",
                [record(case, value=index, artifacts={"log": f"logs/{index}.txt"}) for case in mine],
                machine=machine,
                shard=f"{index}/2",
                files={f"logs/{index}.txt": f"log {index}"},
            )
        )
    found, run = merged(place, *folders)
    assert found.exit_code == 0, found.text
    assert sorted(item.id for item in run.records) == sorted(IDS) == sorted(run.manifest)
    assert {len(rounds) for rounds in run.timings.values()} == {2}
    index = read_index(run.path)
    hardware = dict(zip(index.id, index.hardware, strict=True))
    for number, name in ((1, "Made CPU, x86_64, 4 cores, 2 threads"), (2, "Other CPU, aarch64, 64 cores, 2 threads")):
        assert {hardware[case] for case in ids_of(Shard(index=number, count=2), IDS)} == {name}
    own = place.root / "results" / run.settings["folder"]
    assert [(own / f"logs/{number}.txt").read_text() for number in (1, 2)] == ["log 1", "log 2"]
    assert "shard" not in run.settings
    assert run.settings["merged"] == ["r1", "r2"]
    assert found.text.endswith("7 cases (7 ok)")


def test_a_missing_shard_is_lost_rows_and_exit_11(made: Maker, place: Place) -> None:
    """Cases of a shard that nobody gives are rows of status lost, named on the screen."""
    parts = [sorted(ids_of(Shard(index=index, count=3), IDS)) for index in (1, 2, 3)]
    folders = [made(f"r{n}", [record(case) for case in parts[n - 1]], shard=f"{n}/3") for n in (1, 3)]
    found, run = merged(place, *folders)
    assert found.exit_code == 11
    assert sorted(item.id for item in run.records if item.status is Status.LOST) == parts[1]
    assert f"no result of {len(parts[1])} cases: " in found.text
    assert all(case in found.text for case in parts[1])


@pytest.mark.parametrize(("count", "code"), [(1, 0), (3, 11)])
def test_a_shard_alone(made: Maker, place: Place, count: int, code: int) -> None:
    """The only shard of one is the whole run; one of three leaves the cases of the others lost, and exit code 11."""
    mine = sorted(ids_of(Shard(index=1, count=count), IDS))
    found, run = merged(place, made("r1", [record(case) for case in mine], shard=f"1/{count}"))
    assert found.exit_code == code
    assert found.text.startswith("merged 1 run into ")
    assert sorted(item.id for item in run.records) == IDS
    assert sorted(item.id for item in run.records if item.status is Status.OK) == mine
    assert all(item.status is Status.LOST for item in run.records if item.id not in mine)


def test_a_missing_shard_is_known_from_saved_runs_alone(made: Maker, place: Place, tmp_path: Path) -> None:
    """Where only the saved runs' files were copied, their results are taken and the missing shard is named."""
    files = []
    for index in (1, 2):
        mine = sorted(ids_of(Shard(index=index, count=3), IDS))
        folder = made(f"r{index}", [record(case, value=index) for case in mine], shard=f"{index}/3")
        path = save(folder.parents[1], fold(folder.parents[1], [folder]))
        files.append(tmp_path / f"copied{index}" / "Linux" / path.name)
        files[-1].parent.mkdir(parents=True)
        files[-1].write_bytes(path.read_bytes())
    found, run = merged(place, *files)
    assert found.exit_code == 11
    assert found.text.endswith("not given: shard 3/3")
    assert {item.status for item in run.records} == {Status.OK}
    assert len(run.records) == len(run.timings) == sum(len(ids_of(Shard(index=n, count=3), IDS)) for n in (1, 2))


@pytest.mark.parametrize(
    ("first", "second", "text"),
    [
        ({}, {"commit": {**COMMIT, "id": "def456"}}, "these runs have different commits; abc123: FIRST and def456: "
         "SECOND; run them at one commit, or give --allow-mixed-commits"),
        ({}, {"commit": {**COMMIT, "dirty": True}}, "these runs have different commits; abc123: FIRST and abc123 "
         "with uncommitted changes: SECOND; run them at one commit, or give --allow-mixed-commits"),
        ({}, {"run": {**RUN, "profile": "quick"}}, "these runs have different profile; smoke: FIRST and quick: SECOND; "
         "merge runs of one profile only"),
        ({}, {"run": {**RUN, "weights": "random"}}, "different weights"),
        ({}, {"run": {**RUN, "version": "0.2.0"}}, "different versions of EmoBench"),
        ({"shard": "1/2"}, {"shard": "2/2", "keys": "other"}, "different manifests"),
    ],
)  # fmt: skip
def test_foreign_runs_are_refused(
    made: Maker, place: Place, first: dict[str, Any], second: dict[str, Any], text: str
) -> None:
    """Another commit, profile, version or matrix is no part of this run; the error names both, and nothing is left."""
    folders = [made("first", [record(IDS[0])], **first), made("second", [record(IDS[1])], **second)]
    with pytest.raises(SpecError) as caught:
        merge_runs([str(folder) for folder in folders], place)
    said = str(caught.value).replace(str(folders[0]), "FIRST").replace(str(folders[1]), "SECOND")
    assert text in said
    assert left(place) == []


def test_mixed_commits_on_demand(made: Maker, place: Place) -> None:
    """``--allow-mixed-commits`` merges runs of different commits."""
    folders = [made("first", [record(IDS[0])]), made("second", [record(IDS[1])], commit={"id": "def456"})]
    found, run = merged(place, *folders, allow_mixed_commits=True)
    assert found.exit_code == 0
    assert len(run.records) == 2


def test_two_results_of_a_case_are_refused(made: Maker, place: Place) -> None:
    """A case measured twice has no one result; the error names the case and both runs, and nothing is left."""
    folders = [made("first", [record(IDS[0])]), made("second", [record(IDS[0], value=2), record(IDS[1])])]
    with pytest.raises(SpecError) as caught:
        merge_runs([str(folder) for folder in folders], place)
    assert str(caught.value) == (
        f"{IDS[0]} has 2 different results; it was measured in {folders[0]} and in {folders[1]}; "
        "leave out one of the runs, or compare them: emobench compare"
    )
    assert left(place) == []


def test_equal_results_of_a_case_count_once(made: Maker, place: Place) -> None:
    """A run and another that holds the same result of a case give it once, and say so."""
    found, run = merged(place, made("first", [record(IDS[0])]), made("second", [record(IDS[0]), record(IDS[1])]))
    assert found.exit_code == 0
    assert [item.id for item in run.records].count(IDS[0]) == 1
    assert f"{IDS[0]} is in 2 runs; its result is that of " in found.text


def test_two_tests_of_a_case_stay_two_without_their_folder(tmp_path: Path) -> None:
    """A saved run alone names the test of each row: one test's result does not replace another's of the same case."""
    storage = tmp_path / "results"
    for name, tests in {"a": ("test_x", "test_y"), "b": ("test_z",)}.items():
        folder = storage / "runs" / name
        folder.mkdir(parents=True)
        journal = create(folder)
        case = IDS[0] if name == "a" else IDS[1]
        head = {"machine_info": HERE, "commit_info": COMMIT, "machine_id": "one", "version": "5", "run": RUN}
        journal.head({**head, "manifest": [case]})
        for value, test in enumerate(tests, start=1):
            given = {**row(case, value), "fullname": test}
            journal.append(record(case, value=value).to_json(), benchmark=given, node=test)
        journal.ended({"skipped": []})
        save(storage, fold(storage, [folder]))
        folder.rename(tmp_path / name)
    sources = [find_source(path) for path in sorted(storage.glob("one/*.json"))]
    into = storage / "runs" / "merged"
    into.mkdir(parents=True)
    found = json.loads(merge(sources, into, storage=storage).path.read_bytes())
    assert sorted(bench["fullname"] for bench in found["benchmarks"]) == ["test_x", "test_y", "test_z"]


@pytest.mark.parametrize("named", [True, False])
def test_two_tests_of_a_case_are_decided_apart(tmp_path: Path, named: bool) -> None:
    """Two runs each measured a case by a test of its own: both results stay; of one test they are two results."""
    sources = []
    for value, name in enumerate(("a", "b"), start=1):
        folder = tmp_path / "results" / "runs" / name
        folder.mkdir(parents=True)
        journal = create(folder)
        head = {"machine_info": HERE, "commit_info": COMMIT, "machine_id": "one", "version": "5", "run": RUN}
        journal.head({**head, "manifest": [IDS[0]]})
        node = f"test_{name}" if named else "test_x"
        journal.append(record(IDS[0], value=value).to_json(), benchmark=row(IDS[0], value), node=node)
        journal.ended({"skipped": []})
        sources.append(find_source(folder))
    into = tmp_path / "results" / "runs" / "merged"
    into.mkdir()
    if not named:
        with pytest.raises(SpecError, match="has 2 different results"):
            merge(sources, into, storage=tmp_path / "results")
        return
    found = json.loads(merge(sources, into, storage=tmp_path / "results").path.read_bytes())
    assert sorted(bench["stats"]["median"] for bench in found["benchmarks"]) == [1, 2]


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_a_lost_case_gives_way_to_its_result(made: Maker, place: Place, order: list[int]) -> None:
    """A row that says only that there is no result does not stand against a result, whichever is named first."""
    folders = [
        made("first", [record(IDS[0], status=Status.LOST), record(IDS[1])]),
        made("second", [record(IDS[0], value=3)]),
    ]
    found, run = merged(place, *(folders[index] for index in order))
    assert found.exit_code == 0
    (mine,) = (item for item in run.records if item.id == IDS[0])
    assert (mine.status, mine.metrics[0].value) == (Status.OK, 3)


def test_a_case_cut_off_is_no_result(made: Maker, place: Place) -> None:
    """A case that only started is missing, and a session that was cut off makes the merged run an interrupted one."""
    found, run = merged(
        place, made("first", [record(IDS[0])], started=[IDS[1]], ends=False), made("second", [record(IDS[2])])
    )
    assert found.exit_code == 11
    assert {item.id: item.status.value for item in run.records}[IDS[1]] in ("lost", "interrupted")
    assert run.settings["interrupted"]


def test_skipped_cases_are_not_missing(made: Maker, place: Place) -> None:
    """What a machine skipped for a reason is kept as skipped."""
    skip = {"reason": "no CUDA device", "count": 1, "cases": [IDS[1]]}
    folders = [
        made("first", [record(IDS[0])], shard="1/2", skipped=[skip]),
        made("second", [record(case) for case in IDS[2:]], shard="2/2"),
    ]
    found, run = merged(place, *folders)
    assert found.exit_code == 0, found.text
    assert [dict(group) for group in run.skipped] == [skip]


def test_what_is_no_run(made: Maker, place: Place, tmp_path: Path) -> None:
    """A folder without a journal, another tool's file, one run, and one run twice are refused in one line."""
    folder = made("first", [record(IDS[0])])
    other = tmp_path / "0001_other.json"
    other.write_text(json.dumps({"benchmarks": [], "machine_info": {}}))
    saved = save(folder.parents[1], fold(folder.parents[1], [folder]))
    for given, text in (
        ([folder, tmp_path / "project"], "is no run's folder; it holds no journal"),
        ([folder, other], "is no run of EmoBench; it holds no records"),
        ([folder], "1 run is nothing to merge; a merge takes two or more, or a shard, .*; name all runs"),
        ([folder, saved], "the same run is given twice"),
    ):
        with pytest.raises(SpecError, match="(?s)" + text.replace("'", ".")):
            merge_runs([str(path) for path in given], place)
    assert left(place) == []
