"""Effect sizes of changes, in columns: how large a change is beside what varies anyway. It tests nothing.

Shapes: C cases.
"""

from __future__ import annotations

import numpy as np
from scipy.special import erf

from emobench.analysis.columns import Floats, Ints, Rounds
from emobench.analysis.median_ratios import median_quantiles
from emobench.analysis.pairs import Pairs

_MEDIAN_ERROR = float(np.sqrt(np.pi / 2))
"""Standard error of the median of n normal values, in units of spread / sqrt(n)."""


def score_effect(base: Floats, new: Floats) -> Floats:
    """Cohen's h of shares, 2 asin(sqrt(new)) - 2 asin(sqrt(base)); NaN for what is no share (Cohen 1988)."""
    with np.errstate(invalid="ignore"):
        return np.asarray(2 * np.arcsin(np.sqrt(new)) - 2 * np.arcsin(np.sqrt(base)), np.float64)


def rounds_effect(pairs: Pairs, at: Ints, point: Floats) -> Floats:
    """Cliff's delta of what follows from rounds: P(new > base) - P(new < base) of a round of each side, -1 to 1.

    ``point`` is new / base - 1, shape (C,). In closed form from that and the spread of the rounds of the new run and of
    the newest base run, both of which it takes for log-normal: erf(log ratio / sqrt(2 (s1^2 + s2^2))). NaN where a
    side has fewer than six rounds.
    """
    number, rows = pairs.newest(at)
    base = np.full(len(at), np.nan)
    for index, run in enumerate(pairs.base):
        mine = number == index
        base[mine] = _spread(run.rounds, rows[mine])
    new = _spread(pairs.new.rounds, pairs.new_rows[at])
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(erf(np.log1p(point) / np.sqrt(2 * (base**2 + new**2))), np.float64)


def _spread(rounds: Rounds, rows: Ints) -> Floats:
    """Standard deviation of the logarithm of a round, from the interval of the median."""
    n = rounds.n[rows]
    factor = np.sqrt(n) / (2 * median_quantiles(n) * _MEDIAN_ERROR)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray((np.log(rounds.high[rows]) - np.log(rounds.low[rows])) * factor, np.float64)
