"""Rows of a project's own modules: they are known where the project is, and a wrong module is said in three parts."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from emobench.catalogue import extensions
from emobench.catalogue.datasets import DATASETS, find_dataset
from emobench.catalogue.model_rows import MODELS, find_model
from emobench.catalogue.project import Project, load_project
from emobench.catalogue.run_table import RunTable, find_picked, find_run_table
from emobench.errors import SpecError
from emobench.kinds import INFERENCE, KINDS, find_kind

ROWS = """
from dataclasses import replace
from emobench.catalogue.datasets import DATASETS as KNOWN_DATA
from emobench.catalogue.model_rows import MODELS as KNOWN_MODELS
from emobench.kinds import INFERENCE

KINDS = (replace(INFERENCE, name="cold-start"),)
MODELS = (KNOWN_MODELS["distilbert-base"].model_copy(update={"id": "mine"}),)
DATASETS = (KNOWN_DATA["imdb"].model_copy(update={"id": "films"}),)
"""

Write = Callable[..., Project]


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """Modules that a test imports are not there for the next."""
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in ("rows", "more", "helper", "pack"):
            del sys.modules[name]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write modules beside a file that names them, and load its project."""

    def load(*names: str, settings: str = "", **modules: str) -> Project:
        for name, text in modules.items():
            (tmp_path / f"{name}.py").write_text(textwrap.dedent(text))
        (tmp_path / "emobench.toml").write_text(f"[extend]\nmodules = {list(names or modules)}\n{settings}")
        return load_project(tmp_path)

    return load


def test_rows_of_a_module_are_known_where_the_project_is(write: Write) -> None:
    """Kinds, models and data sets are found by name beside EmoBench's own, which stay as they are."""
    before = (dict(KINDS), dict(MODELS), dict(DATASETS))
    project = write(rows=ROWS)
    assert find_kind("cold-start", project.kinds) == replace(INFERENCE, name="cold-start")
    assert find_model("mine", project.models).hub_id == MODELS["distilbert-base"].hub_id
    assert find_dataset("films", project.datasets).labels == DATASETS["imdb"].labels
    assert project.tasks == {}
    assert (dict(KINDS), dict(MODELS), dict(DATASETS)) == before


def test_they_stand_beside_the_files_own_tables(write: Write) -> None:
    """Tables of the file and rows of two modules are one project."""
    table = "[datasets.tickets]\npath = 'a.csv'\nlabels = ['a', 'b']\n"
    more = ROWS.replace("cold-start", "warm-start").replace('"mine"', '"other"').replace('"films"', '"reviews"')
    project = write(settings=table, rows=ROWS, more=more)
    assert list(project.datasets) == ["tickets", "films", "reviews"]
    assert list(project.kinds) == ["cold-start", "warm-start"]
    assert list(project.models) == ["mine", "other"]


def test_the_row_is_the_modules_own(write: Write) -> None:
    """The module is imported once, so a benchmark that imports it has the same rows; the path is as before."""
    before = list(sys.path)
    project = write("rows", rows="import helper\n" + ROWS, helper="")
    assert sys.path == before
    again = write("rows", rows="raise SystemExit(3)")
    assert project.kinds["cold-start"] is again.kinds["cold-start"] is sys.modules["rows"].KINDS[0]


def test_the_run_table_takes_their_names(write: Write) -> None:
    """``[run]`` picks cases by kinds, models and data sets of modules."""
    picks = "[run]\nkinds = ['cold-start']\nmodels = ['mine']\ndatasets = ['films']\n"
    table = find_run_table(write(settings=picks, rows=ROWS))
    assert table == RunTable(kinds=("cold-start",), models=("mine",), datasets=("films",))
    assert find_picked(table, keyword="", arguments=["benchmarks"], batch_sizes=()) == table
    with pytest.raises(SpecError, match=r"unknown kinds in .* did you mean 'cold-start'\?"):
        find_run_table(write("rows", settings="[run]\nkinds = ['cold-strat']\n"))


def test_no_module_is_no_rows(write: Write, tmp_path: Path) -> None:
    """An empty list, or a file without the table, adds nothing."""
    assert (write("rows", rows=ROWS).kinds != {}, write(settings="").kinds) == (True, {})
    (tmp_path / "emobench.toml").write_text("seeds = 2\n")
    assert load_project(tmp_path).kinds == {}


