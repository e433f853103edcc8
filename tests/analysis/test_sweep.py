"""Sweeps: grouping, the quantities of a batch size, and what a sweep answers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emobench.analysis.answers import answer
from emobench.analysis.sweep import Measured, Source, Sweep, names, normalized, sweeps
from emobench.outcomes import Metric, Status, metric
from emobench.records.record import Record


def timed(batch: int, *metrics: Metric, status: Status = Status.OK, details: Any = None, **axes: Any) -> Record:
    case = {
        "kind": "inference",
        "model": "tiny",
        "dataset": None,
        "method": None,
        "precision": "fp32",
        "device": "cpu",
        "batch_size": batch,
        "length": None,
        "backend": "eager",
        "weights": "pretrained",
        **axes,
    }
    case["id"] = f"{case['kind']}[{case['model']}-{case['precision']}-b{batch}-{case['length']}-{case['backend']}]"
    reasons = () if status is Status.OK else ("a reason",)
    return Record(case=case, metrics=metrics, status=status, reasons=reasons, details=details or {})


def latency(milliseconds: float, low: float | None = None, high: float | None = None) -> Metric:
    ci = None if low is None or high is None else (low / 1e3, high / 1e3)
    return metric("latency_p50_seconds", milliseconds / 1e3, ci=ci, n=50)


def sweep_of(*records: Record, timings: Any = None) -> Sweep:
    (found,) = sweeps([Source(name="0001", results=records, timings=timings or {})])
    return found


def test_a_sweep_is_what_differs_in_batch_size_only() -> None:
    """Every other axis and the run make sweeps of their own; levels ascend; other kinds of case are left out."""
    one = [
        timed(8, latency(8)),
        timed(1, latency(1)),
        timed(1, latency(1), precision="bf16"),
        timed(1, latency(1), length=512),
        timed(1, latency(1), backend="onnxruntime"),
        timed(1, latency(1), kind="generation"),
    ]
    found = sweeps([Source(name="0001", results=one), Source(name="0002", results=one[:2])])
    assert [[level.batch_size for level in sweep.levels] for sweep in found] == [[1, 8], [1], [1], [1], [1, 8]]
    assert [sweep.run for sweep in found] == ["0001"] * 4 + ["0002"]


def test_records_from_before_the_axes_existed_are_eager() -> None:
    """A record without backend, length and weights is one with their only value of then."""
    old = timed(1, latency(1))
    bare = {key: value for key, value in old.case.items() if key not in ("backend", "length", "weights")}
    assert sweep_of(replace(old, case=bare), timed(4, latency(3))).axes["backend"] == "eager"


def test_quantities_of_a_level() -> None:
    """Rates and latency per sample follow from the median, and their intervals from its ends, changed about."""
    level = sweep_of(timed(8, latency(40, 32, 50), metric("tokens_per_second", 25_600.0))).levels[0]
    assert level.values["samples_per_second"] == Measured(
        value=pytest.approx(200), low=pytest.approx(160), high=pytest.approx(250)
    )
    assert level.values["batches_per_second"].value == pytest.approx(25)
    assert level.values["latency_per_sample_seconds"].high == pytest.approx(50e-3 / 8)
    assert level.values["tokens_per_second"].low == pytest.approx(1024 / 50e-3)
    assert level.value("latency_p90_seconds") is None


def test_efficiency_is_against_the_smallest_batch() -> None:
    """Twice the throughput at four times the batch is one half, with the widest interval both ends allow."""
    levels = sweep_of(timed(8, latency(20, 19, 21)), timed(2, latency(10, 9, 11))).levels
    assert levels[0].values["scaling_efficiency"] == Measured(value=1.0)
    share = levels[1].values["scaling_efficiency"]
    assert share.value == pytest.approx(0.5)
    assert share.low == pytest.approx(9 / 21)
    assert share.high == pytest.approx(11 / 19)


def test_spread_is_the_interquartile_range_over_the_median() -> None:
    """Against numpy's percentiles on the raw rounds; too few rounds give none."""
    rounds = [0.1, 0.11, 0.12, 0.09, 0.3, 0.1, 0.1, 0.13, 0.1, 0.1]
    record = timed(1, latency(100))
    wanted = (np.quantile(rounds, 0.75) - np.quantile(rounds, 0.25)) / np.median(rounds)
    assert sweep_of(record, timings={record.id: rounds}).levels[0].value("spread") == pytest.approx(wanted)
    assert sweep_of(record, timings={record.id: rounds[:9]}).levels[0].value("spread") is None


