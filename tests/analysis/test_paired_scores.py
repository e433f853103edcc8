"""F1 and several seeds: agreement of closed form and resampling, coverage, and what must hold for any predictions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from emobench.analysis.bootstrap import SCORES
from emobench.analysis.paired_scores import paired_score, seeds_and_examples
from emobench.analysis.quantiles import two_sided_t
from emobench.analysis.significance import paired_accuracy
from emobench.errors import DataError, SpecError


def guesses(rng: np.random.Generator, labels: np.ndarray, share: float, classes: int = 3) -> np.ndarray:
    """Predictions right with about this share."""
    return np.where(rng.random(labels.shape) < share, labels, rng.integers(0, classes, labels.shape))


def test_f1_difference_equals_scikit_learn() -> None:
    """The point is the difference of scikit-learn's scores."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 400)
    base, new = guesses(rng, labels, 0.8), guesses(rng, labels, 0.7)
    found = paired_score(labels, base, new, metric="f1_macro", classes=3)
    expected = [f1_score(labels, side, average="macro") for side in (base, new)]
    assert (found.base, found.new) == pytest.approx(expected)
    assert found.point == pytest.approx(expected[1] - expected[0])


@pytest.mark.parametrize("metric", [name for name in SCORES if name != "accuracy"])
def test_closed_form_and_bootstrap_agree(metric: str) -> None:
    """On 3,000 examples the delta method's interval is the bootstrap's within a tenth of its width."""
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 3, 3000)
    base = guesses(rng, labels, 0.8)
    new = np.where(rng.random(3000) < 0.85, base, guesses(rng, labels, 0.7))
    closed, drawn = (
        paired_score(labels, base, new, metric=metric, classes=3, method=method, draws=8000)
        for method in ("closed_form", "bootstrap")
    )
    width = closed.upper - closed.lower
    assert (drawn.lower, drawn.upper) == pytest.approx((closed.lower, closed.upper), abs=0.1 * width)
    assert closed.method != drawn.method


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["f1_macro", "f1_binary"])
@pytest.mark.parametrize("method", ["closed_form", "auto"])
def test_f1_interval_covers(metric: str, method: str) -> None:
    """Equally good predictors, 300 test sets of 200: the 95 % interval misses 0 in no more than 5 % and noise."""
    rng = np.random.default_rng(2)
    missed = significant = 0
    for index in range(300):
        labels = (rng.random(200) < 0.3).astype(int)
        base = guesses(rng, labels, 0.6, 2)
        new = np.where(rng.random(200) < 0.7, base, guesses(rng, labels, 0.6, 2))
        found = paired_score(labels, base, new, metric=metric, classes=2, method=method, draws=500, seed=index)
        missed += not found.lower <= 0 <= found.upper
        significant += found.p < 0.05
    assert missed / 300 <= 0.05 + 2 * 0.0126
    assert significant / 300 <= 0.05 + 2 * 0.0126


def test_one_class_in_the_sample_is_no_error() -> None:
    """A class without an example or a prediction counts as 0 on both sides."""
    found = paired_score([0, 0, 0], [0, 0, 0], [0, 1, 0], metric="f1_macro", classes=3)
    assert found.point < 0
    assert found.lower <= found.point <= found.upper


def test_accuracy_goes_to_the_exact_test() -> None:
    """Accuracy of one seed is paired_accuracy's answer, whichever method."""
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 3, 200)
    base, new = guesses(rng, labels, 0.8), guesses(rng, labels, 0.7)
    found = paired_score(labels, base, new, metric="accuracy", classes=3)
    assert found == paired_accuracy(base == labels, new == labels)


@st.composite
def tables(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray, str, str]:
    seeds, n = draw(st.integers(1, 4)), draw(st.integers(1, 30))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    labels, base, new = rng.integers(0, 3, n), rng.integers(0, 3, (seeds, n)), rng.integers(0, 3, (seeds, n))
    return labels, base, new, draw(st.sampled_from(list(SCORES))), draw(st.sampled_from(["closed_form", "auto"]))


