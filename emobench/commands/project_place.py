"""Where a command stands: the project around the working folder, and the user's own rows from its settings.

It also knows where pytest starts for the benchmarks: in a project that has them, else with those of the package.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from emobench.catalogue.datasets import DATASETS, find_dataset
from emobench.catalogue.model_rows import MODELS, find_model
from emobench.catalogue.project import Project, load_project
from emobench.errors import SpecError
from emobench.specs import DatasetSpec, ModelSpec

BENCHMARKS = "benchmarks"
SETTINGS = "emobench.toml"
_FILES = (SETTINGS, "pyproject.toml")
PACKAGED = (
    *("-p", "emobench.session.suite", "--benchmark-storage=file://./results"),
    *("--benchmark-columns=min,median,max,rounds", "--benchmark-sort=name"),
)
"""What pytest is told where the benchmarks are the package's; a clone says it in its pyproject.toml."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """The folder whose settings count, and the rows they add."""

    root: Path
    project: Project

    @property
    def models(self) -> dict[str, ModelSpec]:
        """Built-in models and the user's own, by id."""
        return {**MODELS, **self.project.models}

    @property
    def datasets(self) -> dict[str, DatasetSpec]:
        """Built-in data sets and the user's own, by id."""
        return {**DATASETS, **self.project.datasets}

    def find_model(self, name: str) -> ModelSpec:
        """The model of this id or hub id, or a SpecError naming the nearest."""
        return find_model(name, self.project.models)

    def find_dataset(self, name: str) -> DatasetSpec:
        """The data set of this id, or a SpecError naming the nearest."""
        return find_dataset(name, self.project.datasets)


def find_place(start: Path | None = None) -> Place:
    """The nearest folder upward that has settings, else the folder itself.

    Raises:
        SpecError: the settings there are wrong.
    """
    root = settings_folder(start)
    return Place(root=root, project=load_project(root))


def settings_folder(start: Path | None = None) -> Path:
    """The nearest folder upward that has settings, else the folder itself."""
    start = (start or Path.cwd()).resolve()
    upward = (start, *start.parents)
    return next((folder for folder in upward if any((folder / name).is_file() for name in _FILES)), start)


def own_benchmarks(start: Path | None = None) -> Path | None:
    """The nearest folder upward with settings and a folder ``benchmarks``; an ``emobench.toml`` alone ends the search.

    None where the package's own benchmarks are meant.
    """
    start = (start or Path.cwd()).resolve()
    for folder in (start, *start.parents):
        if (folder / BENCHMARKS).is_dir() and any((folder / name).is_file() for name in _FILES):
            return folder
        if (folder / SETTINGS).is_file():
            break
    return None


def find_benchmarks(start: Path | None = None) -> Path:
    """Where benchmarks run and their runs are saved: in the project that has them, else where its settings are."""
    return own_benchmarks(start) or settings_folder(start)


def pytest_options(root: Path) -> list[str]:
    """What pytest needs to hear so that ``benchmarks`` of this folder are found: nothing, or where the package's are.

    Raises:
        SpecError: a file is in the place of the folder.
    """
    if (root / BENCHMARKS).is_dir():
        return []
    if (root / BENCHMARKS).exists():
        raise SpecError(
            f"{root / BENCHMARKS} is no folder",
            why="benchmarks are files of a folder",
            fix="give the file another name",
        )
    return [*PACKAGED, f"--rootdir={root}"]
