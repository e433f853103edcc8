"""Labels for a whole data set: ours against the text-classification pipeline of transformers, as a ratio in one run.

Slow and no cases of their own: run them with ``pytest benchmarks/test_pipeline.py --emo-slow``.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from emobench.specs import Precision
from fixtures.say import Say

if TYPE_CHECKING:
    import numpy as np

    from emobench.data.encode import Encoded
    from emobench.models.load import LoadedModel

pytestmark = pytest.mark.slow

MAX_LENGTH = 512
BATCH_SIZES = (1, 8, 16, 32, 64)
"""Of the pipeline; it gets the one that is fastest on the sample."""

ROUNDS = 2
"""Passes over the sample a setting; the fastest counts, for both sides."""

TOLERANCE: dict[str, float] = {"fp32": 1e-3, "bf16": 0.05}
"""Largest difference of a probability that rounding explains, by the coarser of the two precisions."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """Rows of one data set, and the speed-up aimed for."""

    dataset: str
    chunks: int
    chunk_rows: int
    sample_rows: int
    target: float


TASKS = (
    Task(dataset="rotten_tomatoes-train", chunks=10, chunk_rows=400, sample_rows=256, target=1.5),
    Task(dataset="imdb-train", chunks=10, chunk_rows=64, sample_rows=64, target=2.0),
)


@dataclass(frozen=True, kw_only=True)
class Answers:
    """Seconds, and for each text the chosen class and its probability."""

    seconds: float
    chosen: np.ndarray
    probability: np.ndarray


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MiniLM fine-tuned on 2,000 Rotten Tomatoes reviews, saved with its tokenizer: both sides load this."""
    from emobench.catalogue.datasets import find_dataset
    from emobench.catalogue.methods import find_method
    from emobench.catalogue.model_rows import find_model
    from emobench.catalogue.profiles import find_profile
    from emobench.data.material import encode_splits
    from emobench.data.prepare import load_splits
    from emobench.models.load import load_classifier, load_tokenizer
    from emobench.models.save import save_model
    from emobench.training.fit import fit
    from emobench.training.plan import FitPlan

    model = find_model("all-minilm-l6-v2")
    tokenizer = load_tokenizer(model)
    splits = load_splits(find_dataset("rotten_tomatoes-train"), profile=find_profile("quick"), seed=0)
    material = encode_splits(splits, tokenizer, max_length=128)
    loaded = load_classifier(model, num_labels=2, class_names=material.class_names, method=find_method("full"))
    fit(loaded.model, material.train, FitPlan(device="cpu", precision="fp32", seed=0, epochs=1, learning_rate=1e-4))
    return save_model(loaded, tokenizer, tmp_path_factory.mktemp("classifier"))


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.dataset)
def test_labels_against_the_pipeline(task: Task, folder: Path, benchmark: Any, say: Say) -> None:
    """Texts in, classes and probabilities out, chunks in turn: each side at its own best setting, equal answers."""
    import numpy as np

    texts = texts_of(task)
    sample, rest = texts[: task.sample_rows], texts[task.sample_rows :]
    theirs = best_pipeline(folder, sample)
    ours = best_stream(folder, sample)
    sides: list[tuple[Answers, Answers]] = []
    chunks = iter([rest[start : start + task.chunk_rows] for start in range(0, len(rest), task.chunk_rows)])

    def both() -> None:
        chunk = next(chunks)
        # The one that goes first changes each time: what heats up or slows down hits both.
        first, second = (ours, theirs) if len(sides) % 2 else (theirs, ours)
        answers = {id(side): side(chunk) for side in (first, second)}
        sides.append((answers[id(ours)], answers[id(theirs)]))

    benchmark.pedantic(both, rounds=task.chunks)
    ratio, low, high = ratio_of_sums(sides)
    equal = np.concatenate([a.chosen == b.chosen for a, b in sides])
    difference = max(float(np.abs(a.probability - b.probability)[a.chosen == b.chosen].max()) for a, b in sides)
    rows = task.chunks * task.chunk_rows
    speeds = [rows / sum(pair[side].seconds for pair in sides) for side in (0, 1)]
    report(say, task, ratio, low, high, f"ours {speeds[0]:.0f}/s with {ours}, pipeline {speeds[1]:.0f}/s with {theirs}")
    say(f"equal answers {equal.mean():.4f} of {rows}, largest difference of a probability {difference:.2g}")
    benchmark.extra_info.update(
        {
            "rows": rows,
            "speedup": ratio,
            "speedup_low": low,
            "speedup_high": high,
            "samples_per_second": speeds[0],
            "samples_per_second_pipeline": speeds[1],
            "setting": str(ours),
            "setting_pipeline": str(theirs),
            "equal_answers": float(equal.mean()),
            "largest_difference": difference,
        }
    )
    assert equal.mean() >= 0.995
    assert difference < max(TOLERANCE[side.precision] for side in (ours, theirs))


def report(say: Say, task: Task, ratio: float, low: float, high: float, settings: str) -> None:
    verdict = "met" if ratio >= task.target else "MISSED"
    say(f"{task.dataset}: {ratio:.2f}x the pipeline, 95 % interval {low:.2f} to {high:.2f}")
    say(f"target {task.target}: {verdict}; {settings}")


