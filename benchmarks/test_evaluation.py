"""How good and how fast is a classifier over all rows of a data set, read and tokenized on the way?"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from emobench.cases.case import Case
from emobench.recipes.full_pass import full_pass
from emobench.specs import DatasetSpec, DeviceKind, ModelSpec, Precision

if TYPE_CHECKING:
    from fixtures.say import Say


@pytest.mark.evaluation
def test_evaluation(
    case: Case, model: ModelSpec, dataset: DatasetSpec, precision: Precision, device: DeviceKind
) -> None:
    """Stream every row once at the token budget a pilot found best; reading to writing is inside the time.

    A model without a classifier's head is trained before, at the profile's size; rows it saw are left out.
    """
    full_pass(case)


MANY_ROWS = 369_475
FEW_ROWS = 20_000
FLAT_BYTES = 48 << 20
"""More than the allocator's own ups and downs, and less than half of the texts of the many rows."""


@pytest.mark.slow
def test_memory_is_flat_in_the_number_of_rows(benchmark: Any, tmp_path: Path, say: Say) -> None:
    """369,475 rows, read from a CSV and answered into a file, need no more memory than 20,000; a two-layer model."""
    growth = {FEW_ROWS: 0, MANY_ROWS: 0}
    seconds = dict.fromkeys(growth, 0.0)
    counts = iter(growth)

    def one_pass(rows: int, path: Path) -> None:
        growth[rows], seconds[rows] = stream_file(path, rows)

    def setup() -> tuple[tuple[int, Path], dict[str, Any]]:
        rows = next(counts)
        return (rows, write_rows(tmp_path / f"{rows}.csv", rows)), {}

    benchmark.pedantic(one_pass, setup=setup, rounds=len(growth))
    benchmark.extra_info.update({f"growth_bytes_{rows}": taken for rows, taken in growth.items()})
    figures = ", ".join(f"{taken / 2**20:.1f} MiB for {rows:,} rows" for rows, taken in growth.items())
    say(f"peak growth: {figures}; {MANY_ROWS / seconds[MANY_ROWS]:.0f} rows/s")
    assert growth[MANY_ROWS] - growth[FEW_ROWS] < FLAT_BYTES, figures


def write_rows(path: Path, rows: int) -> Path:
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["text", "label"])
        for number in range(rows):
            text = f"film number {number} was a thing that I would {('never', 'gladly')[number % 2]} see " * 4
            writer.writerow([text, ("negative", "positive")[number % 2]])
    return path


def stream_file(path: Path, rows: int) -> tuple[int, float]:
    """Bytes by which one pass raises the peak of this process, and its seconds."""
    from emobench.catalogue.datasets import find_dataset
    from emobench.catalogue.model_rows import find_model
    from emobench.data.stream import RowStream, encoded_windows
    from emobench.evaluation.stream import evaluate_stream
    from emobench.measurement.usage import watch_memory
    from emobench.models.load import load_classifier, load_tokenizer
    from emobench.records.predictions import streamed_predictions

    usual, names = find_model("all-minilm-l6-v2"), ("negative", "positive")
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    tiny = usual.model_copy(update={"config": {**usual.config, **sizes}})
    own = {"id": "own", "source": "file", "location": str(path), "files": {}, "label_map": {}}
    stream = RowStream(find_dataset("imdb").model_copy(update=own))
    loaded = load_classifier(tiny, num_labels=2, class_names=names, weights="random")
    windows = encoded_windows(stream, load_tokenizer(usual), max_length=32)
    answers = streamed_predictions(
        path.with_suffix(".parquet"), texts_digest=stream.fingerprint, seed=0, class_names=names
    )
    with watch_memory("cpu") as usage, answers as append:
        found = evaluate_stream(
            loaded.model,
            windows,
            names,
            device="cpu",
            pad_id=0,
            padding_side="right",
            token_budget=8192,
            keep=lambda window, table: append(window.encoded.labels, table, window.positions.tolist()),
        )
    assert found.rows == rows
    if usage.host_peak is None:
        pytest.skip("the peak cannot be reset on this system")
    return usage.host_peak - usage.host_start, found.seconds
