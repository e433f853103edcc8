"""One pass over windows: every row once, the answers of ``predict``, and memory that does not grow with the rows."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from transformers import BertConfig, BertForSequenceClassification

from emobench.catalogue.datasets import find_dataset
from emobench.data.encode import Encoded
from emobench.data.stream import RowStream, TextWindow, Window
from emobench.errors import DataError
from emobench.evaluation import stream as module
from emobench.evaluation.labels import predict
from emobench.evaluation.metrics import score
from emobench.evaluation.stream import Streamed, evaluate_stream, evenly, pilot
from emobench.measurement.usage import watch_memory
from emobench.records.predictions import read_predictions, streamed_predictions

NAMES = ("negative", "positive")
RUN: dict[str, Any] = {"device": "cpu", "pad_id": 0, "padding_side": "right"}


def encoded_rows(rows: Sequence[Sequence[int]], labels: Sequence[int]) -> Encoded:
    return Encoded(
        ids=np.array([token for row in rows for token in row], dtype=np.int32),
        offsets=np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64),
        labels=np.array(labels, dtype=np.int64),
    )


def windows_of(rows: list[list[int]], labels: list[int], size: int, splits: int = 1) -> Iterator[Window]:
    for start in range(0, len(rows), size):
        part = slice(start, start + size)
        yield Window(
            split=f"split {start // size % splits}",
            encoded=encoded_rows(rows[part], labels[part]),
            positions=np.arange(start, start + len(rows[part]), dtype=np.int64),
        )


def bert(seed: int = 0) -> BertForSequenceClassification:
    torch.manual_seed(seed)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    return BertForSequenceClassification(BertConfig(vocab_size=100, num_labels=2, **sizes)).eval()


class FirstTokens(nn.Module):
    """A classifier whose answer names the row: its first two tokens are the logits."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(0.01))
        self.rows = 0

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> SimpleNamespace:
        self.rows += len(input_ids)
        return SimpleNamespace(logits=self.scale * input_ids[:, :2].float())


@pytest.mark.slow
@given(
    lengths=st.lists(st.integers(2, 60), min_size=1, max_size=50),
    window_rows=st.integers(1, 60),
    budget=st.integers(1, 400),
    splits=st.integers(1, 3),
)
def test_every_row_once_and_in_order(lengths: list[int], window_rows: int, budget: int, splits: int) -> None:
    """Whatever the lengths, windows and budget: each row goes through the model once and keeps its own answer."""
    rows = [[number + 1, 2 * number + 1, *[5] * (length - 2)] for number, length in enumerate(lengths)]
    labels = [number % 2 for number in range(len(rows))]
    kept: list[tuple[int, np.ndarray]] = []
    model = FirstTokens()

    def keep(window: Window, probabilities: np.ndarray) -> None:
        kept.extend(zip(window.positions.tolist(), probabilities, strict=True))

    windows = windows_of(rows, labels, window_rows, splits)
    found = evaluate_stream(model, windows, NAMES, token_budget=budget, keep=keep, **RUN)
    assert model.rows == found.rows == len(rows)
    assert [position for position, _ in kept] == list(range(len(rows)))
    wanted = torch.tensor([row[:2] for row in rows]).float().mul(0.01).softmax(-1).numpy()
    probabilities = np.array([row for _, row in kept])
    assert np.allclose(probabilities, wanted, atol=1e-6)
    assert found.tokens == sum(lengths)
    assert sum(part["rows"] for part in found.by_split.values()) == len(rows)
    scores = score(labels, probabilities, NAMES)
    assert found.confusion == scores.confusion
    values = {item.name: item.value for item in found.metrics}
    for item in scores.metrics:
        assert values[item.name] == pytest.approx(item.value, abs=1e-9)


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(entropy=st.integers(0, 1000), window_rows=st.integers(5, 80), budget=st.integers(20, 2000))
def test_answers_are_those_of_predict(entropy: int, window_rows: int, budget: int) -> None:
    """A transformer gives each row what one pass over all rows gives it, within rounding."""
    rng = np.random.default_rng(entropy)
    rows = [rng.integers(1, 100, length).tolist() for length in rng.integers(1, 40, 60)]
    labels = rng.integers(0, 2, 60).tolist()
    model = bert()
    kept: list[np.ndarray] = []
    windows = windows_of(rows, labels, window_rows)
    evaluate_stream(model, windows, NAMES, token_budget=budget, keep=lambda _, found: kept.append(found), **RUN)
    wanted = predict(model, encoded_rows(rows, labels), **RUN)
    assert np.concatenate(kept) == pytest.approx(wanted.probabilities, abs=1e-5)


