"""The wizard: every question by key and by flag, only what fits, and a file that a run takes as it stands."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner, Result

from emobench.catalogue.datasets import DATASETS
from emobench.catalogue.methods import METHODS
from emobench.catalogue.model_rows import MODELS
from emobench.catalogue.profiles import find_profile
from emobench.catalogue.project import load_project
from emobench.catalogue.run_table import RunTable, find_run_table
from emobench.cli import app
from emobench.commands import wizard_answers as wizard_asking
from emobench.commands import wizard_cost, wizard_hardware
from emobench.commands.init import STEPS
from emobench.commands.wizard_analysis import analysis_lines
from emobench.commands.wizard_answers import Choice
from emobench.commands.wizard_quality import quality_text, saved_quotes
from emobench.devices import cpu_has_fast_bf16, free_memory_bytes
from emobench.estimate.memory import estimate_memory, plan_of
from emobench.estimate.time import Rates
from emobench.measurement import ceilings
from emobench.measurement.probes import Probe
from emobench.measurement.products import ProductRates
from emobench.specs import CaseSpec, TrainSettings
from tests.commands.terminal import CTRL_C, DOWN, ENTER, Terminal

RATES = Rates(flops_per_second=5e10, bytes_per_second=1e10, seconds_per_operator=2e-6)
ROOT = Path(__file__).parents[2]
SCRIPT = [sys.executable, "-c", "from emobench.cli import main; main()"]
DATA = "rotten_tomatoes-train"
ANSWERS = {
    "--device": "cpu",
    "--data": DATA,
    "--task": "finetune",
    "--model": "all-minilm-l6-v2",
    "--method": "lora",
    "--precision": "fp32",
    "--batch-size": "16",
    "--profile": "smoke",
    "--epochs": "2",
    "--learning-rate": "0.0005",
    "--seeds": "2",
    "--tracking": "none",
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A clone of the suite without settings, with a file of tickets in it."""
    folder = tmp_path / "project"
    folder.mkdir()
    for name in ("benchmarks", "fixtures"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("conftest.py", "pyproject.toml"):
        shutil.copy(ROOT / name, folder / name)
    words = {"billing": "invoice payment refund", "bug": "crash error broken", "sales": "price offer contract"}
    rows = [f'{n},"ticket {n} about {words[team]} number {n}",{team}' for n in range(80) for team in words]
    (folder / "tickets.csv").write_text("number,body,team\n" + "\n".join(rows) + '\n81,"nobody took this one",\n')
    return folder


@pytest.fixture
def machine(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project as working folder, on a machine whose memory, precisions and rate are given.

    Data is neither analyzed nor checked, and of the models a small, a middle and a large one are left: the walk at the
    terminal does it all.
    """
    ran = ("fp32", "int8", "nf4")
    slow = {"fp32": 1.0, "int8": 0.5, "nf4": 0.2}

    def known(device: Any) -> tuple[Probe, ...]:
        tried = [Probe(precision=name, device=device, relative_speed=slow[name]) for name in ran]  # type: ignore[arg-type]
        return (*tried, Probe(precision="fp16", device=device, error="RuntimeError: not implemented for Half"))

    monkeypatch.chdir(project)
    monkeypatch.setattr("emobench.measurement.probes.probe_device", known)
    monkeypatch.setattr(wizard_cost, "measured_rates", lambda hardware, say: dict.fromkeys(hardware.precisions, RATES))
    monkeypatch.setattr(wizard_hardware, "free_memory_bytes", lambda kind: 16 * 10**9)
    few = {name: MODELS[name] for name in ("distilbert-base", "all-minilm-l6-v2", "phi-3-mini")}
    monkeypatch.setattr("emobench.commands.project_place.MODELS", few)
    monkeypatch.setattr("emobench.commands.wizard_analysis.analyzed", lambda walk, data, place, device: data)
    monkeypatch.setattr("emobench.cases.checks.preflight", lambda *args, **kwargs: ())
    return project


def walk(*arguments: str) -> Result:
    """Run the wizard where there is no terminal."""
    return CliRunner().invoke(app, ["init", *arguments])


def flags(**changes: str | None) -> list[str]:
    """Every flag with an answer; None leaves one out."""
    answers = {**ANSWERS, **{f"--{name.replace('_', '-')}": value for name, value in changes.items()}}
    return [part for name, value in answers.items() if value is not None for part in (name, value)]


def planned(folder: Path) -> RunTable:
    """``[run]`` of the folder's settings, as a run reads it."""
    found = find_run_table(load_project(folder))
    assert found is not None
    return found


def test_without_a_terminal_the_flags_are_printed(machine: Path) -> None:
    """Every flag with what it takes, exit code 2, and nothing is written."""
    result = walk()
    assert result.exit_code == 2
    assert result.stderr.startswith("there is no terminal to ask at; give these, or --yes for their defaults:\n")
    for flag in (*ANSWERS, "--text", "--label"):
        assert f"\n  {flag} " in result.stderr
    assert "  --method         full, lora or head\n" in result.stderr
    assert not (machine / "emobench.toml").exists()


def test_only_the_flags_still_needed_are_printed(machine: Path) -> None:
    """What was given, what a data set needs no more, and what a timed case does not have is not asked for."""
    result = walk(*flags(method=None, seeds=None))
    assert [line.split()[0] for line in result.stderr.splitlines()[1:]] == ["--method", "--seeds"]
    result = walk("--task", "inference", "--data", DATA)
    wanted = ["--device", "--model", "--precision", "--batch-size", "--profile", "--tracking"]
    assert [line.split()[0] for line in result.stderr.splitlines()[1:]] == wanted


def test_all_flags_need_no_terminal(machine: Path) -> None:
    """With an answer to each question the ten steps pass, and the file says what was answered."""
    result = walk(*flags())
    assert result.exit_code == 0, result.output
    for number, title in enumerate(STEPS, start=1):
        assert f"step {number} of 10: {title}" in result.output
    text = (machine / "emobench.toml").read_text()
    assert tomllib.loads(text) == {
        "seeds": 2,
        "profile": {"name": "smoke", "epochs": 2},
        "train": {"batch_size": 16, "learning_rate": 0.0005},
        "run": {
            "kinds": ["finetune"],
            "models": ["all-minilm-l6-v2"],
            "datasets": [DATA],
            "methods": ["lora"],
            "precisions": ["fp32"],
            "devices": ["cpu"],
        },
    }
    assert f"for finetune[all-minilm-l6-v2-{DATA}-lora-fp32-cpu]" in text.splitlines()[0]
    assert "# Run it: pytest benchmarks" in text
    assert result.output.endswith("run it: pytest benchmarks    (or: emobench run)\n")


def test_yes_takes_the_defaults(machine: Path) -> None:
    """Defaults are a data set and a model that are here, the model's own learning rate, and the profile quick."""
    result = walk("--yes", "--quiet")
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[0] == f"wrote {machine / 'emobench.toml'}"
    content = tomllib.loads((machine / "emobench.toml").read_text())
    assert content["profile"] == "quick"
    assert content["train"] == {"batch_size": 32}
    assert content["run"]["models"] == ["all-minilm-l6-v2"]
    assert content["run"]["datasets"] == [DATA]
    assert content["run"]["methods"] == ["full"]
    assert "tracking" not in content["run"]


def test_a_file_of_ones_own(machine: Path) -> None:
    """Columns are guessed or named, classes are found, rows without a label dropped; the file's table is written."""
    result = walk("--yes", "--data", "tickets.csv", "--tracking", "mlflow")
    assert result.exit_code == 0, result.output
    assert "1 rows of tickets.csv have no label and are left out" in result.output
    project = load_project(machine)
    row = project.datasets["tickets"]
    assert (row.text, row.label, row.labels) == ("body", "team", ("billing", "bug", "sales"))
    assert row.files == {"train": str(machine / "tickets.csv")}
    assert row.label_map == {"": None}
    assert planned(machine).datasets == ("tickets",)
    assert planned(machine).tracking == "mlflow"
    assert 'path = "tickets.csv"' in (machine / "emobench.toml").read_text()


def test_a_timed_case_has_no_training_questions(machine: Path) -> None:
    """Of a latency case model, precision and batch are planned, and neither data nor method."""
    result = walk("--yes", "--task", "inference", "--batch-size", "4", "--precision", "int8")
    assert result.exit_code == 0, result.output
    content = tomllib.loads((machine / "emobench.toml").read_text())
    assert content["run"] == {
        "kinds": ["inference"],
        "models": ["all-minilm-l6-v2"],
        "precisions": ["int8"],
        "devices": ["cpu"],
        "batch_sizes": [4],
    }
    assert "train" not in content


def test_a_kind_of_the_projects_own_is_offered(machine: Path) -> None:
    """What a module of [extend] says is offered beside EmoBench's tasks, and the file that names it stays valid."""
    rows = "from dataclasses import replace\nfrom emobench.kinds import INFERENCE\n"
    (machine / "own_kinds.py").write_text(f'{rows}KINDS = (replace(INFERENCE, name="cold-start"),)\n')
    (machine / "emobench.toml").write_text("[extend]\nmodules = ['own_kinds']\n")
    result = walk("--yes", "--force", "--task", "cold-start")
    assert result.exit_code == 0, result.output
    assert planned(machine).kinds == ("cold-start",)
    result = walk("--yes", "--force", "--task", "cold")
    assert "known are cold-start, finetune, generation, inference; did you mean 'cold-start'?" in result.stderr


def test_a_file_that_is_there_stays(machine: Path) -> None:
    """Without --force nothing is replaced, and the difference is shown; tables that are not the wizard's survive it."""
    target = machine / "emobench.toml"
    (machine / "kept_rows.py").write_text("KINDS = ()\n")
    before = "seeds = 5\nsilence = ['leaks']\n\n[extend]\nmodules = ['kept_rows']\n\n[gates]\n"
    before += "accuracy = '1pt'\n\n[datasets.mine]\npath = 'a.csv'\nlabels = ['a', 'b']\n"
    target.write_text(before)
    result = walk("--yes")
    assert result.exit_code == 2
    assert f"{target} is there already; the wizard replaces no file without being told to; add --force" in result.stderr
    assert "-seeds = 5" in result.output
    assert target.read_text() == before
    assert walk("--yes", "--force", "--data", DATA).exit_code == 0
    content = tomllib.loads(target.read_text())
    assert content["gates"] == {"accuracy": "1pt"}
    assert content["silence"] == ["leaks"]
    assert content["extend"] == {"modules": ["kept_rows"]}
    assert content["datasets"] == {"mine": {"path": "a.csv", "labels": ["a", "b"]}}
    assert content["seeds"] == 1


def test_the_final_check_asks_no_silenced_check(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the project's file silences is silent in the wizard, too."""
    (machine / "emobench.toml").write_text("silence = ['leaks']\n")
    asked: list[Any] = []
    monkeypatch.setattr(
        "emobench.cases.checks.preflight", lambda *args, **kwargs: asked.append(kwargs["silenced"]) or ()
    )
    assert walk("--yes", "--force", *flags()).exit_code == 0
    assert asked == [frozenset({"leaks"})]


def test_a_table_that_stays_and_is_wrong_is_not_written(machine: Path) -> None:
    """What a run would refuse is refused before the file is replaced, and the file stays."""
    target = machine / "emobench.toml"
    target.write_text("[price]\nper_hour = 1.0\n")
    result = walk("--yes", "--force", "--data", DATA)
    assert result.exit_code == 2
    assert "unknown key in [price]: 'per_hour'" in result.stderr
    assert f"correct {target} first" in result.stderr
    assert target.read_text() == "[price]\nper_hour = 1.0\n"


def test_a_project_that_is_not_toml_is_an_error(machine: Path) -> None:
    """The project's own file is read before anything is asked; what is wrong with it is said."""
    (machine / "pyproject.toml").write_text("[tool\n")
    result = walk("--yes")
    assert result.exit_code == 2
    assert "pyproject.toml cannot be read; it is not TOML" in result.stderr


def test_settings_in_two_places_are_refused(machine: Path) -> None:
    """Beside a [tool.emobench] the file would be refused by every run, so it is not written."""
    with (machine / "pyproject.toml").open("a") as file:
        file.write("\n[tool.emobench]\nseeds = 2\n")
    result = walk("--yes")
    assert result.exit_code == 2
    assert "settings in two places" in result.stderr
    assert not (machine / "emobench.toml").exists()


def test_another_place_to_write(machine: Path) -> None:
    """With --output the file goes there, and the last line says where it counts and under which name."""
    result = walk("--yes", "--output", "plans/emobench.toml")
    assert result.exit_code == 0, result.output
    assert planned(machine / "plans").models == ("all-minilm-l6-v2",)
    assert f"run it in {machine / 'plans'}: pytest benchmarks" in result.output
    result = walk("--yes", "--output", "plans/other.toml")
    assert "to use it, name it emobench.toml, then run in its folder: pytest benchmarks" in result.output
    result = walk("--yes", "--output", "plans")
    assert "--output plans; settings are one .toml file; name plans/emobench.toml" in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"model": "minilm"}, "unknown value of --model here: 'minilm'; known are "),
        ({"model": "minilm"}, "did you mean 'all-minilm-l6-v2'?"),
        (
            {"method": "qlora"},
            "unknown value of --method here: 'qlora'; known are full, head, lora; did you mean 'lora'?",
        ),
        ({"method": "full", "precision": "int8"}, "unknown value of --precision here: 'int8'; known are fp32"),
        ({"precision": "nf4"}, "unknown value of --precision here: 'nf4'; known are fp32, int8"),
        ({"task": "training"}, "unknown value of --task here: 'training'; known are finetune, generation, inference"),
        ({"device": "gpu"}, "unknown value of --device here: 'gpu'; known are cpu"),
        ({"batch_size": "0"}, "--batch-size 0; '0' is no whole number above 0; give another value"),
        ({"batch_size": "many"}, "--batch-size many; 'many' is no whole number above 0; give another value"),
        ({"epochs": "1.5"}, "--epochs 1.5; '1.5' is no whole number above 0; give another value"),
        ({"learning_rate": "nan"}, "--learning-rate nan; 'nan' is no number above 0; give another value"),
        ({"learning_rate": "-1"}, "--learning-rate -1; '-1' is no number above 0; give another value"),
        ({"profile": "fast"}, "unknown profile 'fast'; known are full, quick, smoke, standard"),
        (
            {"tracking": "wandb"},
            "unknown value of --tracking here: 'wandb'; known are mlflow, none, tensorboard, trackio",
        ),
        ({"data": "rotten"}, "unknown data set 'rotten'; known are "),
        ({"data": "gone.csv"}, "--data gone.csv; there is no file 'gone.csv'; give the path of a file"),
        ({"data": "emobench.md"}, "its ending is not one of .csv, .tsv, .jsonl, .ndjson, .parquet"),
        (
            {"data": "tickets.csv", "text": "text", "label": "team"},
            "unknown value of --text here: 'text'; known are body",
        ),
        ({"data": "one.csv"}, "one.csv has no column of labels; its only column is 'text'; add a column of labels"),
        ({"data": "empty.csv"}, "empty.csv"),
    ],
)
def test_a_wrong_answer_is_an_error_in_three_parts(machine: Path, changes: dict[str, str], text: str) -> None:
    """What a flag says that means nothing names flag and value, and nothing is written."""
    (machine / "emobench.md").write_text("text")
    (machine / "one.csv").write_text("text\na\nb\n")
    (machine / "empty.csv").write_text("")
    result = walk(*flags(**changes), "--yes")
    assert result.exit_code in (1, 2)
    assert text in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not (machine / "emobench.toml").exists()