@given(case=tables())
@settings(max_examples=60, deadline=None)
def test_swapping_and_identity(case: tuple[np.ndarray, np.ndarray, np.ndarray, str, str]) -> None:
    """For any predictions: swapping sides mirrors, a side against itself is 0 with p 1, p is in 0 to 1."""
    labels, base, new, metric, method = case

    def compared(first: np.ndarray, second: np.ndarray, how: str = "closed_form"):  # type: ignore[no-untyped-def]
        return paired_score(labels, first, second, metric=metric, classes=3, method=how, draws=200)

    there, back = compared(base, new), compared(new, base)
    assert (there.point, there.lower, there.upper) == pytest.approx((-back.point, -back.upper, -back.lower), abs=1e-12)
    found = compared(base, new, method)
    assert found.lower <= found.point <= found.upper
    assert 0 <= found.p <= 1
    same = compared(base, base)
    assert (same.point, same.p) == (0.0, 1.0)
    assert same.lower < 0 < same.upper


@pytest.mark.parametrize(("seeds", "seed_spread"), [(3, 0.0), (3, 0.02), (5, 0.05)])
def test_seed_interval_covers(seeds: int, seed_spread: float) -> None:
    """Seeds that move a whole run, examples shared: the 95 % interval holds the truth in 95 % of 400 simulations."""
    rng = np.random.default_rng(seeds)
    n, covered = 400, 0
    for _ in range(400):
        moved = rng.normal(size=(seeds, 1)) * seed_spread
        table = moved + 0.3 * rng.normal(size=(1, n)) + 0.3 * rng.normal(size=(seeds, n))
        spread = seeds_and_examples([table])
        covered += abs(table.mean()) <= float(two_sided_t(0.95, spread.df)) * spread.error
    assert covered / 400 >= 0.95 - 2 * 0.011


def test_examples_alone_would_be_too_sure() -> None:
    """Three seeds that scatter by 3 points: pooling 3 x 1,000 examples is far narrower than the seeds allow."""
    rng = np.random.default_rng(7)
    labels = rng.integers(0, 2, 1000)
    base = np.stack([guesses(rng, labels, share, 2) for share in (0.70, 0.80, 0.60)])
    new = np.stack([guesses(rng, labels, share, 2) for share in (0.72, 0.60, 0.78)])
    found = paired_score(labels, base, new, metric="accuracy", classes=2)
    pooled = paired_accuracy((base == labels).ravel(), (new == labels).ravel())
    assert found.point == pytest.approx(pooled.point)
    assert found.upper - found.lower > 3 * (pooled.upper - pooled.lower)


@pytest.mark.parametrize("metric", ["accuracy", "f1_macro"])
@pytest.mark.parametrize("seeds_paired", [True, False])
def test_hierarchical_resampling_is_no_narrower(metric: str, seeds_paired: bool) -> None:
    """Drawing seeds and examples gives the closed form's interval or a wider one, the same for the same seed."""
    rng = np.random.default_rng(8)
    labels = rng.integers(0, 3, 600)
    base, new = guesses(rng, np.tile(labels, (4, 1)), 0.75), guesses(rng, np.tile(labels, (4, 1)), 0.7)

    def width(method: str) -> float:
        found = paired_score(labels, base, new, metric=metric, classes=3, method=method, seeds_paired=seeds_paired)
        return found.upper - found.lower

    assert 0.95 <= width("bootstrap") / width("closed_form") <= 2.0
    assert width("bootstrap") == width("bootstrap")


def test_bad_input_is_named() -> None:
    """Unknown metric, other examples, other classes, and one seed against several each give one clear error."""
    with pytest.raises(SpecError, match=r"'f1'.*did you mean 'f1_"):
        paired_score([0], [0], [0], metric="f1", classes=2)
    with pytest.raises(DataError, match="same test split"):
        paired_score([0, 1], [0, 1], [0], metric="f1_macro", classes=2)
    with pytest.raises(DataError, match="new holds class 0 to 2"):
        paired_score([0, 1], [0, 1], [0, 2], metric="f1_macro", classes=2)
    with pytest.raises(DataError, match="1 seeds at the base and 2 now"):
        paired_score([0, 1], [0, 1], [[0, 1], [0, 1]], metric="f1_macro", classes=2, seeds_paired=False)


def test_seed_interval_is_that_of_seeds_and_examples() -> None:
    """Accuracy over seeds: Student's t times the two-way error of new right - base right, hardly widened."""
    rng = np.random.default_rng(9)
    labels = rng.integers(0, 2, 2000)
    base, new = (guesses(rng, np.tile(labels, (4, 1)), share, 2) for share in (0.8, 0.78))
    found = paired_score(labels, base, new, metric="accuracy", classes=2)
    spread = seeds_and_examples([(new == labels).astype(float) - (base == labels)])
    half = float(two_sided_t(0.95, spread.df)) * spread.error
    assert half <= (found.upper - found.lower) / 2 <= 1.03 * half
