"""Artifacts: the files that a case leaves in its run's folder, named in its record. Traces are ``trace``'s."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from emobench.cases.state import CaseState


def keep_predictions(case: CaseState) -> None:
    """Write each seed's predictions beside the journal and name the files in the record."""
    if not case.predictions:
        return  # importing what writes them takes a second
    from emobench.records.predictions import write_predictions

    for seed, scored in case.predictions:
        path = case.folder / "predictions" / f"{case.file_name}-seed{seed}.parquet"
        write_predictions(
            path,
            texts_digest=case.encoded.fingerprint,
            labels=scored.labels,
            probabilities=scored.probabilities,
            seed=seed,
            class_names=case.encoded.class_names,
        )
        case.artifacts[f"predictions_seed{seed}"] = str(path.relative_to(case.folder))


def save_trained(case: CaseState, seed: int) -> None:
    """Save the model of a seed beside the journal, if asked for: an adapter with its head, or the whole model."""
    if case.trained is None:
        return
    from emobench.models.load import load_tokenizer
    from emobench.models.save import save_model

    place = case.folder / "models" / f"{case.file_name}-seed{seed}"
    tokenizer = None if case.spec.weights == "random" else load_tokenizer(case.spec.model)
    save_model(case.trained, tokenizer, place)
    case.artifacts[f"model_seed{seed}"] = str(place.relative_to(case.folder))
    case.trained = None
