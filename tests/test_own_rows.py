"""The benchmarks with rows of the user's own: a data set of three classes, and two-layer models with random weights."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.hub_stand_in import HubStandIn

ROOT = Path(__file__).parents[1]
SMALL = "num_hidden_layers = 2, hidden_size = 64, intermediate_size = 96, vocab_size = 1000"
SETTINGS = f"""
[datasets.tickets]
path = "tickets.csv"
text = "body"
label = "team"
labels = ["billing", "bug", "sales"]

[models.tiny-llama]
like = "tinyllama-1.1b"
hub_id = "none/tiny-llama"
config = {{ {SMALL}, num_attention_heads = 4, num_key_value_heads = 2 }}

[models.tiny-phi]
like = "phi-3-mini"
hub_id = "none/tiny-phi"
config = {{ {SMALL}, num_attention_heads = 4, num_key_value_heads = 4, pad_token_id = 0 }}

[models.tiny-gemma]
like = "gemma-2-2b"
hub_id = "none/tiny-gemma"
config = {{ {SMALL}, num_attention_heads = 4, num_key_value_heads = 2, head_dim = 16 }}
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the suite beside a user's own ``emobench.toml``."""
    folder = tmp_path_factory.mktemp("project")
    for name in ("benchmarks", "fixtures"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("conftest.py", "pyproject.toml"):
        shutil.copy(ROOT / name, folder / name)
    (folder / "emobench.toml").write_text(SETTINGS)
    words = {"billing": "invoice payment refund", "bug": "crash error broken", "sales": "price offer contract"}
    rows = [f'"ticket {n} about {words[team]} number {n}",{team}' for n in range(80) for team in words]
    (folder / "tickets.csv").write_text("body,team\n" + "\n".join(rows) + "\n")
    return folder


def run(project: Path, *arguments: str) -> list[Any]:
    """Run cases and give the rows of the run they saved."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "benchmarks",
        "-p",
        "no:cacheprovider",
        "--emo-profile=smoke",
        *arguments,
    ]
    result = subprocess.run(command, cwd=project, capture_output=True, text=True, env=own)
    assert result.returncode == 0, result.stdout[-4000:]
    newest = max(project.glob("results/*/[0-9]*.json"))
    return list(json.loads(newest.read_text())["benchmarks"])


@pytest.mark.slow
def test_three_classes_of_ones_own(project: Path) -> None:
    """A CSV with three classes is trained on and scored: three rows in the confusion matrix, no binary F1."""
    (row,) = run(project, "-k", "tickets and minilm and head and fp32 and cpu")
    record = row["extra_info"]["emobench"]
    assert [len(line) for line in record["details"]["confusion"]] == [3, 3, 3]
    assert [entry["name"] for entry in record["details"]["per_class"]] == ["billing", "bug", "sales"]
    assert "f1_binary" not in record["metrics"]


@pytest.mark.slow
@pytest.mark.parametrize("models", [("llama",), pytest.param(("llama", "phi", "gemma"), marks=pytest.mark.nightly)])
def test_random_weights_time_models_that_are_not_here(project: Path, models: tuple[str, ...]) -> None:
    """Training steps, latency and generation run from the row alone, are marked random, and claim no quality."""
    rows = run(
        project,
        "--emo-weights=random",
        "-k",
        f"tiny and ({' or '.join(models)}) and cpu and fp32 and (lora or full and llama or b4 or generation)",
    )
    kinds = {row["extra_info"]["emobench"]["case"]["kind"] for row in rows}
    assert kinds == {"finetune", "inference", "generation"}
    found = {row["extra_info"]["emobench"]["case"]["model"] for row in rows}
    assert found == {f"tiny-{name}" for name in models}
    for row in rows:
        record = row["extra_info"]["emobench"]
        assert record["case"]["weights"] == "random"
        assert not {"accuracy", "f1_macro", "validation_accuracy"} & set(record["metrics"])
        assert "artifacts" in record
        assert not record["artifacts"]


@pytest.mark.slow
def test_a_pinned_revision_is_what_is_downloaded_loaded_and_recorded(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``revision`` of a row reaches the hub, the loaded weights and the record: its commit, not that of ``main``."""
    from transformers import AutoModelForCausalLM, logging

    from emobench.catalogue.project import load_project
    from emobench.models.architecture import row_config

    logging.disable_progress_bar()
    row = load_project(project).models["tiny-llama"]
    AutoModelForCausalLM.from_config(row_config(row, None)).save_pretrained(tmp_path / "made")
    files = {path.name: path.read_bytes() for path in (tmp_path / "made").iterdir()}
    monkeypatch.setenv("EMOBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    settings = project / "emobench.toml"
    before = settings.read_text()
    with HubStandIn() as hub:
        repo = hub.add("none/tiny-llama", files, kind="models")
        repo.branches = {"v1"}
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        settings.write_text(before.replace('"none/tiny-llama"', '"none/tiny-llama"\nrevision = "v1"'))
        try:
            (found,) = run(
                project, "-k", "inference and tiny-llama and b1 and not b16 and fp32 and cpu", "--emo-download"
            )
        finally:
            settings.write_text(before)
    assert found["extra_info"]["emobench"]["case"]["model_revision"] == repo.commit
    assert any("/revision/v1" in path for _, path, _ in hub.requests)
