"""What comes back from another machine: taken whole, or left out and its cases lost."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from emobench import __version__
from emobench.executors import jobs
from emobench.executors.jobs import ENDING, Job, job_from_json, job_to_json, outputs, take_told
from emobench.executors.jobs import environment as environment_of
from emobench.executors.manifest import Manifest, Planned
from emobench.executors.parcel import pack, unpack
from emobench.executors.remote import accepted
from emobench.files import write_bytes
from emobench.outcomes import Status
from emobench.processes.fresh import End, Ending
from emobench.records.journal import create, read
from emobench.records.record import Record

CASE, NODE = "inference[made-b1]", "benchmarks/test_a.py::test_a[b1]"
COMMIT = {"id": "abc", "dirty": False, "branch": "main"}
MANIFEST = Manifest(cases=(Planned(id=CASE, node=NODE, key="k"),), arguments=(), commit=COMMIT)
JOB = Job(name="f00-00001-made", nodes=(f"/project/{NODE}",), arguments=("-q",), cwd="/project", time_limit=5, gpus=0.5)


def left_by_a_job(folder: Path, *, case: str = CASE, journal: str = JOB.name, **head: Any) -> bytes:
    made = create(folder, journal)
    run = {"version": head.pop("version", __version__)}
    made.head({"commit_info": {**COMMIT, **head}, "run": run, "manifest": [case]}, role="worker")
    made.started(case)
    made.append(Record(case={"id": case}, status=Status.OK).to_json())
    ending = Ending(end=End.EXITED, code=0, seconds=1.5, detail="it exited with code 0")
    write_bytes(outputs(folder, JOB) / ENDING, json.dumps(ending.to_json()).encode())
    (folder / "predictions").mkdir()
    (folder / "predictions" / "a.parquet").write_bytes(b"rows")
    return pack(folder)


def test_what_belongs_to_the_run_is_taken(tmp_path: Path) -> None:
    """Journal, artifacts and ending of a job arrive in the run's folder."""
    (tmp_path / "sent").mkdir()
    found = accepted(left_by_a_job(tmp_path / "sent"), JOB, tmp_path / "run", MANIFEST)
    assert found == Ending(end=End.EXITED, code=0, seconds=1.5, detail="it exited with code 0")
    assert list(read(tmp_path / "run").records) == [CASE]
    assert (tmp_path / "run" / "predictions" / "a.parquet").read_bytes() == b"rows"
    assert not list((tmp_path / "run").glob(".arriving*"))


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"id": "def"}, "it ran at commit def, and this run is of abc"),
        ({"dirty": True}, "it ran at commit abc with uncommitted changes, and this run is of abc"),
        ({"version": "9.9"}, f"it ran with EmoBench 9.9, and this run is of {__version__}"),
        ({"case": "inference[other]"}, "it brought the case inference[other], which was not asked for"),
        ({"journal": "another"}, "it brought the journal journal-another.jsonl, which is not its own"),
    ],
)
def test_what_is_foreign_is_left_out(tmp_path: Path, changed: dict[str, Any], text: str) -> None:
    """Results of other code, of other cases or under another's name leave no trace, and their cases are lost."""
    (tmp_path / "sent").mkdir()
    found = accepted(left_by_a_job(tmp_path / "sent", **changed), JOB, tmp_path / "run", MANIFEST)
    assert found == Ending(end=End.LOST, detail=text)
    assert list((tmp_path / "run").iterdir()) == []


def test_what_was_cut_off_is_left_out(tmp_path: Path) -> None:
    """Bytes that are not those that were sent are no results."""
    (tmp_path / "sent").mkdir()
    found = accepted(left_by_a_job(tmp_path / "sent")[:-1], JOB, tmp_path / "run", MANIFEST)
    assert found.end is End.LOST
    assert found.detail.startswith(f"the results of {JOB.name} are unusable; their checksum is wrong")
    assert list((tmp_path / "run").iterdir()) == []


def test_a_second_delivery_changes_nothing(tmp_path: Path) -> None:
    """The same job's results do not replace those that are there."""
    (tmp_path / "sent").mkdir()
    data = left_by_a_job(tmp_path / "sent")
    accepted(data, JOB, tmp_path / "run", MANIFEST)
    before = (tmp_path / "run" / f"journal-{JOB.name}.jsonl").read_bytes()
    found = accepted(data, JOB, tmp_path / "run", MANIFEST)
    assert found.end is End.LOST
    assert "is there already" in found.detail
    assert (tmp_path / "run" / f"journal-{JOB.name}.jsonl").read_bytes() == before


def test_a_case_that_is_run_again_replaces_its_files(tmp_path: Path) -> None:
    """What an earlier session left of a case, or half of a delivery, is in no retry's way; another job's file is."""
    (tmp_path / "sent").mkdir()
    data = left_by_a_job(tmp_path / "sent")
    left = tmp_path / "run" / "predictions" / "a.parquet"
    write_bytes(left, b"of an earlier session")
    arrived: set[Path] = set()
    assert accepted(data, JOB, tmp_path / "run", MANIFEST, arrived=arrived).code == 0
    assert left.read_bytes() == b"rows"
    # Another test of the same case, in the same session: the first one's file stays.
    other = replace(JOB, name="f00-00002-made")
    (tmp_path / "other").mkdir()
    second = left_by_a_job(tmp_path / "other", journal=other.name)
    found = accepted(second, other, tmp_path / "run", MANIFEST, arrived=arrived)
    assert found.end is End.LOST
    assert "which is there already" in found.detail
    assert not (tmp_path / "run" / f"journal-{other.name}.jsonl").exists()


def test_a_job_travels_as_plain_values() -> None:
    """A job read back from its plain values is the same job."""
    for job in (JOB, replace(JOB, lease={"cores": [0], "threads": 1}, generation=3, elsewhere=True)):
        assert job_from_json(job_to_json(job)) == job


def test_what_serves_other_cases_of_a_folder_is_not_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two shrink cases train the same original: sent twice, the second job's results would be refused for it."""

    def run(job: Job, folder: Path) -> None:
        for name in ("originals/k/facts.json", "checkpoints/k/seed0/checkpoint-1/weights", "outputs/a/stdout.txt"):
            (folder / name).parent.mkdir(parents=True)
            (folder / name).touch()

    monkeypatch.setattr(jobs, "run_job", run)
    unpack(jobs.run_and_pack(job_to_json(JOB)), tmp_path, source="a job")
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()] == [
        "outputs/a/stdout.txt"
    ]


def test_a_process_is_told_once(tmp_path: Path) -> None:
    """A case's process takes out what it was told: what it starts is another one. Ray's token is kept away."""
    given = environment_of({"PATH": "x", "PYTEST_XDIST_WORKER": "gw0", "RAY_AUTH_TOKEN": "secret"}, JOB, tmp_path)
    assert set(given) == {"PATH", "EMOBENCH_CASE"}
    told = take_told(given)
    assert told is not None
    assert (told.folder, told.job, told.generation, told.elsewhere) == (tmp_path, JOB.name, 1, False)
    assert set(given) == {"PATH"}
    assert take_told(given) is None
