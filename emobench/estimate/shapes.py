"""The numbers of an architecture under one set of names, read from a row's configuration. Builds no model.

Which architectures are known is the table here; a row of another one is refused, not guessed at.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from emobench.errors import UnsupportedError
from emobench.specs import ModelSpec

Norm = Literal["layer", "rms", "gemma"]
Pooling = Literal["bert", "roberta", "distilbert", "score"]


@dataclass(frozen=True, kw_only=True)
class Family:
    """What all models of one ``model_type`` share."""

    names: Mapping[str, str]
    """Name of each linear module inside a layer by our name."""
    encoder: bool = False
    norm: Norm = "rms"
    pooling: Pooling = "score"
    gated: bool = True
    """The MLP has a gate beside its up projection."""
    rotary: bool = True
    qkv_bias: bool = False
    out_bias: bool = False
    mlp_bias: bool = False
    norms: int = 2
    """Norms of a layer over the width."""
    qk_norm: bool = False
    fused: bool = False
    """Query, key and value are one module, and so are gate and up."""
    parallel: bool = False
    """Attention and MLP read the layer's input, normed once for both or (``norms`` 2) for each."""
    conv1d: bool = False
    """Modules are GPT-2's Conv1D, which adapters of the product do not attach to."""
    tied: bool = False
    """Where the configuration does not say."""
    lm_bias: bool = False
    activation: str = "silu"
    """Where the configuration does not say."""
    needs: tuple[str, ...] = ()
    """Numbers that a configuration must hold: transformers' own values for them do not follow from the others."""
    layers_at: str = "model.layers"


_BERT_NAMES = MappingProxyType(
    {
        "q": "attention.self.query",
        "k": "attention.self.key",
        "v": "attention.self.value",
        "o": "attention.output.dense",
        "up": "intermediate.dense",
        "down": "output.dense",
    }
)
_DISTILBERT_NAMES = MappingProxyType(
    {
        "q": "attention.q_lin",
        "k": "attention.k_lin",
        "v": "attention.v_lin",
        "o": "attention.out_lin",
        "up": "ffn.lin1",
        "down": "ffn.lin2",
    }
)
_LLAMA_NAMES = MappingProxyType(
    {
        **{name: f"self_attn.{name}_proj" for name in ("q", "k", "v", "o")},
        **{name: f"mlp.{name}_proj" for name in ("gate", "up", "down")},
    }
)
_PHI_NAMES = MappingProxyType({**_LLAMA_NAMES, "o": "self_attn.dense", "up": "mlp.fc1", "down": "mlp.fc2"})
_PHI3_NAMES = MappingProxyType(
    {
        "qkv": "self_attn.qkv_proj",
        "o": "self_attn.o_proj",
        "gate_up": "mlp.gate_up_proj",
        "down": "mlp.down_proj",
    }
)
_GPT2_NAMES = MappingProxyType({"qkv": "attn.c_attn", "o": "attn.c_proj", "up": "mlp.c_fc", "down": "mlp.c_proj"})
_NEOX_NAMES = MappingProxyType(
    {
        "qkv": "attention.query_key_value",
        "o": "attention.dense",
        "up": "mlp.dense_h_to_4h",
        "down": "mlp.dense_4h_to_h",
    }
)

_BERT = Family(
    encoder=True,
    norm="layer",
    pooling="bert",
    gated=False,
    rotary=False,
    qkv_bias=True,
    out_bias=True,
    mlp_bias=True,
    names=_BERT_NAMES,
    layers_at="bert.encoder.layer",
)
_LLAMA = Family(names=_LLAMA_NAMES)

FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        "bert": _BERT,
        "roberta": Family(**{**vars(_BERT), "pooling": "roberta", "layers_at": "roberta.encoder.layer"}),
        "distilbert": Family(
            **{
                **vars(_BERT),
                "pooling": "distilbert",
                "names": _DISTILBERT_NAMES,
                "layers_at": "distilbert.transformer.layer",
            }
        ),
        "gpt2": Family(
            **{
                **vars(_BERT),
                "encoder": False,
                "pooling": "score",
                "fused": True,
                "conv1d": True,
                "tied": True,
                "activation": "gelu_new",
                "names": _GPT2_NAMES,
                "layers_at": "transformer.h",
            }
        ),
        "llama": _LLAMA,
        "mistral": Family(names=_LLAMA_NAMES, needs=("num_key_value_heads",)),
        "qwen2": Family(names=_LLAMA_NAMES, qkv_bias=True, needs=("num_key_value_heads",)),
        "qwen3": Family(names=_LLAMA_NAMES, qk_norm=True, needs=("num_key_value_heads", "head_dim")),
        "gemma2": Family(
            names=_LLAMA_NAMES, norm="gemma", norms=4, tied=True, needs=("num_key_value_heads", "head_dim")
        ),
        "gemma3_text": Family(
            names=_LLAMA_NAMES,
            norm="gemma",
            norms=4,
            qk_norm=True,
            tied=True,
            needs=("num_key_value_heads", "head_dim"),
        ),
        "phi3": Family(names=_PHI3_NAMES, fused=True),
        "phi": Family(
            names=_PHI_NAMES,
            norm="layer",
            gated=False,
            qkv_bias=True,
            out_bias=True,
            mlp_bias=True,
            norms=1,
            parallel=True,
            lm_bias=True,
            activation="gelu_new",
        ),
        "gpt_neox": Family(
            names=_NEOX_NAMES,
            norm="layer",
            gated=False,
            qkv_bias=True,
            out_bias=True,
            mlp_bias=True,
            fused=True,
            parallel=True,
            layers_at="gpt_neox.layers",
        ),
        "stablelm": Family(names=_LLAMA_NAMES, norm="layer", needs=("num_key_value_heads",)),
    }
)
"""By ``model_type``."""


@dataclass(frozen=True, kw_only=True)
class Linear:
    """One matrix that multiplies every token."""

    name: str
    """Our name: q, k, v, qkv, o, gate, up, gate_up or down."""
    path: str
    """Its name inside a layer."""
    inputs: int
    outputs: int
    bias: bool

    @property
    def parameters(self) -> int:
        """Weights and bias."""
        return self.inputs * self.outputs + (self.outputs if self.bias else 0)


@dataclass(frozen=True, kw_only=True)
class Shape:
    """An architecture in numbers."""

    family: Family
    vocabulary: int
    width: int
    inner: int
    layers: int
    heads: int
    key_heads: int
    head_size: int
    positions: int
    """Learned position vectors; 0 where positions are rotary."""
    types: int
    """Token type vectors."""
    tied: bool
    activation: str
    dropout: float
    """Of hidden states while training."""
    attention_dropout: float
    softcap: bool
    """Attention scores are capped, which leaves the eager implementation alone."""
    windows: tuple[int | None, ...]
    """Positions a layer's tokens may look back, by layer; None for all."""
    linears: tuple[Linear, ...]

    @property
    def query_width(self) -> int:
        """Width of all query heads."""
        return self.heads * self.head_size

    @property
    def key_width(self) -> int:
        """Width of all key heads."""
        return self.key_heads * self.head_size


