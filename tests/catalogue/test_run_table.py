"""The table ``[run]``: which cases it picks, what counts beside a command line, and the errors of a wrong one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from emobench.catalogue.datasets import DATASETS
from emobench.catalogue.methods import METHODS
from emobench.catalogue.model_rows import MODELS
from emobench.catalogue.profiles import PROFILES
from emobench.catalogue.project import load_project
from emobench.catalogue.run_table import RunTable, find_picked, find_run_table
from emobench.errors import SpecError
from emobench.specs import CaseSpec


def case(**changes: Any) -> CaseSpec:
    """A fine-tuning case of MiniLM at profile smoke."""
    usual: dict[str, Any] = {
        "kind": "finetune",
        "model": MODELS["all-minilm-l6-v2"],
        "dataset": DATASETS["imdb-train"],
        "method": METHODS["lora"],
        "precision": "fp32",
        "device": "cpu",
        "profile": PROFILES["smoke"],
    }
    return CaseSpec(**{**usual, **changes})


def table_of(folder: Path, text: str) -> RunTable | None:
    """The table that ``emobench.toml`` with this text gives."""
    (folder / "emobench.toml").write_text(text)
    return find_run_table(load_project(folder))


@pytest.mark.parametrize(
    ("field", "value", "has"),
    [
        ("kinds", ("finetune",), True),
        ("kinds", ("inference",), False),
        ("models", ("distilbert-base", "all-minilm-l6-v2"), True),
        ("models", ("distilbert-base",), False),
        ("datasets", ("imdb",), False),
        ("methods", ("lora",), True),
        ("methods", ("full", "head"), False),
        ("precisions", ("bf16",), False),
        ("devices", ("cuda",), False),
        ("batch_sizes", (8,), True),
    ],
)
def test_each_axis_is_picked_by_its_list(field: str, value: tuple[Any, ...], has: bool) -> None:
    """A case is picked where every list that is not empty holds its value; an axis it does not have is no matter."""
    assert RunTable(**{field: value}).has(case()) is has
    assert RunTable().has(case())


def test_random_weights_have_their_own_data() -> None:
    """Models with random weights get random tokens, whatever data set the table names."""
    random = case(dataset=DATASETS["random-tokens"], weights="random")
    assert RunTable(datasets=("imdb",)).has(random)
    assert not RunTable(datasets=("imdb",)).has(random.model_copy(update={"weights": "pretrained"}))


def test_the_file_is_read_with_the_users_own_rows(tmp_path: Path) -> None:
    """Own data sets are known names; a file without the table gives none."""
    own = "[datasets.tickets]\npath = 'a.csv'\nlabels = ['a', 'b']\n"
    assert table_of(tmp_path, own) is None
    found = table_of(tmp_path, f"{own}[run]\ndatasets = ['tickets']\nbatch_sizes = [3]\ntracking = 'mlflow'\n")
    assert found == RunTable(datasets=("tickets",), batch_sizes=(3,), tracking="mlflow")


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("model = ['x']", "unknown key in [run] of {file}: 'model'; known are batch_sizes, "),
        ("models = ['distilbert']", "unknown models in [run] of {file}: 'distilbert'; known are "),
        ("precisions = ['fp8']", "unknown precisions in [run] of {file}: 'fp8'; known are "),
        ("precisions = ['fp8']", "did you mean 'fp32'?"),
        ("kinds = ['training']", "unknown kinds in [run] of {file}: 'training'; known are "),
        ("tracking = 'wandb'", "unknown tracking in [run] of {file}: 'wandb'; known are mlflow, tensorboard, trackio"),
        (
            "tracking = ['mlflow']",
            "tracking = ['mlflow'] in [run] of {file} cannot be used; input should be 'mlflow', 'tensorboard' or "
            "'trackio'; correct the value",
        ),
        (
            "models = 'distilbert-base'",
            "models = 'distilbert-base' in [run] of {file} cannot be used; input should be a valid array; correct the",
        ),
        ("devices = [1]", "devices.0 = 1 in [run] of {file} cannot be used; input should be 'cpu', 'cuda' or 'mps'; c"),
        ("batch_sizes = [0]", "batch_sizes.0 = 0 in [run] of {file} cannot be used; input should be greater than 0; c"),
        ("batch_sizes = [true]", "batch_sizes.0 = True in [run] of {file} cannot be used; input should be a valid int"),
        ("batch_sizes = [1.5]", "batch_sizes.0 = 1.5 in [run] of {file} cannot be used; input should be a valid inte"),
    ],
)
def test_a_wrong_table_names_file_and_key(tmp_path: Path, line: str, text: str) -> None:
    """Each mistake is an error that says where it stands and what the key takes."""
    with pytest.raises(SpecError) as caught:
        table_of(tmp_path, f"[run]\n{line}\n")
    assert text.format(file=tmp_path / "emobench.toml") in str(caught.value)


def test_the_command_line_wins() -> None:
    """``-k`` and test ids set the table aside; a file does not; given batch sizes replace the table's."""
    table = RunTable(models=("distilbert-base",), batch_sizes=(4,))
    usual: dict[str, Any] = {"keyword": "", "arguments": ["benchmarks"], "batch_sizes": ()}
    assert find_picked(table, **usual) == table
    assert find_picked(table, **{**usual, "keyword": "lora"}) is None
    assert find_picked(table, **{**usual, "arguments": ["benchmarks/test_finetune.py"]}) == table
    assert find_picked(table, **{**usual, "arguments": ["benchmarks/test_finetune.py::test_finetune[a]"]}) is None
    assert find_picked(table, **{**usual, "batch_sizes": (1,)}) == RunTable(models=("distilbert-base",))
    assert find_picked(None, **usual) is None
