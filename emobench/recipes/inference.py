"""Inference: times forward passes of a classifier over full-length inputs. Trains and scores nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from emobench.cases.case import Case

LOGIT_TOLERANCE = {"fp32": 1e-3, "bf16": 0.5, "fp16": 0.1, "int8": 0.1, "int8-bnb": 1.0, "nf4": 0.5}
"""Largest difference between a row's logits in a batch and alone that rounding explains, by precision."""


def inference(case: Case) -> None:
    """Time forward passes; nothing is padded, so every token is real."""
    from emobench.measurement.clock import latency_metrics
    from emobench.measurement.forward import forward_pass, largest_difference, random_prompts
    from emobench.models.backends import prepare_backend
    from emobench.models.load import load_classifier

    spec = case.spec
    model, rows, names = spec.model, spec.batch_size or 1, spec.model.labels or ("negative", "positive")
    loaded = case.load(
        load_classifier, model, num_labels=len(names), class_names=names, precision=spec.precision, device=spec.device
    )
    tokens = min(spec.length or spec.profile.prompt_tokens, model.context)
    prompts = random_prompts(int(model.config["vocab_size"]), rows=rows, tokens=tokens, device=spec.device)
    with prepare_backend(loaded, spec.backend, rows=rows, length=tokens, progress=case.progress.note) as prepared:
        case.describe_backend(prepared)
        call = forward_pass(prepared.call, prompts)
        seconds = case.time(call)
        case.add(latency_metrics(seconds, samples=rows, tokens=prompts.numel()))
        case.trace(call, label="inference")
        assert prepared.recompiles() == 0
        if spec.backend != "compile":  # which takes one shape only, and was compared with eager at it
            # Rounding may differ with the batch size; a difference that is not rounding means rows see one another.
            difference = case.details["largest_logit_difference"] = largest_difference(prepared.call, prompts)
            assert difference < LOGIT_TOLERANCE[spec.precision]