def test_memory_is_the_devices_where_it_has_one() -> None:
    """With a device peak the host's growth is not shown in its place at any level."""
    host, device = metric("host_memory_growth_bytes", 5), metric("device_memory_peak_bytes", 7)
    assert sweep_of(timed(1, latency(1), host)).levels[0].value("memory_bytes") == 5
    mixed = sweep_of(timed(1, latency(1), host, device), timed(2, latency(1), host))
    assert mixed.memory_kind == "device"
    assert [level.value("memory_bytes") for level in mixed.levels] == [7, None]


def test_an_invalid_case_has_no_figures() -> None:
    """What was measured in a disturbed case enters no line and no answer."""
    sweep = sweep_of(timed(1, latency(10)), timed(8, latency(1), status=Status.INVALID))
    assert sweep.levels[1].values == {}
    found = answer(sweep, [])
    assert found.highest is not None
    assert found.highest.batch_size == 1
    assert [level.reasons for level in found.invalid] == [("a reason",)]


@given(
    values=st.lists(st.one_of(st.none(), st.floats(1e-6, 1e6)), min_size=1, max_size=6),
    name=st.sampled_from(["latency_p50_seconds", "samples_per_second"]),
)
def test_normalized_is_a_share_of_the_best(values: list[float | None], name: str) -> None:
    """Exactly the best is 1, all are within 0..1 and in the order of the values, and missing ones stay missing."""
    records = [timed(2**place, *([] if value is None else [latency(value)])) for place, value in enumerate(values)]
    sweep = sweep_of(*records)
    (shares,) = normalized([sweep], name)
    raw = {level.batch_size: level.values[name].value for level in sweep.levels if name in level.values}
    assert shares.keys() == raw.keys()
    assert all(0 <= share <= 1 for share in shares.values())
    if raw:
        best = max(raw.values()) if name == "samples_per_second" else min(raw.values())
        assert {batch for batch, share in shares.items() if share == 1} >= {b for b, v in raw.items() if v == best}
        for batch, share in shares.items():
            assert share == pytest.approx(raw[batch] / best if name == "samples_per_second" else best / raw[batch])


def test_normalized_spans_all_sweeps_and_survives_zero() -> None:
    """The best of several sweeps is 1 for all of them; a best value of 0 leaves 0 to the rest."""
    two = [
        sweep_of(timed(1, latency(10), metric("host_memory_growth_bytes", 0))),
        sweep_of(timed(1, latency(40), metric("host_memory_growth_bytes", 9))),
    ]
    assert normalized(two, "latency_p50_seconds") == [{1: 1.0}, {1: pytest.approx(0.25)}]
    assert normalized(two, "memory_bytes") == [{1: 1.0}, {1: 0.0}]
    with pytest.raises(ValueError, match="utilization has no better direction"):
        normalized(two, "utilization")


def test_names_say_once_what_is_common() -> None:
    """The common part is told apart from what differs; a single sweep is all common; runs are named where they vary."""
    one = [timed(1, latency(1)), timed(1, latency(1), precision="bf16", length=64)]
    both = sweeps([Source(name="0001", results=one)])
    assert names(both) == ("tiny, cpu, eager", ["fp32", "bf16, 64 tokens"])
    assert names(both[:1]) == ("tiny, fp32, cpu, eager", [""])
    across = sweeps([Source(name="0001", results=one[:1]), Source(name="0002", results=one[:1])])
    assert names(across) == ("tiny, fp32, cpu, eager", ["run 0001", "run 0002"])


