"""The pages: every command in them can be given, every setting is read, every link and path leads somewhere."""

from __future__ import annotations

import ast
import importlib.util
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from typer.main import get_command

from emobench.catalogue.datasets import DATASETS
from emobench.catalogue.goals import find_goals
from emobench.catalogue.limits import find_limits
from emobench.catalogue.methods import find_method
from emobench.catalogue.model_rows import MODELS
from emobench.catalogue.overrides import find_overrides
from emobench.catalogue.profiles import find_profile
from emobench.catalogue.project import load_project
from emobench.catalogue.run_table import find_run_table
from emobench.cli import app
from emobench.commands.run import LATENCY, TRAINING
from emobench.specs import TrainSettings
from tests.documents import COMMANDS, PAGES, ROOT, Command, anchors, blocks, links, name_of, paths_in_backquotes, prose

REFERENCE = (ROOT / "docs" / "reference.md").read_text()
OTHERS = {"pip", "python"}
"""First words of commands that are neither pytest's nor ours."""
TICKETS = """\
[datasets.tickets]
path = "data/tickets.csv"
text = "body"
label = "team"
labels = ["billing", "bug", "sales"]
"""
RUN_HERE = (
    "emobench doctor",
    "emobench models",
    "emobench datasets",
    "emobench runs",
    "emobench analyze reviews.csv --text body --label stars --sample 20 --json a.json --html a.html",
    "emobench check -k minilm and imdb-train",
    "emobench init --yes --data data/tickets.csv",
    "python docs/memory_per_model.py cpu",
)
"""Commands of the pages that cost little and are really run; what they read is made for them."""


def of(first: str) -> list[Any]:
    return [pytest.param(command, id=command.id) for command in COMMANDS if command.words[0] == first]


def verbs() -> dict[str, Any]:
    group: Any = get_command(app)
    return dict(group.commands)


def script(name: str) -> ModuleType:
    """A script of the pages, as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def values_after(option: str, words: tuple[str, ...]) -> list[str]:
    """What is given to an option, each time it stands there."""
    return [value for name, value in itertools.pairwise(words) if name == option]


def check_values(words: tuple[str, ...], prefix: str) -> None:
    """Values that mean something to the tables: sizes, limits, targets, profiles."""
    for name in values_after(f"{prefix}profile", words):
        find_profile(name)
    find_overrides(values_after(f"{prefix}set", words), find_profile("quick"), TrainSettings())
    find_limits({}, [*values_after(f"{prefix}gate", words), *values_after("--limit", words)])
    find_goals({}, {}, asked=values_after(f"{prefix}target", words))


def test_every_command_is_of_a_known_kind() -> None:
    """Nothing stands in a console block that these tests do not look at."""
    assert len(COMMANDS) > 80
    assert {command.words[0] for command in COMMANDS} == {"pytest", "emobench", *OTHERS}
    scripts = [command.words[1] for command in COMMANDS if command.words[0] == "python"]
    assert all((ROOT / name).is_file() for name in scripts)


@pytest.mark.parametrize("command", of("emobench"))
def test_a_verbs_command_parses(command: Command) -> None:
    """The verb exists, its options and arguments parse, and names of models, data sets and sizes are known."""
    _, verb, *rest = command.words
    assert verb in verbs(), f"emobench has no verb {verb}"
    with verbs()[verb].make_context(verb, list(rest)) as context:
        given = context.params
    check_values(command.words, "--")
    if verb == "train":
        assert given["model"] in MODELS
        assert find_method(given["method"], training=True)
    if verb in ("train", "evaluate"):
        assert given["data"] in DATASETS
    if verb == "fetch":
        assert set(given["names"]) <= {*MODELS, *DATASETS}


@pytest.mark.parametrize("command", of("pytest"))
def test_a_command_of_pytest_parses(command: Command, pytestconfig: pytest.Config) -> None:
    """Every option is one that pytest knows here, every file named is there, and values can be read."""
    found = pytestconfig._parser.parse_known_args(list(command.words[1:]))
    assert all((ROOT / name.partition("::")[0]).exists() for name in found.file_or_dir)
    assert not [word for word in command.words[1:] if word.startswith("--") and not known(word, pytestconfig)]
    check_values(command.words, "--emo-")


def known(option: str, config: pytest.Config) -> bool:
    name = option.partition("=")[0].removeprefix("--").replace("-", "_")
    return name in vars(config.option) or name in ("collect_only", "benchmark_compare")


@pytest.mark.slow
def test_what_is_selected_is_there(tmp_path: Path) -> None:
    """Every ``-k`` and ``-m`` of a command picks at least one case of the benchmarks it names."""
    wanted = {command.id: selection(command) for command in COMMANDS if selection(command) is not None}
    assert len(wanted) > 40
    project(tmp_path)
    (tmp_path / "emobench.toml").write_text(TICKETS)
    (tmp_path / "wanted.json").write_text(json.dumps(wanted))
    arguments = ["benchmarks", "--collect-only", "-qq", "--emo-processes", "2", "-p", "tests.selections"]
    done = call([sys.executable, "-m", "pytest", *arguments], tmp_path)
    assert done.returncode == 0, done.stdout[-2000:]
    found = json.loads((tmp_path / "found.json").read_text())
    assert [name for name in wanted if not found[name]] == []


def selection(command: Command) -> dict[str, Any] | None:
    """Files, ``-k`` and ``-m`` of a command that runs or checks cases; None of one that does not."""
    first, *rest = command.words
    if first == "pytest" and "benchmarks" in " ".join(rest):
        files = [word for word in rest if word.startswith("benchmarks") and word != "benchmarks"]
        only = None
    elif first == "emobench" and rest[0] in ("run", "check", "benchmark", "train-all"):
        files, only = [], {"benchmark": LATENCY, "train-all": TRAINING}.get(rest[0])
    else:
        return None
    keyword, mark = ((values_after(option, command.words) or [""])[0] for option in ("-k", "-m"))
    return {"files": files, "keyword": keyword, "mark": mark, "only": only or ""}


def project(folder: Path) -> None:
    """A project of a user's own, with what the pages' commands read."""
    for name in ("benchmarks", "fixtures", "docs"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("conftest.py", "pyproject.toml"):
        shutil.copy(ROOT / name, folder / name)
    (folder / "data").mkdir()
    teams = ("billing", "bug", "sales")
    tickets = [f"ticket {number} about {teams[number % 3]},{teams[number % 3]}" for number in range(90)]
    (folder / "data" / "tickets.csv").write_text("\n".join(["body,team", *tickets, ""]))
    reviews = [
        f"a film of {number} minutes that {'shines' if number % 2 else 'drags'},{number % 2}" for number in range(90)
    ]
    (folder / "reviews.csv").write_text("\n".join(["body,stars", *reviews, ""]))


def call(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.slow
@pytest.mark.parametrize("text", RUN_HERE)
def test_what_costs_little_runs(text: str, tmp_path: Path) -> None:
    """These commands of the pages end well in a project of a user's own, and write what they say."""
    command = next(command.words for command in COMMANDS if " ".join(command.words) == text)
    project(tmp_path)
    first = {"emobench": ["-c", "from emobench.cli import main; main()"], "python": []}[command[0]]
    done = call([sys.executable, *first, *command[1:]], tmp_path)
    assert done.returncode == 0, done.stdout[-2000:]
    files = [value for option in ("--json", "--html") for value in values_after(option, command)]
    files += ["emobench.toml"] if command[1] == "init" else []
    assert all((tmp_path / name).stat().st_size for name in files)