def test_too_many_classes_are_no_classes(machine: Path) -> None:
    """A column of free text taken for labels is refused with its number of values."""
    rows = "\n".join(f"text {n},value {n}" for n in range(300))
    (machine / "free.csv").write_text(f"text,label\n{rows}\n")
    result = walk("--yes", "--data", "free.csv")
    text = "column 'label' of free.csv holds 300 different labels in 300 rows; a classifier needs 2 to 200 classes"
    assert text in result.stderr


@pytest.fixture
def little(monkeypatch: pytest.MonkeyPatch) -> int:
    """Of memory only so much is free that MiniLM trains at the profile quick with a split step."""
    free = 800_000_000
    monkeypatch.setattr(wizard_hardware, "free_memory_bytes", lambda kind: free)
    return int((1 - wizard_hardware.HELD_BACK) * free)


def test_only_what_fits_is_offered(machine: Path, little: int) -> None:
    """Large models are listed as not fitting with what they need; asked for, they are refused with both numbers."""
    result = walk("--yes")
    assert result.exit_code == 0, result.output
    assert "does not fit: " in result.output
    assert "phi-3-mini (" in result.output
    assert free_memory_bytes("cpu") > little
    (machine / "emobench.toml").unlink()
    result = walk("--yes", "--model", "phi-3-mini")
    assert result.exit_code == 1
    assert "phi-3-mini on cpu needs " in result.stderr
    assert " with one row at a time and 0.7 GB may be used; " in result.stderr


