"""The index gives what the records hold, is made again whenever it might not, and reads what it can of bad files."""

from __future__ import annotations

import gc
import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emobench.errors import BrokenFileError
from emobench.outcomes import METRICS, Metric, Status, metric
from emobench.records import index
from emobench.records import index_columns as columns
from emobench.records.index import RunIndex, align, build_index, index_path, read_index
from emobench.records.packed import disagreements
from emobench.records.predictions import read_predictions, write_predictions
from emobench.records.record import Record
from emobench.records.store import load_run, save_run
from tests.records.made_runs import make_run

EXAMPLE = Path(__file__).parents[2] / "results" / "examples"


def agrees(found: RunIndex, path: Path) -> None:
    """Every column of the index is what the run's records say."""
    run = load_run(path)
    assert sorted(found.id) == sorted(record.id for record in run.records)
    for record in run.records:
        row = found.rows[record.id]
        for name in columns.TEXTS[3:]:
            assert getattr(found, name)[row] == (record.case.get(name) or "")
        assert (found.batch_size[row], found.length[row]) == (
            record.case.get("batch_size") or 0,
            record.case.get("length") or 0,
        )
        assert found.status[row] == record.status.value
        assert found.reasons(row) == record.reasons
        assert found.seeds(row) == tuple(record.case.get("seeds") or ())
        have = {name for at, name in enumerate(found.metrics) if not math.isnan(found.value[row, at])}
        assert have == {item.name for item in record.metrics}
        for item in record.metrics:
            at = found.column(item.name)
            low, high = item.ci or (math.nan, math.nan)
            wanted = [item.value, low, high, math.nan if item.n is None else item.n]
            assert np.array_equal(
                [found.value[row, at], found.low[row, at], found.high[row, at], found.n[row, at]],
                np.array(wanted, float),
                equal_nan=True,
            )
        rounds = run.timings.get(record.id, ())
        assert found.raw_rounds(row).tolist() == list(rounds)
        assert found.rounds.n[row] == len(rounds)
        if rounds:
            assert found.rounds.median[row] == np.median(rounds)


@pytest.fixture
def example(tmp_path: Path) -> Path:
    """The example run of the repository, with its predictions."""
    shutil.copytree(EXAMPLE, tmp_path / "results", ignore=shutil.ignore_patterns(".*"))
    return next((tmp_path / "results").glob("*/0001_*.json"))


def test_a_real_run(example: Path) -> None:
    """Records, rounds and predictions of the example run; the second reading comes from the index."""
    for _ in range(2):
        found = read_index(example)
        agrees(found, example)
        assert found.notes == ()
        assert found.facts.number == "0001"
        assert (found.facts.profile, found.facts.seeds, found.facts.weights) == ("quick", (0,), "pretrained")
        assert not set(found.missing) & set(found.id)
        assert len(found.missing) + len(found) == len(found.facts.manifest)
        assert set(found.facts.skipped) == set(found.missing)
        row = found.rows["finetune[all-minilm-l6-v2-rotten_tomatoes-train-lora-fp32-cpu]"]
        name = "finetune__all-minilm-l6-v2-rotten_tomatoes-train-lora-fp32-cpu-seed0.parquet"
        frame = read_predictions(next(example.parents[1].glob(f"runs/*/predictions/{name}")))
        packed = found.packed(row)
        assert packed is not None
        assert packed.class_names == frame.attrs["class_names"]
        assert np.array_equal(packed.labels, frame["label"])
        assert np.array_equal(packed.predicted[0], frame["prediction"])


finite = st.floats(allow_nan=False, allow_infinity=False, width=64)
texts = st.text(st.characters(codec="utf-8"), max_size=8)


@st.composite
def metrics(draw: st.DrawFn) -> tuple[Metric, ...]:
    names = draw(st.lists(st.sampled_from(sorted(METRICS)), max_size=4, unique=True))
    return tuple(
        metric(
            name, draw(finite), ci=draw(st.none() | st.tuples(finite, finite)), n=draw(st.none() | st.integers(1, 99))
        )
        for name in names
    )


