"""Every write, fsync and rename fails once, with an error or for good: a store holds the old or the new, never half."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from emobench import __version__
from emobench.commands.merge import merge_runs
from emobench.commands.project_place import find_place
from emobench.errors import BaselineError, BrokenFileError
from emobench.executors.jobs import ENDING, Job, outputs
from emobench.executors.manifest import Manifest, Planned
from emobench.executors.parcel import pack
from emobench.executors.remote import accepted
from emobench.files import write_bytes
from emobench.outcomes import metric
from emobench.processes.fresh import End, Ending
from emobench.records.baselines import load_baseline
from emobench.records.bless import bless
from emobench.records.fold import fold, gather, save, standing
from emobench.records.journal import create, journal_files, read
from emobench.records.predictions import read_predictions, write_predictions
from emobench.records.record import Record
from emobench.records.store import list_runs, load_run, run_files, save_run
from emobench.reports.exports import export_run
from tests.faults.disk import FAULTS, Fault, sweep
from tests.records.made_runs import make_run

pytestmark = pytest.mark.slow

CASES = ("a", "b", "c")
CASE, NODE, COMMIT = "made", "benchmarks/test_a.py::test_a", {"id": "abc", "dirty": False}
MANIFEST = Manifest(cases=(Planned(id=CASE, node=NODE, key="k"),), arguments=(), commit=COMMIT)
JOB = Job(name="f00-00001-made", nodes=(f"/project/{NODE}",), arguments=(), cwd="/project")
INDEX = ".index.arrow"
"""Beside a run, for speed; without it the run is read."""


class Places:
    """A fresh folder for each try, made as ``first`` makes it."""

    def __init__(self, base: Path, first: Callable[[Path], None]) -> None:
        self.base, self.first, self.number = base, first, 0
        self.now = base

    def fresh(self) -> Path:
        if self.number:
            shutil.rmtree(self.now)
        self.number += 1
        self.now = self.base / f"try{self.number}"
        self.now.mkdir()
        self.first(self.now)
        return self.now


@pytest.fixture(params=FAULTS)
def fault(request: pytest.FixtureRequest) -> Fault:
    found: Fault = request.param
    return found


def contents(storage: Path) -> dict[str, list[str]]:
    """Runs that a reader sees, each readable, by name with the ids of their cases."""
    found = {}
    for header in list_runs(storage):
        assert header.problem is None, header.problem
        found[header.path.name] = sorted(record.id for record in load_run(header.path).records)
    return found


def journal(folder: Path, names: tuple[str, ...] = CASES, *, value: float = 0.5) -> None:
    """A finished session's folder with its journal and a file of predictions a case."""
    folder.mkdir(parents=True)
    made = create(folder)
    head = {
        "machine_info": {"node": "one"},
        "commit_info": {"id": "abc"},
        "machine_id": "machine",
        "version": "5.3.1",
        "run": {"profile": "quick", "weights": "pretrained", "seeds": [0]},
        "manifest": list(CASES),
    }
    made.head(head)
    for name in names:
        finish(made, folder, name, value)
    made.ended({"skipped": []})


def finish(made: Any, folder: Path, name: str, value: float = 0.5) -> None:
    made.started(name, key=f"key-{name}", node=name, case={"id": name, "kind": "inference"})
    write_predictions(
        folder / "predictions" / f"{name}.parquet",
        texts_digest="d",
        labels=[0, 1],
        probabilities=[[0.5, 0.5], [0.2, 0.8]],
        seed=0,
        class_names=("x", "y"),
    )
    record = Record(
        case={"id": name, "plan_key": f"key-{name}"},
        metrics=(metric("accuracy", value),),
        artifacts={"predictions_seed0": f"predictions/{name}.parquet"},
    )
    made.append(record.to_json(), benchmark={"name": name, "stats": {"data": [0.1, 0.2]}}, node=name)


def test_saving_a_run(tmp_path: Path, fault: Fault) -> None:
    """A run that was there stays as it is; the new one is whole or not there; its number is taken once."""
    places = Places(tmp_path, lambda folder: make_run(folder, cases=3) and None)
    content = {
        "machine_info": {},
        "commit_info": {"id": "abc"},
        "datetime": "2026-11-01T12:00:00+00:00",
        "benchmarks": [],
        "emobench": {"schema": 1, "unmeasured": [Record(case={"id": "new"}).to_json()]},
    }
    before: dict[str, list[str]] = {}

    def prepare() -> Callable[[], object]:
        storage = places.fresh()
        before.clear()
        before.update(contents(storage))
        (machine,) = (path.name for path in storage.iterdir() if path.is_dir() and path.name != "runs")
        return lambda: save_run(storage, machine, content, commit=None)

    def check(done: bool) -> None:
        found = contents(places.now)
        new = {name: cases for name, cases in found.items() if name not in before}
        assert {name: cases for name, cases in found.items() if name in before} == before
        assert list(new.values()) in ([["new"]], *([[]] if not done else []))
        # Whatever was left behind, the next save takes place.
        save_run(places.now, "machine", content, commit=None)
        assert len(contents(places.now)) == len(found) + 1

    points = sweep(prepare, check, fault=fault)
    assert {"create", "write", "fsync", "rename"} <= {point.split()[0] for point in points}


