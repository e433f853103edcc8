"""The gate: false alarms and power by simulation, what is incomplete, and decisions one by one or all at once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from emobench.analysis.gates import Gated, Judgment, Plan, decide, make_plan, new_and_broken
from emobench.catalogue.limits import Limit, find_limits
from tests.analysis.column_runs import ColumnRun
from tests.analysis.made_rounds import simulated_rounds

MATRIX = 20
"""Gated comparisons of a simulated matrix: half of them accuracy, half latency."""
REPEATS = 200
VARIATION, RUN_SPREAD = 0.03, 0.01
"""Spread of rounds within a run and of medians between runs, as standard deviations of the logarithm."""
EXAMPLES, DISCORDANT = 5000, 0.08


def plan_for(ids: list[str], metric: str, loss: float) -> Plan:
    gated = tuple(Gated(case=name, metric=metric, loss=loss) for name in ids)
    return Plan(gated=gated, comparisons=MATRIX)


def timed(cases: int, *, slowdown: float, seed: int) -> tuple[list[str], ColumnRun, ColumnRun]:
    made = simulated_rounds(2 * cases, 30, variation=VARIATION, correlation=0.2, run_spread=RUN_SPREAD, seed=seed)
    ids = [f"t{row}" for row in range(cases)]
    return ids, ColumnRun(ids, seconds=made[:cases]), ColumnRun(ids, seconds=made[cases:] * (1 + slowdown))


def scored(cases: int, *, loss: float, seed: int) -> tuple[list[str], ColumnRun, ColumnRun]:
    rng = np.random.default_rng(seed)
    ids = [f"s{row}" for row in range(cases)]
    labels = rng.integers(0, 2, EXAMPLES)
    draw = rng.random((cases, EXAMPLES), dtype=np.float32)
    # A share of the examples only one side has right, of those the base has more by the loss; most others are right.
    base_only = draw < (DISCORDANT + loss) / 2
    new_only = ~base_only & (draw < DISCORDANT)
    both = draw > 0.15
    return (
        ids,
        ColumnRun(ids, labels=labels, right=base_only | both),
        ColumnRun(ids, labels=labels, right=new_only | both),
    )


def worse(plan: Plan, base: ColumnRun, new: ColumnRun) -> np.ndarray:
    return np.array([item.outcome == "worse" for item in decide(plan, [base], new)])


@pytest.mark.parametrize("limits", [(0.0, 0.0), (0.01, 0.05)], ids=["limit 0", "defaults"])
def test_false_alarms_stay_below_the_level(limits: tuple[float, float]) -> None:
    """200 repeats of a matrix of 20 gated comparisons of unchanged code: at most 5 % of them have any false alarm.

    Even with a limit of 0. Runs differ by 1 % beyond their rounds, as the interval assumes; neighbors correlate by 0.2.
    """
    half = REPEATS * MATRIX // 2
    ids, base, new = scored(half, loss=0.0, seed=11)
    quality = worse(plan_for(ids, "accuracy", limits[0]), base, new).reshape(REPEATS, -1)
    ids, base, new = timed(half, slowdown=0.0, seed=12)
    speed = worse(plan_for(ids, "latency_p50_seconds", limits[1]), base, new).reshape(REPEATS, -1)
    assert (quality.any(axis=1) | speed.any(axis=1)).mean() <= 0.05


def test_a_loss_of_two_points_is_found() -> None:
    """2 points lost on 5,000 paired examples of which 8 % change sides, limit 1 point, 20 comparisons: 95 % of 200."""
    ids, base, new = scored(REPEATS, loss=0.02, seed=21)
    assert worse(plan_for(ids, "accuracy", 0.01), base, new).mean() >= 0.95


@pytest.mark.slow
def test_a_slowdown_of_ten_percent_is_found() -> None:
    """10 % slower on 30 rounds that vary by 3 %, runs by 1 %, limit 5 %, 20 comparisons: 95 % of 200."""
    ids, base, new = timed(REPEATS, slowdown=0.10, seed=22)
    assert worse(plan_for(ids, "latency_p50_seconds", 0.05), base, new).mean() >= 0.95


def test_a_large_matrix_does_not_leave_more_undecided() -> None:
    """The correction guards against false alarms alone: unchanged cases are the same as often among 10,000 as alone."""
    ids, base, new = scored(REPEATS, loss=0.0, seed=23)
    plan = plan_for(ids, "accuracy", 0.01)
    counts = []
    for comparisons in (1, 10_000):
        outcomes = [item.outcome for item in decide(replace(plan, comparisons=comparisons), [base], new)]
        counts.append(outcomes.count("inconclusive"))
    assert counts[1] <= counts[0] + 0.02 * REPEATS
    assert counts[0] < 0.4 * REPEATS


def test_an_undecided_score_says_how_many_rows_would_decide() -> None:
    """64 rows cannot show 2 points: the line says so, with the number that could; enough rows say nothing."""
    rng = np.random.default_rng(5)
    for rows, ending in ((64, "; 64 rows cannot show 2.00 pt, about 1,700 can"), (40_000, "")):
        right = rng.random((1, rows)) < 0.9
        changed = np.zeros((1, rows), bool)
        changed[0, : rows * 4 // 64] = True
        base, new = (ColumnRun(["a"], labels=np.zeros(rows, int), right=side) for side in (right, right ^ changed))
        (found,) = decide(plan_for(["a"], "accuracy", 0.02), [base], new)
        assert found.reason == f"McNemar, Bonett-Price{ending}"
        assert (found.outcome == "inconclusive") == bool(ending)


def test_one_by_one_is_all_at_once() -> None:
    """Deciding each pair alone gives, number by number, what deciding all together gives: pytest and the command."""
    ids, base, new = timed(30, slowdown=0.06, seed=3)
    plan = plan_for(ids, "latency_p50_seconds", 0.05)
    together = decide(plan, [base], new)
    alone = [decide(replace(plan, gated=(item,)), [base], new)[0] for item in plan.gated]
    assert alone == together
    assert len({item.outcome for item in together}) > 1


@pytest.mark.slow
def test_close_calls_are_resampled() -> None:
    """Beyond the limit and close to zero the interval is a bootstrap's, with the same seed each time; nowhere else."""
    ids, base, new = timed(60, slowdown=0.06, seed=8)
    found = decide(plan_for(ids, "latency_p50_seconds", 0.05), [base], new)
    drawn = [item for item in found if item.reason == "bootstrap of runs and rounds"]
    assert drawn
    assert all(item.point is not None and item.point > 0.05 for item in drawn)
    assert len(drawn) < len(found)
    assert decide(plan_for(ids, "latency_p50_seconds", 0.05), [base], new) == found