@st.composite
def rows(draw: st.DrawFn, case_id: str) -> tuple[Record, list[float]]:
    texts_of_case = {name: draw(st.none() | texts) for name in columns.TEXTS if name not in ("id", "status")}
    case = {**texts_of_case, "id": case_id, "batch_size": draw(st.none() | st.integers(1, 999)), "seeds": [0, 7]}
    record = Record(
        case=case,
        metrics=draw(metrics()),
        status=draw(st.sampled_from(Status)),
        reasons=tuple(draw(st.lists(texts, max_size=2))),
    )
    return record, draw(st.lists(st.floats(1e-9, 1e6), max_size=8))


@st.composite
def runs(draw: st.DrawFn) -> dict[str, Any]:
    ids = draw(st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=12), max_size=5, unique=True))
    found = [draw(rows(case_id)) for case_id in ids]
    timed = draw(st.integers(0, len(found)))
    return {
        "benchmarks": [
            {"extra_info": {"emobench": record.to_json()}, "stats": {"data": data}} for record, data in found[:timed]
        ],
        "datetime": "2026-11-01T12:00:00+00:00",
        "emobench": {
            "schema": 1,
            "run": {},
            "unmeasured": [record.to_json() for record, _ in found[timed:]],
            "manifest": [*ids, "absent"],
        },
    }


@given(runs())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, run: dict[str, Any]) -> None:
    """Whatever the ids, texts, metrics and rounds: what was made and what is read back equal the records."""
    path = save_run(tmp_path_factory.mktemp("run"), "box", run, commit="c")
    agrees(read_index(path), path)
    again = read_index(path)
    agrees(again, path)
    assert again.missing == ("absent",)


def test_seeds_of_a_case(tmp_path: Path) -> None:
    """Values and predictions of every seed are there, in the record's order; a case of one seed gives its one value."""
    path = make_run(tmp_path, cases=2, predictions_rows=50, training_seeds=3)
    found = read_index(path)
    details = load_run(path).records[0].details["per_seed"]
    assert found.seed_values(0, "accuracy").tolist() == [entry["accuracy"] for entry in details]
    assert found.seed_values(1, "latency_p50_seconds").tolist() == [found.value[1, found.column("latency_p50_seconds")]]
    assert found.seed_values(1, "accuracy").tolist() == found.seed_values(1, "nothing").tolist() == []
    packed = found.packed(0)
    assert packed is not None
    assert packed.seeds == (0, 1, 2)
    assert packed.correct.mean(axis=1).tolist() == [entry["accuracy"] for entry in details]


def test_cases_are_joined_by_id(tmp_path: Path) -> None:
    """Each row of the base finds its row in the other run, or -1; order and other cases do not matter."""
    base, new = (read_index(make_run(tmp_path, cases=n, seed=n)) for n in (5, 3))
    assert align(base, new).tolist() == [0, 1, 2, -1, -1]
    assert align(new, base).tolist() == [0, 1, 2]
    empty = read_index(make_run(tmp_path, cases=0))
    assert align(base, empty).tolist() == [-1] * 5
    assert align(empty, base).tolist() == []


