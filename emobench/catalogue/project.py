"""What the user's own file adds: models, data sets and defaults, from ``emobench.toml`` or ``[tool.emobench]``.

The file is read and checked here; data files and checkpoints it names are neither opened nor looked for. A file reads::

    profile = "quick"                        # or a table: [profile] name = "quick", train = 500
    seeds = 3                                # rounds of every fine-tuning case
    silence = ["truncation"]                 # preflight checks that are not asked, see emobench.preflight

    [train]                                  # any field of TrainSettings
    batch_size = 16

    [targets]                                # see emobench.catalogue.goals, as [price]
    accuracy = 0.80

    [gates]                                  # see emobench.catalogue.limits
    accuracy = "1pt"

    [run]                                    # see emobench.catalogue.run_table: which cases run
    models = ["all-minilm-l6-v2"]

    [datasets.tickets]
    path = "data/tickets.csv"                # CSV, JSONL or Parquet; relative to this file
    text = "body"                            # column with the text ("text" if not given)
    label = "team"                           # column with the label ("label" if not given)
    labels = ["billing", "bug", "sales"]     # class names; their order gives the class index
    label_map = { "B" = "billing" }          # optional: raw value to class name
    drop = ["spam"]                          # optional: raw values whose rows are left out
    where = { "language" = "en" }            # optional: only rows with these values
    test_path = "data/tickets_test.csv"      # optional, as validation_path; otherwise EmoBench splits

    [models.mine]
    like = "distilbert-base"                 # the known model it has its architecture from
    path = "checkpoints/mine"                # a saved model, or hub_id = "owner/name"
    learning_rates = { full = 1e-4 }         # optional: what is not given is as in ``like``
    labels = ["no", "yes"]                   # only for a ready classifier, which is not trained again

    [models.distilbert-base]                 # a built-in model or data set of a hub: its revision alone
    revision = "12040accade4e8a0f71eabdb258fecc2e7e948be"

In ``pyproject.toml`` the tables are ``[tool.emobench]``, ``[tool.emobench.datasets.tickets]`` and so on.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import Field, ValidationError

from emobench import errors
from emobench.catalogue.datasets import DATASETS
from emobench.catalogue.models import MODELS
from emobench.catalogue.pins import is_pin, pinned
from emobench.catalogue.profiles import PROFILES, find_profile
from emobench.catalogue.row_numbers import LARGEST, impossible
from emobench.catalogue.toml_file import find_tables, shown
from emobench.specs import (
    DatasetSpec,
    LearningRates,
    LoraTargets,
    ModelSpec,
    Profile,
    Spec,
    TrainSettings,
)

DEFAULT_PROFILE = "quick"
_SIZES = tuple(name for name in Profile.model_fields if name != "id")

_ABOVE_ZERO = frozenset({*_SIZES, "learning_rate"})

MOST_SEEDS = 1_000
"""Rounds of a fine-tuning case beyond which the number is taken for a mistake."""

S = TypeVar("S", bound=Spec)


@dataclass(frozen=True, kw_only=True)
class Project:
    """The user's rows and defaults; empty where there is no file."""

    file: Path | None = None
    """The file that was read."""
    models: Mapping[str, ModelSpec] = field(default_factory=dict)
    """The user's own, and built-in ones at a revision of the user's."""
    datasets: Mapping[str, DatasetSpec] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    """What the file sets, no more: ``profile`` (name), ``sizes`` (Profile fields), ``seeds`` (number), ``silence``
    (names of checks), ``train``, and the tables ``targets`` and ``price``, which :mod:`emobench.catalogue.goals`
    checks, ``gates``, which :mod:`emobench.catalogue.limits` does, and ``run``, which
    :mod:`emobench.catalogue.run_table` does."""

    def applied(self, profile: Profile, train: TrainSettings) -> tuple[Profile, TrainSettings]:
        """Return both with what the file sets.

        Sizes in the file belong to the profile the file names (``quick`` if it names none): any other profile stays as
        it is built in.
        """
        named = self.settings.get("profile", DEFAULT_PROFILE)
        sizes = self.settings.get("sizes", {}) if profile.id == named else {}
        return profile.model_copy(update=sizes), train.model_copy(update=self.settings.get("train", {}))


@dataclass(frozen=True, kw_only=True)
class Overrides:
    """Sizes and training settings after something was overridden."""

    profile: Profile
    train: TrainSettings


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


