"""Rankings: scores, shared ranks, joined figures, missing ones, stability."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata

from emobench.analysis.ranking import PRESETS, by_model, parse_weights, rankings, shared_ranks
from emobench.analysis.rows import MEMORY
from emobench.errors import SpecError
from tests.analysis.columns_for_ranking import columns


def timed(model: str, latency: Any, **axes: Any) -> dict[str, Any]:
    case = {"kind": "inference", "dataset": "", "model": model, "batch": 1, "latency_p50_seconds": latency}
    return {**case, "id": f"inference-{model}-b{axes.get('batch', 1)}", **axes}


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]), min_size=1, max_size=20))
def test_without_intervals_ranks_are_those_of_scipy(scores: list[float]) -> None:
    """Equal scores share the smallest of their ranks, as in a race."""
    ordered = np.sort(scores)[::-1]
    nothing = np.zeros_like(ordered)
    assert shared_ranks(ordered, nothing, nothing).tolist() == rankdata(-ordered, method="min").tolist()


def test_a_rank_is_shared_up_to_the_bar_of_the_difference() -> None:
    """Bars of 0.3 below and 0.4 above make a bar of 0.5 for the difference; the next rank counts all before it."""
    ranks = shared_ranks([1.0, 0.51, 0.49, 0.0], [0.3, 0.3, 0.3, 0.3], [0.4, 0.4, 0.4, 0.4])
    assert ranks.tolist() == [1, 1, 3, 3]


def test_a_chain_of_ties_is_cut_at_the_first_of_the_group() -> None:
    """Each neighbor ties with the next, and still the last does not share the first one's rank."""
    assert shared_ranks([1.0, 0.9, 0.8, 0.7], [0.1] * 4, [0.1] * 4).tolist() == [1, 1, 3, 3]


def test_shares_are_scaled_linearly_and_times_by_their_logarithm() -> None:
    """Halfway between 0.6 and 0.8 is 0.7; halfway between 10 and 40 ms is 20 ms."""
    run = columns(
        {"id": "a", "accuracy": 0.8, "train_seconds": 40.0},
        {"id": "b", "accuracy": 0.7, "train_seconds": 20.0},
        {"id": "c", "accuracy": 0.6, "train_seconds": 10.0},
    )
    (found,) = rankings(run, {"accuracy": 3, "train_seconds": 1})
    parts = {item.id: dict(item.parts) for item in found.ranked}
    assert parts["b"] == pytest.approx({"accuracy": 0.5, "train_seconds": 0.5})
    assert parts["a"] == pytest.approx({"accuracy": 1.0, "train_seconds": 0.0})
    assert [item.id for item in found.ranked] == ["a", "b", "c"]
    assert [item.score for item in found.ranked] == pytest.approx([0.75, 0.5, 0.25])
    assert found.weights == {"accuracy": 0.75, "train_seconds": 0.25}


def test_scores_do_not_depend_on_the_unit_of_a_time() -> None:
    """Seconds or milliseconds: the same scores; the same holds for the factor of all weights."""
    first = columns(*({"train_seconds": value} for value in (3.0, 5.0, 11.0)))
    second = columns(*({"train_seconds": value * 1e3} for value in (3.0, 5.0, 11.0)))
    scores = [
        [item.score for item in rankings(run, {"train_seconds": w})[0].ranked] for run, w in ((first, 1), (second, 7))
    ]
    assert scores[0] == pytest.approx(scores[1])


def test_the_bar_of_a_score_combines_those_of_its_metrics() -> None:
    """Halves of 0.1 and 0.2 on ranges of 0.5, weighed 1/2 each: sqrt(0.1^2 + 0.2^2); lower is better swaps the ends."""
    run = columns(
        {"id": "a", "accuracy": (0.9, 0.8, 0.95), "memory_ratio": (0.2, 0.1, 0.4)},
        {"id": "b", "accuracy": 0.4, "memory_ratio": 0.7},
    )
    (found,) = rankings(run, {"accuracy": 1, "memory_ratio": 1})
    best = found.ranked[0]
    assert best.score - best.low == pytest.approx(np.hypot(0.1, 0.2))
    assert best.high - best.score == pytest.approx(np.hypot(0.05, 0.1))
    assert found.without_interval == ("accuracy", "memory_ratio")


def test_latency_comes_from_the_inference_case_of_the_same_model() -> None:
    """Batch 1 before smaller names; another precision, hardware or kind of weights is never taken."""
    run = columns(
        {"id": "a", "model": "a", "accuracy": 0.8, "host_memory_growth_bytes": 5.0},
        {"id": "b", "model": "b", "accuracy": 0.8},
        timed("a", 0.4, batch=8, host_memory_growth_bytes=2.0),
        timed("a", 0.1, host_memory_growth_bytes=1.0),
        timed("a", 0.2, length=64, id="longer"),
        timed("b", 0.1, precision="bf16"),
        timed("b", 0.1, weights="random"),
        timed("b", 0.1, hardware="another"),
        timed("b", 0.1, status="invalid"),
    )
    (found,) = rankings(run, {"accuracy": 1, "latency_p50_seconds": 1, MEMORY: 1})
    (ranked,) = found.ranked
    assert (ranked.id, ranked.timed, ranked.batch) == ("a", "inference-a-b1", 1)
    assert ranked.values["latency_p50_seconds"][0] == 0.1
    # What training took is not what serving takes.
    assert ranked.values[MEMORY][0] == 1.0
    (rest,) = found.unranked
    assert rest.id == "b"
    assert rest.reason == (
        "it has no latency_p50_seconds, memory_bytes; "
        "the run has no inference case of the same model, precision, device and backend"
    )