def test_a_planted_loss_shows_in_the_paired_counts(tmp_path: Path) -> None:
    """Of two made-up runs with one worse case, that one loses answers and the others do not to speak of."""
    base = read_index(make_run(tmp_path, cases=6, predictions_rows=2000))
    new = read_index(make_run(tmp_path, cases=6, predictions_rows=2000, seed=1, worse={2: 0.05}))
    found = disagreements(base.predictions, new.predictions, np.arange(6), align(base, new))
    assert found.n.tolist() == [2000, 0, 2000, 0, 2000, 0]
    lost = (found.base_only - found.new_only) / 2000
    assert lost[2] > 0.03
    assert abs(lost[[0, 4]]).max() < 0.02


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def count_builds(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    built: list[Path] = []
    real = columns.columns_of

    def counted(path: Path) -> columns.Columns:
        built.append(path)
        return real(path)

    monkeypatch.setattr(columns, "columns_of", counted)
    return built


def touch_run(run: Path, kept: Path) -> None:
    run.write_bytes(run.read_bytes())


def replace_run_in_the_same_moment(run: Path, kept: Path) -> None:
    times = run.stat()
    run.write_text(run.read_text().replace('"quick"', '"smoke"'))
    os.utime(run, ns=(times.st_atime_ns, times.st_mtime_ns))


def cut_index(run: Path, kept: Path) -> None:
    kept.write_bytes(kept.read_bytes()[:-64])


def empty_index(run: Path, kept: Path) -> None:
    kept.write_bytes(b"")


def flip_header(run: Path, kept: Path) -> None:
    flip(kept, 200)


def foreign_index(run: Path, kept: Path) -> None:
    other = make_run(run.parents[1], seed=3)
    shutil.copy(build_index(other), kept)


def other_schema(run: Path, kept: Path) -> None:
    kept.write_bytes(kept.read_bytes().replace(b'"schema": 1', b'"schema": 0'))


def remove_predictions(run: Path, kept: Path) -> None:
    next(run.parents[1].glob("runs/*/predictions/*")).unlink()


@pytest.mark.parametrize(
    "change",
    [
        touch_run,
        replace_run_in_the_same_moment,
        cut_index,
        empty_index,
        flip_header,
        foreign_index,
        other_schema,
        remove_predictions,
    ],
)
def test_an_index_that_may_not_fit_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path, Path], None]
) -> None:
    """Stale, incomplete, flipped, foreign, of another version: made again from the run, and the new one is kept."""
    run = make_run(tmp_path, predictions_rows=20)
    read_index(run)
    change(run, index_path(run))
    built = count_builds(monkeypatch)
    found = read_index(run)
    assert run in built
    agrees(found, run)
    built.clear()
    agrees(read_index(run), run)
    assert built == []


@pytest.mark.parametrize("section", ["cases", "rounds", "predictions"])
def test_a_flipped_byte_in_a_section_is_seen_when_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, section: str
) -> None:
    """A damaged part of the index is taken from the run instead, also where it is read late."""
    run = make_run(tmp_path, predictions_rows=20)
    whole = read_index(run)
    sections = index.Sections(index_path(run))
    flip(index_path(run), sections._start + sections._places[section]["at"] + 300)
    built = count_builds(monkeypatch)
    found = read_index(run)
    agrees(found, run)
    left, right = found.packed(0), whole.packed(0)
    assert left is not None
    assert right is not None
    assert np.array_equal(left.predicted, right.predicted)
    assert built == [run]


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_read_anyway(tmp_path: Path) -> None:
    """Without a place for its index a run is parsed, and the index says so."""
    run = make_run(tmp_path)
    run.parent.chmod(0o500)
    try:
        assert "the index could not be kept" in read_index(run).notes[-1]
    finally:
        run.parent.chmod(0o700)


def test_a_full_disk_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the index cannot be written the run is read all the same, with a note, and nothing half is left."""
    run = make_run(tmp_path)

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(index, "write_sections", full)
    found = read_index(run)
    agrees(found, run)
    assert found.notes == ("the index could not be kept (No space left on device)",)
    assert not index_path(run).exists()


def test_an_index_is_no_run(tmp_path: Path) -> None:
    """Tools that list runs do not see it: neither ours nor pytest-benchmark's."""
    from pytest_benchmark.logger import Logger
    from pytest_benchmark.storage.file import FileStorage

    run = make_run(tmp_path)
    build_index(run)
    assert load_run(run).records
    assert FileStorage(tmp_path, Logger(Logger.QUIET), default_machine_id=None).query() == [run]


# Bad input


