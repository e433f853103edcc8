"""How long until a decoder's first token, and how long for each one after it?"""

from __future__ import annotations

from functools import partial

import pytest

from emobench.cases.case import Case
from emobench.specs import DeviceKind, ModelSpec, Precision


@pytest.mark.generation
def test_generation(
    case: Case, model: ModelSpec, precision: Precision, device: DeviceKind, batch_size: int, length: int | None
) -> None:
    """Time whole generations, and in between prefill and decoding apart; token counts are constant, so the work is."""
    from emobench.measurement.clock import latency_metrics
    from emobench.measurement.forward import random_prompts
    from emobench.measurement.generation import Parts, cache_bytes, generate, whole_over_parts
    from emobench.models.load import load_causal_lm
    from emobench.outcomes import metric

    tokens = case.spec.profile.new_tokens
    loaded = case.load(load_causal_lm, model, precision=precision, device=device)
    prompts = random_prompts(
        int(model.config["vocab_size"]),
        rows=batch_size,
        tokens=min(length or case.spec.profile.prompt_tokens, model.context - tokens),
        device=device,
    )
    parts = Parts(model=loaded.model, prompts_BT=prompts, device=device, tokens=tokens)
    whole = partial(generate, loaded.model, prompts, tokens)
    seconds = case.time(whole, before_each=parts)
    case.add([metric("kv_cache_bytes", cache_bytes(whole().cache))])
    case.add(latency_metrics(seconds, samples=batch_size, tokens=batch_size * tokens))
    if seconds:
        case.add(parts.metrics(len(seconds)))
        case.details["whole_over_parts"] = round(whole_over_parts(seconds, parts), 4)
    case.trace(whole, label="generation")