@pytest.mark.parametrize(
    ("modules", "parts"),
    [
        (
            {"rows": None},
            ("module 'rows' in [extend] of FILE cannot be imported", "No module named 'rows'", "put rows.py into"),
        ),
        (
            {"pack.rows": None},
            ("cannot be imported", "ModuleNotFoundError: No module named 'pack'", "put pack/rows.py"),
        ),
        (
            {"rows.py": None},
            ("cannot be imported", "ModuleNotFoundError: ", "name the module without its ending: 'rows'"),
        ),
        ({"rows": "import helper"}, ("cannot be imported", "No module named 'helper'", "correct the module")),
        ({"rows": "1 / 0"}, ("cannot be imported", "ZeroDivisionError: division by zero", "correct the module")),
        ({"rows": "raise OSError('a\\nb')"}, ("cannot be imported", "OSError: a; correct the module")),
        ({"rows": "KINDS = ("}, ("cannot be imported", "SyntaxError: '(' was never closed", "correct the module")),
        ({"rows": "raise SystemExit"}, ("cannot be imported", "SystemExit: ;", "correct the module")),
        ({"": None}, ("module '' in [extend] of FILE cannot be imported", "Empty module name", "correct the module")),
        ({"rows": "MODEL = ()"}, ("adds nothing", "it has none of KINDS, MODELS, DATASETS", "add a tuple of rows")),
        (
            {"rows": "MODELS = []"},
            ("MODELS of module 'rows' in [extend] of FILE is no tuple but of type list", "a tuple of emobench.specs.M"),
        ),
        (
            {"rows": "from emobench.kinds import INFERENCE\nKINDS = INFERENCE"},
            ("is no tuple but of type Kind", "it takes a tuple of emobench.kinds.Kind", "write KINDS = (ROW,)"),
        ),
        (
            {"rows": "KINDS = ('inference',)"},
            (
                "row 0 of KINDS of module 'rows' in [extend] of FILE is of type str",
                "emobench.kinds.Kind",
                "make it a K",
            ),
        ),
        (
            {"rows": ROWS + "MODELS = (*MODELS, *DATASETS)"},
            ("row 1 of MODELS of", "is of type DatasetSpec", "emobench.specs.ModelSpec", "make it a ModelSpec"),
        ),
        (
            {"rows": "from emobench.kinds import INFERENCE\nKINDS = (INFERENCE,)"},
            ("'inference' in KINDS of module 'rows'", "EmoBench has a row of that name", "for example inference-own"),
        ),
        (
            {"rows": ROWS, "more": ROWS},
            ("'cold-start' in KINDS of module 'more'", "module 'rows' has a row of that name", "rename the row"),
        ),
        ({"rows": ROWS + "MODELS = MODELS * 2"}, ("'mine' in MODELS of module 'rows'", "is a name that is taken")),
        (
            {"rows": ROWS.replace("cold-start", "cold_start")},
            ("'cold_start' in KINDS of module 'rows' in [extend] of FILE cannot be selected", "lower-case letters"),
        ),
        (
            {"rows": ROWS.replace('"films"', '"my films"')},
            ("'my films' in DATASETS of module 'rows'", "letters, digits, '.', '_' and '-' only", "rename the row"),
        ),
        ({"rows": "TASKS = ()"}, ("has TASKS", "this EmoBench knows no tasks", "known are KINDS, MODELS, DATASETS")),
    ],
)
def test_a_wrong_module_is_an_error_in_three_parts(
    write: Write,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    modules: dict[str, str | None],
    parts: tuple[str, ...],
) -> None:
    """What is wrong, where, why and what to do, on one line; the path is as before."""
    monkeypatch.setattr(extensions, "TASKS", "emobench.no_tasks")
    before = list(sys.path)
    with pytest.raises(SpecError) as caught:
        write(*modules, **{name: text for name, text in modules.items() if text is not None})
    assert "\n" not in str(caught.value)
    assert all((caught.value.problem, caught.value.why, caught.value.fix))
    for part in parts:
        assert part in str(caught.value).replace(str(tmp_path / "emobench.toml"), "FILE")
    assert sys.path == before


@pytest.mark.parametrize(
    ("settings", "answer"),
    [
        ("[extend]\nmodule = ['rows']", "unknown key in [extend] of FILE: 'module'; known are modules; did you mean"),
        ("[extend]\nmodules = 'rows'", "modules = 'rows' in [extend] of FILE cannot be used; "),
        ("[extend]\nmodules = [3]", "modules.0 = 3 in [extend] of FILE cannot be used; "),
        ("extend = ['rows']", "extend = ['rows'] in FILE cannot be used; "),
    ],
)
def test_a_wrong_table_names_file_and_key(tmp_path: Path, settings: str, answer: str) -> None:
    """The table is checked as every other."""
    (tmp_path / "emobench.toml").write_text(settings)
    with pytest.raises(SpecError) as caught:
        load_project(tmp_path)
    assert answer in str(caught.value).replace(str(tmp_path / "emobench.toml"), "FILE")


def test_a_name_of_the_files_own_table_is_taken(write: Write) -> None:
    """A row of a module does not hide a table of the file."""
    table = "[datasets.films]\npath = 'a.csv'\nlabels = ['a', 'b']\n"
    with pytest.raises(SpecError, match=r"'films' in DATASETS .*; a table of .*emobench\.toml has a row of that name"):
        write(settings=table, rows=ROWS)


def test_a_module_of_another_place_is_not_taken_for_ones_own(write: Write, tmp_path: Path) -> None:
    """Where a module of that name was imported before, its rows are not given as those of the file beside."""
    other = tmp_path / "other"
    other.mkdir()
    (other / "rows.py").write_text(ROWS)
    (other / "emobench.toml").write_text("[extend]\nmodules = ['rows']\n")
    load_project(other)
    with pytest.raises(SpecError, match=r"is not .*rows\.py; .*other.rows\.py has that name too .*; rename the module"):
        write(rows=ROWS)


def test_a_module_of_a_package_and_one_behind_a_link(write: Write, tmp_path: Path) -> None:
    """Dotted names are modules of packages; a link is the file it points to."""
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "rows.py").write_text(ROWS)
    (tmp_path / "elsewhere.txt").write_text("KINDS = ()\n")
    (tmp_path / "more.py").symlink_to(tmp_path / "elsewhere.txt")
    assert list(write("pack.rows", "more").kinds) == ["cold-start"]


def test_tasks_are_read_where_they_are_known(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a module of tasks in EmoBench, ``TASKS`` is one more tuple of rows."""

    class Task(SimpleNamespace):
        name: str

    made = ModuleType("helper")
    made.Task, made.TASKS = Task, {"classify": Task(name="classify")}  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "helper", made)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    monkeypatch.setattr(extensions, "TASKS", "helper")
    assert list(write(rows="import helper\nTASKS = (helper.Task(name='pair'),)").tasks) == ["pair"]
    with pytest.raises(SpecError, match=r"'classify' in TASKS of module 'more' .*; EmoBench has a row of that name"):
        write(more="import helper\nTASKS = (helper.Task(name='classify'),)")
