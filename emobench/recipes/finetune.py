"""Fine-tune: trains a classifier once a seed, scores the weights that were kept, and keeps what each seed gave.

The parts are functions, for recipes that train on the way to something else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from emobench.cases import trace
from emobench.cases.checks import check_running
from emobench.catalogue.datasets import DATASETS
from emobench.devices import autocast_dtype
from emobench.outcomes import Evaluation, FitOutcome

if TYPE_CHECKING:
    from emobench.cases.case import Case
    from emobench.data.encode import Encoded
    from emobench.data.material import Material
    from emobench.models.load import LoadedModel
    from emobench.training.plan import FitPlan


def finetune(case: Case) -> None:
    """Fine-tune once a seed and score the weights that were kept on held-out rows; both are timed."""
    from emobench.evaluation.labels import evaluate
    from emobench.models.load import load_classifier
    from emobench.training.fit import fit

    spec, rows = case.spec, material(case)
    how = {"method": spec.method, "precision": spec.precision, "device": spec.device, **head(case)}

    def load(seed: int) -> LoadedModel:
        return load_classifier(spec.model, seed=seed, **how)

    def train_and_evaluate(loaded: LoadedModel, seed: int) -> None:
        score: Callable[[Encoded], Evaluation] = partial(evaluate, loaded.model, **scoring(case))
        validate, progress = validation(case, score), case.progress.step
        fitted = fit(loaded.model, rows.train, fit_plan(case, seed), validate=validate, progress=progress)
        keep(case, loaded, fitted, score(rows.test), seed=seed)

    case.measure(train_and_evaluate, prepare=load)
    check_training(case)
    trace_training(case, load)


def material(case: Case) -> Material:
    """The case's encoded splits: random tokens for random weights, else its data set under its model's tokenizer.

    Errors as in :func:`emobench.data.prepare.load_splits`: bad rows are found before any model is loaded; and as in
    :func:`emobench.cases.checks.check_running`.
    """
    from emobench.data.material import encode_splits, random_material
    from emobench.data.prepare import load_splits
    from emobench.data.splits_profile import profile_splits
    from emobench.models.load import load_tokenizer

    spec, data = case.spec, None
    if spec.weights == "random":
        made = random_material(spec.model, spec.profile)
    else:
        assert spec.dataset is not None
        splits = load_splits(spec.dataset, profile=spec.profile, seed=spec.train.split_seed)
        tokenizer = load_tokenizer(spec.model, progress=case.progress.note)
        longest = min(spec.profile.max_length, spec.model.context)
        made = encode_splits(splits, tokenizer, max_length=longest)
        data = profile_splits(splits, tokenizer, dataset=spec.dataset.id, max_length=longest, material=made)
    case.encoded = made
    case.data_fingerprint = made.fingerprint
    case.details["data"] = made.facts
    check_running(case, data)
    return made


def head(case: Case) -> dict[str, Any]:
    """Arguments of ``load_classifier`` that the material and the session decide."""
    names = case.encoded.class_names
    return {
        "num_labels": len(names),
        "class_names": names,
        "weights": case.spec.weights,
        "progress": case.progress.note,
    }


def scoring(case: Case) -> dict[str, Any]:
    """Arguments of ``evaluate`` that the material and the precision decide."""
    material = case.encoded
    return {
        "device": case.spec.device,
        "autocast_dtype": autocast_dtype(case.spec.precision),
        "pad_id": material.pad_id,
        "padding_side": material.padding_side,
        "class_names": material.class_names,
    }


def validation(case: Case, score: Callable[[Encoded], Evaluation]) -> Callable[[object], Mapping[str, float]] | None:
    """Validation for ``fit``: accuracy on the validation split; None where the case has none."""
    split = case.encoded.validation
    if len(split) == 0:
        return None

    def validate(model: object) -> Mapping[str, float]:
        return {"accuracy": next(item.value for item in score(split).metrics if item.name == "accuracy")}

    return validate


def fit_plan(case: Case, seed: int) -> FitPlan:
    """The training plan of one seed."""
    from emobench.training.plan import plan_for

    material = case.encoded
    plan = plan_for(case.spec, seed=seed, pad_id=material.pad_id, padding_side=material.padding_side)
    return case.with_checkpoints(plan)


def keep(case: Case, loaded: LoadedModel, fitted: FitOutcome, scored: Evaluation, *, seed: int) -> None:
    """Keep everything one seed gave; quality of random weights is left out, it means nothing."""
    case.trained = loaded if case.save_models else None
    case.describe_model(loaded, seed=seed)
    case.add(fitted.metrics(), seed=seed)
    if fitted.resumed_at is not None:
        case.went_on = True
        case.note(f"seed {seed} went on from step {fitted.resumed_at} of an interrupted session: not timed")
    timing = [item for item in scored.metrics if item.name.startswith("evaluate_")]
    case.add(timing if case.spec.weights == "random" else scored.metrics, seed=seed)
    curve = case.details.setdefault("training", [])
    curve.append(
        {
            "seed": seed,
            "losses": [round(loss, 5) for loss in fitted.losses],
            "validation": [dict(entry) for entry in fitted.validation],
            "epochs": fitted.epochs,
            "stopped_early": fitted.stopped_early,
            "kernel": fitted.kernel,
            "kernel_of_scoring": scored.kernel,
        }
    )
    if case.spec.weights != "random":
        case.details["confusion"] = [list(row) for row in scored.confusion]
        case.details["per_class"] = [dict(row) for row in scored.per_class]
        case.predictions.append((seed, scored))


def check_training(case: Case) -> None:
    """Fast and wrong is worth nothing: every seed took steps and scored every test row.

    On a data set of the catalogue, from a thousand training rows on, each seed must also beat always naming the
    most frequent class, with the whole of its interval: labels that were shuffled on the way do not.
    """
    assert all(entry["losses"] for entry in case.details["training"])
    labels = case.encoded.test.labels
    majority = float(np.bincount(labels).max() / len(labels))
    learnable = case.spec.dataset is not None and case.spec.dataset.id in DATASETS
    for seed, scored in case.predictions:
        assert len(scored.labels) == len(labels), f"seed {seed} scored {len(scored.labels)} of {len(labels)} rows"
        accuracy = next(item for item in scored.metrics if item.name == "accuracy")
        if learnable and len(case.encoded.train) >= 1000 and accuracy.ci is not None:
            assert accuracy.ci[0] > majority, f"seed {seed}: accuracy {accuracy.value:.3f}, majority {majority:.3f}"


def trace_training(case: Case, load: Callable[[int], LoadedModel]) -> None:
    """With ``--emo-trace``: profile a few optimizer steps on a model of its own, data loading included."""
    if not case.tracing:
        return
    from emobench.training.fit import few_steps

    seed = case.spec.seeds[0]
    steps = few_steps(load(seed).model, case.encoded.train, fit_plan(case, seed))
    trace.trace(case, steps, label="training")
