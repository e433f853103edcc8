"""Predicting a split: the right row gets the right probabilities, whatever batch it was in."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from emobench.catalogue.model_rows import find_model
from emobench.data.encode import Encoded
from emobench.errors import DataError
from emobench.evaluation import labels as module
from emobench.evaluation.labels import batches_by_tokens, evaluate, predict
from emobench.models import kernels
from emobench.models.load import load_classifier

NAMES = ("negative", "positive")
RUN: dict[str, Any] = {"device": "cpu", "pad_id": 0, "padding_side": "right"}


def encoded_rows(rows: Sequence[Sequence[int]], labels: Sequence[int]) -> Encoded:
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])])
    return Encoded(
        ids=np.array([token for row in rows for token in row], dtype=np.int32),
        offsets=offsets.astype(np.int64),
        labels=np.array(labels, dtype=np.int64),
    )


def random_rows(n: int, *, seed: int = 0, longest: int = 40, vocabulary: int = 30_000) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    return [rng.integers(1000, vocabulary, length).tolist() for length in rng.integers(2, longest, n)]


class Parity(nn.Module):
    """A classifier that knows the answer: the parity of a row's first token; padded tokens are counted on the way."""

    def __init__(self, scale: float = 4.0) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale))
        self.shapes: list[tuple[int, int]] = []
        self.modes: list[tuple[bool, bool]] = []

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> SimpleNamespace:
        self.shapes.append((input_ids.shape[0], input_ids.shape[1]))
        self.modes.append((self.training, torch.is_grad_enabled()))
        assert (input_ids[attention_mask == 0] == 0).all()
        sign = (input_ids[:, 0] % 2).to(torch.float32) * 2 - 1
        logits = self.scale * torch.stack([-sign, sign], dim=1) / 2
        return SimpleNamespace(logits=logits.to(torch.bfloat16) if self.scale > 100 else logits)


@given(
    lengths=st.lists(st.integers(1, 700), max_size=60).map(lambda found: np.array(found, dtype=np.int64)),
    budget=st.integers(1, 2000),
)
def test_batches_hold_every_row_once_within_the_budget(lengths: np.ndarray, budget: int) -> None:
    """Every row is in exactly one batch, rows come by falling length, and padded tokens keep to the budget."""
    batches = batches_by_tokens(lengths, budget)
    order = np.concatenate([*batches, np.zeros(0, dtype=np.int64)])
    assert sorted(order.tolist()) == list(range(len(lengths)))
    assert (np.diff(lengths[order]) <= 0).all()
    for batch in batches:
        assert len(batch) >= 1
        assert len(batch) == 1 or len(batch) * lengths[batch].max() <= budget


@given(
    lengths=st.lists(st.integers(1, 50), min_size=1, max_size=60).map(lambda found: np.array(found, dtype=np.int64)),
    budget=st.integers(1, 500),
)
def test_no_batch_could_take_another_row(lengths: np.ndarray, budget: int) -> None:
    """Batches are as full as the budget allows: one more row of the next batch would break it."""
    batches = batches_by_tokens(lengths, budget)
    for batch in batches[:-1]:
        assert (len(batch) + 1) * lengths[batch].max() > budget


@given(seed=st.integers(0, 1000), budget=st.integers(1, 300))
def test_results_are_in_the_order_of_the_split(seed: int, budget: int) -> None:
    """Each row gets its own answer back, though batches are sorted by length."""
    rows = random_rows(17, seed=seed)
    truth = [row[0] % 2 for row in rows]
    predictions = predict(Parity(), encoded_rows(rows, truth), token_budget=budget, **RUN)
    assert predictions.probabilities.argmax(axis=1).tolist() == truth
    assert predictions.accuracy == 1.0