SETTINGS = [
    pytest.param(page, block, id=f"{name_of(page)}-{number}")
    for page in PAGES
    for number, block in enumerate(blocks(page.read_text(), "toml"))
]


@pytest.mark.parametrize(("page", "block"), SETTINGS)
def test_settings_are_read(page: Path, block: str, tmp_path: Path) -> None:
    """Each ``emobench.toml`` of the pages is one EmoBench takes, its goals, limits and ``[run]`` too.

    Python that a page shows begins with the name of its file.
    """
    (tmp_path / "emobench.toml").write_text(block)
    for code in blocks(page.read_text(), "python"):
        name = code.splitlines()[0].removeprefix("# ")
        (tmp_path / name).write_text(code)
    found = load_project(tmp_path)
    assert found.settings or found.models or found.datasets or found.kinds
    find_goals(found.settings.get("targets", {}), found.settings.get("price", {}))
    find_limits(found.settings.get("gates", {}))
    find_run_table(found)


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"], ids=name_of)
def test_a_page_leads_somewhere_and_fits(page: Path) -> None:
    """Links and anchors resolve, paths in backquotes exist, and no line is over 120 columns."""
    for path, anchor in links(page):
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), path
        assert not anchor or anchor in anchors(target), f"{path}#{anchor}"
    assert [name for name in paths_in_backquotes(page) if not (ROOT / name).exists()] == []
    assert [line for line in page.read_text().splitlines() if len(line) > 120] == []


def test_every_page_is_in_the_index() -> None:
    """The index leads to each page, and to nothing twice."""
    index = ROOT / "docs" / "README.md"
    listed = [path for path, _ in links(index) if "/" not in path]
    assert sorted(listed) == [page.name for page in PAGES if page.parent == index.parent and page != index]


def test_the_reference_is_current() -> None:
    """The committed file is what the code makes of it; if not: python docs/make_reference.py."""
    made = script("make_reference")
    assert made.reference() == REFERENCE
    assert set(made.STATUSES) == set(made.Status)


@pytest.mark.parametrize(("page", "device"), [("apple-silicon", "mps"), ("rented-gpus-and-their-cost", "cuda")])
def test_figures_of_memory_are_the_estimates(page: str, device: str) -> None:
    """A page's table is what its command prints."""
    assert f"{script('memory_per_model').memory_table(device)}\n" in blocks(
        (ROOT / "docs" / f"{page}.md").read_text(), "text"
    )


def test_every_verb_is_in_the_reference() -> None:
    """No verb is left out, and none is named in a page that does not exist."""
    headings = set(re.findall(r"^### ([a-z-]+)$", REFERENCE, flags=re.MULTILINE))
    assert headings == set(verbs())
    named = {verb for page in PAGES for verb in re.findall(r"`emobench ([a-z-]+)", prose(page.read_text()))}
    assert named <= set(verbs())


def test_every_option_is_in_the_reference(pytestconfig: pytest.Config) -> None:
    """Each ``--emo-`` option of the pages is one pytest knows, and none is left out of the reference."""
    options = {name for name in vars(pytestconfig.option) if name.startswith("emo_")}
    listed = re.findall(r"^- `--(emo-[a-z-]+)", REFERENCE, flags=re.MULTILINE)
    assert sorted(name.replace("-", "_") for name in listed) == sorted(options)
    named = {name for page in PAGES for name in re.findall(r"--(emo-[a-z]+(?:-[a-z]+)*)", page.read_text())}
    assert {name.replace("-", "_") for name in named} <= options


def test_messages_of_the_troubleshooting_are_real() -> None:
    """The words that an error is found by stand in the code."""
    headings = re.findall(r"^### `([^`]+)`$", (ROOT / "docs" / "troubleshooting.md").read_text(), flags=re.MULTILINE)
    said = {
        node.value
        for path in (ROOT / "emobench").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert len(headings) > 25
    assert [words for words in headings if not any(words in text for text in said)] == []
