"""Baselines: what was blessed is what is loaded, or nothing is; a crash leaves the old one or the new one."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emobench import files
from emobench.errors import BaselineError, BrokenFileError, SpecError
from emobench.outcomes import Status
from emobench.records import bless as blessing
from emobench.records.baselines import FOLDER, LIST, list_bytes, load_baseline
from emobench.records.bless import bless
from emobench.records.index import RunIndex, build_index, index_path, read_index
from emobench.records.index_columns import NUMBERS, TEXTS
from emobench.records.record import Record
from emobench.records.store import list_runs, load_run
from tests.records.made_runs import make_run


def same_cases(found: RunIndex, wanted: RunIndex) -> None:
    """All that is compared is equal: cases, metrics, rounds, predictions."""
    for name in (*TEXTS, "hardware", *NUMBERS):
        assert getattr(found, name).tolist() == getattr(wanted, name).tolist()
    assert found.metrics == wanted.metrics
    for name in ("value", "low", "high", "n"):
        assert np.array_equal(getattr(found, name), getattr(wanted, name), equal_nan=True)
    for row in range(len(wanted)):
        assert np.array_equal(found.raw_rounds(row), wanted.raw_rounds(row))
        assert np.array_equal(found.seed_values(row, "accuracy"), wanted.seed_values(row, "accuracy"))
        left, right = found.packed(row), wanted.packed(row)
        assert (left is None) == (right is None)
        if left is not None and right is not None:
            assert (left.examples, left.seeds, left.class_names) == (right.examples, right.seeds, right.class_names)
            assert np.array_equal(left.predicted, right.predicted)
            assert np.array_equal(left.labels, right.labels)


def files_of(folder: Path) -> dict[str, bytes]:
    found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return {name: data for name, data in found.items() if not name.endswith(".index.arrow")}


@given(
    cases=st.integers(1, 4),
    rows=st.sampled_from([0, 25]),
    seeds=st.integers(1, 2),
    runs=st.integers(1, 2),
    entropy=st.integers(0, 99),
)
@settings(max_examples=12, deadline=None)
def test_round_trip(
    tmp_path_factory: pytest.TempPathFactory, cases: int, rows: int, seeds: int, runs: int, entropy: int
) -> None:
    """A baseline holds the runs it was made of, and needs their files no longer."""
    storage = tmp_path_factory.mktemp("results")
    made = [
        make_run(storage, cases=cases, seed=entropy + at, predictions_rows=rows, training_seeds=seeds)
        for at in range(runs)
    ]
    wanted = [read_index(path) for path in made]
    for index in wanted:
        assert index.predictions is not None
    folder = bless(made, "main", storage)
    shutil.rmtree(storage / "runs", ignore_errors=True)
    for path in made:
        path.unlink()
    found = load_baseline("main", storage)
    assert folder == storage / "baselines" / "main"
    assert (found.name, len(found.runs), len(found.checksum)) == ("main", runs, 64)
    assert found.size_bytes == sum(len(data) for name, data in files_of(folder).items() if name != LIST)
    for index, run, before in zip(found.indexes, found.runs, wanted, strict=True):
        same_cases(index, before)
        assert (run.cases, run.ok, run.incomplete) == (cases, cases, ())
        assert run.predictions == sum(before.packed(row) is not None for row in range(cases))


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    """A storage with a baseline ``main`` of one run with predictions."""
    place = tmp_path / "results"
    bless([make_run(place, cases=3, predictions_rows=40)], "main", place)
    return place


@given(where=st.floats(0, 0.9999), bit=st.integers(0, 7), which=st.integers(0, 2))
@settings(max_examples=60, deadline=None)
def test_any_changed_byte_is_found(
    tmp_path_factory: pytest.TempPathFactory, where: float, bit: int, which: int
) -> None:
    """One flipped bit anywhere in the list, in a run or in predictions makes the baseline unusable."""
    place = tmp_path_factory.getbasetemp() / "flipped"
    if not place.exists():
        bless([make_run(place, cases=3, predictions_rows=40)], "main", place)
    path = sorted(path for path in (place / FOLDER).rglob("*") if path.is_file() and path.suffix != ".arrow")[which]
    data = path.read_bytes()
    at = int(where * len(data))
    path.write_bytes(data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :])
    try:
        with pytest.raises(BaselineError, match="'main' cannot be used"):
            load_baseline("main", place)
    finally:
        path.write_bytes(data)
    assert load_baseline("main", place).runs


def a_file(folder: Path, end: str) -> Path:
    return next(path for path in folder.glob("*/*") if path.name.endswith(end) and not path.name.startswith("."))


def in_list(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    """A change of the list whose checksum is right."""

    def apply(folder: Path) -> None:
        listed = json.loads((folder / LIST).read_bytes())
        change(listed)
        (folder / LIST).write_bytes(list_bytes(listed))

    return apply


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (lambda folder: (folder / LIST).unlink(), "it has no baseline.json"),
        (lambda folder: (folder / LIST).write_bytes(b""), "its baseline.json is not complete JSON"),
        (lambda folder: (folder / LIST).write_bytes(b"[" * 100_000), "its baseline.json is not complete JSON"),
        (lambda folder: (folder / LIST).write_bytes(b"[]"), "its schema is 'list'"),
        (lambda folder: (folder / LIST).write_bytes(b'{"schema": 1}'), "the checksum over it does not fit"),
        (in_list(lambda listed: listed.update(schema=0)), "its schema is 0 and this EmoBench reads 1"),
        (lambda folder: a_file(folder, ".json").unlink(), "is missing"),
        (lambda folder: a_file(folder, ".parquet").unlink(), "is missing"),
        (lambda folder: a_file(folder, ".parquet").write_bytes(b""), "holds 0 bytes and should hold"),
        (in_list(lambda listed: listed["runs"][0].update(ok=7)), "blessed were 3, 7 and 2"),
    ],
)
def test_an_unusable_baseline_is_an_error(storage: Path, damage: Callable[[Path], None], text: str) -> None:
    """Incomplete, foreign, of another schema: one error that says how to go on, and nothing else is taken."""
    bless([make_run(storage, cases=2, seed=8)], "other", storage)
    damage(storage / FOLDER / "main")
    with pytest.raises(BaselineError) as caught:
        load_baseline("main", storage)
    assert text in str(caught.value)
    assert "emobench bless RUN --as main" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_baseline_of_a_newer_version_asks_for_an_update(storage: Path) -> None:
    """To bless again would replace what only the newer version can read."""
    in_list(lambda listed: listed.update(schema=2))(storage / FOLDER / "main")
    with pytest.raises(BaselineError, match="its schema is 2 and this EmoBench reads 1; update EmoBench"):
        load_baseline("main", storage)


def test_a_damaged_index_in_a_baseline_is_not_trusted(storage: Path) -> None:
    """An index is no part of a baseline: one that was changed is made again."""
    run = load_baseline("main", storage).runs[0].path
    index_path(run).write_bytes(index_path(run).read_bytes()[:-64])
    same_cases(load_baseline("main", storage).indexes[0], read_index(build_index(run) and run))


def test_a_missing_baseline_names_the_nearest(storage: Path) -> None:
    """The newest run is not taken, nor another baseline; the nearest name is told, or how to make one."""
    with pytest.raises(BaselineError, match=r"there is no baseline 'mian'.* holds main; did you mean 'main'\?"):
        load_baseline("mian", storage)
    with pytest.raises(BaselineError, match="holds none; make one: emobench bless RUN --as main"):
        load_baseline("main", storage / "empty")
    for odd in ("../main", "a\0b", "x" * 5000, ""):
        with pytest.raises(BaselineError):
            load_baseline(odd, storage)


def test_a_run_file_or_a_folder_may_stand_for_a_baseline(storage: Path) -> None:
    """A path works too; a run file is one run without a checksum, and a broken or empty one is an unusable baseline."""
    run = make_run(storage, cases=2, seed=4)
    found = load_baseline(run, storage)
    assert (found.name, found.checksum, len(found.notes)) == ("", "", 1)
    same_cases(found.indexes[0], read_index(run))
    assert load_baseline(storage / FOLDER / "main", storage) == load_baseline("main", storage)
    run.write_bytes(run.read_bytes()[:-10])
    with pytest.raises(BaselineError, match="it is not complete JSON"):
        load_baseline(run, storage)
    with pytest.raises(BaselineError, match="none of its 0 cases is ok"):
        load_baseline(make_run(storage, cases=0), storage)


def steps_of_writing(monkeypatch: pytest.MonkeyPatch, fail_at: int) -> list[str]:
    """Let the ``fail_at``-th write, rename or sync of files raise; returns the steps taken so far."""
    steps: list[str] = []
    for name in ("replace", "fsync", "rename", "mkdir"):
        real = getattr(os, name)

        def step(*arguments: Any, real: Any = real, name: str = name, **options: Any) -> Any:
            steps.append(name)
            if len(steps) == fail_at:
                raise OSError(28, "No space left on device")
            return real(*arguments, **options)

        monkeypatch.setattr(files.os, name, step)
    return steps


def test_a_failure_at_any_step_leaves_the_old_or_the_new(storage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever write, rename or sync fails, the baseline that is loaded is a whole one, and no half is left."""
    run = make_run(storage, cases=3, seed=5, predictions_rows=40)
    build_index(run)
    seen = set()
    for step in range(1, 60):
        before = load_baseline("main", storage).runs[0].source
        assert before.startswith("0001")
        with monkeypatch.context() as patched:
            taken = steps_of_writing(patched, step)
            try:
                bless([run], "main", storage)
                failed = False
            except OSError:
                failed = True
        source = load_baseline("main", storage).runs[0].source
        seen.add((failed, source[:4]))
        if not failed and len(taken) < step:
            break
        generations = [path for path in (storage / FOLDER / "main").iterdir() if path.is_dir()]
        assert len(generations) == 1 + (failed and source.startswith("0002"))
        if source.startswith("0002"):
            bless([storage.glob("*/0001_*.json").__next__()], "main", storage)
    else:
        pytest.fail("blessing never got through")
    assert (True, "0001") in seen
    assert (False, "0002") in seen


