"""Saved runs: pytest-benchmark's format, never half a file, never one saver over another."""

import json
import math
import multiprocessing
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pytest_benchmark.logger import Logger
from pytest_benchmark.storage.file import FileStorage

from emobench import files
from emobench.errors import BrokenFileError, SpecError
from emobench.outcomes import Status, metric
from emobench.records.record import Record
from emobench.records.store import find_run, list_runs, load_run, save_run

MACHINE = "Linux-CPython-3.11-64bit"


def a_record(case_id: str, **fields: Any) -> Record:
    return Record(case={"id": case_id}, metrics=(metric("accuracy", 0.75, ci=(0.7, 0.8), n=400),), **fields)


def a_bench(case_id: str, data: tuple[float, ...] = (0.5, 0.6), **record_fields: Any) -> dict[str, Any]:
    extra = {"emobench": a_record(case_id, **record_fields).to_json(), "accuracy": 0.75}
    return {
        "group": None,
        "name": f"test_finetune[{case_id}]",
        "fullname": f"benchmarks/test_finetune.py::test_finetune[{case_id}]",
        "params": None,
        "param": None,
        "extra_info": extra,
        "options": {},
        "stats": {"min": min(data), "mean": sum(data) / len(data), "data": list(data), "rounds": len(data)},
    }


def a_run(*benches: dict[str, Any], when: str = "2026-11-01T12:00:00+00:00", **ours: Any) -> dict[str, Any]:
    return {
        "machine_info": {"node": "box", "cpu": {"brand_raw": "Xeon"}},
        "commit_info": {"id": "abc123", "dirty": False},
        "benchmarks": list(benches),
        "datetime": when,
        "version": "5.3.1",
        "emobench": {"schema": 1, "run": {"profile": "quick"}, "unmeasured": [], "skipped": [], "manifest": [], **ours},
    }


def test_round_trip(tmp_path: Path) -> None:
    """What is saved is read back: records with and without timing, raw rounds, what was skipped, the manifest."""
    lost = a_record("b", status=Status.FAILED, reasons=("RuntimeError: no",))
    skipped = [{"reason": "weights are not here", "count": 1, "cases": ["c"]}]
    saved = a_run(a_bench("a"), unmeasured=[lost.to_json()], skipped=skipped, manifest=["a", "b", "c"])
    path = save_run(tmp_path, MACHINE, saved, commit=None)
    assert path == tmp_path / MACHINE / "0001_abc123_20261101_120000.json"
    run = load_run(path)
    assert run.records == (a_record("a"), lost)
    assert run.timings == {"a": (0.5, 0.6)}
    assert run.skipped == tuple(skipped)
    assert run.manifest == ("a", "b", "c")
    assert run.settings == {"profile": "quick"}
    assert run.machine_info["node"] == "box"
    assert run.datetime == "2026-11-01T12:00:00+00:00"
    assert run.notes == ()


def test_names_follow_pytest_benchmark(tmp_path: Path) -> None:
    """Number, commit, UTC time and the mark of uncommitted changes, with numbers counted on over its own files."""
    storage = FileStorage(tmp_path, Logger(Logger.QUIET), default_machine_id=MACHINE)
    storage.save(a_run(), "mine")
    run = a_run(when="2026-11-01T14:00:00+02:00")
    run["commit_info"]["dirty"] = True
    path = save_run(tmp_path, MACHINE, run, commit="f00")
    assert path.name == "0002_f00_20261101_120000_uncommitted-changes.json"
    storage.save(a_run(), "mine")
    assert sorted(file.name[:5] for file in path.parent.iterdir()) == ["0001_", "0002_", "0003_"]


def test_pytest_benchmark_reads_our_file(tmp_path: Path) -> None:
    """pytest-benchmark's own storage finds and loads the run, as --benchmark-compare does."""
    path = save_run(tmp_path, MACHINE, a_run(a_bench("a")), commit=None)
    storage = FileStorage(tmp_path, Logger(Logger.QUIET), default_machine_id=MACHINE)
    ((found, data),) = storage.load("0001")
    assert tmp_path / found == path
    assert data["benchmarks"][0]["stats"]["data"] == [0.5, 0.6]


