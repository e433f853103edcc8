"""The Pareto front against a comparison of all pairs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from emobench.analysis.pareto import on_front


def brute_force(costs: np.ndarray) -> list[bool]:
    def dominates(one: np.ndarray, other: np.ndarray) -> bool:
        return bool((one <= other).all() and (one < other).any())

    whole = ~np.isnan(costs).any(axis=1)
    return [
        bool(
            whole[row] and not any(whole[other] and dominates(costs[other], costs[row]) for other in range(len(costs)))
        )
        for row in range(len(costs))
    ]


# Few distinct values, so that ties in one or all columns are the rule.
VALUES = st.sampled_from([0.0, 1.0, 2.0, 3.0, float("inf"), -float("inf"), float("nan")]) | st.floats(-5, 5)


@settings(max_examples=300, deadline=None)
@given(
    arrays(np.float64, st.tuples(st.integers(0, 12), st.integers(1, 4)), elements=VALUES),
)
def test_the_front_is_what_comparing_all_pairs_gives(costs: np.ndarray) -> None:
    """For one to four quantities, with ties, infinities and missing figures."""
    assert on_front(costs).tolist() == brute_force(costs)


@pytest.mark.parametrize("quantities", [2, 3])
def test_large_tables_agree_with_all_pairs(quantities: int) -> None:
    """A few hundred random rows give the same front."""
    costs = np.random.default_rng(0).random((300, quantities)).round(2)
    assert on_front(costs).tolist() == brute_force(costs)


def test_equal_cases_are_on_the_front_together() -> None:
    """Neither of two equal rows dominates the other."""
    assert on_front([[1, 2], [1, 2], [1, 3]]).tolist() == [True, True, False]


def test_a_table_without_columns_is_refused() -> None:
    """There is no front over nothing."""
    with pytest.raises(ValueError, match=r"shape \(3, 0\)"):
        on_front(np.zeros((3, 0)))
