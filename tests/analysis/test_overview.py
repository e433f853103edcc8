"""The overview: which cases are compared, which is first, and what quality is shown against."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emobench.analysis.bars import bar_charts
from emobench.analysis.overview import overview
from emobench.analysis.rows import Row, labels
from emobench.analysis.sweep import Measured
from emobench.analysis.tradeoff import LATENCY, Candidate, front, radar
from emobench.outcomes import Status, metric
from emobench.records.record import Record
from tests.reports.made_runs import a_run, share, some_records, timed, trained


def a_candidate(quality: float, cost: float | None) -> Candidate:
    row = Row(run="1", result=Record(case={"id": "x"}))
    costs = {} if cost is None else {LATENCY: Measured(value=cost)}
    return Candidate(row=row, label="x", quality=Measured(value=quality), costs=costs)


def scored(name: str, accuracy: float, seconds: float, **case: Any) -> Record:
    axes = {"id": name, "kind": "finetune", "model": name, "dataset": "d", "precision": "fp32", "device": "cpu"}
    return Record(case={**axes, **case}, metrics=(share("accuracy", accuracy), metric("train_seconds", seconds)))


@given(st.lists(st.tuples(st.integers(0, 6), st.one_of(st.none(), st.integers(1, 6))), max_size=12))
def test_the_front_holds_exactly_the_cases_that_none_dominates(points: list[tuple[int, int | None]]) -> None:
    """Against the definition: no other case is as good in both and better in one; equal cases are there together."""
    candidates = [a_candidate(quality, cost) for quality, cost in points]
    found = front(candidates, LATENCY)
    known = [(quality, cost) for quality, cost in points if cost is not None]
    best = [
        (quality, cost)
        for quality, cost in known
        if not any(q >= quality and c <= cost and (q, c) != (quality, cost) for q, c in known)
    ]
    assert sorted((points[index][0], points[index][1]) for index in found) == sorted(best)


def test_the_trade_off_is_the_cheapest_that_the_intervals_do_not_tell_from_the_best() -> None:
    """Of four cases two overlap with the best; the one that trained fastest is taken, not the cheapest of all."""
    records = [
        scored("best", 0.90, 100),
        scored("near", 0.89, 40),
        scored("nearer", 0.895, 60),
        scored("far", 0.60, 1),
    ]
    (group,) = overview({"1": a_run(records)}).groups
    assert group.across == "train_seconds"
    assert (group.best.label, set(group.best.tied)) == ("best", {"near", "nearer"})
    assert group.trade_off is not None
    assert (group.trade_off.label, group.trade_off.item.value) == ("near", 40)
    assert [item.label for item in group.candidates if item.on_front] == ["best", "near", "nearer", "far"]


def test_quality_is_compared_inside_a_data_set_and_a_profile() -> None:
    """Another data set or profile is another group."""
    records = [scored("a", 0.9, 1), scored("b", 0.5, 1, dataset="e"), scored("c", 0.7, 1, profile="smoke")]
    groups = overview({"1": a_run(records)}).groups
    assert [(group.dataset, group.profile) for group in groups] == [("d", ""), ("e", ""), ("d", "smoke")]


def test_a_latency_is_that_of_the_same_model_precision_and_device_at_batch_1() -> None:
    """Batch 1 wins over a larger one; another precision, device name or random weights give none."""
    case = trained("m", "d", "lora")
    other = replace(timed("m", 1), environment={"device_name": "another machine"})
    random = timed("m", 1)
    random = replace(random, case={**random.case, "weights": "random", "id": "r"})
    (group,) = overview({"1": a_run([case, timed("m", 8), timed("m", 1, precision="bf16"), other, random])}).groups
    (found,) = group.candidates
    assert (found.latency_case, found.latency_batch) == ("inference[m-fp32-cpu-b8]", 8)
    (group,) = overview({"1": a_run([case, timed("m", 8), timed("m", 1)])}).groups
    assert group.candidates[0].latency_batch == 1
    (group,) = overview({"1": a_run([case, timed("m", 1, precision="bf16")])}).groups
    assert LATENCY not in group.candidates[0].costs


def test_an_invalid_latency_is_none() -> None:
    """A timed case that is not ok gives no figure."""
    bad = replace(timed("m", 1), status=Status.INVALID)
    (group,) = overview({"1": a_run([trained("m", "d", "lora"), bad])}).groups
    assert group.candidates[0].latency_case == ""


def test_quality_is_shown_against_what_differs() -> None:
    """One model at one precision has one latency: the training times tell the cases apart."""
    records = [trained("m", "d", method) for method in ("head", "full", "lora")]
    (group,) = overview({"1": a_run([*records, timed("m", 1)])}).groups
    assert group.across == "train_seconds"
    (group,) = overview(
        {"1": a_run([*records, timed("m", 1), trained("n", "d", "lora"), timed("n", 1, index=1)])}
    ).groups
    assert group.across == LATENCY


def test_the_newest_run_judges_a_case_that_is_in_several() -> None:
    """By date, whatever the order they are given in; on other hardware it is another case."""
    old, new = a_run([scored("m", 0.6, 1)], day=1), a_run([scored("m", 0.8, 1)], day=2)
    (group,) = overview({"b": new, "a": old}).groups
    assert [item.quality.value for item in group.candidates] == [0.8]
    elsewhere = a_run([replace(scored("m", 0.7, 1), environment={"device_name": "other"})], day=3)
    (group,) = overview({"b": new, "c": elsewhere}).groups
    assert {item.label for item in group.candidates} == {"run b", "run c"}


def test_random_weights_are_never_compared_with_pretrained_ones() -> None:
    """They are looked at only where there is nothing else."""
    slow, fast = timed("m", 1, index=2), timed("n", 1)
    fast = replace(fast, case={**fast.case, "weights": "random"})
    (speed,) = overview({"1": a_run([slow, fast])}).speeds
    assert speed.fastest.row.case["model"] == "m"
    (speed,) = overview({"1": a_run([fast])}).speeds
    assert speed.fastest.row.case["model"] == "n"


def test_speeds_of_different_work_are_not_compared() -> None:
    """Another profile or another length of input has its own fastest case."""
    records = [timed("m", 1), timed("n", 1, index=1)]
    short = replace(timed("m", 1), case={**timed("m", 1).case, "profile": "smoke", "id": "s"})
    speeds = overview({"1": a_run([*records, short])}).speeds
    assert [(speed.name, speed.fastest.row.case["model"]) for speed in speeds] == [
        ("profile quick", "m"),
        ("profile smoke", "m"),
    ]


def test_smallest_and_highest() -> None:
    """Fewest bytes of weights over all kinds of case; the highest throughput at any batch size."""
    found = overview({"1": a_run(list(some_records()))})
    assert found.smallest is not None
    assert found.smallest.item.value == 90_864_136
    (speed,) = found.speeds
    assert speed.highest is not None
    assert (speed.highest.row.case["precision"], speed.highest.row.case["batch_size"]) == ("bf16", 64)
    assert speed.fastest.row.case["batch_size"] == 1
    assert {row.result.status for row in found.not_ok} == {Status.DOES_NOT_FIT, Status.INVALID, Status.FAILED}


def test_nothing_gives_nothing() -> None:
    """A run without cases, or with broken ones only, has no picks and no groups."""
    failed = replace(scored("m", 0.5, 1), status=Status.FAILED)
    for records in ([], [failed]):
        found = overview({"1": a_run(records)})
        assert (found.groups, found.speeds, found.smallest) == ((), (), None)


def test_labels_hold_what_differs() -> None:
    """Shared axes stand once; equal cases of two runs are told apart by run."""
    rows = [Row(run="1", result=record) for record in (trained("m", "d", "lora"), trained("m", "d", "full"))]
    assert labels(rows) == ("finetune, m, d, fp32, cpu, profile quick", ["lora", "full"])
    twice = [rows[0], Row(run="2", result=rows[0].result)]
    assert labels(twice)[1] == ["run 1", "run 2"]
    assert labels([]) == ("", [])
    assert labels(rows[:1])[1] == ["finetune, m, d, lora, fp32, cpu, profile quick"]


def test_radar_shares() -> None:
    """1 is the best of each axis; the inverse of a cost over the least cost elsewhere."""
    (group, _) = overview({"1": a_run(list(some_records()))}).groups
    axes, rows = radar(group)
    assert axes == ("accuracy", LATENCY, "memory_bytes", "cost_per_thousand_samples")
    assert len(rows) == 6
    for item, shares in rows:
        assert shares[0] == pytest.approx(item.quality.value / max(c.quality.value for c in group.candidates))
        assert shares[1] == pytest.approx(
            min(c.costs[LATENCY].value for c in group.candidates) / item.costs[LATENCY].value
        )
    assert all(0 < share <= 1 for _, shares in rows for share in shares)
    lone = overview({"1": a_run([trained("m", "d", "lora")])}).groups[0]
    assert radar(lone) == ((), [])


def test_bars_stand_in_order_and_each_configuration_once() -> None:
    """Of six batch sizes the one with the highest throughput; less memory is better; profiles stand apart."""
    charts = bar_charts(overview({"1": a_run(list(some_records()))}).current)
    speed, space = charts[0], charts[1]
    assert len(speed.bars) == len(space.bars) == 6
    rates = [bar.item.value for bar in speed.bars]
    assert rates == sorted(rates, reverse=True)
    sizes = [bar.item.value for bar in space.bars]
    assert sizes == sorted(sizes)
    assert {bar.row.id for bar in speed.bars} == {bar.row.id for bar in space.bars}
    smoke = [replace(timed(name, 1), case={**timed(name, 1).case, "profile": "smoke"}) for name in ("a", "b")]
    mixed = bar_charts(overview({"1": a_run([timed("a", 1), timed("b", 1), *smoke])}).current)
    assert [chart.common.rpartition(" ")[2] for chart in mixed if chart.quantity == "samples_per_second"] == [
        "quick",
        "smoke",
    ]
