"""What the data could have shown: the smallest detectable change, and how many examples would show a given one.

Both come from an interval's width alone: power is a matter of n, spread and level, and not of the result.

Shapes: C comparisons.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from emobench.analysis.columns import Floats
from emobench.analysis.quantiles import two_sided_z

POWER = 0.8
"""Chance with which a change is shown that is called detectable."""


def detectable_change(
    lower: Floats, upper: Floats, *, relative: npt.ArrayLike = False, confidence: float = 0.95
) -> Floats:
    """Smallest true change that an interval of this width shows with :data:`POWER`, in the interval's terms.

    The half width times 1 + z(power) / z(confidence); of a ``relative`` change (ratio - 1) on logarithms.
    """
    factor = 1 + float(ndtri(POWER)) / two_sided_z(confidence)
    with np.errstate(divide="ignore", invalid="ignore"):
        plain = (upper - lower) / 2 * factor
        ratio = np.expm1(np.log((1 + upper) / (1 + lower)) / 2 * factor)
    return np.where(relative, ratio, plain)


def examples_needed(n: npt.ArrayLike, lower: Floats, upper: Floats, limit: Floats) -> Floats:
    """Examples that would show a change of ``limit`` in a score, from the 95 % interval that n of them gave.

    An interval's width goes with the root of the examples. Rounded up to two digits; infinite for a limit of 0.
    """
    found = np.full(limit.shape, np.inf)
    np.divide(detectable_change(lower, upper), limit, out=found, where=limit > 0)
    exact = np.asarray(n, np.float64) * found**2
    digit = 10.0 ** np.floor(np.log10(np.clip(exact, 1.0, 1e300)) - 1)
    return np.asarray(np.ceil(exact / digit) * digit)