def test_a_step_that_does_not_fit_is_split(machine: Path, little: int) -> None:
    """The file's token budget makes a step fit by the estimate, where the default one does not."""
    result = walk("--yes", "--profile", "standard", "--batch-size", "64", "--method", "full")
    assert result.exit_code == 0, result.output
    project = load_project(machine)
    profile, train = project.applied(find_profile("standard"), TrainSettings())
    assert train.batch_size == 64
    assert train.token_budget < 8192
    case = CaseSpec(
        kind="finetune",
        model=MODELS["all-minilm-l6-v2"],
        dataset=DATASETS[DATA],
        method=METHODS["full"],
        precision="fp32",
        device="cpu",
        profile=profile,
        train=train,
    )
    assert estimate_memory(plan_of(case)).total <= little
    roomy = case.model_copy(update={"train": train.model_copy(update={"token_budget": 8192})})
    assert estimate_memory(plan_of(roomy)).total > little


def test_quality_is_quoted_with_its_source(tmp_path: Path) -> None:
    """A saved run comes first, with its number; then a publication with its source; else it is unknown."""
    shutil.copytree(ROOT / "results" / "examples", tmp_path / "results")
    quotes = saved_quotes(tmp_path / "results")
    text = quality_text(quotes, "all-minilm-l6-v2", DATA)
    assert text == "accuracy 0.787 [0.761, 0.811] full fp32, profile quick (run 0001)"
    assert quality_text(quotes, "roberta-base", "sst2").endswith("arXiv:2106.09685, table 2)")
    assert quality_text(quotes, "phi-3-mini", DATA) == "accuracy unknown"
    for file in (tmp_path / "results").glob("*/*.json"):
        file.write_text("{")
    for file in (tmp_path / "results").glob("*/.*"):
        file.unlink()
    assert saved_quotes(tmp_path / "results") == {}
    assert saved_quotes(tmp_path / "nowhere") == {}


