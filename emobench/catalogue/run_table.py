"""The cases a project's file picks: the table ``[run]``. It selects among the benchmarks' cases and makes none.

In ``emobench.toml``::

    [run]                            # every key is optional; one that is not there picks everything
    kinds = ["finetune"]             # as the markers: finetune, inference, generation, evaluation, shrink
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

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from emobench import errors
from emobench.catalogue.combinations import PRECISIONS
from emobench.catalogue.datasets import DATASETS
from emobench.catalogue.methods import METHODS, SHRINK_METHODS
from emobench.catalogue.model_rows import MODELS
from emobench.catalogue.project import Project
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
    batch_sizes: tuple[int, ...] = ()
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
    table = project.settings.get("run")
    if table is None:
        return None
    where = f"[run] of {project.file or Path('emobench.toml')}"
    _check_names(table, project, where)
    return RunTable(**{key: tuple(value) if isinstance(value, list) else value for key, value in table.items()})


def find_picked(
    table: RunTable | None, *, keyword: str, arguments: Sequence[str], batch_sizes: Sequence[int]
) -> RunTable | None:
    """What of ``[run]`` counts beside a command line; None where that names cases itself.

    ``keyword`` is pytest's ``-k``, ``arguments`` its files and test ids; given ``batch_sizes`` win over the table's.
    """
    if table is None or keyword or any("::" in argument for argument in arguments):
        return None
    return table.model_copy(update={"batch_sizes": ()}) if batch_sizes else table


def _check_names(table: Mapping[str, Any], project: Project, where: str) -> None:
    known: dict[str, tuple[str, ...]] = {
        "kinds": tuple(KINDS),
        "models": (*MODELS, *project.models),
        "datasets": (*DATASETS, *project.datasets),
        "methods": (*METHODS, *SHRINK_METHODS),
        "precisions": PRECISIONS,
        "devices": get_args(DeviceKind),
        "batch_sizes": (),
        "tracking": get_args(Tracking),
    }
    for key, value in table.items():
        if key not in known:
            raise errors.unknown_name(f"key in {where}:", key, known)
        _check_values(key, value, known[key], where)


def _check_values(key: str, value: object, known: tuple[str, ...], where: str) -> None:
    numbers, one = key == "batch_sizes", key == "tracking"
    wanted = "a name" if one else "a list of whole numbers above 0" if numbers else "a list of names"
    values = [value] if one else value if isinstance(value, list) else [None]
    for item in values:
        if not (_is_count(item) if numbers else isinstance(item, str)):
            raise errors.SpecError(
                f"{key} = {value!r} in {where} cannot be used", why=f"it takes {wanted}", fix="correct the value"
            )
        if known and item not in known:
            raise errors.unknown_name(f"{key} in {where}:", str(item), known)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
