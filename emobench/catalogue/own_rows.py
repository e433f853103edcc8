"""Own rows: models and data sets that the user's file adds to the catalogue, from its tables.

What they name is neither opened nor looked for. See ``project`` for the form of the file.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from emobench import errors
from emobench.catalogue.datasets import DATASETS
from emobench.catalogue.model_rows import MODELS
from emobench.catalogue.pins import is_pin, pinned
from emobench.catalogue.project_tables import bad_value, check_keys, validated
from emobench.catalogue.row_numbers import LARGEST, impossible
from emobench.catalogue.toml_file import shown
from emobench.specs import DatasetSpec, LearningRates, LoraTargets, ModelSpec, Spec

ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""What can be typed after ``-k`` and stands in file names."""


class _UserDataset(Spec):
    """A table ``[datasets.ID]``."""

    path: str
    text: str = "text"
    label: str = "label"
    labels: tuple[str, ...] = Field(min_length=2)
    label_map: Mapping[str, str] = Field(default_factory=dict)
    drop: tuple[str, ...] = ()
    where: Mapping[str, str] = Field(default_factory=dict)
    test_path: str | None = None
    validation_path: str | None = None
    encoding: str = "utf-8"
    title: str | None = None
    license: str = "unknown"


class _UserModel(Spec):
    """A table ``[models.ID]``; what is None is taken from the row ``like`` names."""

    like: str
    path: str | None = None
    hub_id: str | None = None
    revision: str = "main"
    license: str = "unknown"
    gated: bool = False
    context: int | None = Field(None, ge=1, le=LARGEST)
    config: Mapping[str, Any] = Field(default_factory=dict)
    """Architecture numbers that differ from ``like``."""
    lora_targets: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    head_modules: tuple[str, ...] | None = None
    padding_side: Literal["left", "right"] | None = None
    learning_rates: dict[str, float] = Field(default_factory=dict)
    labels: tuple[str, ...] | None = None


def to_dataset(name: str, table: dict[str, Any], file: Path) -> DatasetSpec:
    """The data set of a table ``[datasets.ID]``; raises :class:`errors.SpecError`."""
    where = f"datasets.{name}"
    if name in DATASETS and is_pin(table):
        return pinned(DATASETS[name], table["revision"], table=where, file=file)
    _check_id(name, DATASETS, file=file, table=where)
    row = validated(_UserDataset, table, file=file, table=where)
    _check_labels(row, file=file, table=where)
    paths = {"train": row.path, "validation": row.validation_path, "test": row.test_path}
    files = {split: str(_resolve(path, file)) for split, path in paths.items() if path is not None}
    return DatasetSpec(
        id=name,
        title=row.title or name,
        license=row.license,
        source="file",
        location=files["train"],
        files=files,
        text=row.text,
        label=row.label,
        labels=row.labels,
        label_map={**row.label_map, **dict.fromkeys(row.drop)},
        where=row.where,
        encoding=row.encoding,
    )


def _check_names(labels: Sequence[str], *, file: Path, table: str) -> None:
    counts = Counter(labels)
    twice = sorted(name for name, count in counts.items() if count > 1)
    if twice or "" in counts or len(labels) < 2:
        why = f"{twice[0]!r} stands there twice" if twice else "a class name is empty"
        raise errors.SpecError(
            f"labels = {shown(list(labels))} in [{table}] of {file}",
            why=why if twice or "" in counts else "a classifier has two classes or more",
            fix="name every class once",
        )


def _check_labels(row: _UserDataset, *, file: Path, table: str) -> None:
    _check_names(row.labels, file=file, table=table)
    try:
        b"a".decode(row.encoding)
    except UnicodeError:
        # It is known; whether the files are written in it is seen when they are read.
        pass
    except (LookupError, ValueError) as error:
        raise bad_value("encoding", row.encoding, file, table, why="Python knows no such encoding of text") from error
    for value in row.label_map.values():
        if value not in row.labels:
            raise errors.unknown_name(f"class name in label_map of [{table}] in {file}:", value, row.labels)


def to_model(name: str, table: dict[str, Any], file: Path) -> ModelSpec:
    """The model of a table ``[models.ID]``; raises :class:`errors.SpecError`."""
    where = f"models.{name}"
    if name in MODELS and is_pin(table):
        return pinned(MODELS[name], table["revision"], table=where, file=file)
    _check_id(name, MODELS, file=file, table=where)
    row = validated(_UserModel, table, file=file, table=where)
    _check_model(row, file=file, table=where)
    base = MODELS[row.like]
    own = row.model_dump(include={"context", "head_modules", "padding_side"}, exclude_none=True)
    return base.model_copy(
        update={
            **own,
            "id": name,
            "hub_id": row.hub_id or "",
            "path": None if row.path is None else str(_resolve(row.path, file)),
            "packaged": None,
            "parameters": {},
            "revision": row.revision,
            "license": row.license,
            "gated": row.gated,
            "labels": row.labels,
            "config": {**base.config, **row.config},
            "lora_targets": base.lora_targets.model_copy(update=row.lora_targets),
            "learning_rates": base.learning_rates.model_copy(update=row.learning_rates),
        }
    )


def _check_model(row: _UserModel, *, file: Path, table: str) -> None:
    check_keys(row.learning_rates, tuple(LearningRates.model_fields), file=file, table=f"{table}.learning_rates")
    check_keys(row.lora_targets, tuple(LoraTargets.model_fields), file=file, table=f"{table}.lora_targets")
    if (row.path is None) == (row.hub_id is None):
        raise errors.SpecError(
            f"[{table}] of {file} gives {'neither path nor' if row.path is None else 'both path and'} hub_id",
            why="the weights come from one place",
            fix='give path = "FOLDER" or hub_id = "owner/name"',
        )
    for method, rate in row.learning_rates.items():
        if not 0 < rate < math.inf:
            raise bad_value(f"learning_rates.{method}", rate, file, table, why="it takes a number above 0")
    if row.like not in MODELS:
        raise errors.unknown_name(f"model in like of [{table}] in {file}:", row.like, MODELS)
    for key, value, why in impossible(row.config, MODELS[row.like].config):
        raise bad_value(f"config.{key}", value, file, table, why=why)
    if row.labels is not None:
        _check_names(row.labels, file=file, table=table)


def _resolve(path: str, file: Path) -> Path:
    try:
        return (file.parent / Path(path).expanduser()).resolve()
    except (OSError, RuntimeError, ValueError) as error:
        # A null byte, a loop of links, the home of a user who is not here.
        raise errors.SpecError(
            f"path {shown(path)} in {file} cannot be used", why=str(error), fix="correct the path"
        ) from error


def _check_id(name: str, known: Mapping[str, Spec], *, file: Path, table: str) -> None:
    if name in known:
        raise errors.SpecError(
            f"[{table}] of {file} uses the id of a built-in row",
            why="results under one id must mean one thing",
            fix=f"take another id, for example {name}-own, or give revision alone",
        )
    if not ID.fullmatch(name):
        raise errors.SpecError(
            f"[{' '.join(table.split())[:100]}] of {file} has an id that cannot be selected",
            why="ids are typed after -k and stand in file names: at most 64 letters, digits, '.', '_' and '-' only",
            fix="rename it",
        )
