"""What the user's own file adds: models, data sets and defaults, from ``emobench.toml`` or ``[tool.emobench]``.

The file is read and checked here; data files and checkpoints it names are neither opened nor looked for, modules it
names are imported. A file reads::

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

    [extend]                                 # see emobench.catalogue.extensions: rows of code beside this file
    modules = ["my_rows"]

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

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import Field

from emobench import errors
from emobench.catalogue.extensions import find_rows
from emobench.catalogue.own_rows import to_dataset, to_model
from emobench.catalogue.profiles import PROFILES, find_profile
from emobench.catalogue.project_tables import SIZES, bad_value, check_keys, check_numbers, validated
from emobench.catalogue.toml_file import find_tables
from emobench.kinds import Kind
from emobench.specs import DatasetSpec, ModelSpec, Profile, Spec, TrainSettings

DEFAULT_PROFILE = "quick"
MOST_SEEDS = 1_000
"""Rounds of a fine-tuning case beyond which the number is taken for a mistake."""


@dataclass(frozen=True, kw_only=True)
class Project:
    """The user's rows and defaults; empty where there is no file."""

    file: Path | None = None
    """The file that was read."""
    models: Mapping[str, ModelSpec] = field(default_factory=dict)
    """The user's own, and built-in ones at a revision of the user's."""
    datasets: Mapping[str, DatasetSpec] = field(default_factory=dict)
    kinds: Mapping[str, Kind] = field(default_factory=dict)
    """Those of the user's modules alone, as ``tasks``."""
    tasks: Mapping[str, Any] = field(default_factory=dict)
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
    extend: dict[str, Any] = Field(default_factory=dict)
    models: dict[str, dict[str, Any]] = Field(default_factory=dict)
    datasets: dict[str, dict[str, Any]] = Field(default_factory=dict)


class _Extend(Spec):
    """The table ``[extend]``."""

    modules: tuple[str, ...] = ()


def load_project(folder: Path) -> Project:
    """Read ``emobench.toml`` or ``[tool.emobench]`` of ``pyproject.toml`` in ``folder``; parents are not searched.

    Raises :class:`errors.SpecError`, naming file and key, for text that is not TOML, an unknown key, a value of the
    wrong type, an id that is taken, and for settings in both files.
    """
    found = find_tables(folder)
    return Project() if found is None else to_project(*found)


def to_project(file: Path, tables: dict[str, Any]) -> Project:
    """The project of a file's tables; raises :class:`errors.SpecError` as :func:`load_project` does."""
    content = validated(_File, tables, file=file, table="")
    models = {name: to_model(name, table, file) for name, table in content.models.items()}
    datasets = {name: to_dataset(name, table, file) for name, table in content.datasets.items()}
    settings = _to_settings(content, file)
    extend = validated(_Extend, content.extend, file=file, table="extend")
    added = find_rows(extend.modules, file, {"MODELS": models, "DATASETS": datasets})
    return Project(
        file=file,
        models={**models, **added.models},
        datasets={**datasets, **added.datasets},
        kinds=added.kinds,
        tasks=added.tasks,
        settings=settings,
    )


def _to_settings(content: _File, file: Path) -> dict[str, Any]:
    profile = {"name": content.profile} if isinstance(content.profile, str) else dict(content.profile)
    settings: dict[str, Any] = {}
    if "name" in profile:
        name = settings["profile"] = profile.pop("name")
        if not isinstance(name, str):
            raise bad_value("name", name, file, "profile", why="it takes the name of a profile")
        if name not in PROFILES:
            raise errors.unknown_name(f"profile in {file}:", name, PROFILES)
    if profile:
        check_keys(profile, ("name", *SIZES), file=file, table="profile")
        base = find_profile(settings.get("profile", DEFAULT_PROFILE)).model_dump()
        row = validated(Profile, {**base, **profile}, file=file, table="profile")
        settings["sizes"] = {key: getattr(row, key) for key in profile}
        check_numbers(settings["sizes"], file=file, table="profile")
    if content.train:
        train = validated(TrainSettings, content.train, file=file, table="train")
        settings["train"] = {key: getattr(train, key) for key in content.train}
        check_numbers(settings["train"], file=file, table="train")
    if content.seeds is not None:
        settings["seeds"] = content.seeds
    if content.silence:
        settings["silence"] = content.silence
    settings |= {name: table for name in ("targets", "price", "gates", "run") if (table := getattr(content, name))}
    return settings
