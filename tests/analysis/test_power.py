"""Power: the promised chances by simulation, and formulas that agree with it."""

import math

import numpy as np
import pytest

from emobench.analysis.corrections import bonferroni_level
from emobench.analysis.latency import summarize_rounds
from emobench.analysis.power import (
    detectable_accuracy_difference,
    detectable_latency_ratio,
    simulated_accuracy_gate,
    simulated_latency_gate,
    simulated_rounds,
)

COMPARISONS = 20
"""Gated comparisons of the matrix the promises are stated for."""
CONFIDENCE = 1 - bonferroni_level(0.05, COMPARISONS)


def test_a_loss_of_two_points_is_found() -> None:
    """2 points lost on 5,000 examples of which 8 % change sides, limit 1 point, 20 comparisons: 95 % of 200."""
    options = {"limit": 0.01, "n": 5000, "discordant": 0.08, "confidence": CONFIDENCE}
    assert simulated_accuracy_gate(loss=0.02, **options) >= 0.95
    assert simulated_accuracy_gate(loss=0.02, simulations=20_000, seed=1, **options) >= 0.95
    assert simulated_accuracy_gate(loss=0.0, simulations=20_000, seed=2, **options) <= 0.05 / COMPARISONS


@pytest.mark.parametrize("correlation", [0.0, 0.2])
def test_a_slowdown_of_ten_percent_is_found(correlation: float) -> None:
    """10 % slower, 30 rounds with a coefficient of variation of 3 %, limit 5 %, 20 comparisons: 95 % of 200.

    Runs differ by 1 % beyond their rounds, as the interval assumes.
    """
    options = {
        "limit": 0.05,
        "rounds": 30,
        "variation": 0.03,
        "correlation": correlation,
        "true_run_spread": 0.01,
        "confidence": CONFIDENCE,
    }
    assert simulated_latency_gate(slowdown=0.10, **options) >= 0.95
    assert simulated_latency_gate(slowdown=0.10, simulations=4000, seed=1, **options) >= 0.95
    assert simulated_latency_gate(slowdown=0.0, simulations=4000, seed=2, **options) <= 0.05 / COMPARISONS


def test_a_loss_of_the_limit_is_found_about_half_the_time() -> None:
    """By construction: the point of a loss that equals the limit lies beyond it in half of the draws."""
    share = simulated_accuracy_gate(loss=0.02, limit=0.02, n=5000, discordant=0.08, confidence=0.95, simulations=20_000)
    assert share == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("power", [0.8, 0.95])
@pytest.mark.parametrize(("n", "discordant", "confidence"), [(5000, 0.08, 0.9975), (1000, 0.2, 0.95)])
def test_detectable_difference_is_detected(power: float, n: int, discordant: float, confidence: float) -> None:
    """A true loss of the formula's size is found as often as asked (2 points tolerance), with a limit or without."""
    for limit in (0.0, 0.02):
        loss = float(detectable_accuracy_difference(n, discordant, confidence=confidence, power=power, limit=limit))
        share = simulated_accuracy_gate(
            loss=loss, limit=limit, n=n, discordant=discordant, confidence=confidence, simulations=20_000
        )
        assert power - 0.025 <= share
        if limit == 0:
            assert share <= power + 0.025


def test_detectable_difference_may_not_exist() -> None:
    """With ten examples of which one changes sides nothing can be shown; with more examples less suffices."""
    assert detectable_accuracy_difference(10, 0.1) == math.inf
    found = detectable_accuracy_difference([500, 1000, 5000, 50_000], 0.1)
    assert (np.diff(found) < 0).all()
    assert found[2] == pytest.approx(2.8 * math.sqrt(0.1 / 5000), rel=0.03)


def test_detectable_ratio_is_detected() -> None:
    """A slowdown of the formula's size is found at least as often as asked, and one half as large is not."""
    made = summarize_rounds(simulated_rounds(2000, 60, variation=0.03, seed=3))
    for limit in (0.0, 0.05):
        ratio = float(
            detectable_latency_ratio(
                np.median(made.scale), np.median(made.effective), np.median(made.effective), power=0.8, limit=limit
            )
        )
        options = {"limit": limit, "rounds": 60, "variation": 0.03, "true_run_spread": 0.01, "confidence": 0.95}
        assert simulated_latency_gate(slowdown=ratio - 1, simulations=4000, **options) == pytest.approx(0.8, abs=0.05)
        assert simulated_latency_gate(slowdown=(ratio - 1) / 2, simulations=4000, **options) < 0.5


def test_simulated_rounds_are_what_they_say() -> None:
    """Spread, correlation and run spread of the made-up rounds are those asked for; the same seed repeats them."""
    made = np.log(simulated_rounds(400, 400, variation=0.03, correlation=0.5, run_spread=0.02, seed=1))
    inside = made - made.mean(axis=1, keepdims=True)
    assert inside.std() == pytest.approx(0.03, rel=0.05)
    assert made.mean(axis=1).std() == pytest.approx(0.02, rel=0.1)
    assert (inside[:, 1:] * inside[:, :-1]).mean() / inside.var() == pytest.approx(0.5, abs=0.03)
    again = np.log(simulated_rounds(400, 400, variation=0.03, correlation=0.5, run_spread=0.02, seed=1))
    assert (made == again).all()


def test_few_rounds_find_nothing() -> None:
    """With five rounds the gate finds no slowdown at all."""
    assert simulated_latency_gate(slowdown=1.0, limit=0.05, rounds=5, variation=0.03, confidence=0.95) == 0.0


def test_impossible_losses_are_refused() -> None:
    """A loss larger than the share of examples that change sides cannot be drawn."""
    with pytest.raises(ValueError, match=r"discordant=0\.01"):
        simulated_accuracy_gate(loss=0.02, limit=0.01, n=100, discordant=0.01, confidence=0.95)
