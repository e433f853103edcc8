"""Stability: against a plain reference that puts every draw in order case by case."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emobench.analysis import stability as stabilities
from emobench.analysis.candidates import SERVED, Candidates, candidate_groups
from emobench.analysis.ranking import rankings, shared_ranks
from emobench.analysis.scales import Scale, halves
from emobench.analysis.stability import drawn_scores, stability
from tests.analysis.columns_for_ranking import columns

WEIGHTS = {"accuracy": 2.0, "latency_p50_seconds": 1.0, "train_seconds": 0.5}
BETTER = {"accuracy": "higher", "latency_p50_seconds": "lower", "train_seconds": "lower"}


def reference_shares(drawn: Any, ranks: Any) -> tuple[Any, Any]:
    """Each draw on its own, by Python's stable sort."""
    draws, n = drawn.shape
    keeps, first = np.zeros(n), np.zeros(n)
    for draw in drawn.tolist():
        order = sorted(range(n), key=lambda place: -draw[place])
        first[order[0]] += 1
        for position, place in enumerate(order):
            keeps[place] += ranks[position] == ranks[place]
    return keeps / draws, first / draws


def reference_scores(group: Candidates, at: Any, scales: Any, correct: Any, seed: int, draws: int) -> Any:
    """The formulas of the module in their plain form: whole matrices, a side of the interval chosen by the sign."""
    rng = np.random.default_rng(seed)
    total = np.zeros((draws, len(at)))
    for name, weight in WEIGHTS.items():
        figures, scale = group.figures[name], scales[name]
        down, up = halves(figures, at, scale)
        own, shared = np.unique((group.timed if name in SERVED else group.rows)[at], return_inverse=True)
        normal = rng.standard_normal((draws, len(own)))[:, shared]
        values = scale.scaled(figures.value[at]) + normal * np.where(normal < 0, down, up) / 1.959963984540054
        if name == "accuracy" and correct:
            n = len(next(iter(correct.values()))[1][0])
            counts = rng.multinomial(n, np.full(n, 1 / n), size=draws).astype(float)
            places = [place for place, row in enumerate(group.rows[at].tolist()) if row in correct]
            right = np.stack([correct[int(group.rows[at][place])][1].mean(axis=0) for place in places], axis=1)
            values[:, places] = counts @ right / n
        total += weight * scale.of_scaled(values)
    return total


@settings(max_examples=150, deadline=None)
@given(
    st.integers(1, 12).flatmap(
        lambda n: st.tuples(
            st.lists(st.integers(0, 3), min_size=n, max_size=n),
            st.lists(st.lists(st.integers(0, 4) | st.floats(0, 4), min_size=n, max_size=n), min_size=1, max_size=30),
        )
    )
)
def test_shares_are_those_of_every_draw_put_in_order(drawn: tuple[list[int], list[list[float]]]) -> None:
    """Also where draws are equal inside a rank and across ranks, in a few draws or in all."""
    scores = np.sort(np.array(drawn[0], float))[::-1]
    ranks = shared_ranks(scores, np.zeros(len(scores)), np.zeros(len(scores)))
    table = np.array(drawn[1], float)
    keeps, first = stability(table, ranks)
    expected = reference_shares(table, ranks)
    assert keeps.tolist() == expected[0].tolist()
    assert first.tolist() == expected[1].tolist()


def test_a_draw_without_an_order_counts_as_numpy_sorts_it() -> None:
    """NaN, as an infinite figure gives: last in its draw, and no first of it."""
    keeps, first = stability(np.array([[1.0, np.nan, 0.5], [3.0, 2.0, 1.0]]), np.array([1, 2, 3]))
    assert keeps.tolist() == [1.0, 0.5, 0.5]
    assert first.tolist() == [1.0, 0.0, 0.0]


@pytest.mark.parametrize("resample", [False, True])
@pytest.mark.parametrize("part", [1, 100, 10**9])
def test_scores_are_drawn_as_the_plain_formulas_draw_them(
    resample: bool, part: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the last bit, however many draws are worked on at a time; lopsided, missing and shared intervals included."""
    rng = np.random.default_rng(5)
    cases: list[dict[str, Any]] = []
    for number in range(30):
        value, seconds = rng.uniform(0.5, 0.9), rng.uniform(1, 60)
        interval = (value, value - rng.uniform(0, 0.1), value + rng.uniform(0, 0.05))
        cases.append(
            {
                "model": f"m{number // 2}",
                "accuracy": interval if number % 3 else value,
                "train_seconds": (seconds, seconds * 0.9, seconds * 1.3),
            }
        )
    for number in range(15):
        seconds = rng.uniform(0.01, 0.2)
        timed = {"kind": "inference", "dataset": "", "model": f"m{number}", "batch": 1}
        cases.append({**timed, "latency_p50_seconds": (seconds, seconds * 0.8, seconds * 1.1)})
    run = columns(*cases)
    (group,) = candidate_groups(run, list(WEIGHTS))
    at = rng.permutation(30)
    scales = {name: Scale.of(name, BETTER[name], group.figures[name].value[at]) for name in WEIGHTS}
    correct = {row: ("set", rng.random((2, 50)) < 0.7) for row in range(0, 30, 4)} if resample else {}
    monkeypatch.setattr(stabilities, "CACHED_NUMBERS", part)
    drawn, resampled = drawn_scores(group, at, scales, WEIGHTS, correct, 11)
    assert resampled == len(correct)
    assert drawn.shape == (1000, 30)
    assert np.array_equal(drawn, reference_scores(group, at, scales, correct, 11, 1000))


def test_a_ranking_is_the_plain_one() -> None:
    """Order, ranks and every figure of each case, taken one by one from the columns."""
    rng = np.random.default_rng(2)
    cases: list[dict[str, Any]] = []
    for number in range(60):
        value = rng.integers(50, 60) / 100
        case: dict[str, Any] = {"id": f"case-{number * 7 % 60:02}", "model": f"m{number % 20}"}
        case["accuracy"] = (value, value - 0.01, value + 0.01) if number % 2 else value
        if number % 5:
            case["train_seconds"] = (2.0, 1.5, 2.5)
        cases.append(case)
    cases += [
        {"kind": "inference", "dataset": "", "model": f"m{number}", "batch": 4, "latency_p50_seconds": 0.1 + number}
        for number in range(0, 20, 2)
    ]
    run = columns(*cases)
    (found,) = rankings(run, {"accuracy": 1.0})
    expected = sorted(range(60), key=lambda row: (-run.value[row, 0], run.id[row]))
    assert [item.row for item in found.ranked] == expected
    for item in found.ranked:
        case = cases[item.row]
        timed = next((row for row in range(60, 70) if cases[row]["model"] == case["model"]), None)
        assert (item.id, item.model) == (case["id"], case["model"])
        assert item.parts == {"accuracy": pytest.approx((run.value[item.row, 0] - 0.5) / 0.09)}
        asked = ["accuracy", *(["latency_p50_seconds"] if timed is not None else [])]
        assert list(item.values) == asked
        given = case["accuracy"]
        assert item.values["accuracy"] == (given if isinstance(given, tuple) else (given, None, None))
        assert (item.timed, item.batch) == ((run.id[timed], 4) if timed is not None else ("", 0))
        assert type(item.score) is type(item.keeps_rank) is float
        assert type(item.rank) is type(item.batch) is int
        assert type(item.on_joint_front) is bool
