"""Estimates in columns equal those made one by one, and every metric finds the best data that was kept."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import binomtest

from emobench.analysis.binary_kinds import binary_kinds, class_bits
from emobench.analysis.class_scores import SCORES, kinds_of
from emobench.analysis.estimates import EXACT_HOW, estimate, resampled
from emobench.analysis.pairs import pair
from emobench.analysis.score_changes import DELTA, SEEDS
from emobench.analysis.score_differences import score_differences
from emobench.analysis.significance import mean_differences
from emobench.analysis.value_changes import SAVED
from tests.analysis.column_runs import ColumnRun, Scored
from tests.analysis.made_rounds import ratio, simulated_rounds

ONE = np.array([0])
bits = arrays(np.bool_, st.tuples(st.integers(1, 4), st.just(23)))


@settings(max_examples=60, deadline=None)
@given(labels=arrays(np.int64, 23, elements=st.integers(0, 1)), base=bits, seed=st.integers(0, 99))
def test_kinds_from_bits_are_those_of_the_predictions(labels: np.ndarray, base: np.ndarray, seed: int) -> None:
    """For two classes the bits give every score's difference that the predictions give, empty classes included."""
    new = base ^ (np.random.default_rng(seed).random(base.shape) < 0.3)
    kinds = binary_kinds(class_bits(labels), labels, np.packbits(base, axis=1), np.packbits(new, axis=1))
    assert (kinds.counts.sum(axis=1) == 23).all()
    for metric in SCORES:
        found = score_differences(metric, kinds, classes=2, confidence=0.99)
        for row in range(len(base)):
            sides = [np.where(side[row], labels, 1 - labels) for side in (base, new)]
            single = score_differences(metric, kinds_of(labels, *sides), classes=2, confidence=0.99)
            assert (found.base[row], found.new[row]) == pytest.approx((single.base[0], single.new[0]))
            for name in ("point", "lower", "upper", "p"):
                wanted = getattr(single.change, name)[0]
                assert getattr(found.change, name)[row] == pytest.approx(wanted, abs=1e-12), (metric, name)


def scored(right: np.ndarray, labels: np.ndarray, **options: object) -> ColumnRun:
    return ColumnRun([f"c{row}" for row in range(len(right))], labels=labels, right=right, **options)