def test_finishing_cases_in_a_journal(tmp_path: Path, fault: Fault) -> None:
    """What was acknowledged is there, whole, with its predictions; a new session writes on and all is folded."""
    places = Places(tmp_path, lambda folder: None)
    acknowledged: list[str] = []

    def prepare() -> Callable[[], object]:
        folder = places.fresh() / "runs" / "one"
        acknowledged.clear()

        def work() -> None:
            journal(folder, ())
            made = create(folder, "worker")
            made.head({"manifest": list(CASES), "run": {}, "machine_id": "machine"}, role="worker")
            for name in CASES:
                finish(made, folder, name)
                acknowledged.append(name)

        return work

    def check(done: bool) -> None:
        folder = places.now / "runs" / "one"
        assert acknowledged == list(CASES[: len(acknowledged)])
        assert (len(acknowledged) == len(CASES)) == done
        if not journal_files(folder) or not standing(folder, before=99):
            assert not acknowledged
            return
        ended = {name: status for (name, _), (_, status) in standing(folder, before=99).items()}
        assert all(ended[name] == "ok" for name in acknowledged)
        # A line may be on the disk without its writer having heard of it.
        for name in (name for name, status in ended.items() if status == "ok"):
            assert len(read_predictions(folder / "predictions" / f"{name}.parquet")) == 2
        again = create(folder, "again")
        again.head({"manifest": list(CASES), "run": {}, "machine_id": "machine"}, generation=2)
        for name in CASES:
            if ended.get(name) != "ok":
                finish(again, folder, name)
        again.ended({"skipped": []})
        folded = fold(places.now, [folder], missing="lost")
        assert {record.id: record.status.value for record in folded.records} == dict.fromkeys(CASES, "ok")

    points = sweep(prepare, check, fault=fault)
    assert len(points) > 30


def test_folding_journals_into_a_saved_run(tmp_path: Path, fault: Fault) -> None:
    """The journal is untouched, the run is whole or not there, and folding again makes it."""
    places = Places(tmp_path, lambda folder: journal(folder / "runs" / "one"))

    def prepare() -> Callable[[], object]:
        storage = places.fresh()
        return lambda: save(storage, fold(storage, [storage / "runs" / "one"]))

    def check(done: bool) -> None:
        assert list(contents(places.now).values()) in ([list(CASES)], *([[]] if not done else []))
        save(places.now, fold(places.now, [places.now / "runs" / "one"]))
        assert all(cases == list(CASES) for cases in contents(places.now).values())

    sweep(prepare, check, fault=fault)


def test_gathering_folders(tmp_path: Path, fault: Fault) -> None:
    """A gathered folder with all its journals has every file, whole; the sources stay."""

    def first(folder: Path) -> None:
        journal(folder / "runs" / "one", ("a",))
        journal(folder / "runs" / "two", ("b", "c"))
        (folder / "runs" / "both").mkdir()

    places = Places(tmp_path, first)

    def prepare() -> Callable[[], object]:
        storage = places.fresh()
        return lambda: gather([storage / "runs" / "one", storage / "runs" / "two"], storage / "runs" / "both")

    def check(done: bool) -> None:
        runs = places.now / "runs"
        whole = {path.name for name in ("one", "two") for path in (runs / name / "predictions").glob("*.parquet")}
        found = {path.name for path in (runs / "both" / "predictions").glob("*.parquet")}
        assert found == whole if done else found <= whole
        for name in found:
            assert len(read_predictions(runs / "both" / "predictions" / name)) == 2
        if done:
            assert {record.id for record in fold(places.now, [runs / "both"]).records} == set(CASES)
        assert {record.id for record in fold(places.now, [runs / "one"]).records if record.status.value == "ok"} == {
            "a"
        }

    sweep(prepare, check, fault=fault)


def test_merging_runs(tmp_path: Path, fault: Fault) -> None:
    """The merged run is whole or not there; what it was made of stays, and merging again makes it."""

    def first(folder: Path) -> None:
        journal(folder / "results" / "runs" / "one", ("a",))
        journal(folder / "results" / "runs" / "two", ("b", "c"))

    places = Places(tmp_path, first)
    names = ("one", "two")

    def prepare() -> Callable[[], object]:
        root = places.fresh()
        given = [str(root / "results" / "runs" / name) for name in names]
        return lambda: merge_runs(given, find_place(root))

    def check(done: bool) -> None:
        root = places.now
        found = contents(root / "results")
        assert list(found.values()) in ([list(CASES)], *([[]] if not done else []))
        again = merge_runs([str(root / "results" / "runs" / name) for name in names], find_place(root))
        assert again.exit_code == 0
        assert all(cases == list(CASES) for cases in contents(root / "results").values())

    sweep(prepare, check, fault=fault)


