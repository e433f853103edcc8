"""What single records hold beside metrics, over runs and about where they were made."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emobench.analysis.findings import MOST_POINTS, _thinned, confusions, curve_panels, skips, targets, traces
from emobench.analysis.history import PastRun, history, past_of_columns, past_of_records
from emobench.analysis.rows import Row
from emobench.analysis.sessions import sessions
from emobench.outcomes import Status
from emobench.records.hardware import hardware_class
from emobench.records.record import Record
from emobench.records.secrets import redact
from emobench.records.store import Run
from tests.reports.made_runs import MACHINE, TRACE, a_run, indexed, some_records, timed, trained


def rows_of(*records: Record) -> list[Row]:
    return [Row(run="1", result=record) for record in records]


def with_details(**details: Any) -> list[Row]:
    return rows_of(replace(trained("m", "d", "lora"), details=details))


@given(st.lists(st.floats(0, 10), min_size=1, max_size=2000))
def test_thinning_keeps_the_mean_and_the_order(losses: list[float]) -> None:
    """At most 300 points; weighted by their steps they have the mean of all losses, and steps ascend within the run."""
    steps, means, size = _thinned(losses)
    assert len(means) <= MOST_POINTS
    counts = [min(size, len(losses) - index * size) for index in range(len(means))]
    total = math.fsum(mean * count for mean, count in zip(means, counts, strict=True))
    assert total == pytest.approx(math.fsum(losses), abs=1e-9)
    assert list(steps) == sorted(steps)
    assert steps[0] >= 1
    assert steps[-1] <= len(losses)


def test_curves_are_grouped_by_model_and_data() -> None:
    """A panel a model and data set, a curve a method; a missing loss breaks nothing."""
    found = curve_panels(rows_of(trained("m", "d", "lora"), trained("m", "d", "full"), trained("n", "d", "lora")))
    assert [(panel.title, [curve.label for curve in panel.curves]) for panel in found] == [
        ("m on d, quick", ["lora", "full"]),
        ("n on d, quick", ["lora"]),
    ]
    assert found[0].curves[0].validation[-1][0] == 63
    (panel,) = curve_panels(with_details(training=[{"seed": 0, "losses": [0.5, None, 0.25]}]))
    assert panel.curves[0].losses == (0.5, 0.25)
    two = [{"seed": seed, "losses": [1.0]} for seed in (0, 1)]
    assert [curve.label for curve in curve_panels(with_details(training=two))[0].curves] == [
        "lora, seed 0",
        "lora, seed 1",
    ]


@pytest.mark.parametrize(
    "details",
    [
        {"training": "none"},
        {"training": [{"steps": 4}]},
        {"training": [3]},
        {"confusion": [[1, 2]]},
        {"confusion": [1, 2]},
        {"confusion": [["a"]]},
        {"trace": []},
        {"trace": {"verdict": ""}},
        {"targets": 3},
        {"targets": {"accuracy": {"target": None, "value": 1}}},
    ],
)
def test_what_has_another_form_is_left_out(details: dict[str, Any]) -> None:
    """Details of another version, or edited by hand, are no error and no finding."""
    rows = with_details(**details)
    assert [curve_panels(rows), confusions(rows), traces(rows), targets(rows)] == [[], [], [], []]


def test_confusion_shares_are_of_the_label() -> None:
    """Rows sum to 1; a label without examples has zeros; classes without names are numbered."""
    (found,) = confusions(with_details(confusion=[[3, 1], [0, 0]]))
    assert found.shares == [[0.75, 0.25], [0, 0]]
    assert found.classes == ("0", "1")


def test_traces_and_targets() -> None:
    """A verdict with its parts; missed targets stand before met ones."""
    (trace,) = traces(with_details(trace=TRACE))
    assert (trace.verdict, trace.achieved_share, trace.largest[0]) == ("memory-bound", 0.62, ("aten::addmm", 0.52))
    judged = {
        "f1_macro": {"target": 0.5, "value": 0.6, "met": True},
        "accuracy": {"target": 0.9, "value": 0.8, "met": False},
    }
    assert [(item.metric, item.met) for item in targets(with_details(targets=judged))] == [
        ("accuracy", False),
        ("f1_macro", True),
    ]


def test_skips_of_one_reason_are_added_over_the_runs() -> None:
    """The largest group first; what lacks a count has its cases counted."""
    skipped = ({"reason": "x", "cases": ["a", "b"]}, {"reason": "y", "count": 9, "cases": []})
    found = skips({"1": a_run([], skipped=skipped), "2": a_run([], skipped=skipped[:1])})
    assert [(group.reason, group.count, group.runs) for group in found] == [("y", 9, ("1",)), ("x", 4, ("1", "2"))]


def hardware(row: Row) -> str:
    return hardware_class(row.result.environment, MACHINE)


def pasts(form: str, runs: dict[str, Run]) -> dict[str, PastRun]:
    if form == "records":
        return {name: past_of_records(name, run, hardware) for name, run in runs.items()}
    return {name: past_of_columns(name, indexed(run)) for name, run in runs.items()}


@pytest.mark.parametrize("form", ["records", "columns"])
def test_history_follows_the_same_case_only(form: str) -> None:
    """By date; another device name is another case, an invalid one a gap, and one run alone no history."""
    runs = {name: a_run([timed("m", 1, index=index)], day=index + 1) for index, name in enumerate("abc")}
    (latency, memory) = history(pasts(form, {"c": runs["c"], "a": runs["a"], "b": runs["b"]}))
    assert (latency.metric, latency.runs, latency.kind) == ("latency_p50_seconds", ("a", "b", "c"), "inference")
    (line,) = latency.lines
    assert [at for at, _ in line.points] == [0, 1, 2]
    assert line.change == pytest.approx(3**1.3 - 1)
    assert memory.metric == "host_memory_growth_bytes"
    assert history(pasts(form, {"a": runs["a"]})) == []
    elsewhere = a_run([replace(timed("m", 1), environment={"device_name": "other"})], day=9)
    assert history(pasts(form, {"a": runs["a"], "d": elsewhere})) == []
    broken = a_run([replace(timed("m", 1), status=Status.INVALID)], day=2)
    (latency, _) = history(pasts(form, {"a": runs["a"], "x": broken, "c": runs["c"]}))
    assert [at for at, _ in latency.lines[0].points] == [0, 2]


def test_a_history_is_the_same_from_columns_and_from_whole_runs() -> None:
    """Every panel, line, label, value and interval, mixed as a report mixes them."""
    runs = {f"{day:04}": a_run(list(some_records(luck=day)), day=day) for day in (1, 2, 3)}
    whole, columns = pasts("records", runs), pasts("columns", runs)
    found = history(whole)
    assert {panel.metric for panel in found} >= {"accuracy", "latency_p50_seconds", "train_seconds"}
    assert any(item.low is not None for panel in found for line in panel.lines for _, item in line.points)
    assert history(columns) == found
    assert history({**columns, "0003": whole["0003"]}) == found


def test_a_history_from_columns_shows_no_secret() -> None:
    """Every text goes through the function that cleans it, once in the label and once in the id."""
    runs = {name: a_run([timed("hf_abcdefghijklmnopqrst", 1)], day=day) for day, name in enumerate("ab", 1)}
    found = history({name: past_of_columns(name, indexed(run), redact) for name, run in runs.items()})
    assert found
    assert "hf_abcdefghij" not in str(found)


def test_only_named_facts_of_a_session_are_shown() -> None:
    """The host's name, a remote or an environment variable in a run's info reach no report."""
    run = a_run(
        [timed("m", 1)],
        machine_info={"node": "secret-host", "env": {"HF_TOKEN": "x"}, "cpu": {"brand_raw": "CPU", "count": 4}},
        commit_info={"id": "abc", "dirty": False, "remote": "https://u:p@host/x"},
    )
    (session,) = sessions({"1": run})
    facts = dict(session.facts)
    assert facts["commit"] == "abc"
    assert facts["uncommitted changes"] == "no"
    assert (facts["processor"], facts["torch"]) == ("CPU", "2.13.0")
    assert not any(word in str(session) for word in ("secret-host", "HF_TOKEN", "u:p", "host/x"))


def test_a_session_without_anything_is_empty() -> None:
    """Nothing recorded is nothing shown."""
    (session,) = sessions({"1": a_run([], machine_info={}, commit_info={}, settings={}, datetime="")})
    assert session.facts == ()