def test_what_is_gated_follows_from_base_and_manifest() -> None:
    """A pair is gated where an ok case of the base has the metric; a new case only by a bound."""
    base = ColumnRun(["a", "b", "gone"], values={"accuracy": [0.9, np.nan, 0.8]}, status=["ok", "ok", "ok"])
    limits = find_limits({}, ["accuracy:1pt", "accuracy>=0.5"])
    plan = make_plan([base], ["a", "b", "new"], limits.of_case)
    assert [(item.case, item.optional) for item in plan.gated] == [("a", False), ("new", True), ("gone", False)]
    assert plan.comparisons == 2
    assert plan.vanished == ("gone",)
    assert make_plan([base], ["a"], limits.of_case, deselected=["b", "gone"]).vanished == ()


def test_cases_of_other_files_are_not_missing() -> None:
    """Where single files were asked for, only kinds that were collected can lack cases; where nodes were, none can."""
    base = ColumnRun(["inference[a]", "inference[b]", "finetune[a]"], values={"accuracy": [1, 1, 1]})
    limits = find_limits({}, ["accuracy:1pt"])
    vanished = {
        name: make_plan([base], ["inference[a]"], limits.of_case, selection=name).vanished
        for name in ("whole", "files", "nodes")
    }
    assert vanished == {"whole": ("inference[b]", "finetune[a]"), "files": ("inference[b]",), "nodes": ()}


def one(base: ColumnRun, new: ColumnRun, *texts: str, across: tuple[str, ...] = ()) -> tuple[str, str]:
    plan = make_plan([base], ["c"], find_limits({}, texts).of_case)
    (found,) = decide(plan, [base], new, across=across)
    return found.outcome, found.reason


