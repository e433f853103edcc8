"""Effect sizes in columns, against those of single comparisons."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.proportion import proportion_effectsize

from emobench.analysis.compare import compare
from emobench.analysis.effects import score_effect
from tests.analysis.column_runs import ColumnRun
from tests.analysis.made_rounds import simulated_rounds


def test_scores_have_cohens_h() -> None:
    """The effect size of two shares is statsmodels'; 0.5 against 0.8 is 0.644; what is no share has none."""
    base, new = np.array([0.5, 0.0, 0.9, -0.1]), np.array([0.8, 1.0, 0.9, 0.2])
    found = score_effect(base, new)
    assert found[:3] == pytest.approx(proportion_effectsize(new[:3], base[:3]))
    assert found[0] == pytest.approx(0.6435, abs=1e-4)
    assert np.isnan(found[3])


@pytest.mark.parametrize("factor", [0.9, 1.0, 1.02, 1.2])
def test_rounds_have_cliffs_delta(factor: float) -> None:
    """The closed form is, in the mean of 300 cases, that of all pairs of rounds, and follows it in each case."""
    sides = [simulated_rounds(300, 60, variation=0.05, run_spread=0.0, seed=seed) for seed in (1, 2)]
    sides[1] *= factor
    ids = [f"c{row}" for row in range(300)]
    base, new = (ColumnRun(ids, seconds=seconds) for seconds in sides)
    rows = compare([base], new, metrics=["latency_p50_seconds"]).rows
    # Mann-Whitney's U counts the pairs in which the new round is longer.
    longer = [stats.mannwhitneyu(now, old).statistic for old, now in zip(*sides, strict=True)]
    exact = 2 * np.array(longer) / 60**2 - 1
    assert rows.effect.mean() == pytest.approx(exact.mean(), abs=0.02)
    assert np.abs(rows.effect - exact).max() < 0.45
    assert np.isfinite(rows.effect).all()


def test_a_speed_has_the_sign_of_its_own_change() -> None:
    """Slower rounds are fewer samples per second: latency goes up, speed goes down, by the same."""
    seconds = simulated_rounds(1, 30, variation=0.03, run_spread=0.0, seed=3)
    base, new = ColumnRun(["a"], seconds=seconds), ColumnRun(["a"], seconds=seconds * 1.05)
    rows = compare([base], new, metrics=["latency_p50_seconds", "samples_per_second"]).rows
    assert rows.effect[0] > 0.5
    assert rows.effect[1] == pytest.approx(-rows.effect[0])


def test_what_has_no_spread_has_no_effect_size() -> None:
    """Counts and few rounds."""
    base = ColumnRun(["a"], seconds=np.full((1, 3), 0.1), values={"model_bytes": [1]})
    new = ColumnRun(["a"], seconds=np.full((1, 3), 0.2), values={"model_bytes": [2]})
    rows = compare([base], new, metrics=["latency_p50_seconds", "model_bytes"]).rows
    assert np.isnan(rows.effect).all()
