"""Settings: what a session is set to, resolved once of options and the project's file. It changes nothing."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from emobench.catalogue.datasets import find_dataset
from emobench.catalogue.goals import Goals, find_goals
from emobench.catalogue.launches import find_launch
from emobench.catalogue.listed_axes import Asked, find_asked
from emobench.catalogue.methods import find_method
from emobench.catalogue.model_rows import find_model
from emobench.catalogue.overrides import find_overrides
from emobench.catalogue.profiles import find_profile, random_sizes
from emobench.catalogue.project import MOST_SEEDS, Project, load_project
from emobench.catalogue.run_table import RunTable, find_picked, find_run_table
from emobench.errors import SpecError
from emobench.kinds import KINDS, Kind
from emobench.preflight.findings import find_silenced
from emobench.specs import CaseSpec, LaunchSpec, Profile, TrainSettings, Weights


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Options and the project's file, with the catalogue and the project's own rows."""

    project: Project
    kinds: Mapping[str, Kind]
    """All kinds of case by name, the project's own too."""
    profile: Profile
    train: TrainSettings
    weights: Weights
    seeds: tuple[int, ...]
    goals: Goals
    launch: LaunchSpec | None
    """Several processes a case, where an option asks for them."""
    asked: Asked
    """Axes that options list."""
    sweeping: bool
    """The wide sweep: more lengths, every backend, every batch size."""
    run_table: RunTable | None
    picked: RunTable | None
    """What of ``[run]`` counts beside the command line."""
    silenced: Collection[str]
    """Preflight checks that are not asked."""
    reruns: int
    """Tries more for a disturbed latency case."""

    def case(self, kind: Kind, **names: Any) -> CaseSpec:
        """The case of these axis names.

        Raises:
            SpecError: a name is in no table.
        """
        dataset, method = names.get("dataset"), names.get("method")
        return CaseSpec(
            kind=kind,
            model=find_model(names["model"], self.project.models),
            dataset=find_dataset(dataset, self.project.datasets) if dataset else None,
            method=find_method(method) if method else None,
            precision=names["precision"],
            device=names["device"],
            batch_size=names.get("batch_size"),
            length=names.get("length"),
            backend=names.get("backend", "eager"),
            launch=self.launch if names.get("launch") else None,
            profile=self.profile,
            train=self.train,
            seeds=self.seeds if kind.rounds_are_seeds else (0,),
            weights=self.weights,
        )


def resolve(config: pytest.Config) -> Settings:
    """The settings of a pytest session.

    Raises:
        SpecError: an option or the project's file names something unknown, or has a value that means nothing.
    """
    option, project = config.getoption, load_project(config.rootpath)
    defaults = project.settings
    profile, train = _sizes(config, project)
    asked = find_asked(
        batch_sizes=option("emo_batch_sizes"), lengths=option("emo_lengths"), backends=option("emo_backends")
    )
    table = find_run_table(project)
    arguments = [str(argument) for argument in config.args]
    return Settings(
        project=project,
        kinds={**KINDS, **project.kinds},
        profile=profile,
        train=train,
        weights=option("emo_weights"),
        seeds=_seeds(option("emo_seeds"), defaults.get("seeds", 1)),
        goals=find_goals(
            defaults.get("targets", {}),
            defaults.get("price", {}),
            asked=option("emo_target"),
            hourly=option("emo_price"),
        ),
        launch=find_launch(processes=option("emo_processes"), config=option("emo_accelerate")),
        asked=asked,
        sweeping=bool(option("emo_sweep")),
        run_table=table,
        picked=find_picked(table, keyword=option("keyword", ""), arguments=arguments, batch_sizes=asked.batch_sizes),
        silenced=find_silenced([*option("emo_silence"), *defaults.get("silence", ())]),
        reruns=option("emo_reruns"),
    )


def _seeds(asked: int | None, usual: int) -> tuple[int, ...]:
    count = usual if asked is None else asked
    if not 1 <= count <= MOST_SEEDS:
        why = "a case needs at least one seed" if count < 1 else f"{MOST_SEEDS} rounds of a case are the most"
        raise SpecError(f"--emo-seeds {count}", why=why, fix=f"give 1 or more, up to {MOST_SEEDS}")
    return tuple(range(count))


def _sizes(config: pytest.Config, project: Project) -> tuple[Profile, TrainSettings]:
    """The profile as the file and ``--emo-set`` change it; with random weights no more than times anything."""
    option = config.getoption
    named = find_profile(option("emo_profile") or project.settings.get("profile") or "quick")
    profile, train = project.applied(named, TrainSettings())
    if option("emo_weights") == "random":
        profile = profile.model_copy(update=random_sizes(train.batch_size))
    overrides = find_overrides(option("emo_set"), profile, train)
    return overrides.profile, overrides.train