BYTES = {"model_bytes": [100.0], "latency_p50_seconds": [1.0], "accuracy": [0.9]}


@pytest.mark.parametrize("status", ["failed", "invalid", "timed_out", "lost", "interrupted"])
def test_a_case_that_did_not_end_ok_is_incomplete(status: str) -> None:
    """Whatever else happened to it, it is not passed."""
    outcome, reason = one(
        ColumnRun(["c"], values=BYTES), ColumnRun(["c"], values=BYTES, status=status), "model_bytes:5%"
    )
    assert outcome == "incomplete"
    assert reason == f"{status.replace('_', ' ')}: planted"


def test_a_case_that_no_longer_fits_is_worse() -> None:
    """It fitted at the base."""
    new = ColumnRun(["c"], values=BYTES, status="does_not_fit")
    assert one(ColumnRun(["c"], values=BYTES), new, "model_bytes:5%")[0] == "worse"


@pytest.mark.parametrize(
    ("change", "metric", "outcome"),
    [
        ({"hardware": "other"}, "latency_p50_seconds:5%", "not gated"),
        ({"hardware": "other"}, "model_bytes:5%", "same"),
        ({"profile": "full"}, "model_bytes:5%", "incomplete"),
        ({"weights": "random"}, "model_bytes:5%", "incomplete"),
        ({"data_fingerprint": "y"}, "accuracy:1pt", "incomplete"),
        ({"data_fingerprint": "y"}, "model_bytes:5%", "same"),
    ],
)
def test_what_cannot_be_compared_is_not_passed(change: dict[str, str], metric: str, outcome: str) -> None:
    """Other hardware leaves times ungated and memory gated; another profile, weights or data are incomplete."""
    found = one(ColumnRun(["c"], values=BYTES), ColumnRun(["c"], values=BYTES, **change), metric)
    assert found[0] == outcome
    if outcome != "same":
        assert "differs" in found[1]


def test_a_missing_metric_is_incomplete() -> None:
    """A case that is ok and lacks what is gated is not passed."""
    assert one(ColumnRun(["c"], values=BYTES), ColumnRun(["c"], values={"parameters": [1]}), "model_bytes:5%") == (
        "incomplete",
        "the case has no model_bytes",
    )


def test_a_limit_is_not_passed_by_equality() -> None:
    """A loss of exactly the limit is tolerated, more is not."""
    base = ColumnRun(["c"], values={"model_bytes": [100]})
    outcomes = [
        one(base, ColumnRun(["c"], values={"model_bytes": [size]}), "model_bytes:5%")[0] for size in (105, 106, 90)
    ]
    assert outcomes == ["same", "worse", "better"]


def test_a_new_case_that_breaks_is_incomplete() -> None:
    """No pair stands for it, and it is told all the same."""
    base, new = ColumnRun(["a"], values=BYTES), ColumnRun(["b"], values=BYTES, status="failed")
    plan = make_plan([base], ["b"], find_limits({}, ["model_bytes:5%"]).of_case, deselected=["a"])
    (found,) = new_and_broken(plan, [base], new)
    assert (found.case, found.outcome) == ("b", "incomplete")
    assert Judgment(decisions=(found,)).exit_code == 11


def test_exit_codes() -> None:
    """A regression comes before what is incomplete; inconclusive fails only if asked."""
    ids, base, new = timed(1, slowdown=0.5, seed=5)
    (bad,) = decide(plan_for(ids, "latency_p50_seconds", 0.05), [base], new)
    lacking, unsure = replace(bad, outcome="incomplete"), replace(bad, outcome="inconclusive")
    assert Judgment(decisions=(lacking, bad)).exit_code == 10
    assert Judgment(decisions=(lacking,)).exit_code == 11
    assert Judgment(decisions=(unsure,)).exit_code == 0
    assert Judgment(decisions=(unsure,), inconclusive="fail").exit_code == 11


def test_the_limit_type_fits() -> None:
    """The catalogue's limit is what the plan takes."""
    limit = Limit(metric="accuracy", loss=0.01)
    plan = make_plan([ColumnRun(["c"], values=BYTES)], ["c"], lambda case: {"accuracy": limit})
    assert plan.gated[0].text == "1pt"