def test_taking_in_results_of_another_machine(tmp_path: Path, fault: Fault) -> None:
    """A journal is there with all that it tells of, or not at all, and then another try of the case is taken."""
    sent = packed_job(tmp_path / "sent", JOB)
    again = replace(JOB, name="f11-00001-made")
    sent_again = packed_job(tmp_path / "again", again)
    places = Places(tmp_path, lambda folder: None)

    def prepare() -> Callable[[], object]:
        folder = places.fresh() / "runs" / "one"
        journal(folder, ())
        return lambda: accepted(sent, JOB, folder, MANIFEST)

    def check(done: bool) -> None:
        folder = places.now / "runs" / "one"
        arrived = dict(read(folder).records)
        assert arrived or not done
        if arrived:
            assert list(arrived) == [CASE]
            assert len(read_predictions(folder / "predictions" / f"{CASE}.parquet")) == 2
        else:
            ending = accepted(sent_again, again, folder, MANIFEST)
            assert (ending.end, ending.code) == (End.EXITED, 0), ending.detail
            assert list(read(folder).records) == [CASE]

    points = sweep(prepare, check, fault=fault)
    # Names are on the disk before the journal that tells of them, and its own in the end.
    folder = places.now / "runs" / "one"
    told = next(n for n, point in enumerate(points) if point.endswith(f"journal-{JOB.name}.jsonl"))
    assert f"fsync {folder / 'predictions'}" in points[:told]
    assert points[-1] == f"fsync {folder}"


def packed_job(folder: Path, job: Job) -> bytes:
    folder.mkdir()
    made = create(folder, job.name)
    made.head({"commit_info": COMMIT, "run": {"version": __version__}, "manifest": [CASE]}, role="worker")
    finish(made, folder, CASE)
    write_bytes(outputs(folder, job) / ENDING, json.dumps(Ending(end=End.EXITED, code=0).to_json()).encode())
    return pack(folder)


def test_blessing(tmp_path: Path, fault: Fault) -> None:
    """The baseline is the old one or the new one, checksum and predictions included."""

    def first(folder: Path) -> None:
        runs = [make_run(folder, cases=2, seed=seed, predictions_rows=10) for seed in (1, 2)]
        bless([runs[0]], "main", folder)

    places = Places(tmp_path, first)

    def prepare() -> Callable[[], object]:
        storage = places.fresh()
        return lambda: bless([run_files(storage)[1]], "main", storage)

    def check(done: bool) -> None:
        blessed = load_baseline("main", places.now)
        (run,) = blessed.runs
        assert run.source[:4] in ({"0002"} if done else {"0001", "0002"})
        assert run.predictions == 1
        bless([run_files(places.now)[1]], "main", places.now)
        assert load_baseline("main", places.now).runs[0].source[:4] == "0002"

    sweep(prepare, check, fault=fault, spared=INDEX)


def test_a_first_blessing(tmp_path: Path, fault: Fault) -> None:
    """There is no baseline, said in one error, or a whole one."""
    places = Places(tmp_path, lambda folder: make_run(folder, cases=2, predictions_rows=10) and None)

    def prepare() -> Callable[[], object]:
        storage = places.fresh()
        return lambda: bless(run_files(storage), "main", storage)

    def check(done: bool) -> None:
        blessed = None
        with contextlib.suppress(BaselineError):
            blessed = load_baseline("main", places.now)
        assert blessed is not None or not done
        assert blessed is None or blessed.runs[0].predictions == 1

    sweep(prepare, check, fault=fault, spared=INDEX)


@pytest.mark.parametrize("form", ["bencher", "github-action-benchmark"])
def test_exporting(tmp_path: Path, fault: Fault, form: str) -> None:
    """Every file is the old one or the new one, complete JSON either way."""
    run = load_run(make_run(tmp_path / "results", cases=4, predictions_rows=10))
    places = Places(tmp_path, lambda folder: None)
    old = b'{"old": true}\n'

    def output() -> Path:
        return places.now / ("bencher.json" if form == "bencher" else "action")

    def prepare() -> Callable[[], object]:
        places.fresh()
        if form == "bencher":
            output().write_bytes(old)
        return lambda: export_run(run, form, output())

    def check(done: bool) -> None:
        files = [output()] if form == "bencher" else sorted(output().glob("*.json"))
        contents = [path.read_bytes() for path in files]
        assert all(json.loads(content) for content in contents)
        if done:
            assert contents
            assert old not in contents

    sweep(prepare, check, fault=fault)


def test_a_disk_that_tears_is_noticed(tmp_path: Path) -> None:
    """The sweep finds a writer that is not whole: one that writes its file in place leaves half of it."""

    def prepare() -> Callable[[], object]:
        path = tmp_path / "run.json"
        path.unlink(missing_ok=True)

        def work() -> None:
            with path.open("wb") as stream:
                stream.write(b'{"benchmarks": []}')

        return work

    def check(done: bool) -> None:
        path = tmp_path / "run.json"
        if path.exists():
            load_run(path)

    with pytest.raises(BrokenFileError, match="is no readable run"):
        sweep(prepare, check, fault="ENOSPC")