# Throughput: 100 (91-111), 200 (182-222), 208 (190-229), 150 samples/s at batch 1, 8, 16, 32.
LEVELS = (
    timed(1, latency(10, 9, 11)),
    timed(8, latency(40, 36, 44)),
    timed(16, latency(77, 70, 84)),
    timed(32, latency(213, 200, 220)),
)


def test_the_smallest_of_tied_batches_is_best() -> None:
    """Batch 16 has the highest throughput, which the error bars do not tell from that of 8: 8 is deployed."""
    found = answer(sweep_of(*LEVELS), [])
    assert found.best is not None
    assert found.highest is not None
    assert (found.best.batch_size, found.tied, found.highest.batch_size) == (8, (16,), 16)


def test_a_gain_outside_the_error_bars_wins() -> None:
    """With narrow intervals the higher throughput is best, though its batch is larger."""
    narrow = sweep_of(timed(8, latency(40, 39.9, 40.1)), timed(16, latency(77, 76.9, 77.1)))
    found = answer(narrow, [])
    assert found.best is not None
    assert found.best.batch_size == 16
    assert found.tied == ()


@pytest.mark.parametrize(("target", "best"), [(0.1, 8), (0.02, 1), (0.010, 1), (0.005, None)])
def test_the_best_batch_keeps_to_the_target(target: float, best: int | None) -> None:
    """The highest throughput among the batches whose median is within the target; none where no batch is."""
    found = answer(sweep_of(*LEVELS), [], target_seconds=target)
    assert (found.best and found.best.batch_size) == best
    assert found.fastest is not None
    assert found.fastest.batch_size == 1


def test_what_does_not_fit_names_the_largest_that_did() -> None:
    """The peak of the failed case is kept, and the largest batch with status ok."""
    peak = metric("device_memory_peak_bytes", 9e9)
    found = answer(sweep_of(*LEVELS, timed(64, peak, status=Status.DOES_NOT_FIT)), [])
    assert [(level.batch_size, level.peak_bytes) for level in found.does_not_fit] == [(64, 9e9)]
    assert found.largest_fitted == 32


def test_accuracy_is_of_the_same_model_precision_and_run() -> None:
    """The highest a data set, counted; another precision only where there is none; never another model or run."""

    def scored(value: float, **axes: Any) -> Record:
        return timed(0, metric("accuracy", value), **{"kind": "finetune", "dataset": "d", "method": "full", **axes})

    sweep = sweep_of(*LEVELS)
    here = [scored(0.8), scored(0.9, method="lora"), scored(0.99, precision="bf16"), scored(0.95, model="other")]
    (found,) = answer(sweep, [Source(name="0001", results=here)]).accuracies
    assert (found.value, found.method, found.of) == (0.9, "lora", 2)
    (found,) = answer(sweep, [Source(name="0001", results=here[2:])]).accuracies
    assert (found.value, found.precision) == (0.99, "bf16")
    assert answer(sweep, [Source(name="0002", results=here)]).accuracies == ()


def test_the_verdict_is_that_of_the_best_batch() -> None:
    """Where the best batch was traced its verdict counts; else that of the largest traced one."""

    def traced(batch: int, kind: str, milliseconds: float) -> Record:
        trace = {"verdict": kind, "advice": "do this", "largest": [{"name": "aten::mm", "share": 0.5, "kind": kind}]}
        return timed(batch, latency(milliseconds, milliseconds, milliseconds), details={"trace": trace})

    sweep = sweep_of(traced(1, "overhead-bound", 10), traced(8, "compute-bound", 20), traced(16, "memory-bound", 90))
    found = answer(sweep, []).bottleneck
    assert found is not None
    assert (found[0].batch_size, found[1].kind, found[1].largest) == (8, "compute-bound", (("aten::mm", 0.5),))
    found = answer(sweep_of(traced(1, "overhead-bound", 10), timed(8, latency(20))), []).bottleneck
    assert found is not None
    assert found[1].kind == "overhead-bound"
    assert answer(sweep_of(*LEVELS), []).bottleneck is None