def test_json_is_strict_and_replacements_are_noted(tmp_path: Path) -> None:
    """A NaN in foreign extra_info becomes null and is noted; numpy numbers become numbers, objects their text."""
    bench = a_bench("a")
    bench["extra_info"].update({"foreign": [1.0, math.nan], "np": np.float32(0.5), "object": object})
    path = save_run(tmp_path, MACHINE, a_run(bench), commit=None)

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    raw = json.loads(path.read_bytes(), parse_constant=refuse)
    extra = raw["benchmarks"][0]["extra_info"]
    assert extra["foreign"] == [1.0, None]
    assert extra["np"] == 0.5
    assert extra["object"] == "UNSERIALIZABLE[<class 'object'>]"
    assert raw["emobench"]["replaced"] == ["benchmarks[0].extra_info.foreign[1]", "benchmarks[0].extra_info.object"]
    assert load_run(path).records == (a_record("a"),)


def save_many(storage: Path, worker: int) -> None:
    for index in range(5):
        save_run(storage, MACHINE, a_run(a_bench(f"w{worker}-{index}")), commit="same")


def test_concurrent_savers_keep_every_run(tmp_path: Path) -> None:
    """Four processes that save five runs each leave twenty readable files with twenty numbers and nothing else."""
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=save_many, args=(tmp_path, worker)) for worker in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * 4
    paths = sorted((tmp_path / MACHINE).iterdir())
    assert [int(path.name[:4]) for path in paths] == list(range(1, 21))
    cases = {record.id for path in paths for record in load_run(path).records}
    assert cases == {f"w{worker}-{index}" for worker in range(4) for index in range(5)}


def test_a_number_taken_after_listing_is_not_taken_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A saver that looked at the folder before another one finished takes the next number."""
    save_run(tmp_path, MACHINE, a_run(a_bench("a")), commit="x")
    monkeypatch.setattr("emobench.records.store._numbers", lambda folder: [])
    assert save_run(tmp_path, MACHINE, a_run(a_bench("b")), commit="y").name.startswith("0002_y_")


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A save that fails raises, keeps earlier runs, leaves no partial file, and the number stays free."""

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    first = save_run(tmp_path, MACHINE, a_run(a_bench("a")), commit=None)
    with monkeypatch.context() as patch:
        patch.setattr(files.os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            save_run(tmp_path, MACHINE, a_run(a_bench("b")), commit=None)
    assert list(first.parent.iterdir()) == [first]
    assert save_run(tmp_path, MACHINE, a_run(a_bench("b")), commit=None).name.startswith("0002_")


def test_a_retried_case_is_taken_once(tmp_path: Path) -> None:
    """Of a case that stands twice the last timed record counts, and reading says so."""
    failed = a_record("a", status=Status.FAILED)
    run = a_run(a_bench("a", (9.0,), status=Status.INVALID), a_bench("a", (1.0,)), unmeasured=[failed.to_json()])
    read = load_run(save_run(tmp_path, MACHINE, run, commit=None))
    assert [(record.id, record.status) for record in read.records] == [("a", Status.OK)]
    assert read.timings == {"a": (1.0,)}
    assert set(read.notes) == {"case a stands more than once; its last timed record is taken"}


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b'{"benchmarks": [', "it is not complete JSON (Expecting value: line 1 column 17 (char 16))"),
        (b"\xff\xfe", "it is not complete JSON"),
        (b"[]", "it holds no list of benchmarks, so it is no pytest-benchmark run"),
        (b'{"benchmarks": [1]}', "an entry of its benchmarks is no object"),
        (b'{"benchmarks": [], "emobench": {"schema": 0}}', "its schema is 0 and this EmoBench reads 1"),
    ],
)
def test_a_corrupt_run_is_named(tmp_path: Path, content: bytes, why: str) -> None:
    """A file that cannot be read is an error naming the file and what to do."""
    path = tmp_path / "0001_x.json"
    path.write_bytes(content)
    with pytest.raises(BrokenFileError, match=re.escape(f"{path} is no readable run; {why}")) as caught:
        load_run(path)
    assert caught.value.fix == "restore it from a copy, or delete it and run the cases again"


def test_a_run_of_a_newer_version_is_not_to_be_deleted(tmp_path: Path) -> None:
    """The way on is an update: the file is whole."""
    path = tmp_path / "0001_x.json"
    path.write_bytes(b'{"benchmarks": [], "emobench": {"schema": 7}}')
    with pytest.raises(BrokenFileError, match="its schema is 7 and this EmoBench reads 1") as caught:
        load_run(path)
    assert caught.value.fix == "update EmoBench: a newer version wrote it"