def rewrite(path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    raw = json.loads(path.read_text())
    change(raw)
    path.write_text(json.dumps(raw))
    return path


def test_another_plugins_file(tmp_path: Path) -> None:
    """A plain pytest-benchmark file gives rows with a latency, with and without its rounds, and no error."""
    benchmarks = [
        {"fullname": "t.py::test_a", "stats": {"median": 0.2, "iqr": 0.1, "rounds": 3, "data": [0.1, 0.2, 0.3]}},
        {"fullname": "t.py::test_b", "stats": {"median": 0.5, "iqr": 0.02, "rounds": 9}, "extra_info": None},
        {"fullname": "t.py::test_c", "stats": {"median": math.nan, "data": [math.nan]}},
        {"fullname": "t.py::test_a", "stats": {"median": 0.4, "rounds": 1, "data": [0.4]}},
    ]
    path = tmp_path / "0001_x.json"
    machine = {"machine": "x86_64", "cpu": {"brand_raw": "Xeon", "count": 2}}
    path.write_text(json.dumps({"benchmarks": benchmarks, "machine_info": machine, "datetime": "2026-11-01"}))
    for _ in range(2):
        found = read_index(path)
        assert found.id.tolist() == ["t.py::test_a", "t.py::test_b", "t.py::test_c"]
        assert found.kind.tolist() == ["benchmark"] * 3
        assert found.status.tolist() == ["ok", "ok", "invalid"]
        assert found.metrics == ("latency_p50_seconds",)
        assert found.value[:2, 0].tolist() == [0.4, 0.5]
        assert found.rounds.n.tolist() == [1, 0, 0]
        assert found.rounds.median[:2].tolist() == [0.4, 0.5]
        assert found.rounds.iqr[1] == 0.02
        assert found.hardware[0] == "Xeon, x86_64, 2 cores"
        assert found.facts.version == ""
        assert found.notes == ("benchmark t.py::test_a stands more than once; its last timing is taken",)
        assert found.packed(0) is None


def test_rounds_that_are_no_times_make_the_case_invalid(tmp_path: Path) -> None:
    """A NaN, a negative or a text among the rounds: that case is invalid and says why, the others stay."""

    def damage(raw: dict[str, Any]) -> None:
        for row, value in enumerate((math.nan, -1.0, "0.1", 0, math.inf, None, True)):
            raw["benchmarks"][row]["stats"]["data"][2] = value

    found = read_index(rewrite(make_run(tmp_path, cases=8), damage))
    assert found.status.tolist() == ["invalid"] * 7 + ["ok"]
    assert found.reasons(0) == ("round 2 is nan, not a time above 0",)
    assert found.raw_rounds(1).tolist() == []
    assert np.isnan(found.rounds.median[:7]).all()


def test_a_case_that_stands_twice(tmp_path: Path) -> None:
    """The last timed one is taken and the index says so."""

    def twice(raw: dict[str, Any]) -> None:
        again = json.loads(json.dumps(raw["benchmarks"][0]))
        again["stats"]["data"] = [9.0] * 7
        raw["benchmarks"].append(again)

    found = read_index(rewrite(make_run(tmp_path, cases=2), twice))
    assert len(found) == 2
    assert found.raw_rounds(0).tolist() == [9.0] * 7
    assert len(found.notes) == 1
    assert "stands more than once" in found.notes[0]


def set_at(*path: Any, to: Any) -> Callable[[dict[str, Any]], None]:
    def change(raw: dict[str, Any]) -> None:
        for step in path[:-1]:
            raw = raw[step]
        raw[path[-1]] = to

    return change


RECORD = ("benchmarks", 0, "extra_info", "emobench")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (set_at("emobench", "schema", to=0), "its schema is 0 and this EmoBench reads 1"),
        (set_at(*RECORD, "schema", to=7), "record schema 7 is unknown"),
        (set_at(*RECORD, "metrics", "latency_p50_seconds", "value", to=math.nan), "holds nan where a finite number"),
        (set_at(*RECORD, "metrics", "latency_p50_seconds", "value", to=10**400), "holds no readable record"),
        (set_at(*RECORD, "case", to=[]), "the field 'case' is a list"),
        (set_at("benchmarks", to={}), "no list of benchmarks"),
        (set_at("benchmarks", 0, to=3), "an entry of its benchmarks is no object"),
        (set_at("benchmarks", 0, "stats", to=[1]), "its benchmarks.stats is of another kind"),
        (set_at("benchmarks", 0, "stats", "data", to="0.1"), "its benchmarks.stats.data is of another kind"),
        (set_at("machine_info", to="x"), "its machine_info is of another kind"),
        (set_at("emobench", "manifest", to=[1]), "its manifest is of another kind"),
        (set_at("emobench", "skipped", to=["x"]), "its skipped is of another kind"),
        (set_at("emobench", "run", to=[1]), "its run is of another kind"),
    ],
)
def test_a_file_that_is_no_run_is_one_clear_error(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], text: str
) -> None:
    """Older and newer schemas, NaN and wrong kinds: one error that names the file, and no index is left."""
    run = rewrite(make_run(tmp_path, cases=2), change)
    with pytest.raises(BrokenFileError) as caught:
        read_index(run)
    assert text in str(caught.value)
    assert str(run) in str(caught.value)
    assert not index_path(run).exists()


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "it is not complete JSON"),
        (b'{"benchmarks": [', "it is not complete JSON"),
        (b"\xff\xfe\x00", "it is not complete JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"benchmarks": [], "datetime": ' + b"9" * 5000 + b"}", "it is not complete JSON"),
        (b"[]", "no list of benchmarks"),
        (b"PAR1", "it is not complete JSON"),
    ],
)
def test_bytes_that_are_no_run(tmp_path: Path, content: bytes, text: str) -> None:
    """Empty, cut off, binary, nested without end, a number of thousands of digits."""
    path = tmp_path / "0001_x.json"
    path.write_bytes(content)
    with pytest.raises(BrokenFileError, match=text):
        read_index(path)


