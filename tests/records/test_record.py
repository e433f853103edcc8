"""Records: plain, finite, and the same after a trip through JSON."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from emobench.errors import BrokenFileError
from emobench.outcomes import METRICS, Metric, Status, metric
from emobench.records.record import Record, checked, flat_mirrors, from_json, mean_over_seeds

CASE = {"id": "finetune[minilm-imdb-train-full-fp32-cpu]", "key": "ab12", "batch_size": None, "seeds": [0, 1]}


def a_record(**changes: object) -> Record:
    record = Record(
        case=CASE,
        metrics=(metric("accuracy", 0.875, ci=(0.85, 0.9), n=1000), metric("parameters", 22_713_986)),
        environment={"torch": "2.13.0", "threads": 2},
        details={"confusion": [[437, 63], [62, 438]], "loss": [0.7, 0.5]},
        artifacts={"predictions": "predictions/a.parquet"},
    )
    return replace(record, **changes)  # type: ignore[arg-type]  # keyword names are checked at run time


def test_json_form_is_the_contract() -> None:
    """The JSON form has exactly the agreed keys and plain Python numbers."""
    assert a_record().to_json() == {
        "schema": 1,
        "case": CASE,
        "metrics": {
            "accuracy": {"value": 0.875, "unit": "share", "better": "higher", "ci": [0.85, 0.9], "n": 1000},
            "parameters": {"value": 22713986, "unit": "parameters", "better": "none", "ci": None, "n": None},
        },
        "status": "ok",
        "reasons": [],
        "artifacts": {"predictions": "predictions/a.parquet"},
        "environment": {"torch": "2.13.0", "threads": 2},
        "details": {"confusion": [[437, 63], [62, 438]], "loss": [0.7, 0.5]},
    }


def test_numpy_values_become_python_values() -> None:
    """Numpy numbers and arrays, paths and enums are stored as plain values of the right kind."""
    details = {
        "count": np.int32(3),
        "share": np.float32(0.5),
        "flag": np.bool_(True),
        "matrix": np.arange(4).reshape(2, 2),
        "path": Path("a") / "b",
        "status": Status.OK,
        "pair": (1, 2),
        4: None,
    }
    item = Metric(name="accuracy", value=np.float64(0.5), unit="share", better="higher", n=np.int64(4))
    stored = a_record(details=details, metrics=(item,)).to_json()
    assert stored["details"] == {
        "count": 3,
        "share": 0.5,
        "flag": True,
        "matrix": [[0, 1], [2, 3]],
        "path": "a/b",
        "status": "ok",
        "pair": [1, 2],
        "4": None,
    }
    assert type(stored["details"]["count"]) is int
    assert type(stored["details"]["flag"]) is bool
    assert type(stored["details"]["status"]) is str
    assert type(stored["metrics"]["accuracy"]["value"]) is float
    assert type(stored["metrics"]["accuracy"]["n"]) is int


def test_an_object_is_refused_with_its_place() -> None:
    """A value JSON cannot hold is an error that names where it is, not its repr in the file."""
    with pytest.raises(TypeError, match=r"details\.models\[1\] is a object, which JSON cannot hold"):
        a_record(details={"models": [1, object()]}).to_json()


def test_a_nan_metric_makes_the_record_invalid() -> None:
    """A NaN metric is taken out, named in the reasons, and the status is invalid; other metrics stay."""
    record = checked(a_record(metrics=(metric("accuracy", math.nan), metric("train_seconds", 2.0))))
    assert record.status is Status.INVALID
    assert record.reasons == ("accuracy is nan, not a finite number",)
    assert [item.name for item in record.metrics] == ["train_seconds"]
    assert checked(record) == record


def test_an_infinite_interval_makes_the_record_invalid() -> None:
    """An interval that is not finite is as bad as a value that is not."""
    record = checked(a_record(metrics=(metric("accuracy", 0.5, ci=(0.1, math.inf)),)))
    assert record.status is Status.INVALID
    assert record.reasons == ("accuracy is 0.5 (interval 0.1 to inf), not a finite number",)


def test_nan_in_details_becomes_none_with_its_place() -> None:
    """A NaN deep inside the details becomes None, with a reason naming the place."""
    record = checked(a_record(details={"seeds": [{"loss": [0.7, float("inf"), np.float32("nan")]}]}))
    assert record.details == {"seeds": [{"loss": [0.7, None, None]}]}
    assert record.status is Status.INVALID
    assert record.reasons == (
        "details.seeds[0].loss[1] is not a finite number",
        "details.seeds[0].loss[2] is not a finite number",
    )


def test_a_failed_record_stays_failed() -> None:
    """How a case ended is not overwritten by a missing number."""
    record = checked(a_record(status=Status.DOES_NOT_FIT, metrics=(metric("load_seconds", math.nan),)))
    assert record.status is Status.DOES_NOT_FIT
    assert record.reasons == ("load_seconds is nan, not a finite number",)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(
    numbers=st.dictionaries(st.sampled_from(sorted(METRICS)), st.floats(), max_size=4),
    ci=st.none() | st.tuples(st.floats(), st.floats()),
    details=st.dictionaries(st.text(), values, max_size=4),
    status=st.sampled_from(Status),
)
def test_round_trip_through_strict_json(
    numbers: dict[str, float], ci: tuple[float, float] | None, details: dict[str, object], status: Status
) -> None:
    """Any record survives strict JSON unchanged once checked, and never writes NaN or infinity."""
    metrics = tuple(metric(name, value, ci=ci, n=7) for name, value in numbers.items())
    record = a_record(metrics=metrics, details=details, status=status)
    text = json.dumps(record.to_json(), allow_nan=False)
    assert from_json(json.loads(text)) == checked(record)


def test_flat_mirrors_are_the_finite_values() -> None:
    """Readers that know nothing of EmoBench see names and numbers, never NaN."""
    record = a_record(metrics=(metric("accuracy", 0.5, ci=(0.4, 0.6)), metric("f1_macro", math.nan)))
    assert flat_mirrors(record) == {"accuracy": 0.5}


def broken(change: dict[str, object]) -> dict[str, object]:
    return {**a_record().to_json(), **change}


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (
            broken({"schema": 9}),
            "run.json: record schema 9 is unknown; this EmoBench reads schema 1; "
            "update EmoBench: a newer version wrote it",
        ),
        (
            broken({"schema": 0}),
            "run.json: record schema 0 is unknown; this EmoBench reads schema 1; "
            "read it with the EmoBench that wrote it, or run the case again",
        ),
        ([], "run.json holds no readable record; a record is a list and should be an object"),
        (broken({"status": "great"}), "'great' is not a valid Status"),
        (broken({"case": {}}), "the field 'case.id' is missing"),
        (broken({"metrics": []}), "the field 'metrics' is a list and should be an object"),
        ({"schema": 1}, "the field 'case' is missing"),
        (
            broken(
                {"metrics": {"accuracy": {"value": "0.5", "unit": "share", "better": "higher", "ci": None, "n": 1}}}
            ),
            "the metric 'accuracy' holds '0.5' where a finite number should be",
        ),
        (
            broken({"metrics": {"accuracy": {"value": 0.5, "unit": "share", "better": "up", "ci": None, "n": 1}}}),
            "the direction of metric 'accuracy' is 'up'",
        ),
    ],
)
def test_a_broken_record_names_file_and_field(raw: object, message: str) -> None:
    """What cannot be read is an error that names the file and what is wrong with it."""
    with pytest.raises(BrokenFileError) as caught:
        from_json(raw, source="run.json")
    assert message in str(caught.value)


def test_one_seed_keeps_its_metrics() -> None:
    """With one seed nothing is averaged and no interval is invented."""
    one = [metric("accuracy", 0.8, ci=(0.75, 0.84), n=500), metric("train_seconds", 12.0)]
    assert mean_over_seeds([one]) == one
    assert mean_over_seeds([]) == []


def test_several_seeds_use_students_t() -> None:
    """Where the seeds differ a lot, the interval is scipy's t-interval over their values."""
    seeds = [[metric("train_seconds", value)] for value in (10.0, 12.0, 14.5)]
    (mean,) = mean_over_seeds(seeds)
    low, high = stats.t.interval(0.95, 2, loc=np.mean([10, 12, 14.5]), scale=stats.sem([10, 12, 14.5]))
    assert mean.value == pytest.approx(12.1666667)
    assert mean.ci == pytest.approx((low, high))


