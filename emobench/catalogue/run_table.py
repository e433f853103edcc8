"""The cases a project's file picks: the table ``[run]``. It selects among the benchmarks' cases and makes none.

In ``emobench.toml``::

    [run]                            # every key is optional; one that is not there picks everything
    kinds = ["finetune"]             # as the markers: finetune, inference, generation, evaluation, shrink, or one's own
    models = ["all-minilm-l6-v2"]
    datasets = ["tickets"]
    methods = ["lora"]
    precisions = ["fp32"]
    devices = ["cpu"]
    batch_sizes = [8]                # of latency cases
    tracking = "mlflow"              # also give each run to mlflow, tensorboard or trackio

It counts where the command line names no cases itself, by ``-k`` or by a test's id. Cases it picks run however slow,
and of the folder ``benchmarks`` nothing else runs but files that are named.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import PositiveInt

from emobench import errors
from emobench.catalogue.datasets import DATASETS
from emobench.catalogue.methods import METHODS, SHRINK_METHODS
from emobench.catalogue.model_rows import MODELS
from emobench.catalogue.project import Project
from emobench.catalogue.project_tables import validated
from emobench.kinds import KINDS
from emobench.specs import CaseSpec, DeviceKind, Precision, Spec

Tracking = Literal["mlflow", "tensorboard", "trackio"]
TRACKING_FOLDER = "tracking"
"""Folder beside the saved runs that tracking systems are written into."""


class RunTable(Spec):
    """What ``[run]`` picks; an empty list picks everything of its axis."""

    kinds: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    precisions: tuple[Precision, ...] = ()
    devices: tuple[DeviceKind, ...] = ()
    batch_sizes: tuple[PositiveInt, ...] = ()
    tracking: Tracking | None = None

    def has(self, case: CaseSpec) -> bool:
        """Whether the case is picked; an axis the case does not have leaves nothing out."""
        # Models with random weights get random tokens whatever the file names.
        dataset = case.dataset.id if case.dataset and case.weights == "pretrained" else None
        axes: tuple[tuple[tuple[object, ...], object], ...] = (
            (self.kinds, case.kind.name),
            (self.models, case.model.id),
            (self.datasets, dataset),
            (self.methods, case.method.id if case.method else None),
            (self.precisions, case.precision),
            (self.devices, case.device),
            (self.batch_sizes, case.batch_size),
        )
        return all(not wanted or value is None or value in wanted for wanted, value in axes)


def find_run_table(project: Project) -> RunTable | None:
    """The project's ``[run]``; None where it has none.

    Raises:
        SpecError: an unknown key or name, or a value of the wrong type; names the file.
    """
    if "run" not in project.settings:
        return None
    file = project.file or Path("emobench.toml")
    found = validated(RunTable, project.settings["run"], file=file, table="run")
    known: dict[str, tuple[str, ...]] = {
        "kinds": (*KINDS, *project.kinds),
        "models": (*MODELS, *project.models),
        "datasets": (*DATASETS, *project.datasets),
        "methods": (*METHODS, *SHRINK_METHODS),
    }
    for axis, names in known.items():
        for name in getattr(found, axis):
            if name not in names:
                raise errors.unknown_name(f"{axis} in [run] of {file}:", name, names)
    return found


def find_picked(
    table: RunTable | None, *, keyword: str, arguments: Sequence[str], batch_sizes: Sequence[int]
) -> RunTable | None:
    """What of ``[run]`` counts beside a command line; None where that names cases itself.

    ``keyword`` is pytest's ``-k``, ``arguments`` its files and test ids; given ``batch_sizes`` win over the table's.
    """
    if table is None or keyword or any("::" in argument for argument in arguments):
        return None
    return table.model_copy(update={"batch_sizes": ()}) if batch_sizes else table