def test_accuracy_is_mcnemars() -> None:
    """Accuracy of many cases at once: the p of each is scipy's test of the examples that only one has right."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 501)
    base = rng.random((7, 501)) < 0.8
    new = np.where(rng.random((7, 501)) < 0.1, ~base, base)
    pairs = pair([scored(base, labels)], scored(new, labels))
    found = estimate(pairs, "accuracy", np.arange(7), confidence=0.99)
    for row in range(7):
        only_base, only_new = int((base[row] & ~new[row]).sum()), int((new[row] & ~base[row]).sum())
        assert found.p[row] == pytest.approx(binomtest(only_base, only_base + only_new).pvalue)
        assert found.point[row] == pytest.approx((only_new - only_base) / 501)
        assert (found.base[row], found.new[row]) == pytest.approx((base[row].mean(), new[row].mean()))
        assert found.lower[row] < found.point[row] < found.upper[row]


@pytest.mark.parametrize("runs", [1, 2, 5])
@pytest.mark.parametrize("spread", [0.0, 0.03])
def test_latency_columns_are_ratios_of_raw_rounds(runs: int, spread: float) -> None:
    """From an index's figures, for one base run or several: the ratio of each case's raw rounds, and of its rate."""
    cases = 12
    made = simulated_rounds((runs + 1) * cases, 31, variation=0.03, correlation=0.3, run_spread=spread, seed=runs)
    made = made.reshape(runs + 1, cases, 31)
    ids = [f"c{row}" for row in range(cases)]
    base = [ColumnRun(ids, seconds=block) for block in made[:-1]]
    pairs = pair(base, ColumnRun(ids, seconds=made[-1]))
    found = estimate(pairs, "latency_p50_seconds", np.arange(cases), confidence=0.99)
    rate = estimate(pairs, "samples_per_second", np.arange(cases), confidence=0.99)
    for row in range(cases):
        single = ratio([side[row] for side in made[:-1]], made[-1][row], confidence=0.99)
        ends = [float(np.expm1(end[0])) for end in (single.point, single.lower, single.upper)]
        expected = (*ends, np.exp(single.base[0]), single.p[0])
        columns = (found.point, found.lower, found.upper, found.base, found.p)
        assert [column[row] for column in columns] == pytest.approx(expected, rel=1e-6)
        assert 1 / (1 + rate.upper[row]) - 1 == pytest.approx(ends[1], rel=1e-6)


class Seeded:
    """Predictions of one case, about three classes, of several seeds."""

    def __init__(self, labels: np.ndarray, predicted: np.ndarray) -> None:
        self.examples, self.n = np.array(["examples"], object), np.array([len(labels)])
        self.num_seeds = np.array([len(predicted)])
        seeds = tuple(range(len(predicted)))
        self.found = Scored(labels=labels, predicted=predicted, class_names=("a", "b", "c"), seeds=seeds)

    def case(self, row: int) -> Scored:
        return self.found


@pytest.mark.parametrize(
    ("seeds", "how"),
    [((1, 1), DELTA), ((1, 2), DELTA), ((2, 1), DELTA), ((3, 3), SEEDS), ((2, 3), SEEDS)],
)
def test_the_seeds_that_both_have_are_compared(seeds: tuple[int, int], how: str) -> None:
    """One shared seed is compared as such, several by the two-way analysis; resampling takes one seed a side."""
    rng = np.random.default_rng(4)
    labels = rng.integers(0, 3, 300)
    runs = []
    for size, share in zip(seeds, (0.8, 0.72), strict=True):
        run = ColumnRun(["c"], values={"f1_macro": [share]}, seeds=tuple(range(size)))
        guesses = np.where(rng.random((size, 300)) < share, labels, rng.integers(0, 3, (size, 300)))
        run.predictions = Seeded(labels, guesses)  # type: ignore[assignment]
        runs.append(run)
    pairs = pair([runs[0]], runs[1])
    found = estimate(pairs, "f1_macro", ONE)
    assert found.how[0] == how
    assert found.lower[0] < found.point[0] < found.upper[0]
    resampled(found, pairs, "f1_macro", ONE, ONE, confidence=0.95)
    drawn = "paired bootstrap, randomization test"
    assert found.how[0] == (drawn if seeds == (1, 1) else how)


def test_few_rounds_give_no_interval() -> None:
    """Below six rounds there is a point, a reason, and no interval."""
    seconds = np.full((1, 5), 0.1)
    found = estimate(
        pair([ColumnRun(["c"], seconds=seconds)], ColumnRun(["c"], seconds=2 * seconds)), "latency_p50_seconds", ONE
    )
    assert found.point[0] == pytest.approx(1)
    assert np.isnan(found.lower[0])
    assert found.how[0] == "fewer than 6 rounds in a run"


def test_counts_are_exact() -> None:
    """Bytes do not vary: the interval is the point."""
    found = estimate(
        pair([ColumnRun(["c"], values={"model_bytes": [100]})], ColumnRun(["c"], values={"model_bytes": [110]})),
        "model_bytes",
        ONE,
    )
    assert (found.point[0], found.lower[0], found.upper[0]) == pytest.approx((0.1, 0.1, 0.1))
    assert found.how[0] == EXACT_HOW


def test_seeds_give_an_interval() -> None:
    """Several seeds a side: Welch on logarithms."""
    base = ColumnRun(["c"], values={"train_seconds": [10.5]}, seeds=(0, 1, 2))
    new = ColumnRun(["c"], values={"train_seconds": [12.0]}, seeds=(0, 1, 2))
    base.per_seed[0, "train_seconds"], new.per_seed[0, "train_seconds"] = [10.0, 10.5, 11.0], [12.0, 11.5, 12.5]
    found = estimate(pair([base], new), "train_seconds", ONE)
    sides = [np.log(run.per_seed[0, "train_seconds"])[:, None] for run in (base, new)]
    single = mean_differences(*sides)
    assert (found.point[0], found.lower[0]) == pytest.approx((np.expm1(single.point[0]), np.expm1(single.lower[0])))


def test_several_baseline_runs_give_an_interval() -> None:
    """One new value against several runs: the pooled t test of one value and n, checked against scipy."""
    from scipy.stats import ttest_ind

    values = [10.0, 10.4, 9.9, 10.2]
    base = [ColumnRun(["c"], values={"train_seconds": [value]}) for value in values]
    found = estimate(pair(base, ColumnRun(["c"], values={"train_seconds": [11.5]})), "train_seconds", ONE)
    expected = ttest_ind(np.log([11.5]), np.log(values))
    low, high = expected.confidence_interval(0.95)
    assert found.p[0] == pytest.approx(expected.pvalue)
    assert (found.lower[0], found.upper[0]) == pytest.approx((np.expm1(low), np.expm1(high)))


def test_one_value_a_side_has_no_interval() -> None:
    """A time of one run against one of another is a point and nothing more, unless an interval was saved with it."""
    base = ColumnRun(["c"], values={"ttft_p50_seconds": [1.0]})
    new = ColumnRun(["c"], values={"ttft_p50_seconds": [1.5]})
    assert np.isnan(estimate(pair([base], new), "ttft_p50_seconds", ONE).lower[0])
    for run, middle in ((base, 1.0), (new, 1.5)):
        run.low[:], run.high[:] = middle * 0.99, middle * 1.01
    found = estimate(pair([base], new), "ttft_p50_seconds", ONE)
    assert found.how[0] == SAVED
    # Each side's standard error is 1 % over 1.96, and two runs differ by 1 % each beyond that.
    half = 1.96 * np.sqrt(2) * np.hypot(0.01 / 1.96, 0.01)
    assert np.log1p([found.lower[0], found.upper[0]]) == pytest.approx(np.log(1.5) + np.array([-half, half]), abs=1e-4)


def test_nothing_is_divided_by_zero() -> None:
    """A base of 0 has no ratio; 0 and 0 are equal."""
    base = ColumnRun(["a", "b"], values={"host_memory_growth_bytes": [0, 0]})
    new = ColumnRun(["a", "b"], values={"host_memory_growth_bytes": [0, 5]})
    found = estimate(pair([base], new), "host_memory_growth_bytes", np.arange(2))
    assert found.point[0] == 0
    assert np.isnan(found.point[1])
