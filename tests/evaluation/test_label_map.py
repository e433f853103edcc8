"""A model's classes and a data set's: matching by name, and scores against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, precision_score, recall_score

from emobench.errors import SpecError
from emobench.evaluation.label_map import ClassMap, fold, map_classes, parse_pairs, rescored
from emobench.evaluation.metrics import score
from emobench.outcomes import Evaluation, metric

DATA = ("negative", "positive")


def matched(model: tuple[str, ...], pairs: dict[str, str] | None = None, data: tuple[str, ...] = DATA) -> ClassMap:
    return map_classes(model, data, pairs or {}, checkpoint="mine", data="reviews")


def test_names_match_ignoring_case_and_order() -> None:
    """``Positive`` of the model is ``positive`` of the data, wherever it stands."""
    found = matched(("Positive", "NEGATIVE"))
    assert found.names == DATA
    assert found.targets == (1, 0)
    assert not found.is_identity
    assert matched(DATA).is_identity


def test_given_pairs_come_before_names() -> None:
    """What the user says counts, also against the names."""
    assert matched(("LABEL_0", "LABEL_1"), {"LABEL_0": "positive", "label_1": "negative"}).targets == (1, 0)
    assert matched(DATA, {"negative": "positive", "positive": "negative"}).targets == (1, 0)


def test_classes_that_only_the_model_has_are_kept() -> None:
    """A third class is no class of the data, and stays a possible (wrong) answer; several may stand for one."""
    found = matched(("negative", "neutral", "positive"))
    assert found.names == ("negative", "positive", "neutral")
    assert found.targets == (0, 2, 1)
    stars = {"1 star": "negative", "2 stars": "negative", "4 stars": "positive"}
    assert matched(("1 star", "2 stars", "3 stars", "4 stars"), stars).targets == (0, 0, 2, 1)


def test_a_class_without_a_counterpart_is_an_error_with_both_sides() -> None:
    """The error names what is missing, the model's classes and the data's."""
    with pytest.raises(SpecError) as caught:
        matched(("LABEL_0", "positive"))
    assert str(caught.value) == (
        "mine has no class for negative of data set 'reviews'; its classes are LABEL_0, positive and the data set's "
        "are negative, positive; say which is which, for example --label-map LABEL_0=negative"
    )


@pytest.mark.parametrize(
    ("pair", "text"),
    [
        ("LABEL_0", "--label-map 'LABEL_0' is no pair; the form is raw=class; write for example LABEL_1=positive"),
        ("=positive", "is no pair"),
        ("LABEL_0=postive", "unknown class in --label-map 'postive'; known are negative, positive; did you mean"),
    ],
)
def test_a_wrong_pair_is_an_error(pair: str, text: str) -> None:
    """A pair needs both sides, and its class is one of the data's."""
    with pytest.raises(SpecError, match="label-map") as caught:
        parse_pairs([pair], DATA)
    assert text in str(caught.value)


def test_pairs_may_repeat_but_not_disagree() -> None:
    """The same class given twice for different classes is an error."""
    assert parse_pairs(["a=b=positive", "a=b=Positive"], DATA) == {"a=b": "positive"}
    with pytest.raises(SpecError, match="gives 'a' twice; as 'positive' and as 'negative'"):
        parse_pairs(["a=positive", "a=negative"], DATA)


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_folding_keeps_all_probability(data: st.DataObject) -> None:
    """Whatever stands for what, each row sums to what it summed to, and each class to its parts."""
    num_data = data.draw(st.integers(2, 4))
    size = data.draw(st.integers(num_data, 6))
    extra = data.draw(st.integers(0, size - num_data))
    spread = data.draw(st.lists(st.integers(0, num_data + extra - 1), min_size=size, max_size=size))
    table = np.random.default_rng(data.draw(st.integers(0, 99))).dirichlet(np.ones(size), size=5)
    names = tuple(f"c{index}" for index in range(num_data + extra))
    folded = fold(table, ClassMap(names=names, targets=tuple(spread), num_data_classes=num_data))
    assert folded.shape == (5, num_data + extra)
    np.testing.assert_allclose(folded.sum(axis=1), 1)
    for target in range(len(names)):
        columns = [index for index, place in enumerate(spread) if place == target]
        np.testing.assert_allclose(folded[:, target], table[:, columns].sum(axis=1), atol=1e-12)


@pytest.mark.parametrize("num_data", [2, 3])
def test_scores_are_scikit_learns(num_data: int) -> None:
    """With classes the data lacks, every figure is what scikit-learn gives over the data's classes."""
    rng = np.random.default_rng(num_data)
    labels = rng.integers(0, num_data, 300)
    logits = rng.normal(size=(300, num_data + 2))
    logits[np.arange(300), labels] += 1.0
    table = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    data = tuple(f"class_{index}" for index in range(num_data))
    model = ("other", *reversed(data), "more")
    found = map_classes(model, data, {}, checkpoint="mine", data="reviews")
    order = [0, *range(num_data, 0, -1), num_data + 1]
    # Columns in the model's order: its class i is column order[i] of a table (other, classes of the data, more).
    full = np.concatenate([table[:, -2:-1], table[:, :num_data], table[:, -1:]], axis=1)
    before = Evaluation(
        metrics=(*score(labels, full, ["x"] * (num_data + 2)).metrics, metric("evaluate_seconds", 2.5)),
        per_class=(),
        confusion=(),
        seconds=2.5,
        labels=labels.tolist(),
        probabilities=full[:, order].tolist(),
    )
    after = rescored(before, found)
    values = {item.name: item for item in after.metrics}
    predicted = table.argmax(axis=1)
    options = {"labels": list(range(num_data)), "zero_division": 0}
    assert values["accuracy"].value == accuracy_score(labels, predicted)
    for name, function in (("f1", f1_score), ("precision", precision_score), ("recall", recall_score)):
        expected = function(labels, predicted, average="macro", **options)
        assert values[f"{name}_macro"].value == pytest.approx(expected)
    assert values["f1_weighted"].value == pytest.approx(f1_score(labels, predicted, average="weighted", **options))
    low, high = values["f1_macro"].ci or (1.0, 0.0)
    assert low < values["f1_macro"].value < high
    if num_data == 2:
        expected = f1_score(labels == 1, predicted == 1, zero_division=0)
        assert values["f1_binary"].value == pytest.approx(expected)
    assert values["evaluate_seconds"].value == 2.5
    assert np.array(after.confusion).sum() == 300
    assert [entry["support"] for entry in after.per_class] == [*np.bincount(labels).tolist(), 0, 0]
