"""Fetching by name: models and data sets from the one door to a hub, each with the commit it resolved to."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeGuard

from emobench.catalogue.pins import pinning_lines
from emobench.commands.project_place import Place
from emobench.errors import SpecError, unknown_name
from emobench.specs import DatasetSpec, ModelSpec

_RECORD = "fetched.json"


def fetch_all(
    names: Sequence[str],
    place: Place,
    *,
    revision: str | None,
    from_file: Path | None,
    endpoint: str | None,
    say: Callable[[str], None],
) -> None:
    """Fetch each name in turn; every name is looked up before the first download begins.

    Weights of a package that is installed are made ready instead, as their first use would.

    Raises:
        BrokenFileError: a package's weights are not the published ones.
        MissingExtraError: what reads a package's weights is not installed.
        SpecError: a name that is in neither table, or a row that is not downloaded.
        FetchError: no permission, no such revision, or no connection.
    """
    rows = [find_row(name, place) for name in names]
    check_rows(rows, revision=revision, from_file=from_file)
    for row in rows:
        if _is_converted(row):
            _convert(row, revision, say)
            continue
        wanted = row if revision is None else row.model_copy(update={"revision": revision})
        folder = _fetch(wanted, from_file=from_file, endpoint=endpoint, say=say)
        commit = str(json.loads((folder / _RECORD).read_bytes())["commit"])
        say(f"{row.id}: revision {commit} is in {folder}")
        if row.revision != commit:
            for line in _how_to_pin(row, commit, place):
                say(line)


def _is_converted(row: ModelSpec | DatasetSpec) -> TypeGuard[ModelSpec]:
    """Whether it comes with an installed package in a form that is converted once."""
    from emobench.models.locate import package_folder

    if not isinstance(row, ModelSpec) or row.packaged is None or row.packaged.format != "gguf":
        return False
    return package_folder(row) is not None


def _convert(row: ModelSpec, revision: str | None, say: Callable[[str], None]) -> None:
    from emobench.models.locate import locate

    if revision is not None:
        assert row.packaged is not None
        raise SpecError(
            f"--revision {revision} of model {row.id!r}",
            why=f"its weights come with the package {row.packaged.package!r}, which is installed",
            fix="leave the option out",
        )
    found = locate(row, progress=say)
    say(f"{row.id}: {found.revision} is in {found.path}")


def _how_to_pin(row: ModelSpec | DatasetSpec, commit: str, place: Place) -> list[str]:
    """What cases take now, and lines to copy that make them take this commit; none for what has no revisions."""
    lines = pinning_lines(row, commit)
    if not lines:
        return []
    packaged = row.packaged if isinstance(row, ModelSpec) else None
    taken = f"revision {row.revision!r}" if packaged is None else f"the package {packaged.package!r}, where it is"
    file = (place.project.file or place.root / "emobench.toml").name
    if file == "pyproject.toml":
        lines[0] = lines[0].replace("[", "[tool.emobench.", 1)
    if row.id in place.project.models or row.id in place.project.datasets:
        # The table is there: a second one would not be TOML.
        table, *lines = lines
        return [f"{row.id}: cases take {taken}; for this commit set in {table} of {file}:", *lines]
    return [f"{row.id}: cases take {taken}; for this commit put into {file}:", *lines]


def find_row(name: str, place: Place) -> ModelSpec | DatasetSpec:
    """The model or the data set of this id or hub id.

    Raises:
        SpecError: neither has it; names the nearest over both tables.
    """
    models, datasets = place.models, place.datasets
    by_hub_id: dict[str, ModelSpec | DatasetSpec] = {row.location: row for row in datasets.values() if row.location}
    by_hub_id |= {row.hub_id: row for row in models.values() if row.hub_id}
    found = models.get(name) or datasets.get(name) or by_hub_id.get(name)
    if found is None:
        raise unknown_name("model or data set", name, [*models, *datasets])
    return found


def check_rows(rows: Sequence[ModelSpec | DatasetSpec], *, revision: str | None, from_file: Path | None) -> None:
    """Refuse options that would mean something else for each of several names.

    Raises:
        SpecError: one revision or file for several names, or a file for a model.
    """
    for option, value in (("--revision", revision), ("--from-file", from_file)):
        if value is not None and len(rows) > 1:
            raise SpecError(
                f"{option} {value} with {len(rows)} names",
                why="it belongs to one of them",
                fix="fetch them one by one",
            )
    if from_file is None:
        return
    if isinstance(rows[0], ModelSpec):
        raise SpecError(
            f"model {rows[0].id!r} cannot be taken from {from_file.name!r}",
            why="only data sets of Kaggle come from a file",
            fix="for a model of your own add a row with path to emobench.toml",
        )
    if not from_file.is_file():
        raise SpecError(f"--from-file {from_file}", why="there is no such file", fix="correct the path")


def _fetch(
    row: ModelSpec | DatasetSpec, *, from_file: Path | None, endpoint: str | None, say: Callable[[str], None]
) -> Path:
    if isinstance(row, ModelSpec):
        from emobench.models.download import fetch_model

        return fetch_model(row, endpoint=endpoint, progress=say)
    from emobench.data.fetch import fetch_dataset

    if row.source == "random":
        raise SpecError(
            f"data set {row.id!r} is not downloaded", why="it is drawn", fix="use it: nothing has to be fetched"
        )
    return fetch_dataset(row, endpoint=endpoint, from_file=from_file, progress=say)