def test_a_vanished_run_is_named(tmp_path: Path) -> None:
    """A path without a file says so."""
    with pytest.raises(BrokenFileError, match="there is no such file"):
        load_run(tmp_path / "0001_x.json")


def test_every_cut_of_a_run_is_refused(tmp_path: Path) -> None:
    """No prefix of a saved run reads as a shorter run."""
    whole = save_run(tmp_path, MACHINE, a_run(a_bench("a")), commit=None).read_bytes()
    path = tmp_path / "cut.json"
    for length in range(0, len(whole), 40):
        path.write_bytes(whole[:length])
        with pytest.raises(BrokenFileError):
            load_run(path)


def test_list_shows_unreadable_runs(tmp_path: Path) -> None:
    """The list is oldest first, counts statuses, and shows a broken run with its problem instead of hiding it."""
    save_run(
        tmp_path, MACHINE, a_run(a_bench("a"), unmeasured=[a_record("b", status=Status.LOST).to_json()]), commit=None
    )
    broken = tmp_path / MACHINE / "0002_abc123_20261101_130000.json"
    broken.write_text("{")
    later = save_run(tmp_path, "Other", a_run(when="2026-11-01T14:00:00+00:00"), commit=None)
    (tmp_path / MACHINE / "notes.json").write_text("{}")
    first, second, third = list_runs(tmp_path)
    assert (first.number, first.machine, first.commit, first.statuses) == (
        "0001",
        MACHINE,
        "abc123",
        {"ok": 1, "lost": 1},
    )
    assert first.problem is None
    assert (second.path, second.datetime) == (broken, "2026-11-01T13:00:00+00:00")
    assert second.problem is not None
    assert second.problem.startswith("it is not complete JSON")
    assert (third.path, third.machine, third.benchmarks) == (later, "Other", 0)
    assert list_runs(tmp_path / "nowhere") == []


def test_a_plain_pytest_benchmark_run_is_listed(tmp_path: Path) -> None:
    """A run that is not ours has no records, but it is there."""
    run = a_run({"name": "test_x", "extra_info": {}, "stats": {"mean": 1.0}})
    del run["emobench"]
    FileStorage(tmp_path, Logger(Logger.QUIET), default_machine_id=MACHINE).save(run, "mine")
    (header,) = list_runs(tmp_path)
    assert (header.name, header.benchmarks, header.statuses, header.problem) == ("0001_mine", 1, {}, None)


def test_find_run(tmp_path: Path) -> None:
    """A run is found by path, number, start of its name, or as the latest; never by guessing."""
    first = save_run(tmp_path, MACHINE, a_run(a_bench("a")), commit="aa")
    second = save_run(tmp_path, MACHINE, a_run(when="2026-11-02T12:00:00+00:00"), commit="bb")
    assert find_run(tmp_path, "0001") == find_run(tmp_path, "1") == find_run(tmp_path, first) == first
    assert find_run(tmp_path, "0002_bb") == find_run(tmp_path, "latest") == second
    with pytest.raises(SpecError) as caught:
        find_run(tmp_path, "0009")
    assert str(caught.value) == (
        f"no run is called '0009'; {tmp_path} holds {MACHINE}/{first.name}, {MACHINE}/{second.name}; "
        "give the path of one of them"
    )


def test_find_run_does_not_choose_between_machines(tmp_path: Path) -> None:
    """The same number on two machines is an error that names both."""
    save_run(tmp_path, "A", a_run(), commit=None)
    save_run(tmp_path, "B", a_run(), commit=None)
    with pytest.raises(SpecError, match=r"more than one run is called '0001'; .* holds A/0001_.*, B/0001_"):
        find_run(tmp_path, "0001")


def test_latest_is_not_an_older_one(tmp_path: Path) -> None:
    """A broken newest run is still the latest: reading it fails instead of showing yesterday's."""
    save_run(tmp_path, MACHINE, a_run(a_bench("a")), commit=None)
    broken = tmp_path / MACHINE / "0002_abc_20261102_120000.json"
    broken.write_text("{")
    assert find_run(tmp_path, "latest") == broken


def test_an_empty_storage_says_how_to_fill_it(tmp_path: Path) -> None:
    """Asking an empty storage names the command that makes a run."""
    with pytest.raises(SpecError, match=r"no run 'latest'; .* holds no runs; make one: pytest benchmarks"):
        find_run(tmp_path, "latest")