def test_time_and_rates_count_the_whole_pass() -> None:
    """Making and keeping windows counts; making the next one while the model computes does not count twice."""
    rows, labels = [[1, 2]] * 6, [0] * 6

    class Slow(FirstTokens):
        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> SimpleNamespace:
            time.sleep(0.05)
            return super().forward(input_ids, attention_mask)

    def made() -> Iterator[Window]:
        for window in windows_of(rows, labels, 2):
            time.sleep(0.05)
            yield window

    found = evaluate_stream(Slow(), made(), NAMES, keep=lambda *_: time.sleep(0.02), **RUN)
    values = {item.name: item.value for item in found.metrics}
    assert found.seconds == values["evaluate_seconds"]
    # Apart: 3 x (0.05 made + 0.05 computed + 0.02 kept); two of the three windows are made meanwhile.
    assert 0.05 + 3 * 0.07 <= found.seconds < 3 * 0.12
    assert 0.15 <= found.model_seconds < found.seconds
    assert values["evaluate_samples_per_second"] == pytest.approx(6 / found.seconds)
    assert values["evaluate_tokens_per_second"] == pytest.approx(12 / found.seconds)


def test_progress_folding_and_splits() -> None:
    """Progress tells rows and accuracy so far; probabilities are folded before they are counted and kept."""
    rows, labels = [[9, 1], [1, 9], [9, 1], [9, 1]], [1, 0, 1, 0]
    seen: list[tuple[int, float]] = []
    kept: list[np.ndarray] = []
    found = evaluate_stream(
        FirstTokens(),
        windows_of(rows, labels, 2, splits=2),
        NAMES,
        fold=lambda table: table[:, ::-1],
        keep=lambda _, table: kept.append(table),
        progress=lambda done, accuracy: seen.append((done, accuracy)),
        **RUN,
    )
    assert seen == [(2, 1.0), (4, 0.75)]
    assert found.by_split == {"split 0": {"rows": 2, "accuracy": 1.0}, "split 1": {"rows": 2, "accuracy": 0.5}}
    assert (kept[0][0] == np.sort(kept[0][0])).all()


def test_no_row_is_an_error_and_errors_of_the_source_come_through() -> None:
    """Nothing to evaluate is said; a bad row met on the way ends the pass with its own message."""
    with pytest.raises(DataError, match="there is no example to evaluate"):
        evaluate_stream(FirstTokens(), iter(()), NAMES, **RUN)

    def broken() -> Iterator[Window]:
        yield from windows_of([[1, 2]], [0], 1)
        raise DataError("row 2", why="it is bad", fix="mend it")

    with pytest.raises(DataError, match="row 2; it is bad"):
        evaluate_stream(FirstTokens(), broken(), NAMES, **RUN)


def fake_passes(monkeypatch: pytest.MonkeyPatch, seconds: Callable[[int], float | None]) -> list[int]:
    """Let a pass under a budget take the seconds given, or run out of memory for None."""
    order: list[int] = []

    def fake(*_: Any, token_budget: int, **__: Any) -> SimpleNamespace:
        order.append(token_budget)
        found = seconds(token_budget)
        if found is None:
            raise torch.OutOfMemoryError
        return SimpleNamespace(seconds=found)

    monkeypatch.setattr(module, "predict", fake)
    return order


SAMPLE = encoded_rows([[1] * 10] * 100, [0] * 100)


def test_the_pilot_takes_the_fastest_and_tells_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Budgets are tried in turn, the first round is thrown away, and the choice comes with every figure."""
    order = fake_passes(monkeypatch, lambda budget: {20: 3.0, 40: 1.0, 80: 2.0}[budget])
    found = pilot(FirstTokens(), SAMPLE, budgets=(40, 20, 80), sample_tokens=500, seconds=60, **RUN)
    assert found.token_budget == 40
    assert order == [20, 40, 80, 40, 80, 20, 80, 20, 40, 20, 40, 80, 40, 80, 20]
    assert {budget: len(rounds) for budget, rounds in found.seconds.items()} == {20: 4, 40: 4, 80: 4}
    assert (found.rows, found.tokens) == (50, 500)
    assert found.facts()["samples_per_second"] == {"20": 50 / 3, "40": 50.0, "80": 25.0}


def test_the_pilot_keeps_to_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """With no time to spend there is still one round that counts."""
    order = fake_passes(monkeypatch, float)
    found = pilot(FirstTokens(), SAMPLE, budgets=(20, 40), sample_tokens=500, seconds=0, **RUN)
    assert order == [20, 40, 40, 20]
    assert found.token_budget == 20


def test_budgets_beyond_the_sample_are_not_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten rows of ten tokens are one pass under a budget of 100 and of 1,000: only the smaller is tried."""
    order = fake_passes(monkeypatch, lambda budget: 1 / budget)
    found = pilot(FirstTokens(), SAMPLE, budgets=(50, 100, 1000, 5000), sample_tokens=100, seconds=0, **RUN)
    assert set(order) == {50, 100}
    assert found.token_budget == 100


