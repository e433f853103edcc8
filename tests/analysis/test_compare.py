"""Comparisons: pairing by id, verdicts after correction, and what is told of cases that are not compared."""

from __future__ import annotations

import numpy as np
import pytest

from emobench.analysis.compare import Comparison, compare
from emobench.analysis.corrections import benjamini_hochberg, holm
from emobench.analysis.pairs import EVERYTHING
from emobench.errors import SpecError
from tests.analysis.column_runs import ColumnRun
from tests.analysis.made_rounds import simulated_rounds


def timed(cases: int, seed: int, *, factor: float = 1.0, **columns: object) -> ColumnRun:
    made = simulated_rounds(cases, 30, variation=0.03, run_spread=0.01, seed=seed) * factor
    return ColumnRun([f"c{row}" for row in range(cases)], seconds=made, **columns)


def verdicts(found: Comparison, metric: str = "latency_p50_seconds") -> list[str]:
    return [str(verdict) for verdict in found.rows.verdict[found.rows.metric == metric]]


@pytest.mark.slow
def test_verdicts_hold_after_correction() -> None:
    """200 comparisons of 10 unchanged cases: at most 5 % name any case better or worse; nominal ones are undecided."""
    alarms = 0
    for seed in range(200):
        found = compare([timed(10, 2 * seed)], timed(10, 2 * seed + 1), metrics=["latency_p50_seconds"])
        alarms += bool({"better", "worse"} & set(found.rows.verdict))
    assert alarms <= 0.05 * 200


def test_corrected_p_are_those_of_the_matrix() -> None:
    """Holm's and Benjamini and Hochberg's values over all tested rows, exact counts left out."""
    base, new = timed(30, 1, values={"model_bytes": [1] * 30}), timed(30, 2, values={"model_bytes": [2] * 30})
    rows = compare([base], new, metrics=["latency_p50_seconds", "model_bytes"]).rows
    tested = rows.metric == "latency_p50_seconds"
    assert rows.p_holm[tested] == pytest.approx(holm(rows.p[tested]))
    assert rows.p_bh[tested] == pytest.approx(benjamini_hochberg(rows.p[tested]))
    assert np.isnan(rows.p_holm[~tested]).all()
    assert set(rows.verdict[~tested]) == {"worse"}


def test_cases_are_paired_by_id() -> None:
    """Order does not matter; a case of one side is new or gone."""
    base = ColumnRun(["a", "b", "c"], values={"model_bytes": [1, 2, 3]})
    new = ColumnRun(["d", "c", "b"], values={"model_bytes": [9, 3, 4]})
    rows = compare([base], new, metrics=["model_bytes"]).rows
    found = {
        (case, metric): verdict for case, metric, verdict in zip(rows.case, rows.metric, rows.verdict, strict=True)
    }
    assert found == {
        ("a", ""): "gone",
        ("b", "model_bytes"): "worse",
        ("c", "model_bytes"): "same",
        ("d", ""): "new",
    }


@pytest.mark.parametrize(
    ("base", "new", "verdict"),
    [
        ("ok", "failed", "invalid"),
        ("ok", "invalid", "invalid"),
        ("failed", "ok", "invalid"),
        ("ok", "does_not_fit", "worse"),
        ("does_not_fit", "ok", "better"),
        ("does_not_fit", "does_not_fit", "same"),
    ],
)
def test_how_cases_ended_is_compared(base: str, new: str, verdict: str) -> None:
    """A case without a result is no comparison of figures; not fitting is a result."""
    sides = [ColumnRun(["a"], values={"model_bytes": [1]}, status=status) for status in (base, new)]
    rows = compare([sides[0]], sides[1]).rows
    assert list(zip(rows.metric, rows.verdict, strict=True)) == [("", verdict)]


def test_metrics_come_and_go() -> None:
    """A metric that only one side has is new or gone, and both values of it are shown."""
    base = ColumnRun(["a"], values={"model_bytes": [1]})
    new = ColumnRun(["a"], values={"disk_bytes": [2]})
    rows = compare([base], new, metrics=["model_bytes", "disk_bytes"]).rows
    assert list(rows.verdict) == ["gone", "new"]
    assert rows.base[0] == 1
    assert rows.new[1] == 2


@pytest.mark.parametrize("column", ["hardware", "profile", "weights"])
def test_what_differs_is_not_paired(column: str) -> None:
    """Unless asked for; the reason names both sides."""
    base = ColumnRun(["a"], values={"model_bytes": [1]}, **{column: "one"})
    new = ColumnRun(["a"], values={"model_bytes": [2]}, **{column: "two"})
    found = compare([base], new)
    assert not len(found.rows)
    assert found.apart == (("a", f"{column} differs: one at the base, two now"),)
    assert verdicts(compare([base], new, across=EVERYTHING), "model_bytes") == ["worse"]


def test_other_data_leaves_quality_apart() -> None:
    """The scores are listed as not compared; times of the same case are."""
    labels = np.zeros(50, np.int64)
    right = np.ones((1, 50), bool)
    sides = [
        ColumnRun(["a"], labels=labels, right=right, values={"model_bytes": [1]}, data_fingerprint=name)
        for name in ("x", "y")
    ]
    found = compare([sides[0]], sides[1])
    assert list(found.rows.metric) == ["model_bytes"]
    assert found.apart == (("a", "data differs: quality is not compared"),)


def test_the_smallest_difference_is_found_as_often_as_stated() -> None:
    """A slowdown of the size that a comparison says it could have shown is shown in about 80 % of repeats."""
    size = float(np.median(compare([timed(200, 1)], timed(200, 2), metrics=["latency_p50_seconds"]).rows.detectable))
    rows = compare([timed(400, 3)], timed(400, 4, factor=1 + size), metrics=["latency_p50_seconds"]).rows
    assert 0.74 <= (rows.lower > 0).mean() <= 0.86


def test_an_unknown_metric_is_refused() -> None:
    """With the nearest one."""
    with pytest.raises(SpecError, match="did you mean 'accuracy'"):
        compare([timed(1, 1)], timed(1, 2), metrics=["acuracy"])
