"""Where a command stands: the project around the working folder, and the user's own rows from its settings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from emobench.catalogue.datasets import DATASETS, find_dataset
from emobench.catalogue.model_rows import MODELS, find_model
from emobench.catalogue.project import Project, load_project
from emobench.errors import SpecError
from emobench.specs import DatasetSpec, ModelSpec

BENCHMARKS = "benchmarks"
_SETTINGS = ("emobench.toml", "pyproject.toml")


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
    start = (start or Path.cwd()).resolve()
    upward = (start, *start.parents)
    root = next((folder for folder in upward if any((folder / name).is_file() for name in _SETTINGS)), start)
    return Place(root=root, project=load_project(root))


def find_benchmarks(start: Path | None = None) -> Path:
    """The nearest folder upward with a ``pyproject.toml`` and a folder ``benchmarks``.

    Raises:
        SpecError: there is none.
    """
    start = (start or Path.cwd()).resolve()
    for folder in (start, *start.parents):
        if (folder / "pyproject.toml").is_file() and (folder / BENCHMARKS).is_dir():
            return folder
    raise SpecError(
        f"no benchmarks in {start} or a folder above it",
        why=f"a project has a pyproject.toml and a folder {BENCHMARKS}",
        fix="change into the cloned project and try again",
    )
