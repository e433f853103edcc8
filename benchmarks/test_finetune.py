"""Which model, trained which way at which precision, reaches which quality, in what time and memory?"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest

from emobench.cases.case import Case
from emobench.specs import DatasetSpec, DeviceKind, MethodSpec, ModelSpec, Precision

if TYPE_CHECKING:
    from emobench.models.load import LoadedModel


@pytest.mark.finetune
def test_finetune(
    case: Case, model: ModelSpec, dataset: DatasetSpec, method: MethodSpec, precision: Precision, device: DeviceKind
) -> None:
    """Fine-tune once a seed and score the weights that were kept on held-out rows; both are timed."""
    from emobench.evaluation.labels import evaluate
    from emobench.models.load import load_classifier
    from emobench.training.fit import fit

    material = case.material()

    def load(seed: int) -> LoadedModel:
        return load_classifier(model, method=method, precision=precision, device=device, seed=seed, **case.head())

    def train_and_evaluate(loaded: LoadedModel, seed: int) -> None:
        score = partial(evaluate, loaded.model, **case.scoring())
        validate, progress = case.validation(score), case.progress.step
        fitted = fit(loaded.model, material.train, case.fit_plan(seed), validate=validate, progress=progress)
        case.keep(loaded, fitted, score(material.test), seed=seed)

    case.measure(train_and_evaluate, prepare=load)
    case.check_training()
    case.trace_training(load)