def test_a_shrunk_model_is_none_of_the_timed_ones() -> None:
    """The latency of the original is not that of its variant."""
    run = columns({"kind": "shrink", "accuracy": 0.8}, timed("m", 0.1))
    (found,) = rankings(run, {"accuracy": 1, "latency_p50_seconds": 1})
    assert not found.ranked
    assert "it has no latency_p50_seconds" in found.unranked[0].reason


def test_cases_that_are_not_ok_or_lack_a_metric_are_unranked() -> None:
    """Nothing is filled in, and the others are ranked as if these were not there."""
    run = columns(
        {"id": "a", "accuracy": 0.8, "train_seconds": 1.0},
        {"id": "b", "accuracy": 0.7, "train_seconds": 2.0},
        {"id": "c", "accuracy": 0.1},
        {"id": "d", "accuracy": 0.0, "train_seconds": 9.0, "status": "invalid"},
    )
    (found,) = rankings(run, {"accuracy": 1, "train_seconds": 1})
    assert [(item.id, item.score) for item in found.ranked] == [("a", 1.0), ("b", 0.0)]
    assert [(item.id, item.reason) for item in found.unranked] == [
        ("c", "it has no train_seconds"),
        ("d", "its status is invalid"),
    ]


def test_data_sets_profiles_and_weights_are_ranked_apart() -> None:
    """Accuracies of different tasks say nothing about one another."""
    run = columns(
        {"accuracy": 0.8},
        {"accuracy": 0.7, "dataset": "news"},
        {"accuracy": 0.7, "profile": "smoke"},
        {"accuracy": 0.7},
    )
    found = rankings(run, {"accuracy": 1})
    assert [(one.name, len(one.ranked)) for one in found] == [
        ("reviews, profile quick", 2),
        ("news, profile quick", 1),
        ("reviews, profile smoke", 1),
    ]


def test_speed_alone_ranks_the_timed_cases_by_batch_size() -> None:
    """Without a quality the candidates are the inference cases themselves."""
    run = columns({"accuracy": 0.8}, timed("a", 0.2), timed("b", 0.1), timed("a", 0.9, batch=8))
    found = rankings(run, {"latency_p50_seconds": 1})
    assert [one.name for one in found] == ["inference, batch 1, profile quick", "inference, batch 8, profile quick"]
    assert [item.model for item in found[0].ranked] == ["b", "a"]
    assert found[0].ranked[0].timed == ""


def test_the_front_names_the_quantities() -> None:
    """The best quality and the lowest latency are on that front; a case that is neither is not."""
    run = columns(
        {"id": "a", "model": "a", "accuracy": 0.9},
        {"id": "b", "model": "b", "accuracy": 0.8},
        {"id": "c", "model": "c", "accuracy": 0.7},
        timed("a", 0.3, energy_joules_per_sample=1.0),
        timed("b", 0.1, energy_joules_per_sample=2.0),
        timed("c", 0.2, energy_joules_per_sample=0.5),
    )
    (found,) = rankings(run, {"accuracy": 1})
    fronts = {item.id: item.fronts for item in found.ranked}
    assert fronts["a"] == ("latency_p50_seconds", "energy_joules_per_sample")
    assert fronts["b"] == ("latency_p50_seconds",)
    assert fronts["c"] == ("energy_joules_per_sample",)
    assert found.joint == ("accuracy", "latency_p50_seconds", "energy_joules_per_sample")
    assert [item.on_joint_front for item in found.ranked] == [True, True, True]


def test_by_model_gives_the_best_case_of_each() -> None:
    """A model stands with its best case, that case's rank, and the number of its cases."""
    run = columns(
        {"id": "a1", "model": "a", "accuracy": 0.6},
        {"id": "b1", "model": "b", "accuracy": 0.7},
        {"id": "a2", "model": "a", "accuracy": 0.9},
    )
    best, counts = by_model(rankings(run, {"accuracy": 1})[0])
    assert [(item.id, item.rank) for item in best] == [("a2", 1), ("b1", 2)]
    assert counts == {"a": 2, "b": 1}