def test_the_analysis_in_short() -> None:
    """Lengths, what is cut off and the classes stand with the number of texts behind them; a sample says so."""
    lengths: dict[str, Any] = {
        "documents": 5012,
        "tokens_per_document": {"mean": 26.7},
        "largest": 1078,
        "percentiles": [{"level": 0.5, "value": 26}, {"level": 0.95, "value": 60}, {"level": 0.99, "value": 1005}],
        "contexts": [
            {"context": 128, "truncated": {"count": 1253, "of": 5012}},
            {"context": 2048, "truncated": {"count": 0, "of": 5012}},
        ],
    }
    classes = [{"label": name, "count": 1, "of": 6} for name in "abcdef"]
    labels: dict[str, Any] = {"classes": classes, "distinct": 7, "reason": None}
    content = {"tokenizer": "m", "sample": {"percent": 50.0}, "sections": {"lengths": lengths, "labels": labels}}
    assert list(analysis_lines(content)) == [
        "tokens of m, in a sample of 5,012 texts: mean 27, p50 26, p99 1,005, longest 1,078",
        "truncated: 25.0% at 128 tokens",
        "labels: a 16.7%, b 16.7%, c 16.7%, d 16.7%, e 16.7% and 2 more",
    ]
    none = {"classes": None, "distinct": 0, "reason": "no label"}
    bare = {**content, "sample": None, "sections": {"lengths": {**lengths, "contexts": []}, "labels": none}}
    assert list(analysis_lines(bare))[1:] == ["truncated: none at any context looked at", "labels: no label"]


