"""Generation: times whole generations of a decoder, and in between prefill and decoding apart. Judges no text."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from emobench.outcomes import metric

if TYPE_CHECKING:
    from emobench.cases.case import Case


def generation(case: Case) -> None:
    """Time generations; token counts are constant, so the work is."""
    from emobench.measurement.clock import latency_metrics
    from emobench.measurement.forward import random_prompts
    from emobench.measurement.generation import Parts, cache_bytes, generate, whole_over_parts
    from emobench.models.load import load_causal_lm

    spec = case.spec
    model, rows, tokens = spec.model, spec.batch_size or 1, spec.profile.new_tokens
    loaded = case.load(load_causal_lm, model, precision=spec.precision, device=spec.device)
    length = min(spec.length or spec.profile.prompt_tokens, model.context - tokens)
    prompts = random_prompts(int(model.config["vocab_size"]), rows=rows, tokens=length, device=spec.device)
    parts = Parts(model=loaded.model, prompts_BT=prompts, device=spec.device, tokens=tokens)
    whole = partial(generate, loaded.model, prompts, tokens)
    seconds = case.time(whole, before_each=parts)
    case.add([metric("kv_cache_bytes", cache_bytes(whole().cache))])
    case.add(latency_metrics(seconds, samples=rows, tokens=rows * tokens))
    if seconds:
        case.add(parts.metrics(len(seconds)))
        case.details["whole_over_parts"] = round(whole_over_parts(seconds, parts), 4)
    case.trace(whole, label="generation")