@given(cut=st.floats(0, 0.999))
@settings(max_examples=15, deadline=None)
def test_a_truncated_run_is_never_read_in_part(tmp_path_factory: pytest.TempPathFactory, cut: float) -> None:
    """Wherever a run file ends too early, it is refused."""
    run = make_run(tmp_path_factory.mktemp("run"), cases=2)
    data = run.read_bytes()
    run.write_bytes(data[: int(cut * len(data))])
    with pytest.raises(BrokenFileError):
        read_index(run)


@pytest.mark.parametrize(
    "name", ["../../../secret.parquet", "/etc/passwd", "a/../../b", "C:\\x", "..\\..\\x", "a\0b", ""]
)
def test_a_run_cannot_point_out_of_its_folder(tmp_path: Path, name: str) -> None:
    """Paths of artifacts and of the run's folder that lead elsewhere are not followed, and the note says why."""
    run = rewrite(
        make_run(tmp_path, cases=1, predictions_rows=10), set_at(*RECORD, "artifacts", "predictions_seed0", to=name)
    )
    found = read_index(run)
    assert found.packed(0) is None
    assert "leads out of the run's folder" in found.notes[0]
    other = rewrite(make_run(tmp_path, cases=1, predictions_rows=10), set_at("emobench", "run", "folder", to=name))
    assert read_index(other).packed(0) is None
    assert "no predictions of finetune[model-00000" in read_index(other).notes[0]


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def other_answers(path: Path) -> None:
    frame = read_predictions(path)
    sure = np.where(frame["prediction"].to_numpy()[:, None] == [1, 0], 0.75, 0.25)
    write_predictions(
        path, texts_digest="d", labels=frame["label"], probabilities=sure, seed=0, class_names=["negative", "positive"]
    )


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (truncate, "it is no complete Parquet file"),
        (Path.unlink, "there is no such file"),
        (other_answers, "the record says"),
    ],
)
def test_predictions_that_cannot_be_used_cost_only_themselves(
    tmp_path: Path, damage: Callable[[Path], None], text: str
) -> None:
    """Cut off, gone, or not those that were scored: that case has none, a note says why, the others have theirs."""
    run = make_run(tmp_path, cases=4, predictions_rows=30)
    damage(next(tmp_path.glob("runs/*/predictions/*00000-*")))
    for _ in range(2):
        found = read_index(run)
        assert [found.packed(row) is None for row in range(4)] == [True, True, False, True]
        assert len(found.notes) == 1
        assert text in found.notes[0]