def test_equal_seeds_keep_the_width_of_the_test_set() -> None:
    """Seeds that agree do not narrow the interval: they share the test examples."""
    seeds = [[metric("accuracy", 0.8, ci=(0.75, 0.84), n=500)]] * 3
    (mean,) = mean_over_seeds(seeds)
    assert mean.ci == pytest.approx((0.75, 0.84))
    assert mean.n == 1500


def test_interval_is_never_narrower_than_either_source() -> None:
    """The interval covers the t-interval and the mean of the seeds' own, and stays inside 0 to 1 for shares."""
    seeds = [[metric("accuracy", value, ci=(value - 0.03, value + 0.02), n=100)] for value in (0.70, 0.98)]
    (mean,) = mean_over_seeds(seeds)
    assert mean.value == pytest.approx(0.84)
    assert mean.ci == (0.0, 1.0)


def test_constants_and_partial_metrics() -> None:
    """A parameter count stays an exact number without interval; a metric that one seed lacks is left out."""
    seeds = [[metric("parameters", 22), metric("latency_p99_seconds", 1.0)], [metric("parameters", 22)]]
    assert mean_over_seeds(seeds) == [metric("parameters", 22)]


def test_a_nan_seed_is_not_averaged_away() -> None:
    """One seed that gave NaN makes the case invalid."""
    seeds = [[metric("accuracy", math.nan)], [metric("accuracy", 0.9)]]
    assert checked(a_record(metrics=tuple(mean_over_seeds(seeds)))).status is Status.INVALID
