"""The user's own file: what it may say, and what a mistake in it is answered with."""

from __future__ import annotations

import inspect
import textwrap
from pathlib import Path

import pytest

from emobench import errors
from emobench.catalogue import project as project_module
from emobench.catalogue.model_rows import MODELS
from emobench.catalogue.profiles import find_profile
from emobench.catalogue.project import Project, load_project
from emobench.specs import TrainSettings

TICKETS = """
[datasets.tickets]
path = "data/tickets.csv"
text = "body"
label = "team"
labels = ["billing", "bug", "sales"]
"""


def load(folder: Path, text: str, name: str = "emobench.toml") -> Project:
    (folder / name).write_text(text, encoding="utf-8")
    return load_project(folder)


def refused(folder: Path, text: str) -> str:
    """The one line a file is refused with, the file's path shortened."""
    with pytest.raises(errors.SpecError) as caught:
        load(folder, text)
    assert str(folder / "emobench.toml") in str(caught.value)
    assert str(caught.value).count("\n") == 0
    return str(caught.value).replace(str(folder / "emobench.toml"), "FILE")


def test_no_file_is_an_empty_project(tmp_path: Path) -> None:
    """Without a file, or with a pyproject.toml that has no table of ours, nothing is added."""
    assert load_project(tmp_path) == Project()
    assert load(tmp_path, "[tool.ruff]\nline-length = 100\n", "pyproject.toml") == Project()


def test_a_data_set_of_the_users_own(tmp_path: Path) -> None:
    """Columns, classes, label map, dropped values and files become a data set row; paths start at the file."""
    text = TICKETS + 'label_map = { "B" = "billing" }\ndrop = ["spam"]\ntest_path = "data/test.csv"\n'
    row = load(tmp_path, text).datasets["tickets"]
    assert (row.id, row.source, row.text, row.label) == ("tickets", "file", "body", "team")
    assert row.labels == ("billing", "bug", "sales")
    assert row.label_map == {"B": "billing", "spam": None}
    assert row.location == str(tmp_path / "data/tickets.csv")
    assert row.files == {"train": str(tmp_path / "data/tickets.csv"), "test": str(tmp_path / "data/test.csv")}


def test_a_model_of_the_users_own(tmp_path: Path) -> None:
    """A model takes from ``like`` what the file does not give, and nothing of where the known weights are."""
    text = '[models.mine]\nlike = "all-minilm-l6-v2"\npath = "checkpoints/mine"\nlearning_rates = { full = 3e-4 }\n'
    row, base = load(tmp_path, text).models["mine"], MODELS["all-minilm-l6-v2"]
    assert row.path == str(tmp_path / "checkpoints/mine")
    assert (row.hub_id, row.packaged, row.parameters, row.labels) == ("", None, {}, None)
    assert (row.config, row.head_modules, row.context) == (base.config, base.head_modules, base.context)
    assert row.learning_rates == base.learning_rates.model_copy(update={"full": 3e-4})
    assert base.learning_rates.full != 3e-4


def test_a_model_may_differ_in_its_numbers(tmp_path: Path) -> None:
    """Architecture numbers, targets and labels that are given replace those of ``like``."""
    text = """
[models.deep]
like = "distilbert-base"
hub_id = "me/deep"
config = { n_layers = 12 }
lora_targets = { mlp = ["lin1"] }
labels = ["no", "yes"]
"""
    row = load(tmp_path, text).models["deep"]
    assert row.hub_id == "me/deep"
    assert row.config == {**MODELS["distilbert-base"].config, "n_layers": 12}
    assert row.lora_targets.mlp == ("lin1",)
    assert row.lora_targets.attention == MODELS["distilbert-base"].lora_targets.attention
    assert row.labels == ("no", "yes")


def test_settings_hold_what_the_file_sets_and_no_more(tmp_path: Path) -> None:
    """Defaults are left out, so that a command line can tell what the user wrote."""
    project = load(tmp_path, 'profile = "smoke"\nseeds = 3\n[train]\nbatch_size = 16\n')
    assert project.settings == {"profile": "smoke", "seeds": 3, "train": {"batch_size": 16}}
    assert load(tmp_path, "[profile]\ntrain = 50\n").settings == {"sizes": {"train": 50}}


