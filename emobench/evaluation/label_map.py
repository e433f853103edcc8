"""A classifier's own classes and a data set's: which is which, and what its probabilities say of the data's classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from emobench.errors import SpecError, unknown_name

if TYPE_CHECKING:
    from emobench.outcomes import Evaluation, Metric

_MACRO = ("f1_macro", "precision_macro", "recall_macro")


@dataclass(frozen=True, kw_only=True)
class ClassMap:
    """Where each class of a model belongs."""

    names: tuple[str, ...]
    """The data set's classes in their order, then the model's classes that the data set lacks."""
    targets: tuple[int, ...]
    """For each class of the model its place in ``names``; several may have the same."""
    num_data_classes: int

    @property
    def is_identity(self) -> bool:
        """Whether the model has just the data set's classes in their order."""
        return self.targets == tuple(range(self.num_data_classes))


def parse_pairs(pairs: Sequence[str], data_classes: Sequence[str]) -> dict[str, str]:
    """``RAW=CLASS`` pairs as a mapping.

    Raises:
        SpecError: a pair without ``=``, a raw name given twice, or a class the data set does not have.
    """
    found: dict[str, str] = {}
    for pair in pairs:
        raw, equals, name = pair.rpartition("=")
        if not equals or not raw:
            raise SpecError(
                f"--label-map {pair!r} is no pair",
                why="the form is raw=class",
                fix="write for example LABEL_1=positive",
            )
        known = _by_name(name, data_classes)
        if known is None:
            raise unknown_name("class in --label-map", name, data_classes)
        if found.setdefault(raw, known) != known:
            raise SpecError(
                f"--label-map gives {raw!r} twice", why=f"as {found[raw]!r} and as {known!r}", fix="keep one of them"
            )
    return found


def map_classes(
    model_classes: Sequence[str], data_classes: Sequence[str], given: Mapping[str, str], *, checkpoint: str, data: str
) -> ClassMap:
    """Match a model's classes with a data set's: as ``given``, else by name, ignoring case.

    A class of the model that the data set lacks is kept: choosing it is a wrong answer. ``given`` may name classes the
    model does not have, as it is one for several models.

    Raises:
        SpecError: a class of the data set that none of the model's stands for; lists both sides.
    """
    by_folded = {name.casefold(): target for name, target in given.items()}
    names = list(data_classes)
    targets = []
    for raw in model_classes:
        name = given.get(raw) or by_folded.get(raw.casefold()) or _by_name(raw, data_classes) or raw
        if name not in names:
            names.append(name)
        targets.append(names.index(name))
    missing = [name for index, name in enumerate(data_classes) if index not in targets]
    if missing:
        raise SpecError(
            f"{checkpoint} has no class for {', '.join(missing)} of data set {data!r}",
            why=f"its classes are {', '.join(model_classes)} and the data set's are {', '.join(data_classes)}",
            fix=f"say which is which, for example --label-map {model_classes[0]}={missing[0]}",
        )
    return ClassMap(names=tuple(names), targets=tuple(targets), num_data_classes=len(data_classes))


def fold(probabilities: npt.ArrayLike, class_map: ClassMap) -> npt.NDArray[np.float64]:
    """Probabilities of the model's classes, shape (n, M), as those of ``class_map.names``, shape (n, K).

    Several classes of the model that stand for one of the data set add up.
    """
    table = np.asarray(probabilities, dtype=np.float64)
    folded = np.zeros((len(table), len(class_map.names)))
    for column, target in enumerate(class_map.targets):
        folded[:, target] += table[:, column]
    return folded


def rescored(evaluation: Evaluation, class_map: ClassMap) -> Evaluation:
    """The same predictions scored in the data set's classes; times stay as they were measured.

    Macro means run over the data set's classes alone: a class that only the model has, has no example to be found.
    """
    from emobench.evaluation.metrics import score

    folded = fold(evaluation.probabilities, class_map)
    scores = score(evaluation.labels, folded, class_map.names)
    quality = [_over_data_classes(item, class_map) for item in scores.metrics]
    if class_map.num_data_classes == 2 and len(class_map.names) > 2:
        quality.append(_f1_binary(scores.per_class[1]["f1"], len(evaluation.labels)))
    return replace(
        evaluation,
        metrics=(*quality, *(item for item in evaluation.metrics if item.name.startswith("evaluate_"))),
        per_class=scores.per_class,
        confusion=scores.confusion,
        probabilities=folded.tolist(),
    )


def _over_data_classes(item: Metric, class_map: ClassMap) -> Metric:
    # A class without an example scores 0 in every one of these, so the mean over fewer classes is a larger share of
    # the same sum.
    factor = len(class_map.names) / class_map.num_data_classes
    if item.name not in _MACRO or factor == 1:
        return item
    ci = None if item.ci is None else (item.ci[0] * factor, item.ci[1] * factor)
    return replace(item, value=item.value * factor, ci=ci)


def _f1_binary(value: float, n: int) -> Metric:
    from emobench.outcomes import metric

    return metric("f1_binary", value, n=n)


def _by_name(name: str, known: Sequence[str]) -> str | None:
    if name in known:
        return name
    return next((other for other in known if other.casefold() == name.casefold()), None)