class _File(Spec):
    """The whole file; the tables inside are checked one by one, so that an error can name its table."""

    profile: str | dict[str, Any] = Field(default_factory=dict)
    seeds: int | None = Field(None, ge=1, le=MOST_SEEDS)
    silence: tuple[str, ...] = ()
    train: dict[str, Any] = Field(default_factory=dict)
    targets: dict[str, Any] = Field(default_factory=dict)
    price: dict[str, Any] = Field(default_factory=dict)
    gates: dict[str, Any] = Field(default_factory=dict)
    run: dict[str, Any] = Field(default_factory=dict)
    models: dict[str, dict[str, Any]] = Field(default_factory=dict)
    datasets: dict[str, dict[str, Any]] = Field(default_factory=dict)


def load_project(folder: Path) -> Project:
    """Read ``emobench.toml`` or ``[tool.emobench]`` of ``pyproject.toml`` in ``folder``; parents are not searched.

    Raises :class:`errors.SpecError`, naming file and key, for text that is not TOML, an unknown key, a value of the
    wrong type, an id that is taken, and for settings in both files.
    """
    found = find_tables(folder)
    if found is None:
        return Project()
    file, tables = found
    content = _validated(_File, tables, file=file, table="")
    return Project(
        file=file,
        models={name: _to_model(name, table, file) for name, table in content.models.items()},
        datasets={name: _to_dataset(name, table, file) for name, table in content.datasets.items()},
        settings=_to_settings(content, file),
    )


def find_overrides(pairs: Sequence[str], profile: Profile, train: TrainSettings) -> Overrides:
    """Apply ``key=value`` texts, as ``--emo-set`` takes them; a later pair wins over an earlier one.

    Keys are fields of :class:`Profile` or :class:`TrainSettings`; ``none`` stands for None. Raises
    :class:`errors.SpecError` naming the nearest known key, or what the key takes.
    """
    sizes: dict[str, Any] = {}
    settings: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = (part.strip() for part in pair.partition("="))
        if not equals:
            raise errors.SpecError(
                f"setting {pair!r} has no value", why="the form is key=value", fix="write for example train=500"
            )
        if key in _SIZES:
            sizes[key] = _parse(Profile, profile, key, value)
        elif key in TrainSettings.model_fields:
            settings[key] = _parse(TrainSettings, train, key, value)
        else:
            raise errors.unknown_name("setting", key, (*_SIZES, *TrainSettings.model_fields))
    return Overrides(profile=profile.model_copy(update=sizes), train=train.model_copy(update=settings))


def _to_dataset(name: str, table: dict[str, Any], file: Path) -> DatasetSpec:
    where = f"datasets.{name}"
    if name in DATASETS and is_pin(table):
        return pinned(DATASETS[name], table["revision"], table=where, file=file)
    _check_id(name, DATASETS, file=file, table=where)
    row = _validated(_UserDataset, table, file=file, table=where)
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
        raise _bad_value("encoding", row.encoding, file, table, why="Python knows no such encoding of text") from error
    for value in row.label_map.values():
        if value not in row.labels:
            raise errors.unknown_name(f"class name in label_map of [{table}] in {file}:", value, row.labels)


def _to_model(name: str, table: dict[str, Any], file: Path) -> ModelSpec:
    where = f"models.{name}"
    if name in MODELS and is_pin(table):
        return pinned(MODELS[name], table["revision"], table=where, file=file)
    _check_id(name, MODELS, file=file, table=where)
    row = _validated(_UserModel, table, file=file, table=where)
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
    _check_keys(row.learning_rates, tuple(LearningRates.model_fields), file=file, table=f"{table}.learning_rates")
    _check_keys(row.lora_targets, tuple(LoraTargets.model_fields), file=file, table=f"{table}.lora_targets")
    if (row.path is None) == (row.hub_id is None):
        raise errors.SpecError(
            f"[{table}] of {file} gives {'neither path nor' if row.path is None else 'both path and'} hub_id",
            why="the weights come from one place",
            fix='give path = "FOLDER" or hub_id = "owner/name"',
        )
    for method, rate in row.learning_rates.items():
        if not 0 < rate < math.inf:
            raise _bad_value(f"learning_rates.{method}", rate, file, table, why="it takes a number above 0")
    if row.like not in MODELS:
        raise errors.unknown_name(f"model in like of [{table}] in {file}:", row.like, MODELS)
    for key, value, why in impossible(row.config, MODELS[row.like].config):
        raise _bad_value(f"config.{key}", value, file, table, why=why)
    if row.labels is not None:
        _check_names(row.labels, file=file, table=table)


