"""Shrink cases: train the original once, and make a smaller variant of it by each method.

The two are compared in ``pair``. How a model is shrunk stands in ``models`` and ``training``; here the methods
get their rows, plans and places in the record.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emobench.cases.case import Case
from emobench.cases.keys import deciding_versions
from emobench.cases.names import ORIGINALS
from emobench.catalogue.methods import METHODS
from emobench.catalogue.profiles import find_profile
from emobench.files import write_bytes
from emobench.kinds import FINETUNE
from emobench.models.locate import planned_revision
from emobench.outcomes import metric
from emobench.recipes import finetune
from emobench.recipes.loaded_alone import measure_alone
from emobench.recipes.pair import compare
from emobench.specs import CaseSpec, ShrinkSettings

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from emobench.data.encode import Encoded
    from emobench.data.material import Material
    from emobench.models.load import LoadedModel
    from emobench.training.fit import Validate
    from emobench.training.plan import FitPlan

CALIBRATION_BATCH = 32
FACTS_FILE = "original.json"
"""What is written last into the folder of a trained original."""
DENSE_NOTE = "a mask leaves dense shapes: no speed-up expected"


@dataclass(frozen=True, kw_only=True)
class Original:
    """The fp32 model that variants are made from, trained once for all of them."""

    loaded: LoadedModel
    facts: Mapping[str, Any]
    """Steps, losses and memory of its own; plain values for a record."""


@dataclass(frozen=True, kw_only=True)
class Shrunk:
    """What a method made of a copy of the original."""

    model: PreTrainedModel
    facts: Mapping[str, Any]
    notes: Sequence[str] = ()
    quantization: Mapping[str, Any] | None = None


def shrink_and_compare(case: Case, originals: dict[str, Original]) -> None:
    """Shrink the trained original of the case, one of ``originals`` or made now, and compare both row by row."""
    rows = material(case)
    original = train_original(case, rows, originals)
    variant = shrink(case, original, rows)
    compare(case, original.loaded, variant, rows)


def material(case: Case) -> Material:
    """The case's splits, with every row that neither trains nor validates in the test split; the case's sizes say so.

    A smoke run and random weights keep their profile's sizes: they say nothing about quality. So does a test size
    that was given by hand.
    """
    by_hand = case.spec.profile.test != find_profile(case.spec.profile.id).test
    if case.spec.profile.id != "smoke" and case.spec.weights != "random" and not by_hand:
        test = held_out_rows(case.spec)
        case.spec = case.spec.model_copy(update={"profile": case.spec.profile.model_copy(update={"test": test})})
    return finetune.material(case)


def held_out_rows(spec: CaseSpec) -> int | None:
    """Size of the test split that takes all there is: None (all) of an official one, else what the others leave.

    Where the others take everything, the profile's own size stays.
    """
    from emobench.data.clean import clean
    from emobench.data.sources import find_files, read_rows
    from emobench.data.split import HELD_OUT_SHARE

    assert spec.dataset is not None
    profile = spec.profile
    official = find_files(spec.dataset)
    if "test" in official:
        return None
    if profile.train is None:
        return profile.test
    rows = len(clean(read_rows(spec.dataset)["train"], spec.dataset).texts)
    validation = 0 if "validation" in official else profile.validation
    left = rows - profile.train - (round(HELD_OUT_SHARE * rows) if validation is None else validation)
    return max(left, profile.test or 0)


def train_original(case: Case, material: Material, kept: dict[str, Original]) -> Original:
    """The fully fine-tuned fp32 original, trained once a run: ``kept`` is asked first, then the run's folder.

    ``kept`` holds the last one only: two would not fit where one does. Errors as in ``load_classifier`` and ``fit``.
    """
    spec = _training_spec(case.spec)
    drawn = spec.weights == "random"
    key = spec.key(
        data_fingerprint=material.fingerprint,
        model_revision="" if drawn else planned_revision(spec.model),
        versions=deciding_versions(spec),
    )
    if key not in kept:
        kept.clear()
        place = case.folder / ORIGINALS / key
        if (place / FACTS_FILE).exists():
            kept[key] = _reload_original(place, spec)
        else:
            kept[key] = _train_original(case, spec, material)
            _save_original(kept[key], place)
    case.details["original"] = dict(kept[key].facts)
    return kept[key]


def _train_original(case: Case, spec: CaseSpec, material: Material) -> Original:
    from emobench.models.load import load_classifier
    from emobench.training.fit import fit

    seed = spec.seeds[0]
    loaded = load_classifier(
        spec.model, method=spec.method, precision="fp32", device=spec.device, seed=seed, **finetune.head(case)
    )
    validate, progress = _validation(case, loaded.model), case.progress.step
    plan = case.with_checkpoints(_plan(case, spec, material), label="original-")
    fitted = fit(loaded.model, material.train, plan, validate=validate, progress=progress)
    loaded.model.requires_grad_(False).zero_grad()
    facts = {
        "method": "full",
        "seed": seed,
        "steps": fitted.steps,
        "train_seconds": fitted.seconds if fitted.resumed_at is None else None,
        "losses": [round(loss, 5) for loss in fitted.losses],
        "model_bytes": loaded.model_bytes,
        "parameters": loaded.parameters,
        "alone": measure_alone(case, loaded),
    }
    return Original(loaded=loaded, facts=facts)


def _save_original(original: Original, place: Path) -> None:
    """Keep it beside the journal, for cases of other processes and after others that needed its memory."""
    from emobench.models.save import save_model

    made = place.with_name(f".{place.name}-{os.getpid()}")
    save_model(original.loaded, None, made)
    write_bytes(made / FACTS_FILE, json.dumps(original.facts).encode())
    if (place / FACTS_FILE).exists():
        # Another process of the run was faster, and its original is the same.
        shutil.rmtree(made)
        return
    shutil.rmtree(place, ignore_errors=True)
    made.rename(place)


def _reload_original(place: Path, spec: CaseSpec) -> Original:
    from emobench.models.save import reload_classifier

    facts = json.loads((place / FACTS_FILE).read_bytes())
    return Original(loaded=reload_classifier(place, device=spec.device), facts=facts)


def shrink(case: Case, original: Original, material: Material) -> LoadedModel:
    """A variant of the original by the case's method; the original stays as it is.

    Raises:
        UnsupportedError: the method does not know the architecture.
    """
    from emobench.models.load import model_bytes
    from emobench.models.quantize_embedding import weight_count

    method = case.spec.method
    assert method is not None
    assert method.shrink is not None
    made = SHRINKERS[method.id](case, original.loaded, material, method.shrink)
    made.model.requires_grad_(False).train(False)
    case.details["shrinking"] = dict(made.facts)
    variant = replace(
        original.loaded,
        model=made.model,
        method=method,
        notes=(*original.loaded.notes, *made.notes),
        parameters=weight_count(made.model),
        trainable_parameters=0,
        model_bytes=model_bytes(made.model),
        quantization=made.quantization,
    )
    alone = measure_alone(case, variant, keep=case.save_models)
    case.details["alone"] = alone
    variant = replace(variant, load_seconds=alone["load_seconds"])
    case.describe_model(variant)
    if alone["host_growth_bytes"] is not None:
        case.add([metric("host_memory_growth_bytes", alone["host_growth_bytes"])])
    return variant


def _training_spec(spec: CaseSpec) -> CaseSpec:
    """The fine-tuning case that makes the original: the same for every method."""
    return spec.model_copy(update={"kind": FINETUNE, "method": METHODS["full"]})


def _plan(case: Case, spec: CaseSpec, material: Material) -> FitPlan:
    from emobench.training.plan import plan_for

    return plan_for(spec, seed=spec.seeds[0], pad_id=material.pad_id, padding_side=material.padding_side)


def _validation(case: Case, model: PreTrainedModel) -> Validate | None:
    from emobench.evaluation.labels import evaluate

    return finetune.validation(case, partial(evaluate, model, **finetune.scoring(case)))


def _recover(
    case: Case,
    model: PreTrainedModel,
    original: LoadedModel,
    material: Material,
    settings: ShrinkSettings,
    layers: Sequence[int],
) -> dict[str, Any]:
    """Train a shrunk model on the original's training rows as the settings say; gives facts for the record."""
    from emobench.training.distill import teach
    from emobench.training.fit import fit

    if not settings.epochs:
        return {}
    plan = replace(
        _plan(case, _training_spec(case.spec), material), epochs=settings.epochs, early_stopping_patience=None
    )
    keywords: dict[str, Any] = {"validate": _validation(case, model), "progress": case.progress.step}
    if settings.teach:
        fitted = teach(model, original.model, layers, material.train, plan, settings, **keywords)
    else:
        fitted = fit(model, material.train, plan, **keywords)
    return {
        "recovery_steps": fitted.steps,
        "recovery_seconds": fitted.seconds,
        "recovery_losses": [round(loss, 5) for loss in fitted.losses],
        "recovery_validation": [dict(entry) for entry in fitted.validation],
    }


