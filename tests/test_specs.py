"""The key of a case: equal for the same experiment, different for anything that decides a result."""

from __future__ import annotations

import pytest

from emobench.catalogue.datasets import find_dataset
from emobench.catalogue.methods import find_method
from emobench.catalogue.model_rows import find_model
from emobench.catalogue.profiles import PROFILES, find_profile
from emobench.specs import CaseSpec, TrainSettings


def case(**changes: object) -> CaseSpec:
    values: dict[str, object] = {
        "kind": "finetune",
        "model": find_model("all-minilm-l6-v2"),
        "dataset": find_dataset("imdb-train"),
        "method": find_method("lora"),
        "precision": "fp32",
        "device": "cpu",
        "profile": find_profile("quick"),
        **changes,
    }
    return CaseSpec(**values)  # type: ignore[arg-type]  # a test's shorthand


def test_where_the_data_lies_is_not_in_the_key() -> None:
    """The same rows in another folder, or a corrected licence, are the same experiment."""
    dataset = find_dataset("imdb-train")
    moved = dataset.model_copy(update={"location": "/elsewhere/rows.csv", "license": "mit", "title": "t"})
    model = find_model("all-minilm-l6-v2").model_copy(update={"license": "unknown"})
    assert case(dataset=moved, model=model).key() == case().key()


@pytest.mark.parametrize(
    "change",
    [
        {"seeds": (0, 1)},
        {"precision": "bf16"},
        {"profile": find_profile("quick").model_copy(update={"max_length": 127})},
        {"train": TrainSettings(learning_rate=1e-4)},
        {"method": find_method("lora").model_copy(update={"rank": 4})},
        {"dataset": find_dataset("imdb-train").model_copy(update={"label_map": {"0": "positive"}})},
        {"weights": "random"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_decides_a_result_is_in_the_key(change: dict[str, object]) -> None:
    """Any of these gives another key; so do other rows and other weights."""
    assert case(**change).key() != case().key()
    assert case().key(data_fingerprint="a") != case().key(data_fingerprint="b")
    assert case().key(model_revision="a") != case().key(model_revision="b")


def test_early_stopping_can_stop_in_every_profile_that_has_it() -> None:
    """A patience that only the last epoch could exhaust would promise what cannot happen."""
    for profile in PROFILES.values():
        if profile.early_stopping_patience is not None:
            assert profile.early_stopping_patience < profile.epochs - 1