def test_sizes_belong_to_the_profile_the_file_names(tmp_path: Path) -> None:
    """A size applies to the named profile only; training settings apply always."""
    project = load(tmp_path, '[profile]\nname = "standard"\ntrain = 50\n[train]\nbatch_size = 16\n')
    standard, train = project.applied(find_profile("standard"), TrainSettings())
    assert (standard.train, standard.test, train.batch_size) == (50, 5_000, 16)
    smoke, train = project.applied(find_profile("smoke"), TrainSettings())
    assert (smoke, train.batch_size) == (find_profile("smoke"), 16)
    unnamed = load(tmp_path, "[profile]\ntrain = 50\n")
    assert unnamed.applied(find_profile("quick"), TrainSettings())[0].train == 50


def test_pyproject_is_read_the_same(tmp_path: Path) -> None:
    """The same tables under [tool.emobench] mean the same."""
    own = load(tmp_path, "seeds = 2\n" + TICKETS)
    (tmp_path / "emobench.toml").unlink()
    nested = "[tool.emobench]\nseeds = 2\n" + TICKETS.replace("[datasets", "[tool.emobench.datasets")
    shared = load(tmp_path, nested, "pyproject.toml")
    assert shared.file == tmp_path / "pyproject.toml"
    assert (shared.datasets, shared.settings) == (own.datasets, own.settings)


def test_settings_in_both_files_are_an_error(tmp_path: Path) -> None:
    """Neither file silently hides the other."""
    (tmp_path / "pyproject.toml").write_text("[tool.emobench]\nseeds = 2\n")
    with pytest.raises(errors.SpecError, match=r"settings in two places: .*; keep one of them"):
        load(tmp_path, "seeds = 3\n")


def test_the_documented_example_loads(tmp_path: Path) -> None:
    """The file in the module's docstring is read without an error, key for key."""
    text = textwrap.dedent(inspect.getdoc(project_module).split("::\n", 1)[1].split("In ``pyproject.toml``")[0])
    (tmp_path / "my_rows.py").write_text("KINDS = ()\n")
    project = load(tmp_path, text)
    assert list(project.datasets) == ["tickets"]
    assert list(project.models) == ["mine", "distilbert-base"]
    assert len(project.models["distilbert-base"].revision) == 40
    assert project.settings == {
        "profile": "quick",
        "seeds": 3,
        "silence": ("truncation",),
        "train": {"batch_size": 16},
        "targets": {"accuracy": 0.8},
        "gates": {"accuracy": "1pt"},
        "run": {"models": ["all-minilm-l6-v2"]},
    }


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (
            "seed = 3",
            "unknown key in FILE: 'seed'; known are datasets, extend, gates, models, price, profile, run, seeds, "
            "silence, targets, train; ",
        ),
        ('seeds = "3"', "seeds = '3' in FILE cannot be used; input should be a valid integer"),
        ("seeds = true", "seeds = True in FILE cannot be used; input should be a valid integer"),
        ("seeds = 0", "seeds = 0 in FILE cannot be used; input should be greater than or equal to 1"),
        ("seeds = = 3", "FILE cannot be read; it is not TOML: Invalid value (at line 1, column 9)"),
        ('profile = "quik"', "unknown profile in FILE: 'quik'; known are full, quick, smoke, standard; did you mean"),
        ("[profile]\ntran = 3", "unknown key in [profile] of FILE: 'tran'"),
        ('[profile]\ntrain = "many"', "train = 'many' in [profile] of FILE cannot be used"),
        ("[profile]\ntrain = -3", "train = -3 in [profile] of FILE cannot be used; it takes a whole number above 0"),
        (
            '[train]\nscheduler = "poly"',
            "unknown scheduler in [train] of FILE: 'poly'; known are constant, constant_with_warmup, cosine, linear; ",
        ),
        (
            "[train]\nlearning_rate = nan",
            "learning_rate = nan in [train] of FILE cannot be used; it takes a number abo",
        ),
        ("[train]\nlr = 0.1", "unknown key in [train] of FILE: 'lr'"),
        ("datasets = 3", "datasets = 3 in FILE cannot be used; input should be a table"),
        ("[datasets]\nmine = 3", "datasets.mine = 3 in FILE cannot be used; input should be a table"),
    ],
)
def test_mistakes_in_settings(tmp_path: Path, text: str, answer: str) -> None:
    """An unknown key or a bad value is one line that names file, table, key and what would do."""
    assert answer in refused(tmp_path, text)