def test_restored_predictions_are_taken_up(tmp_path: Path) -> None:
    """Predictions that were broken when the index was made count again when they are written over in place."""
    run = make_run(tmp_path, cases=2, predictions_rows=30)
    path = next(tmp_path.glob("runs/*/predictions/*"))
    data = path.read_bytes()
    truncate(path)
    assert read_index(run).packed(0) is None
    path.write_bytes(data)
    assert read_index(run).packed(0) is not None


def test_any_flipped_byte_of_predictions_is_found(tmp_path: Path) -> None:
    """A flipped byte never gives other answers: the predictions are as they were, or are not used."""
    run = make_run(tmp_path, cases=1, predictions_rows=30)
    path = next(tmp_path.glob("runs/*/predictions/*"))
    whole = read_index(run).packed(0)
    assert whole is not None
    data = path.read_bytes()
    for at in range(0, len(data), 23):
        path.write_bytes(data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :])
        packed = columns.columns_of(run).tables["predictions"]
        found = index.PackedColumns(packed).case(0)
        if found is not None and found.examples == whole.examples:
            assert np.array_equal(found.predicted, whole.predicted)


SCRIPT = """
import resource, sys
from pathlib import Path
from emobench.records import predictions
from emobench.records import index_columns as columns
from emobench.records.index import read_index
import pyarrow.parquet
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
found = read_index(Path(sys.argv[1]))
packed = found.packed(0)
print(len(packed.labels), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in KiB on Linux")
def test_a_million_predictions_take_little_memory(tmp_path: Path) -> None:
    """A million rows of 50 classes (200 MB of probabilities) are read with less than 120 MB: classes only."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 50, 1_000_000)
    sure = np.zeros((len(labels), 50), np.float32)
    sure[np.arange(len(labels)), labels] = 1
    place = tmp_path / "runs" / "a" / "predictions" / "p.parquet"
    names = [f"c{number}" for number in range(50)]
    write_predictions(place, texts_digest="d", labels=labels, probabilities=sure, seed=0, class_names=names)
    record = Record(
        case={"id": "a"}, metrics=(metric("accuracy", 1.0),), artifacts={"predictions_seed0": "predictions/p.parquet"}
    )
    run = {
        "benchmarks": [{"extra_info": {"emobench": record.to_json()}, "stats": {"data": [1.0]}}],
        "datetime": "2026-11-01T12:00:00+00:00",
        "emobench": {"schema": 1, "run": {"folder": "runs/a"}},
    }
    path = save_run(tmp_path, "box", run, commit="c")
    result = subprocess.run([sys.executable, "-c", SCRIPT, str(path)], capture_output=True, text=True, check=True)
    rows, kib = map(int, result.stdout.split())
    assert rows == 1_000_000
    assert kib < 120 * 1024


def test_reading_an_index_imports_little(tmp_path: Path) -> None:
    """A run whose index is there is read without pandas, scipy and torch: their import would be most of the time."""
    run = make_run(tmp_path, cases=2, predictions_rows=10)
    build_index(run)
    script = (
        "import sys; from pathlib import Path; from emobench.records.index import read_index\n"
        "found = read_index(Path(sys.argv[1])); assert found.packed(0) is not None\n"
        "print([name for name in ('pandas', 'scipy', 'torch', 'transformers', 'pydantic') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", script, str(run)], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"


def test_the_collector_is_on_again(tmp_path: Path) -> None:
    """Building pauses the cycle collector and turns it on again, also where the run is broken."""
    run = make_run(tmp_path)
    build_index(run)
    assert gc.isenabled()
    run.write_bytes(b"{")
    with pytest.raises(BrokenFileError):
        build_index(run)
    assert gc.isenabled()
