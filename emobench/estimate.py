"""Arithmetic on specs: floating-point operations of a case, and which cases are slow. Measures and loads nothing."""

from __future__ import annotations

from emobench.devices import cpu_has_fast_bf16
from emobench.specs import CaseSpec, ModelSpec

ASSUMED_FLOPS_PER_SECOND = {"cpu": 5e10, "cuda": 3e13, "mps": 2e12}
"""Rates assumed when a case is called slow: low, fixed figures, so that the same cases are slow on every machine."""

SLOW_SECONDS = 180.0
SLOW_SECONDS_OF_SMOKE = 10.0
"""A case expected to take longer at the assumed rate is slow: it runs with ``--emo-slow`` or ``-m slow`` only. A smoke
run is to prove the path in a few minutes, so its limit is lower."""

BACKWARD_SHARE = {"full": 2.0, "lora": 1.2, "head": 0.1}
"""Work of the backward pass in units of the forward pass: weights and inputs, inputs (and adapters), the head alone."""


def body_parameters(model: ModelSpec) -> int:
    """Parameters that multiply each token: the layers' matrices, from the configuration; embeddings are looked up.

    A gated MLP has three matrices (the LLaMA family), a plain one two.
    """
    config = model.config
    width = int(config.get("hidden_size") or config["dim"])
    inner = int(config.get("intermediate_size") or config["hidden_dim"])
    layers = int(config.get("num_hidden_layers") or config["n_layers"])
    heads = int(config.get("num_attention_heads") or config["n_heads"])
    head_width = int(config.get("head_dim") or width // heads)
    kv_heads = int(config.get("num_key_value_heads") or heads)
    attention = 2 * width * head_width * (heads + kv_heads)
    return layers * (attention + (3 if model.kind == "decoder" else 2) * width * inner)


def forward_flops(model: ModelSpec, tokens: int) -> float:
    """Two operations a parameter and token; attention's own products are left out."""
    return 2.0 * body_parameters(model) * tokens


def case_flops(case: CaseSpec) -> float:
    """Floating-point operations of all of a case: every seed, warm-up and fewest rounds included."""
    profile = case.profile
    if case.kind == "inference":
        tokens = (case.batch_size or 1) * (case.length or profile.prompt_tokens)
        return forward_flops(case.model, tokens) * (profile.latency_rounds + 4)
    if case.kind == "generation":
        tokens = (case.batch_size or 1) * ((case.length or profile.prompt_tokens) + profile.new_tokens)
        # Whole generations, and as many in parts.
        return 2 * forward_flops(case.model, tokens) * (profile.latency_rounds + 4)
    assert case.dataset is not None
    length = min(case.dataset.mean_tokens, profile.max_length)
    # A smoke run proves the path on its profile's rows.
    whole = (profile.test or 0) if profile.id == "smoke" else case.dataset.rows
    all_rows = forward_flops(case.model, whole * length)
    if case.kind == "evaluation":
        # A model without a classifier's head is trained first; the pilot tries a few budgets on a sample.
        return (0.0 if case.model.labels else training_flops(case, length, "full")) + 1.5 * all_rows
    assert case.method is not None
    if case.kind == "shrink":
        epochs = case.method.shrink.epochs if case.method.shrink else 0
        # Original and variant each predict all held-out rows six times.
        return training_flops(case, length, "full") * (1 + 2 * epochs / max(1, profile.epochs)) + 12 * all_rows
    held_out = (profile.validation or 0) * profile.epochs + (profile.test or case.dataset.rows)
    training = training_flops(case, length, case.method.id)
    return (training + forward_flops(case.model, held_out * length)) * len(case.seeds)


def training_flops(case: CaseSpec, length: int, method: str) -> float:
    """Operations of training one seed on texts of ``length`` tokens."""
    assert case.dataset is not None
    profile = case.profile
    rows = (profile.train or case.dataset.rows) * profile.epochs
    if profile.max_steps:
        rows = min(rows, profile.max_steps * case.train.batch_size)
    return forward_flops(case.model, rows * length) * (1 + BACKWARD_SHARE[method])


def expected_seconds(case: CaseSpec) -> float:
    """Seconds at the assumed rate of the device; an order of magnitude, for sorting cases into slow and not."""
    return case_flops(case) / ASSUMED_FLOPS_PER_SECOND[case.device]


def why_slow(case: CaseSpec) -> str | None:
    """Why a case is left out unless slow cases are asked for, or None."""
    if case.device == "cpu" and case.precision == "bf16" and not cpu_has_fast_bf16():
        return "bf16 is emulated on this CPU, ten times slower than fp32"
    limit = SLOW_SECONDS_OF_SMOKE if case.profile.id == "smoke" else SLOW_SECONDS
    if expected_seconds(case) > limit:
        return f"slow on the {case.device}: over {limit:.0f} s at the assumed rate"
    return None


def is_slow(case: CaseSpec) -> bool:
    """Whether the case is left out unless slow cases are asked for."""
    return why_slow(case) is not None
