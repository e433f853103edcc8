"""Corrections for many comparisons against statsmodels, and what must hold for any p-values."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from emobench.analysis.corrections import benjamini_hochberg, bonferroni_level, holm

P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=40)


@given(values=P_VALUES)
@settings(max_examples=15, deadline=None)
def test_corrections_equal_statsmodels(values: list[float]) -> None:
    """Adjusted p-values are statsmodels' for any input, ties, zeros and ones included."""
    np.testing.assert_allclose(holm(values), multipletests(values, method="holm")[1], rtol=1e-12, atol=1e-300)
    np.testing.assert_allclose(
        benjamini_hochberg(values), multipletests(values, method="fdr_bh")[1], rtol=1e-12, atol=1e-300
    )


@given(values=P_VALUES)
def test_corrections_are_monotone(values: list[float]) -> None:
    """A correction never lowers a p-value, keeps their order, stays in 0 to 1, and Holm is never the milder one."""
    order = np.argsort(values, kind="stable")
    for adjusted in (holm(values), benjamini_hochberg(values)):
        assert (adjusted >= np.asarray(values) * (1 - 1e-12)).all()
        assert (np.diff(adjusted[order]) >= 0).all()
        assert (adjusted <= 1).all()
    assert (holm(values) >= benjamini_hochberg(values) * (1 - 1e-12)).all()


def test_no_comparison_has_no_p_value() -> None:
    """An empty matrix is adjusted to an empty one."""
    assert holm([]).shape == benjamini_hochberg([]).shape == (0,)


@pytest.mark.parametrize("values", [[0.1, float("nan")], [1.1], [-0.1], [[0.1, 0.2]]])
def test_what_is_no_p_value_is_refused(values: list[float]) -> None:
    """A NaN must not pass as an insignificant comparison."""
    with pytest.raises(ValueError, match="between 0 and 1"):
        holm(values)
    with pytest.raises(ValueError, match="between 0 and 1"):
        benjamini_hochberg(values)


def test_bonferroni_level() -> None:
    """Twenty comparisons at 5 % are tested at 0.25 % each; none and impossible levels are refused."""
    assert bonferroni_level(0.05, 20) == pytest.approx(0.0025)
    with pytest.raises(ValueError, match="comparisons=0"):
        bonferroni_level(0.05, 0)
    with pytest.raises(ValueError, match=r"alpha=1\.5"):
        bonferroni_level(1.5, 2)