def test_a_missing_unsort_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted fault: where rows are computed in one order and placed in another, the accuracy falls."""
    rows = random_rows(200)
    truth = [row[0] % 2 for row in rows]
    real = module.batches_by_tokens
    monkeypatch.setattr(module, "collate", _collate_unsorted)
    monkeypatch.setattr(module, "batches_by_tokens", lambda lengths, budget: real(lengths, 10**9))
    wrong = predict(Parity(), encoded_rows(rows, truth), **RUN)
    assert 0.3 < wrong.accuracy < 0.7


def _collate_unsorted(encoded: Encoded, indices: Sequence[int], **kwargs: Any) -> dict[str, torch.Tensor]:
    from emobench.data.encode import collate

    return collate(encoded, sorted(indices), **kwargs)


def test_probabilities_loss_and_tokens() -> None:
    """Probabilities are a float32 softmax also of bf16 logits; loss is the cross-entropy; tokens leave padding out."""
    rows = [[3, 1, 1], [2], [5, 5]]
    model = Parity(4.0)
    predictions = predict(model, encoded_rows(rows, [1, 1, 1]), token_budget=100, **RUN)
    sure = 1 / (1 + np.exp(-4.0))
    assert predictions.probabilities.dtype == np.float32
    assert predictions.probabilities[:, 1] == pytest.approx([sure, 1 - sure, sure], rel=1e-6)
    assert predictions.loss == pytest.approx(-(2 * np.log(sure) + np.log(1 - sure)) / 3, rel=1e-6)
    assert predictions.tokens == 6
    assert model.shapes == [(3, 3)]
    assert predictions.seconds > 0
    extreme = predict(Parity(300.0), encoded_rows(rows, [1, 1, 1]), **RUN)
    assert extreme.loss == pytest.approx(100.0)


def test_the_model_is_left_as_it_was() -> None:
    """Dropout is off and no gradient is kept while predicting; a model in training stays so, also after an error."""
    model = Parity().train()
    predict(model, encoded_rows([[2, 3]], [0]), **RUN)
    assert model.modes == [(False, False)]
    assert model.training
    model.eval()
    predict(model, encoded_rows([[2, 3]], [0]), **RUN)
    assert not model.training
    broken = nn.Linear(1, 1).train()
    with pytest.raises(TypeError):
        predict(broken, encoded_rows([[2, 3]], [0]), **RUN)
    assert broken.training


def test_the_device_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock starts and stops behind a synchronisation: work still queued is not handed to the next case."""
    events: list[str] = []
    model = Parity()
    model.register_forward_hook(lambda *_: events.append("forward"))
    monkeypatch.setattr(module, "synchronize", lambda kind: events.append(f"synchronize {kind}"))
    clock = iter([1.0, 3.5])

    def now() -> float:
        events.append("clock")
        return next(clock)

    monkeypatch.setattr(module.time, "perf_counter", now)
    predictions = predict(model, encoded_rows([[2], [3, 4]], [0, 1]), token_budget=2, **RUN)
    assert events == ["synchronize cpu", "clock", "forward", "forward", "synchronize cpu", "clock"]
    assert predictions.seconds == 2.5


def test_a_nan_is_passed_on() -> None:
    """A model that gives NaN gives NaN figures, not a wrong class."""
    encoded = encoded_rows([[2], [3]], [0, 1])
    assert np.isnan(predict(Parity(float("nan")), encoded, **RUN).accuracy)
    evaluation = evaluate(Parity(float("nan")), encoded, NAMES, **RUN)
    assert np.isnan(evaluation.metrics[0].value)


def test_an_empty_split_is_refused() -> None:
    """Predicting nothing is an error, not an accuracy."""
    with pytest.raises(DataError, match="there is no example to evaluate; the split is empty"):
        predict(Parity(), encoded_rows([], []), **RUN)


def test_a_wrong_number_of_classes_is_refused() -> None:
    """A model with another number of classes than the data is an error that names both shapes."""
    with pytest.raises(DataError, match=r"probabilities of shape \(2, 2\).*3 classes \(a, b, c\)"):
        evaluate(Parity(), encoded_rows([[2], [3]], [0, 1]), ("a", "b", "c"), **RUN)


