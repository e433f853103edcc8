"""Numbers of a model's row that do not go together, and classes that do not."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emobench.catalogue.model_rows import MODELS
from emobench.preflight.shape import faults, labels, width
from tests.preflight.planned_cases import a_case, only, planned, some_data


@pytest.mark.parametrize("model", list(MODELS))
def test_every_row_of_the_catalogue_goes_together(model: str) -> None:
    """No built-in row has a fault."""
    assert not list(faults(MODELS[model].config))


@pytest.mark.parametrize(
    ("model", "config", "problem", "why", "fix"),
    [
        (
            "all-minilm-l6-v2",
            {"num_attention_heads": 7},
            "hidden_size = 384 is no multiple of num_attention_heads = 7",
            "every head gets an equal part",
            "take num_attention_heads = 6",
        ),
        (
            "distilbert-base",
            {"n_heads": 11},
            "dim = 768 is no multiple of n_heads = 11",
            "every head gets an equal part",
            "take n_heads = 8",
        ),
        (
            "tinyllama-1.1b",
            {"num_key_value_heads": 5},
            "num_attention_heads = 32 is no multiple of num_key_value_heads = 5",
            "an equal number of query heads",
            "take num_key_value_heads = 4",
        ),
        (
            "tinyllama-1.1b",
            {"head_dim": 63},
            "a head is 63 numbers wide",
            "rotary positions turn pairs",
            "take head_dim = 64",
        ),
        (
            "all-minilm-l6-v2",
            {"pad_token_id": 99_999},
            "pad_token_id = 99999 with vocab_size = 30522",
            "looked up in the embedding",
            "pad token of the model's tokenizer",
        ),
        ("all-minilm-l6-v2", {"num_attention_heads": 0}, "num_attention_heads = 0", "at least 1", "correct"),
        ("all-minilm-l6-v2", {"hidden_size": "big"}, "hidden_size = 'big'", "a whole number", "correct"),
    ],
)
def test_a_fault_is_named_with_its_numbers(
    model: str, config: dict[str, Any], problem: str, why: str, fix: str
) -> None:
    """Each fault stops the case, names key and values, the reason, and a value that would do."""
    found = only(width(planned(a_case(model=model, config=config))))
    assert found.level == "stop"
    assert problem in found.problem
    assert why in found.why
    assert fix in found.fixes[0].text
    if (line := found.fixes[0].setting) is not None:
        # The line to copy has the value that the text names.
        assert f"take {line.removeprefix('config.')}" in found.fixes[0].text


@pytest.mark.slow
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "hidden_size": st.integers(-3, 200),
            "num_attention_heads": st.integers(-3, 20),
            "num_key_value_heads": st.integers(-3, 20),
            "head_dim": st.integers(-3, 70),
            "vocab_size": st.one_of(st.integers(-3, 100), st.text(max_size=3), st.floats()),
            "pad_token_id": st.one_of(st.none(), st.integers(-3, 200)),
            "rope_parameters": st.just({}),
        },
    )
)
def test_no_configuration_raises(config: dict[str, Any]) -> None:
    """Whatever the numbers are they are named, never stumbled over; without a fault, and once mended, they divide."""
    found = list(faults(config))
    if not found and {"hidden_size", "num_attention_heads"} <= set(config) and "head_dim" not in config:
        assert config["hidden_size"] % config["num_attention_heads"] == 0
    for fault in found:
        if fault.better is not None:
            mended = faults({**config, fault.key: fault.better})
            assert fault.key not in [other.key for other in mended], "the line to copy does not mend it"


def test_a_classifier_with_other_classes_stops() -> None:
    """A ready classifier whose classes are not the data's says how many each has and which are not in both."""
    found = only(labels(planned(a_case(kind="evaluation", model="intent-qwen2-0.5b", method=None))))
    assert found.level == "stop"
    assert "answers with 23 classes and data set 'rotten_tomatoes-train' has 2" in found.problem
    assert "'label_0'" in found.why
    assert "more" in found.why
    assert "--label-map" in str(found.fixes[0].setting)


def test_the_same_classes_in_another_case_go_together() -> None:
    """Upper and lower case do not tell classes apart."""
    case = a_case(kind="evaluation", method=None)
    own = case.model_copy(update={"model": case.model.model_copy(update={"labels": ("Positive", "NEGATIVE")})})
    assert not list(labels(planned(own)))


@pytest.mark.parametrize(("split", "why"), [("train", "cannot be learned"), ("test", "is not defined")])
def test_a_class_without_rows_is_named(split: str, why: str) -> None:
    """A class that a split has no row of is a warning, with what follows from it."""
    counts = {"train": {"a": 5, "b": 5}, "test": {"a": 5, "b": 5}} | {split: {"a": 10, "b": 0}}
    data = some_data(class_counts=counts, class_names=("a", "b"), rows={"train": 10, "test": 10})
    found = only(labels(planned(data=data)))
    assert (found.level, found.numbers["without_rows"]) == ("warn", 1)
    assert "'b'" in found.why
    assert why in found.why