def _prune_structured(case: Case, original: LoadedModel, material: Material, settings: ShrinkSettings) -> Shrunk:
    from emobench.models.prune import prune_structured

    pruned = prune_structured(original.model, _calibration(case, material.train, material, settings), settings)
    facts = _recover(case, pruned.model, original, material, settings, pruned.facts["layers_kept"])
    return Shrunk(model=pruned.model, facts={**pruned.facts, **facts}, notes=pruned.notes)


def _prune_magnitude(case: Case, original: LoadedModel, material: Material, settings: ShrinkSettings) -> Shrunk:
    import copy

    from emobench.models.anatomy import layers_of
    from emobench.models.prune import magnitude_masks, masked, sparsity_facts

    model = copy.deepcopy(original.model).requires_grad_(True)
    masks = magnitude_masks(model, settings, skipped=original.spec.head_modules)
    every_layer = range(len(layers_of(model, feature="magnitude pruning"))) if settings.teach else ()
    with masked(model, masks):
        facts = _recover(case, model, original, material, settings, every_layer)
    return Shrunk(model=model, facts={**sparsity_facts(model, masks), **facts}, notes=[DENSE_NOTE])


def _quantize_int8(case: Case, original: LoadedModel, material: Material, settings: ShrinkSettings) -> Shrunk:
    import copy

    from emobench.models.quantize_embedding import quantize_int8

    model = copy.deepcopy(original.model)
    became = quantize_int8(model, skipped=original.spec.head_modules)
    return Shrunk(model=model, facts={}, quantization=became)


def _distill(case: Case, original: LoadedModel, material: Material, settings: ShrinkSettings) -> Shrunk:
    from emobench.training.distill import make_student

    model, layers = make_student(original.model, settings)
    facts = _recover(case, model, original, material, settings, layers)
    return Shrunk(model=model, facts={"layers_kept": list(layers), **facts})


SHRINKERS: Mapping[str, Callable[[Case, LoadedModel, Material, ShrinkSettings], Shrunk]] = {
    "prune-structured": _prune_structured,
    "prune-magnitude": _prune_magnitude,
    "quantize-int8": _quantize_int8,
    "distill": _distill,
}
"""By method."""


def _calibration(case: Case, train: Encoded, material: Material, settings: ShrinkSettings) -> list[dict[str, Any]]:
    """The first training rows in batches; their order is that of a hash of the texts."""
    from emobench.data.encode import collate

    rows = range(min(settings.calibration_rows, len(train)))
    batches = [rows[start : start + CALIBRATION_BATCH] for start in range(0, len(rows), CALIBRATION_BATCH)]
    return [
        {
            name: tensor.to(case.spec.device)
            for name, tensor in collate(train, list(batch), pad_id=material.pad_id, side=material.padding_side).items()
        }
        for batch in batches
    ]
