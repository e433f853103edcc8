"""Power: the promised chances by simulation, and formulas that agree with it."""

import math

import numpy as np
import pytest
from scipy.stats import norm

from emobench.analysis.corrections import bonferroni_level
from emobench.analysis.power import POWER, detectable_change, examples_needed
from emobench.analysis.significance import gate_decisions, paired_counts
from tests.analysis.made_rounds import ratios, simulated_rounds

COMPARISONS = 20
"""Gated comparisons of the matrix the promises are stated for."""
CONFIDENCE = 1 - bonferroni_level(0.05, COMPARISONS)


def accuracy_gate(
    *,
    loss: float,
    limit: float,
    n: int,
    discordant: float,
    confidence: float,
    simulations: int = 200,
    seed: int = 0,
) -> float:
    """Share of simulated comparisons the gate calls worse; ``loss`` 0 gives its false alarms.

    Each draws how many of n examples only base and only new has right, with shares (discordant +- loss) / 2.
    """
    shares = [(discordant + loss) / 2, (discordant - loss) / 2, 1 - discordant]
    pairs = np.random.default_rng(seed).multinomial(n, shares, size=simulations)
    found = paired_counts(pairs[:, 0], pairs[:, 1], n, confidence=confidence)
    verdicts = gate_decisions(found.point, found.lower, found.upper, limit, lower_is_better=False)
    return float((verdicts == "worse").mean())


def latency_gate(
    *,
    slowdown: float,
    limit: float,
    rounds: int,
    variation: float,
    correlation: float = 0.0,
    run_spread: float = 0.0,
    confidence: float,
    simulations: int = 200,
    seed: int = 0,
) -> float:
    """Share of simulated comparisons of one run a side that the gate calls worse; ``slowdown`` 0.1 is 10 %.

    ``run_spread`` is what the made-up runs vary by beside their rounds.
    """
    made = simulated_rounds(
        2 * simulations, rounds, variation=variation, correlation=correlation, run_spread=run_spread, seed=seed
    )
    found = ratios(made[:simulations], made[simulations:] * (1 + slowdown), confidence=confidence)
    changes = [np.expm1(end) for end in (np.nan_to_num(found.point), found.lower, found.upper)]
    return float((gate_decisions(*changes, limit, lower_is_better=True) == "worse").mean())


def test_a_loss_of_two_points_is_found() -> None:
    """2 points lost on 5,000 examples of which 8 % change sides, limit 1 point, 20 comparisons: 95 % of 200."""
    options = {"limit": 0.01, "n": 5000, "discordant": 0.08, "confidence": CONFIDENCE}
    assert accuracy_gate(loss=0.02, **options) >= 0.95
    assert accuracy_gate(loss=0.02, simulations=20_000, seed=1, **options) >= 0.95
    assert accuracy_gate(loss=0.0, simulations=20_000, seed=2, **options) <= 0.05 / COMPARISONS


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
        "run_spread": 0.01,
        "confidence": CONFIDENCE,
    }
    assert latency_gate(slowdown=0.10, **options) >= 0.95
    assert latency_gate(slowdown=0.10, simulations=4000, seed=1, **options) >= 0.95
    assert latency_gate(slowdown=0.0, simulations=4000, seed=2, **options) <= 0.05 / COMPARISONS


def test_a_loss_of_the_limit_is_found_about_half_the_time() -> None:
    """By construction: the point of a loss that equals the limit lies beyond it in half of the draws."""
    share = accuracy_gate(loss=0.02, limit=0.02, n=5000, discordant=0.08, confidence=0.95, simulations=20_000)
    assert share == pytest.approx(0.5, abs=0.03)


def connors(n: int, discordant: float, confidence: float) -> float:
    """Smallest difference in accuracy that n paired examples show with this power: Connor (1987), solved for it."""
    z_level, z_power = norm.isf((1 - confidence) / 2), norm.ppf(POWER)
    square = z_level**2 * discordant * n - (n + z_power**2) * discordant * (z_level**2 - z_power**2)
    return float((z_level * math.sqrt(discordant * n) + math.sqrt(square)) / (n + z_power**2))


@pytest.mark.parametrize(("n", "discordant", "confidence"), [(5000, 0.08, 0.9975), (1000, 0.2, 0.95)])
def test_detectable_difference_is_detected(n: int, discordant: float, confidence: float) -> None:
    """From the width of an unchanged case's interval: Connor's difference, and a loss of that size is found as often
    as promised (2 points tolerance)."""
    changed = n * discordant / 2
    found = paired_counts([changed], [changed], n, confidence=confidence)
    loss = float(detectable_change(found.lower, found.upper, confidence=confidence)[0])
    assert loss == pytest.approx(connors(n, discordant, confidence), rel=0.03)
    share = accuracy_gate(loss=loss, limit=0.0, n=n, discordant=discordant, confidence=confidence, simulations=20_000)
    assert share == pytest.approx(POWER, abs=0.025)


def test_detectable_ratio_is_detected() -> None:
    """A slowdown of the size that the interval's width gives is found as often as promised, one half as large not."""
    made = simulated_rounds(4000, 60, variation=0.03, run_spread=0.01, seed=3)
    found = ratios(made[:2000], made[2000:])
    ends = np.expm1(found.lower - found.point), np.expm1(found.upper - found.point)
    change = float(np.median(detectable_change(*ends, relative=True)))
    options = {"limit": 0.0, "rounds": 60, "variation": 0.03, "run_spread": 0.01, "confidence": 0.95}
    assert latency_gate(slowdown=change, simulations=4000, **options) == pytest.approx(POWER, abs=0.05)
    assert latency_gate(slowdown=change / 2, simulations=4000, **options) < 0.5


@pytest.mark.parametrize("discordant", [0.05, 0.2])
def test_the_examples_that_are_said_to_show_it_do(discordant: float) -> None:
    """From what 1,000 examples gave: so many more as are named find a loss of 2 points as often as promised."""
    changed = 1000 * discordant / 2
    found = paired_counts([changed], [changed], 1000)
    needed = float(examples_needed(1000, found.lower, found.upper, np.array([0.02]))[0])
    assert connors(int(needed), discordant, 0.95) == pytest.approx(0.02, rel=0.08)
    share = accuracy_gate(
        loss=0.02, limit=0.0, n=int(needed), discordant=discordant, confidence=0.95, simulations=20_000
    )
    assert share == pytest.approx(POWER, abs=0.05)


def test_no_number_of_examples_shows_nothing() -> None:
    """A limit of 0 needs more than there can be; a number has two digits and is rounded up."""
    lower, upper = np.full(2, -0.1), np.full(2, 0.1)
    found = examples_needed([64, 64], lower, upper, np.array([0.0, 0.02]))
    assert found[0] == math.inf
    exact = 64 * (0.1 * (1 + norm.ppf(0.8) / norm.isf(0.025)) / 0.02) ** 2
    assert found[1] == math.ceil(exact / 100) * 100


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
    assert latency_gate(slowdown=1.0, limit=0.05, rounds=5, variation=0.03, confidence=0.95) == 0.0