def test_a_kill_leaves_the_old_one_and_the_rest_is_cleared_later(
    storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a killed bless wrote is not read, and goes with the next one, unless another may be writing it now."""
    folder = storage / FOLDER / "main"
    (old, fresh) = (folder / f"20260101T000000-0000000{n}" for n in (1, 2))
    for place in (old, fresh):
        place.mkdir()
        (place / "0009_x.json").write_text("{")
    os.utime(old, (time.time() - 7200, time.time() - 7200))
    assert load_baseline("main", storage).runs[0].source.startswith("0001")
    bless([make_run(storage, seed=6)], "main", storage)
    assert not old.exists()
    assert fresh.exists()
    assert load_baseline("main", storage).runs[0].source.startswith("0002")


def test_the_first_bless_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there was no baseline before, a failed bless leaves none."""
    run = make_run(tmp_path)

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(blessing, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        bless([run], "main", tmp_path)
    assert list((tmp_path / FOLDER).iterdir()) == []


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../x", "a/b", "a\\b", "/etc", "-x", ".hidden", "a\nb", "a\x1b[2J", "a b", "con", "NUL.txt", "x.",
     "x" * 101, "é", "a:b", "<b>", "=1+1", "a|b", "a\0"],
)  # fmt: skip
def test_a_name_is_a_plain_word(tmp_path: Path, name: str) -> None:
    """No part of a path, no control character, nothing a shell, a page or another system would take for something."""
    run = make_run(tmp_path)
    before = files_of(tmp_path)
    with pytest.raises(SpecError, match="a baseline cannot be called") as caught:
        bless([run], name, tmp_path)
    assert str(caught.value).isprintable()
    assert files_of(tmp_path) == before


@pytest.mark.parametrize("name", ["main", "0001", "v1.2-rc+3", "a_b", "M"])
def test_ordinary_names(tmp_path: Path, name: str) -> None:
    """Words, numbers and versions are names."""
    bless([make_run(tmp_path)], name, tmp_path)
    assert load_baseline(name, tmp_path).name == name


def test_a_blessed_run_is_no_saved_run(storage: Path) -> None:
    """Baselines do not show in the list of runs, and nothing but bless makes the newest run one."""
    assert [header.number for header in list_runs(storage)] == ["0001"]
    before = files_of(storage / FOLDER)
    make_run(storage, seed=9)
    assert load_baseline("main", storage).runs[0].source.startswith("0001")
    assert files_of(storage / FOLDER) == before


def rewrite(path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    raw = json.loads(path.read_text())
    change(raw)
    path.write_text(json.dumps(raw))
    return path


def fail_first(raw: dict[str, Any]) -> None:
    raw["benchmarks"][0]["extra_info"]["emobench"].update(status="failed", reasons=["RuntimeError: no\x1b[2J"])


def lose_last(raw: dict[str, Any]) -> None:
    raw["benchmarks"].pop()


def skip_last(raw: dict[str, Any]) -> None:
    name = raw["benchmarks"].pop()["extra_info"]["emobench"]["case"]["id"]
    raw["emobench"]["skipped"] = [{"reason": "no weights", "count": 1, "cases": [name]}]


def too_large(raw: dict[str, Any]) -> None:
    record = Record(case={"id": "big"}, status=Status.DOES_NOT_FIT, reasons=("needs 31 GB",))
    raw["emobench"]["unmeasured"].append(record.to_json())


def other_predictions(raw: dict[str, Any]) -> None:
    raw["benchmarks"][0]["extra_info"]["emobench"]["artifacts"]["predictions_seed0"] = "predictions/gone.parquet"


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (fail_first, "finetune[model-00000-reviews-full-fp32-cpu] is failed"),
        (lose_last, "inference[model-00003-fp32-cpu-b8] has no record"),
        (other_predictions, "no predictions of finetune[model-00000-reviews-full-fp32-cpu]: there is no such file"),
    ],
)
def test_an_incomplete_run_is_blessed_only_when_asked(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], text: str
) -> None:
    """Failed or lost cases and lost predictions: refused with their names, or taken and noted."""
    run = rewrite(make_run(tmp_path, cases=4, predictions_rows=10), change)
    with pytest.raises(BaselineError) as caught:
        bless([run], "main", tmp_path)
    assert text in str(caught.value)
    assert "--allow-incomplete" in str(caught.value)
    assert not (tmp_path / FOLDER / "main").exists()
    bless([run], "main", tmp_path, allow_incomplete=True)
    assert load_baseline("main", tmp_path).runs[0].incomplete == (text,)


