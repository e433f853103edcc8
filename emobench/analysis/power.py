"""What the data could have shown: smallest detectable differences, and how often the gate finds a planted loss.

Formulas first; the simulations run the gate's own intervals and rule on made-up data and are what the formulas are
checked against. Nothing here looks at a result: power is a matter of n, spread and level.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from emobench.analysis.latency import RUN_SPREAD, latency_columns, summarize_rounds
from emobench.analysis.quantiles import two_sided_t, two_sided_z
from emobench.analysis.significance import gate_decisions, paired_counts
from emobench.order_statistics import FEWEST

Floats = npt.NDArray[np.float64]


def detectable_accuracy_difference(
    n: npt.ArrayLike,
    discordant: npt.ArrayLike,
    *,
    confidence: npt.ArrayLike = 0.95,
    power: float = 0.8,
    limit: float = 0.0,
) -> Floats:
    """Smallest true difference in accuracy that n paired examples show with this power; a share, of the inputs' shape.

    ``discordant`` is the share of examples on which exactly one of the two is right. Connor (1987), solved for the
    difference. With a ``limit`` the point must pass that too, so the difference is at least the limit plus the power's
    quantile times the standard error. Infinity where even a difference of all discordant examples would not show.
    """
    size, share = np.asarray(n, dtype=np.float64), np.asarray(discordant, dtype=np.float64)
    z_level, z_power = two_sided_z(confidence), float(ndtri(power))
    square = z_level**2 * share * size - (size + z_power**2) * share * (z_level**2 - z_power**2)
    found = (z_level * np.sqrt(share * size) + np.sqrt(np.maximum(square, 0.0))) / (size + z_power**2)
    if limit > 0:
        found = np.maximum(found, limit + z_power * np.sqrt(np.maximum(share - found**2, 0.0) / size))
    return np.where((found <= share) & (share > 0), found, np.inf)


def detectable_latency_ratio(
    scale: npt.ArrayLike,
    effective_base: npt.ArrayLike,
    effective_new: npt.ArrayLike,
    *,
    confidence: npt.ArrayLike = 0.95,
    power: float = 0.8,
    limit: float = 0.0,
    run_spread: float = RUN_SPREAD,
) -> Floats:
    """Smallest true ratio new / base above 1 that one run a side shows with this power.

    ``scale`` and the effective rounds are a :class:`LatencySummary`'s; ``limit`` is a share (0.05 for 5 %).
    """
    spread = np.asarray(scale, dtype=np.float64)
    inner = [spread**2 / np.asarray(effective, dtype=np.float64) for effective in (effective_base, effective_new)]
    error = np.sqrt(inner[0] + inner[1] + 2 * run_spread**2)
    df = error**4 / (
        inner[0] ** 2 / np.maximum(np.asarray(effective_base) - 1, 1)
        + inner[1] ** 2 / np.maximum(np.asarray(effective_new) - 1, 1)
    )
    quantile = float(ndtri(power))
    shown = (two_sided_t(confidence, df) + quantile) * error
    return np.asarray(np.exp(np.maximum(shown, np.log1p(limit) + quantile * error if limit > 0 else 0.0)))


def simulated_rounds(
    runs: int,
    rounds: int,
    *,
    median: float = 0.1,
    variation: float,
    correlation: float = 0.0,
    run_spread: float = 0.0,
    seed: int,
) -> Floats:
    """Made-up latencies in seconds, shape (runs, rounds): log-normal, neighbors correlated, each run moved as a whole.

    ``variation`` and ``run_spread`` are standard deviations of the logarithm, within and between runs (0.03 is about a
    coefficient of variation of 3 %); ``correlation`` is that of neighbors, AR(1).
    """
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(runs, rounds))
    series = np.empty_like(noise)
    series[:, 0] = noise[:, 0]
    # One step a round for all runs at once; a recursive filter would need scipy.signal for the same.
    for index in range(1, rounds):
        series[:, index] = correlation * series[:, index - 1] + np.sqrt(1 - correlation**2) * noise[:, index]
    moved = run_spread * rng.normal(size=(runs, 1))
    return np.asarray(median * np.exp(variation * series + moved))


def simulated_accuracy_gate(
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
    if not abs(loss) <= discordant <= 1:
        raise ValueError(f"discordant={discordant} must lie between the loss {loss} and 1")
    shares = [(discordant + loss) / 2, (discordant - loss) / 2, 1 - discordant]
    pairs = np.random.default_rng(seed).multinomial(n, shares, size=simulations)
    found = paired_counts(pairs[:, 0], pairs[:, 1], n, confidence=confidence)
    verdicts = gate_decisions(found.point, found.lower, found.upper, limit, lower_is_better=False)
    return float((verdicts == "worse").mean())


def simulated_latency_gate(
    *,
    slowdown: float,
    limit: float,
    rounds: int,
    variation: float,
    correlation: float = 0.0,
    true_run_spread: float = 0.0,
    run_spread: float = RUN_SPREAD,
    confidence: float,
    simulations: int = 200,
    seed: int = 0,
) -> float:
    """Share of simulated comparisons of one run a side that the gate calls worse; ``slowdown`` 0.1 is 10 %.

    ``true_run_spread`` is what the made-up runs vary by, ``run_spread`` what the interval assumes.
    """
    if rounds < FEWEST:
        return 0.0
    made = simulated_rounds(
        2 * simulations,
        rounds,
        variation=variation,
        correlation=correlation,
        run_spread=true_run_spread,
        seed=seed,
    )
    base, new = summarize_rounds(made[:simulations]), summarize_rounds(made[simulations:] * (1 + slowdown))
    found = latency_columns(base, new, confidence=confidence, run_spread=run_spread)
    verdicts = gate_decisions(found.ratio - 1, found.lower - 1, found.upper - 1, limit, lower_is_better=True)
    return float((verdicts == "worse").mean())
