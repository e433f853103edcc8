"""How long until a decoder's first token, and how long for each one after it?"""

from __future__ import annotations

import pytest

from emobench.case import Case
from emobench.specs import DeviceKind, ModelSpec, Precision


@pytest.mark.generation
def test_generation(case: Case, model: ModelSpec, precision: Precision, device: DeviceKind) -> None:
    """Time prefill, decoding alone, and both together; token counts are constant, so the work is."""
    from emobench.measurement.forward import random_prompts
    from emobench.measurement.generation import decode, generation_metrics, prefill
    from emobench.models.load import load_causal_lm

    profile = case.spec.profile
    loaded = load_causal_lm(
        model, precision=precision, device=device, weights=case.spec.weights, progress=case.progress.note
    )
    case.describe_model(loaded)
    prompts = random_prompts(int(model.config["vocab_size"]), rows=1, tokens=profile.prompt_tokens, device=device)
    seconds = case.time(lambda: decode(loaded.model, prefill(loaded.model, prompts), profile.new_tokens))
    case.add(
        generation_metrics(
            loaded.model, prompts, device=device, new_tokens=profile.new_tokens, rounds=profile.latency_rounds
        )
    )
    case.details["whole_generation_seconds"] = seconds