@pytest.mark.parametrize("change", [skip_last, too_large])
def test_what_cannot_run_here_does_not_make_a_run_incomplete(
    tmp_path: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    """A case skipped for a reason and one that does not fit are results."""
    bless([rewrite(make_run(tmp_path, cases=4), change)], "main", tmp_path)
    assert load_baseline("main", tmp_path).runs[0].incomplete == ()


def test_a_run_without_an_ok_case_is_never_blessed(tmp_path: Path) -> None:
    """Also not when asked."""
    run = rewrite(make_run(tmp_path, cases=1), fail_first)
    with pytest.raises(BaselineError, match="none of its 1 cases is ok"):
        bless([run], "main", tmp_path, allow_incomplete=True)


def test_a_broken_run_is_not_blessed(storage: Path) -> None:
    """The run is named, and the old baseline stays."""
    run = make_run(storage, seed=7)
    run.write_bytes(run.read_bytes()[:-5])
    before = files_of(storage / FOLDER)
    with pytest.raises(BrokenFileError, match=run.name):
        bless([run], "main", storage)
    assert files_of(storage / FOLDER) == before


def test_the_same_run_twice_is_refused(tmp_path: Path) -> None:
    """By the same path, or as a copy: two that agree in everything would make every later run look changed."""
    run = make_run(tmp_path)
    copy = tmp_path / "copy.json"
    copy.write_text(json.dumps(json.loads(run.read_text()), indent=3))
    for other in (run, copy):
        with pytest.raises(SpecError, match="are the same run"):
            bless([run, other], "main", tmp_path)
    with pytest.raises(SpecError, match="no run to bless"):
        bless([], "main", tmp_path)


def test_two_runs_of_one_name(tmp_path: Path) -> None:
    """Runs of two machines may have the same file name; both are kept."""
    first, second = make_run(tmp_path, cases=2, seed=1), make_run(tmp_path / "b", cases=2, seed=2)
    second = second.rename(second.with_name(first.name))
    bless([first, second], "main", tmp_path)
    found = load_baseline("main", tmp_path)
    assert len({run.path for run in found.runs}) == 2
    for index, path in zip(found.indexes, (first, second), strict=True):
        same_cases(index, read_index(path))


def test_a_case_that_stands_twice_is_kept_once(tmp_path: Path) -> None:
    """The last timed record counts, in the baseline as in the run."""

    def twice(raw: dict[str, Any]) -> None:
        again = json.loads(json.dumps(raw["benchmarks"][0]))
        again["stats"]["data"] = [9.0] * 7
        raw["benchmarks"].append(again)

    run = rewrite(make_run(tmp_path, cases=2), twice)
    bless([run], "main", tmp_path)
    found = load_baseline("main", tmp_path)
    assert load_run(found.runs[0].path).notes == ()
    assert (
        found.indexes[0].raw_rounds(found.indexes[0].rows["inference[model-00000-fp32-cpu-b8]"]).tolist() == [9.0] * 7
    )


def test_only_the_gated_cases_keep_predictions(tmp_path: Path) -> None:
    """Metrics and cases to gate are written down, and must be there; other cases keep figures and rounds."""
    run = make_run(tmp_path, cases=4, predictions_rows=20)
    name = "finetune[model-00002-reviews-full-fp32-cpu]"
    bless([run], "main", tmp_path, metrics=["accuracy"], cases=[name])
    found = load_baseline("main", tmp_path)
    assert (found.metrics, found.cases, found.runs[0].predictions) == (("accuracy",), (name,), 1)
    assert [found.indexes[0].packed(row) is not None for row in range(4)] == [False, False, True, False]
    with pytest.raises(SpecError, match=r"did you mean 'accuracy'\?"):
        bless([run], "main", tmp_path, metrics=["acuracy"])
    with pytest.raises(SpecError, match="unknown case of these runs 'x'"):
        bless([run], "main", tmp_path, cases=["x"])


def test_another_plugins_file_can_be_blessed(tmp_path: Path) -> None:
    """A plain pytest-benchmark file becomes a baseline of latencies."""
    path = tmp_path / "0001_x.json"
    bench = {"fullname": "t.py::a", "stats": {"median": 0.2, "rounds": 2, "data": [0.1, 0.3]}, "extra_info": {"x": "y"}}
    path.write_text(json.dumps({"benchmarks": [bench], "datetime": "2026-11-01T12:00:00+00:00"}))
    bless([path], "main", tmp_path)
    same_cases(load_baseline("main", tmp_path).indexes[0], read_index(path))