def test_evaluation_holds_metrics_and_what_they_came_from() -> None:
    """An evaluation has the scores, the time, and the probabilities in plain lists."""
    evaluation = evaluate(Parity(), encoded_rows([[2], [3], [4, 1]], [0, 1, 1]), NAMES, **RUN)
    found = {item.name: item for item in evaluation.metrics}
    assert found["accuracy"].value == pytest.approx(2 / 3)
    assert evaluation.confusion == ((1, 0), (1, 1))
    assert found["evaluate_seconds"].value == evaluation.seconds
    assert found["evaluate_samples_per_second"].value == pytest.approx(3 / evaluation.seconds)
    assert evaluation.labels == [0, 1, 1]
    assert np.shape(evaluation.probabilities) == (3, 2)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the attention's timing remembers stays in the test."""
    monkeypatch.setenv("EMOBENCH_CACHE", str(tmp_path))


@pytest.fixture(scope="module")
def minilm() -> nn.Module:
    """The packaged model with a head of two labels drawn at random."""
    spec = find_model("all-minilm-l6-v2")
    return load_classifier(spec, num_labels=2, class_names=NAMES, seed=0).model


@pytest.mark.slow
def test_a_text_does_not_depend_on_its_neighbors(minilm: nn.Module) -> None:
    """With a real model a row's probabilities are the same alone, padded beside a long row, and in any batch."""
    encoded = encoded_rows(random_rows(24, seed=1), [0, 1] * 12)
    alone = predict(minilm, encoded, token_budget=1, **RUN)
    together = predict(minilm, encoded, token_budget=10**6, **RUN)
    mixed = predict(minilm, encoded, token_budget=150, **RUN)
    assert np.abs(alone.probabilities - together.probabilities).max() < 1e-5
    assert np.abs(alone.probabilities - mixed.probabilities).max() < 1e-5
    assert np.ptp(alone.probabilities[:, 0]) > 1e-3


def test_attention_is_timed_at_the_size_of_the_split(minilm: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small split under a large budget is not timed at the budget's rows; the usual attention comes back."""
    asked: list[int] = []
    usual = minilm.config._attn_implementation

    def choose(model: nn.Module, device: str, *, rows: int, length: int, training: bool) -> None:
        asked.append(rows)
        model.set_attn_implementation("eager")

    monkeypatch.setattr(kernels, "use_fastest", choose)
    encoded = encoded_rows([[1000] * 10] * 8, [0, 1] * 4)
    predict(minilm, encoded, token_budget=10**9, **RUN)
    predict(minilm, encoded, token_budget=40, **RUN)
    assert asked == [8, 4]
    assert minilm.config._attn_implementation == usual != "eager"


@pytest.mark.slow
def test_autocast_computes_in_bf16(minilm: nn.Module) -> None:
    """With autocast the result differs from fp32 by bf16's rounding: more than nothing, less than a few percent."""
    encoded = encoded_rows(random_rows(16, seed=2), [0, 1] * 8)
    exact = predict(minilm, encoded, **RUN)
    rounded = predict(minilm, encoded, autocast_dtype=torch.bfloat16, **RUN)
    difference = np.abs(exact.probabilities - rounded.probabilities).max()
    assert 0 < difference < 0.03


def test_shuffled_labels_are_chance(minilm: nn.Module) -> None:
    """Against labels that have nothing to do with the texts a real model is right about half of the time."""
    labels = np.random.default_rng(3).permutation([0, 1] * 200)
    evaluation = evaluate(minilm, encoded_rows(random_rows(400, seed=3, longest=8), labels.tolist()), NAMES, **RUN)
    accuracy = evaluation.metrics[0]
    assert accuracy.name == "accuracy"
    assert accuracy.value == pytest.approx(0.5, abs=0.1)
    assert accuracy.ci is not None
    assert accuracy.ci[0] < accuracy.value < accuracy.ci[1]