def _to_settings(content: _File, file: Path) -> dict[str, Any]:
    profile = {"name": content.profile} if isinstance(content.profile, str) else dict(content.profile)
    settings: dict[str, Any] = {}
    if "name" in profile:
        name = settings["profile"] = profile.pop("name")
        if not isinstance(name, str):
            raise _bad_value("name", name, file, "profile", why="it takes the name of a profile")
        if name not in PROFILES:
            raise errors.unknown_name(f"profile in {file}:", name, PROFILES)
    if profile:
        _check_keys(profile, ("name", *_SIZES), file=file, table="profile")
        base = find_profile(settings.get("profile", DEFAULT_PROFILE)).model_dump()
        row = _validated(Profile, {**base, **profile}, file=file, table="profile")
        settings["sizes"] = {key: getattr(row, key) for key in profile}
        _check_numbers(settings["sizes"], file=file, table="profile")
    if content.train:
        train = _validated(TrainSettings, content.train, file=file, table="train")
        settings["train"] = {key: getattr(train, key) for key in content.train}
        _check_numbers(settings["train"], file=file, table="train")
    if content.seeds is not None:
        settings["seeds"] = content.seeds
    if content.silence:
        settings["silence"] = content.silence
    settings |= {name: table for name in ("targets", "price", "gates", "run") if (table := getattr(content, name))}
    return settings


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
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
        raise errors.SpecError(
            f"[{' '.join(table.split())[:100]}] of {file} has an id that cannot be selected",
            why="ids are typed after -k and stand in file names: at most 64 letters, digits, '.', '_' and '-' only",
            fix="rename it",
        )


def _check_keys(given: Mapping[str, Any], known: Sequence[str], *, file: Path, table: str) -> None:
    for key in given:
        if key not in known:
            place = f"[{table}] of {file}" if table else str(file)
            raise errors.unknown_name(f"key in {place}:", key, known)


def _validated(kind: type[S], given: dict[str, Any], *, file: Path, table: str) -> S:
    """Check a table strictly: text is no number and true is not 1. JSON mode lets lists become tuples."""
    _check_keys(given, tuple(kind.model_fields), file=file, table=table)
    try:
        return kind.model_validate_json(json.dumps(given), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        if first["type"] == "missing":
            raise errors.SpecError(
                f"[{table}] of {file} has no {first['loc'][0]}", why="it is needed", fix=f"add {first['loc'][0]} = ..."
            ) from error
        key = ".".join(str(part) for part in first["loc"] if part not in ("str", "dict[str,any]"))
        raise _bad_value(key, first["input"], file, table, why=_in_toml_words(first["msg"])) from error


def _in_toml_words(message: str) -> str:
    words = message.replace("an object", "a table").replace("Tuple", "list").replace(" after validation", "")
    return words[0].lower() + words[1:]


def _bad_value(key: str, value: Any, file: Path, table: str, *, why: str) -> errors.SpecError:
    place = f"[{table}] of {file}" if table else str(file)
    return errors.SpecError(f"{key} = {shown(value)} in {place} cannot be used", why=why, fix="correct the value")


def _check_numbers(values: Mapping[str, Any], *, file: Path, table: str) -> None:
    for key, value in values.items():
        if not _is_sensible(key, value):
            raise _bad_value(key, value, file, table, why=f"it takes {_wanted(key)}")


def _is_sensible(key: str, value: Any) -> bool:
    """Every number is finite, none negative and none beyond all use. Narrower limits stand in the specs."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return True
    return math.isfinite(value) and (value > 0 if key in _ABOVE_ZERO else value >= 0) and value <= LARGEST


def _parse(kind: type[S], base: S, key: str, text: str) -> Any:
    value = None if text.casefold() == "none" else text
    problem = errors.SpecError(
        f"setting {key}={text} cannot be used", why=f"{key} takes {_wanted(key)}", fix="correct the value"
    )
    try:
        parsed = getattr(kind.model_validate({**base.model_dump(), key: value}), key)
    except ValidationError as error:
        raise problem from error
    if not _is_sensible(key, parsed):
        raise problem
    return parsed


def _wanted(key: str) -> str:
    """What a setting takes, in words."""
    schema = (Profile if key in _SIZES else TrainSettings).model_json_schema()["properties"][key]
    if "enum" in schema:
        return f"one of {', '.join(schema['enum'])}"
    if schema.get("type") == "boolean":
        return "true or false"
    types = [part["type"] for part in schema.get("anyOf", [schema])]
    noun = "a whole number" if "integer" in types else "a number"
    above_zero = key in _ABOVE_ZERO or "exclusiveMinimum" in schema
    limit = "above 0" if above_zero else f"of at least {schema.get('minimum', 0)}"
    return f"{noun} {limit}{' or none' if 'null' in types else ''}"
