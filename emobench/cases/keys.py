"""Plan keys: what decides a case's result, known before anything is loaded. Two equal ones need not be run twice.

The case's own key is made of what was really loaded; this one of what would be, told from names, sizes and checksums.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import TypeVar

from emobench.data.sources import source_digest
from emobench.models.locate import planned_revision
from emobench.specs import CaseSpec, Spec

Part = TypeVar("Part", bound=Spec)

ALWAYS = ("torch", "transformers", "tokenizers", "numpy")
"""Packages whose versions decide every result."""
OF_PRECISION = {"int8": "torchao", "int8-bnb": "bitsandbytes", "nf4": "bitsandbytes"}


@cache
def installed_version(package: str) -> str:
    """Version of an installed package; ``none`` where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


def deciding_versions(spec: CaseSpec) -> dict[str, str]:
    """Versions of the packages that compute a case's result. EmoBench's own stands in ``RESULT_VERSION``."""
    names = [*ALWAYS, *(["accelerate"] if spec.trains else [])]
    names += ["peft"] if spec.method is not None and spec.method.id == "lora" else []
    names += [OF_PRECISION[spec.precision]] if spec.precision in OF_PRECISION else []
    names += ["onnxruntime", "onnx"] if spec.backend == "onnxruntime" else []
    return {name: installed_version(name) for name in names}


class PlanKeys:
    """Makes plan keys, and looks at each model and data set once."""

    def __init__(self) -> None:
        self._seen: dict[int, tuple[Spec, str]] = {}

    def key(self, spec: CaseSpec) -> str:
        """The case's plan key; loads no model and reads no rows but those of small files of the user's own."""
        drawn = spec.weights == "random"
        return spec.key(
            data_fingerprint="" if spec.dataset is None or drawn else self._once(spec.dataset, source_digest),
            model_revision="" if drawn else self._once(spec.model, planned_revision),
            versions=deciding_versions(spec),
        )

    def _once(self, part: Part, look: Callable[[Part], str]) -> str:
        # By identity, with the part kept alive: rows of a catalogue are the same objects in every case.
        if id(part) not in self._seen:
            self._seen[id(part)] = (part, look(part))
        return self._seen[id(part)][1]