def shape_of(model: ModelSpec) -> Shape:
    """The row's architecture.

    Raises:
        UnsupportedError: a ``model_type`` that is not in :data:`FAMILIES`, or a configuration without a needed number.
    """
    config = model.config
    family = family_of(model)
    for name in family.needs:
        _number(model, name)
    width = _number(model, "hidden_size", "dim", "n_embd")
    layers = _number(model, "num_hidden_layers", "n_layers", "n_layer")
    heads = _number(model, "num_attention_heads", "n_heads", "n_head")
    head_size = int(config.get("head_dim") or width // heads)
    key_heads = int(config.get("num_key_value_heads") or heads)
    inner = int(_first(config, "intermediate_size", "hidden_dim", "n_inner") or 4 * width)
    positions = int(_first(config, "max_position_embeddings", "n_positions") or 0)
    return Shape(
        family=family,
        vocabulary=_number(model, "vocab_size"),
        width=width,
        inner=inner,
        layers=layers,
        heads=heads,
        key_heads=key_heads,
        head_size=head_size,
        positions=0 if family.rotary else positions,
        types=int(config.get("type_vocab_size", 2)) if family.pooling in ("bert", "roberta") else 0,
        tied=bool(config.get("tie_word_embeddings", family.tied or family.encoder)),
        activation=str(
            _first(config, "hidden_act", "hidden_activation", "activation_function", "activation") or family.activation
        ),
        dropout=_rate(config, family, "hidden_dropout_prob", "dropout", "resid_pdrop"),
        attention_dropout=_rate(config, family, "attention_probs_dropout_prob", "attn_pdrop", "attention_dropout"),
        softcap=config.get("attn_logit_softcapping") is not None,
        windows=tuple(_windows(config, layers)),
        linears=tuple(_linears(family, config, width, inner, heads * head_size, key_heads * head_size)),
    )


def family_of(model: ModelSpec) -> Family:
    """The family of a row, or :class:`UnsupportedError` naming its architecture."""
    kind = str(model.config.get("model_type"))
    if kind not in FAMILIES:
        raise UnsupportedError(
            f"the memory of {model.id!r} cannot be estimated",
            why=f"its architecture {kind!r} stands in no table of shapes",
            fix=f"take a model of one of these: {', '.join(sorted(FAMILIES))}",
        )
    return FAMILIES[kind]


def _linears(
    family: Family, config: Mapping[str, Any], width: int, inner: int, query: int, key: int
) -> Iterator[Linear]:
    """The matrices of one layer, in the order a token passes them."""
    attention_bias = bool(config.get("attention_bias", False))
    qkv = bool(config.get("use_qkv_bias", False)) or attention_bias or family.qkv_bias
    out = attention_bias or family.out_bias
    mlp = bool(config.get("mlp_bias", False)) or family.mlp_bias
    sizes: dict[str, tuple[int, int, bool]] = {
        "qkv": (width, query + 2 * key, qkv),
        "q": (width, query, qkv),
        "k": (width, key, qkv),
        "v": (width, key, qkv),
        "o": (query, width, out),
        "gate": (width, inner, mlp),
        "gate_up": (width, 2 * inner, mlp),
        "up": (width, inner, mlp),
        "down": (inner, width, mlp),
    }
    for name, (inputs, outputs, bias) in sizes.items():
        if name in family.names and (family.gated or name != "gate"):
            yield Linear(name=name, path=family.names[name], inputs=inputs, outputs=outputs, bias=bias)


def _windows(config: Mapping[str, Any], layers: int) -> Iterator[int | None]:
    window = config.get("sliding_window")
    if not window or config.get("use_sliding_window") is False:
        yield from [None] * layers
        return
    kinds = config.get("layer_types")
    if kinds is None and config.get("model_type") == "gemma2":
        kinds = ["sliding_attention" if index % 2 == 0 else "full_attention" for index in range(layers)]
    for index in range(layers):
        yield int(window) if kinds is None or kinds[index] == "sliding_attention" else None


def _rate(config: Mapping[str, Any], family: Family, *names: str) -> float:
    """A dropout rate; families without rotary positions drop a tenth unless told otherwise."""
    found = _first(config, *names)
    return float(found) if found is not None else (0.0 if family.rotary else 0.1)


def _number(model: ModelSpec, *names: str) -> int:
    found = _first(model.config, *names)
    if found is None:
        raise UnsupportedError(
            f"the memory of {model.id!r} cannot be estimated",
            why=f"its configuration has no {names[0]}",
            fix=f"set config.{names[0]} in the model's row",
        )
    return int(found)


def _first(config: Mapping[str, Any], *names: str) -> Any:
    return next((config[name] for name in names if config.get(name) is not None), None)