def test_a_budget_that_does_not_fit_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Out of memory at one budget rules out the larger ones too, is recorded, and ends nothing but them."""
    order = fake_passes(monkeypatch, lambda budget: None if budget >= 40 else 5.0)
    found = pilot(FirstTokens(), SAMPLE, budgets=(20, 40, 80), sample_tokens=500, seconds=0, **RUN)
    assert order == [20, 40, 20]
    assert found.token_budget == 20
    assert found.facts()["seconds"] == {"20": [5.0], "40": [], "80": []}
    fake_passes(monkeypatch, lambda budget: None)
    with pytest.raises(torch.OutOfMemoryError, match=r"no token budget of \[20, 40\] fits in the memory of cpu"):
        pilot(FirstTokens(), SAMPLE, budgets=(20, 40), sample_tokens=500, **RUN)


@given(st.lists(st.integers(1, 30), min_size=1, max_size=40), st.integers(1, 500))
def test_a_sample_is_taken_evenly(lengths: list[int], tokens: int) -> None:
    """Rows of the sample are whole rows in order, about as many tokens as asked, from the first row to the last."""
    rows = [[number + 1] * length for number, length in enumerate(lengths)]
    found = evenly(encoded_rows(rows, list(range(len(rows)))), tokens)
    chosen = found.labels.tolist()
    assert chosen == sorted(set(chosen))
    assert [found.row(place).tolist() for place in range(len(found))] == [rows[index] for index in chosen]
    assert len(chosen) == min(len(rows), max(1, round(tokens / np.mean(lengths))))
    assert chosen[0] == 0
    assert len(chosen) == 1 or chosen[-1] == len(rows) - 1


def by_words(windows: Iterable[TextWindow]) -> Iterator[Window]:
    """Tokens at no cost: one a word, its length."""
    for window in windows:
        rows = [[min(99, len(word)) for word in text.split()] for text in window.texts]
        yield Window(
            split=window.split,
            encoded=encoded_rows(rows, list(window.labels)),
            positions=np.asarray(window.positions, dtype=np.int64),
        )


def write_rows(path: Path, rows: int) -> None:
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["text", "label"])
        for number in range(rows):
            writer.writerow([" ".join(f"{number}{letter * 250}" for letter in "abcdef"), NAMES[number % 2]])


def peak_growth(folder: Path, rows: int) -> tuple[int, Streamed]:
    """Bytes by which a whole pass over a CSV, read to written, raises the peak of this process."""
    path = folder / f"rows{rows}.csv"
    write_rows(path, rows)
    spec = find_dataset("imdb").model_copy(
        update={"id": "own", "source": "file", "location": str(path), "files": {}, "label_map": {}}
    )
    stream, model = RowStream(spec, window_rows=256, chunk_rows=256), bert()
    with (
        watch_memory("cpu") as usage,
        streamed_predictions(
            folder / f"{rows}.parquet", texts_digest=stream.fingerprint, seed=0, class_names=NAMES
        ) as append,
    ):
        found = evaluate_stream(
            model,
            by_words(stream),
            NAMES,
            keep=lambda window, table: append(window.encoded.labels, table, window.positions.tolist()),
            **RUN,
        )
    if usage.host_peak is None:
        pytest.skip("the peak cannot be reset on this system")
    assert len(read_predictions(folder / f"{rows}.parquet")) == rows
    return usage.host_peak - usage.host_start, found


FLAT_BYTES = 12 << 20
"""Ten times the rows here are 27 MB more of text alone."""


@pytest.mark.slow
def test_memory_is_flat_in_the_number_of_rows(tmp_path: Path) -> None:
    """20,000 rows need no more memory than 2,000, from the file to the file of predictions."""
    peak_growth(tmp_path, 600)
    few, _ = peak_growth(tmp_path, 2_000)
    many, found = peak_growth(tmp_path, 20_000)
    assert found.rows == 20_000
    assert many - few < FLAT_BYTES, f"{few / 2**20:.1f} MiB for 2,000 rows, {many / 2**20:.1f} MiB for 20,000"
