"""How long does one batch take, how many samples a second is that, in how much memory, and where does the time go?"""

from __future__ import annotations

import pytest

from emobench.cases.case import Case
from emobench.specs import Backend, DeviceKind, ModelSpec, Precision

LOGIT_TOLERANCE = {"fp32": 1e-3, "bf16": 0.5, "fp16": 0.1, "int8": 0.1, "int8-bnb": 1.0, "nf4": 0.5}
"""Largest difference between a row's logits in a batch and alone that rounding explains, by precision."""


@pytest.mark.inference
def test_inference(
    case: Case,
    model: ModelSpec,
    precision: Precision,
    device: DeviceKind,
    batch_size: int,
    length: int | None,
    backend: Backend,
) -> None:
    """Time forward passes of a classifier over full-length inputs: no padding, so every token is real."""
    from emobench.measurement.clock import latency_metrics
    from emobench.measurement.forward import forward_pass, largest_difference, random_prompts
    from emobench.models.backends import prepare_backend
    from emobench.models.load import load_classifier

    names = model.labels or ("negative", "positive")
    loaded = case.load(
        load_classifier, model, num_labels=len(names), class_names=names, precision=precision, device=device
    )
    tokens = min(length or case.spec.profile.prompt_tokens, model.context)
    prompts = random_prompts(int(model.config["vocab_size"]), rows=batch_size, tokens=tokens, device=device)
    with prepare_backend(loaded, backend, rows=batch_size, length=tokens, progress=case.progress.note) as prepared:
        case.describe_backend(prepared)
        call = forward_pass(prepared.call, prompts)
        seconds = case.time(call)
        case.add(latency_metrics(seconds, samples=batch_size, tokens=prompts.numel()))
        case.trace(call, label="inference")
        assert prepared.recompiles() == 0
        if backend != "compile":  # which takes one shape only, and was compared with eager at it
            # Rounding may differ with the batch size; a difference that is not rounding means rows see one another.
            difference = case.details["largest_logit_difference"] = largest_difference(prepared.call, prompts)
            assert difference < LOGIT_TOLERANCE[precision]