def test_stability_of_two_equal_cases_is_a_coin() -> None:
    """Same value, same interval, independent draws: each is first in half of them, and both keep their shared rank."""
    run = columns({"accuracy": (0.8, 0.7, 0.9)}, {"accuracy": (0.8, 0.7, 0.9)}, {"accuracy": (0.1, 0.05, 0.15)})
    (found,) = rankings(run, {"accuracy": 1})
    assert [item.rank for item in found.ranked] == [1, 1, 3]
    assert sum(item.is_first for item in found.ranked) == pytest.approx(1.0)
    assert found.ranked[0].is_first == pytest.approx(0.5, abs=0.06)
    assert [item.keeps_rank for item in found.ranked] == [1.0, 1.0, 1.0]


def test_stability_agrees_with_the_normal_distribution() -> None:
    """P(first) of a case one standard error of the difference ahead is Phi(1) = 0.841."""
    half = 1.96 * 0.05 / np.sqrt(2)
    run = columns({"accuracy": (0.75, 0.75 - half, 0.75 + half)}, {"accuracy": (0.7, 0.7 - half, 0.7 + half)})
    (found,) = rankings(run, {"accuracy": 1}, seed=3)
    assert found.ranked[0].is_first == pytest.approx(0.841, abs=0.04)


def test_paired_examples_make_a_ranking_as_stable_as_it_is() -> None:
    """One case right wherever the other is and on ten more examples is always first, however wide the intervals are."""
    right = np.random.default_rng(0).random((1, 400)) < 0.7
    more = right.copy()
    more[0, np.flatnonzero(~right[0])[:30]] = True
    wide = {"accuracy": (float(right.mean()), 0.6, 0.8)}
    run = columns(wide, {"accuracy": (float(more.mean()), 0.65, 0.85)})
    (alone,) = rankings(run, {"accuracy": 1})
    (paired,) = rankings(run, {"accuracy": 1}, correct={0: ("set", right), 1: ("set", more)})
    assert paired.resampled == 2
    assert paired.ranked[0].is_first == 1.0
    assert alone.resampled == 0
    assert alone.ranked[0].is_first < 0.95


def test_cases_with_one_timed_case_share_its_noise() -> None:
    """Two adapters on one model have one latency: its interval cannot change their order."""
    run = columns(
        {"id": "a", "accuracy": 0.8},
        {"id": "b", "accuracy": 0.79},
        {"id": "c", "accuracy": 0.1, "model": "other"},
        timed("m", (0.2, 0.05, 0.8)),
        timed("other", 0.1),
    )
    (found,) = rankings(run, {"accuracy": 1, "latency_p50_seconds": 1})
    assert {item.id: item.is_first for item in found.ranked}["b"] == 0.0


def test_the_seed_decides_the_draws() -> None:
    """Equal seeds give equal shares."""
    run = columns(*({"accuracy": (0.5 + i / 100, 0.3, 0.9)} for i in range(5)))
    first, again, other = (rankings(run, {"accuracy": 1}, seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert first != other


@pytest.mark.parametrize("name", PRESETS)
def test_presets_sum_to_one(name: str) -> None:
    """Each preset weighs quality, latency and memory, and its own name most."""
    weights = PRESETS[name]
    assert sum(weights.values()) == pytest.approx(1)
    most = {"quality": "accuracy", "speed": "latency_p50_seconds", "memory": MEMORY}.get(name)
    assert most is None or max(weights, key=weights.__getitem__) == most


@pytest.mark.parametrize(
    "text", ["accuracy", "accuracy=", "accuracy=x", "accuracy=0", "accuracy=-1", "accuracy=inf", "=1"]
)
def test_a_weight_that_is_none_is_refused(text: str) -> None:
    """The message shows the text and the form."""
    with pytest.raises(SpecError, match="a weight is METRIC=W with a number W above 0"):
        parse_weights([text])


def test_weights_are_numbers_by_metric() -> None:
    """A metric given twice is refused, not summed."""
    assert parse_weights(["accuracy=2", "f1_macro=0.5"]) == {"accuracy": 2.0, "f1_macro": 0.5}
    with pytest.raises(SpecError, match="accuracy has a weight already"):
        parse_weights(["accuracy=2", "accuracy=1"])


def test_an_unknown_or_directionless_metric_is_refused() -> None:
    """The nearest known one is named."""
    run = columns({"accuracy": 0.5})
    with pytest.raises(SpecError, match="did you mean 'accuracy'"):
        rankings(run, {"acuracy": 1})
    with pytest.raises(SpecError, match="neither more nor less of it is better"):
        rankings(run, {"parameters": 1})


def test_ten_thousand_cases_take_well_under_a_second() -> None:
    """Processor time, so that other processes do not matter; the limit leaves room for a slow machine."""
    rng = np.random.default_rng(0)
    cases = [
        {"id": f"f{i}", "model": f"m{i}", "accuracy": (x, x - 0.1, x + 0.1)} for i, x in enumerate(rng.random(5000))
    ]
    cases += [timed(f"m{i}", float(x)) for i, x in enumerate(rng.random(5000))]
    run = columns(*cases)
    start = time.process_time()
    (found,) = rankings(run, {"accuracy": 1, "latency_p50_seconds": 1})
    assert time.process_time() - start < 1.0
    assert len(found.ranked) == 5000