def test_what_cannot_work_is_not_written(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the final check finds what cannot work and nobody can be asked, that is the error."""
    from emobench.preflight.planned import Finding, Fix

    fix = Fix(text="add rows", trade_off="none")
    stop = Finding(check="labels", level="stop", problem="no row is left", why="all are alike", fixes=(fix,))
    monkeypatch.setattr("emobench.cases.checks.preflight", lambda *args, **kwargs: (stop,))
    result = walk("--yes")
    assert result.exit_code == 1
    assert result.stderr == "no row is left; all are alike; add rows\n"
    assert "stop: no row is left; all are alike\n      add rows (none)" in result.output
    assert not (machine / "emobench.toml").exists()


def collected(project: Path, *arguments: str) -> list[str]:
    """Names of the cases that pytest would run."""
    command = [sys.executable, "-m", "pytest", "benchmarks", "--collect-only", "-q", "-p", "no:cacheprovider"]
    own = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    result = subprocess.run([*command, *arguments], cwd=project, capture_output=True, text=True, env=own)
    assert result.returncode in (0, 5), result.stdout + result.stderr
    return [line.partition("::test_")[2] for line in result.stdout.splitlines() if "::" in line]


@pytest.mark.slow
def test_the_file_picks_its_case(project: Path) -> None:
    """pytest benchmarks runs the one case of [run], also of an unusual batch size; -k picks among all."""
    (project / "emobench.toml").write_text(
        "[run]\nkinds = ['inference']\nmodels = ['distilbert-base']\nprecisions = ['fp32']\ndevices = ['cpu']\n"
        "batch_sizes = [3]\n"
    )
    assert collected(project) == ["inference[distilbert-base-fp32-cpu-b3]"]
    assert "reading_twenty_runs" in collected(project, "benchmarks/test_index.py")
    others = collected(project, "-k", "finetune and minilm and imdb and lora and bf16 and cpu and not train")
    assert others == ["finetune[all-minilm-l6-v2-imdb-lora-bf16-cpu]"]


WALK = {
    "--device": (ENTER,),
    "--data": (DOWN, ENTER),
    "Path of the file": ("tickets.csv", ENTER),
    "--text": (ENTER,),
    "--label": (ENTER,),
    "--task": (ENTER,),
    "--model": (ENTER,),
    "--method": (DOWN, ENTER),
    "--precision": (ENTER,),
    "--batch-size": (ENTER,),
    "--profile": (ENTER,),
    "--epochs": (ENTER,),
    "--learning-rate": (ENTER,),
    "--seeds": (ENTER,),
    "--tracking": (ENTER,),
    "Write ": ("y",),
}
"""The walk's questions in their order, by what they show, and the keys that answer them: a file of tickets, by LoRA."""


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with ceilings of fp32 and bf16 whose products nobody timed, which takes a while; fp16 has none."""
    folder = tmp_path_factory.mktemp("cache")
    made = ProductRates(
        large=1e11, forward=((1, 1e10), (64, 1e11)), backward_inputs=((768, 1e11),), backward_weights=1e11
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EMOBENCH_CACHE", str(folder))
        patch.setattr(ceilings, "product_rates", lambda *args, **kwargs: made)
        patch.setattr(ceilings, "_SECONDS_EACH", 0.01)
        for dtype in (torch.float32, torch.bfloat16):
            ceilings.measured_ceilings("cpu", dtype)
    return folder


@pytest.fixture
def terminal(project: Path, cache: Path) -> Iterator[Terminal]:
    """The wizard at a terminal, without a flag."""
    env = {**os.environ, "EMOBENCH_CACHE": str(cache)}
    found = Terminal([*SCRIPT, "init"], cwd=project, env=env)
    yield found
    found.close()


@pytest.mark.slow
def test_the_whole_walk_at_a_terminal(terminal: Terminal, project: Path) -> None:
    """Ten steps by keyboard, and the file that comes out of them plans what was answered and is read by a run."""
    for question, pressed in WALK.items():
        terminal.expect(question)
        terminal.press(*pressed)
    assert terminal.ended() == 0
    for number, title in enumerate(STEPS, start=1):
        assert f"step {number} of 10: {title}" in terminal.screen
    assert "tried on cpu: fp32, bf16 (" in terminal.screen
    assert re.findall(r"measuring what cpu reaches in (\w+), once on this machine", terminal.screen) == ["float16"]
    assert "labels: " in terminal.screen
    assert "accuracy unknown" in terminal.screen
    found = planned(project)
    assert (found.kinds, found.datasets, found.methods) == (("finetune",), ("tickets",), ("lora",))
    assert load_project(project).datasets["tickets"].labels == ("billing", "bug", "sales")
    usual = "bf16" if cpu_has_fast_bf16() else "fp32"
    assert collected(project) == [f"finetune[all-minilm-l6-v2-tickets-lora-{usual}-cpu]"]


@pytest.mark.slow
def test_ctrl_c_leaves_nothing_behind(terminal: Terminal, project: Path) -> None:
    """Ctrl-C at a question ends with 130 and one word; no file is there, whole or in part."""
    before = sorted(path.name for path in project.iterdir())
    terminal.expect("--device")
    terminal.press(CTRL_C)
    assert terminal.ended() == 130
    assert terminal.screen.rstrip().endswith("interrupted")
    assert sorted(path.name for path in project.iterdir()) == before


class Answering:
    """Takes every default at a terminal that is not there; the last question is answered as given."""

    def __init__(self, last: bool | type[BaseException]) -> None:
        self.last = last

    def choose(self, question: str, choices: Sequence[Choice], default: str) -> str:
        assert default in [choice.value for choice in choices]
        return default

    def enter(self, question: str, default: str, refuse: Callable[[str], str | None]) -> str:
        assert refuse(default) is None
        return default

    def confirm(self, question: str, *, default: bool) -> bool:
        if isinstance(self.last, bool):
            return self.last
        raise self.last


@pytest.mark.parametrize(("last", "code"), [(True, 0), (False, 1), (KeyboardInterrupt, 130)])
def test_the_last_question_decides(
    machine: Path, monkeypatch: pytest.MonkeyPatch, last: bool | type[BaseException], code: int
) -> None:
    """Every question's default is one of its answers; the file is there after yes, and after no or Ctrl-C is not."""
    monkeypatch.setattr("emobench.commands.init.at_terminal", lambda: True)
    monkeypatch.setattr("emobench.commands.init.Terminal", lambda: Answering(last))
    before = sorted(path.name for path in machine.iterdir())
    result = walk()
    assert result.exit_code == code, result.output
    added = {path.name for path in machine.iterdir()} - set(before)
    assert added == ({"emobench.toml"} if last is True else set())
    assert ("nothing was written" in result.output) == (last is False)


def test_the_end_of_the_input_is_an_interrupt() -> None:
    """Ctrl-D in an empty line ends the walk as Ctrl-C does."""

    class Ended:
        def unsafe_ask(self) -> str:
            raise EOFError

    with pytest.raises(KeyboardInterrupt):
        wizard_asking._answer(Ended())


def test_a_file_that_is_there_is_refused_before_the_questions(project: Path, cache: Path) -> None:
    """At a terminal nobody answers ten questions to be told that the file may not be replaced."""
    (project / "emobench.toml").write_text("seeds = 2\n")
    terminal = Terminal([*SCRIPT, "init"], cwd=project, env={**os.environ, "EMOBENCH_CACHE": str(cache)})
    terminal.expect("emobench.toml is there already")
    assert terminal.ended() == 2
    assert "step 1" not in terminal.screen
    assert (project / "emobench.toml").read_text() == "seeds = 2\n"


@pytest.mark.slow
def test_the_written_file_runs_as_it_stands(machine: Path) -> None:
    """pytest benchmarks trains the planned case and nothing else, and hands the run to the tracking system."""
    result = walk("--yes", "--data=tickets.csv", "--method=lora", "--profile=smoke", "--tracking=tensorboard")
    assert result.exit_code == 0, result.output
    own = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    command = [sys.executable, "-m", "pytest", "benchmarks", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=machine, capture_output=True, text=True, env=own)
    assert done.returncode == 0, done.stdout[-4000:]
    assert "[run] of emobench.toml picks 1 of " in done.stdout
    (file,) = machine.glob("results/*/[0-9]*.json")
    (row,) = json.loads(file.read_text())["benchmarks"]
    record = row["extra_info"]["emobench"]
    assert record["case"]["id"] == "finetune[all-minilm-l6-v2-tickets-lora-fp32-cpu]"
    assert record["case"]["profile"] == "smoke"
    assert record["status"] == "ok"
    assert list((machine / "results" / "tracking" / "tensorboard").rglob("events.*"))