def texts_of(task: Task) -> list[str]:
    """Rows in the seeded order of the splits, which sorts by nothing that matters; first the sample's."""
    from emobench.catalogue.datasets import find_dataset
    from emobench.catalogue.profiles import find_profile
    from emobench.data.prepare import load_splits

    wanted = task.sample_rows + task.chunks * task.chunk_rows
    # The test split's rows: none of them was trained on.
    profile = find_profile("quick").model_copy(update={"test": wanted})
    return list(load_splits(find_dataset(task.dataset), profile=profile, seed=0).test.texts)[:wanted]


def ratio_of_sums(sides: Sequence[tuple[Answers, Answers]]) -> tuple[float, float, float]:
    """Their seconds over ours with its 95 % bootstrap interval over pairs of chunks."""
    import numpy as np

    seconds = np.array([[a.seconds, b.seconds] for a, b in sides])
    drawn = np.random.default_rng(0).integers(0, len(seconds), (10_000, len(seconds)))
    sums = seconds[drawn].sum(axis=1)
    low, high = np.quantile(sums[:, 1] / sums[:, 0], (0.025, 0.975))
    ours, theirs = seconds.sum(axis=0)
    return float(theirs / ours), float(low), float(high)


def precisions() -> tuple[Precision, ...]:
    from emobench.devices import cpu_has_fast_bf16

    return ("fp32", "bf16") if cpu_has_fast_bf16() else ("fp32",)


class Pipeline:
    """The pipeline as its documentation has it: a list of texts, a batch size, truncation."""

    def __init__(self, folder: Path, precision: Precision) -> None:
        from transformers import pipeline

        from emobench.devices import torch_dtype

        self.precision = precision
        self.batch_size = 1
        self.call = pipeline(
            "text-classification", model=str(folder), tokenizer=str(folder), device="cpu", dtype=torch_dtype(precision)
        )
        self.index_of = self.call.model.config.label2id

    def __call__(self, texts: Sequence[str]) -> Answers:
        import numpy as np

        start = time.perf_counter()
        found = self.call(list(texts), batch_size=self.batch_size, truncation=True, max_length=MAX_LENGTH)
        seconds = time.perf_counter() - start
        return Answers(
            seconds=seconds,
            chosen=np.array([self.index_of[row["label"]] for row in found]),
            probability=np.array([row["score"] for row in found]),
        )

    def __str__(self) -> str:
        return f"{self.precision}, batch size {self.batch_size}"


def best_pipeline(folder: Path, sample: Sequence[str]) -> Pipeline:
    """The pipeline at the precision and batch size that are fastest on the sample, tried in turn."""
    sides = {precision: Pipeline(folder, precision) for precision in precisions()}
    best: dict[tuple[Precision, int], float] = {}
    for _ in range(ROUNDS):
        for precision, side in sides.items():
            for side.batch_size in BATCH_SIZES:
                seconds = side(sample).seconds
                key = (precision, side.batch_size)
                best[key] = min(seconds, best.get(key, seconds))
    precision, batch_size = min(best, key=lambda key: best[key])
    chosen = sides[precision]
    chosen.batch_size = batch_size
    return chosen


class Stream:
    """Whole-data-set evaluation, fed the same texts: tokenized, predicted and scored in one pass."""

    def __init__(self, folder: Path, precision: Precision) -> None:
        from emobench.models.load import load_tokenizer
        from emobench.models.save import reload_classifier

        self.precision = precision
        self.token_budget = 0
        self.loaded: LoadedModel = reload_classifier(folder, precision=precision)
        self.tokenizer = load_tokenizer(self.loaded.spec, folder=folder)
        self.arguments: dict[str, Any] = {"device": "cpu", "pad_id": 0, "padding_side": "right"}

    def windows(self, texts: Sequence[str]) -> Iterator[Any]:
        from emobench.data.stream import TextWindow, encoded_windows

        rows = range(len(texts))
        window = TextWindow(split="test", texts=texts, labels=[0] * len(texts), positions=rows)
        return encoded_windows([window], self.tokenizer, max_length=MAX_LENGTH)

    def tokens(self, texts: Sequence[str]) -> Encoded:
        encoded: Encoded = next(self.windows(texts)).encoded
        return encoded

    def __call__(self, texts: Sequence[str]) -> Answers:
        import numpy as np

        from emobench.evaluation.stream import evaluate_stream

        parts: list[Any] = []
        start = time.perf_counter()
        evaluate_stream(
            self.loaded.model,
            self.windows(texts),
            self.loaded.class_names,
            token_budget=self.token_budget,
            keep=lambda _, probabilities: parts.append(probabilities),
            **self.arguments,
        )
        table = np.concatenate(parts)
        chosen, probability = table.argmax(axis=1), table.max(axis=1)
        return Answers(seconds=time.perf_counter() - start, chosen=chosen, probability=probability)

    def __str__(self) -> str:
        return f"{self.precision}, {self.token_budget} tokens a pass"


def best_stream(folder: Path, sample: Sequence[str]) -> Stream:
    """Ours at the precision and token budget that are fastest on the sample."""
    from emobench.evaluation.stream import pilot

    found: list[tuple[float, Stream]] = []
    for precision in precisions():
        side = Stream(folder, precision)
        tried = pilot(side.loaded.model, side.tokens(sample), **side.arguments)
        side.token_budget = tried.token_budget
        found.append((min(tried.seconds[tried.token_budget]), side))
    return min(found, key=lambda pair: pair[0])[1]