@pytest.mark.parametrize(
    ("change", "answer"),
    [
        (('text = "body"', 'txt = "body"'), "unknown key in [datasets.tickets] of FILE: 'txt'; "),
        (
            ('text = "body"', "text = 3"),
            "text = 3 in [datasets.tickets] of FILE cannot be used; input should be a valid",
        ),
        (('path = "data/tickets.csv"', ""), "[datasets.tickets] of FILE has no path; it is needed; add path = ..."),
        (
            ('"bug", "sales"', ""),
            "labels = ['billing'] in [datasets.tickets] of FILE cannot be used; list should have at",
        ),
        (
            ('"sales"', '"bug"'),
            "labels = ['billing', 'bug', 'bug'] in [datasets.tickets] of FILE; 'bug' stands there tw",
        ),
        (('"sales"', '""'), "a class name is empty"),
        (('"sales"', "3"), "labels.2 = 3 in [datasets.tickets] of FILE cannot be used"),
        (
            ("labels", 'label_map = { "B" = "biling" }\nlabels'),
            "[datasets.tickets] in FILE: 'biling'; known are billing",
        ),
        (("tickets]", "imdb]"), "[datasets.imdb] of FILE uses the id of a built-in row"),
        (("tickets]", '"my tickets"]'), "[datasets.my tickets] of FILE has an id that cannot be selected"),
    ],
)
def test_mistakes_in_a_data_set(tmp_path: Path, change: tuple[str, str], answer: str) -> None:
    """A wrong table of a data set is one line that names file, table and key."""
    assert answer in refused(tmp_path, TICKETS.replace(*change, 1))


@pytest.mark.parametrize(
    ("id", "body", "answer"),
    [
        ("mine", 'path = "a"', "[models.mine] of FILE has no like"),
        ("mine", 'path = "a"\nlike = "distil-bert"', "'distil-bert'; known are all-minilm-l6-v2, "),
        ("mine", 'like = "roberta-base"', "[models.mine] of FILE gives neither path nor hub_id"),
        (
            "mine",
            'like = "roberta-base"\npath = "a"\nhub_id = "b/c"',
            "[models.mine] of FILE gives both path and hub_id",
        ),
        ("mine", 'like = "roberta-base"\npath = "a"\ntrust = true', "unknown key in [models.mine] of FILE: 'trust'"),
        (
            "mine",
            'like = "roberta-base"\npath = "a"\nlearning_rates = { ful = 1e-4 }',
            "unknown key in [models.mine.learning_rates] of FILE: 'ful'; known are full, head, lora; did you mean",
        ),
        (
            "mine",
            'like = "roberta-base"\npath = "a"\nlearning_rates = { full = -1e-4 }',
            "learning_rates.full = -0.0001 in [models.mine] of FILE cannot be used; it takes a number above 0",
        ),
        (
            "roberta-base",
            'like = "roberta-base"\npath = "a"',
            "[models.roberta-base] of FILE uses the id of a built-in",
        ),
    ],
)
def test_mistakes_in_a_model(tmp_path: Path, id: str, body: str, answer: str) -> None:
    """A wrong table of a model is one line that names file, table and key."""
    assert answer in refused(tmp_path, f"[models.{id}]\n{body}\n")


def test_text_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    """A file in another encoding is answered by name, not by a traceback."""
    (tmp_path / "emobench.toml").write_bytes('profile = "größe"'.encode("cp1252"))
    with pytest.raises(errors.SpecError, match=r"emobench.toml cannot be read; it is not TOML: 'utf-8' codec"):
        load_project(tmp_path)
