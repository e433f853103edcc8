"""What a case does at the moment it takes most memory, in the few numbers an estimate needs. Computes no memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from emobench.specs import CaseSpec, DeviceKind, MethodSpec, ModelSpec, Precision

Work = Literal["train", "evaluate", "generate", "latency"]
AttentionName = Literal["sdpa", "eager", "emobench"]

OWN_ATTENTION = frozenset({"bert", "distilbert", "roberta", "llama", "qwen2"})
"""Model types for which a CPU may take the product's own attention, and always its dropout while training."""

SCORING_TOKENS: Mapping[DeviceKind, int] = MappingProxyType({"cpu": 1024, "mps": 8192, "cuda": 16384})
"""Padded tokens in one forward pass of scoring."""


LONGEST_OVER_MEAN = 4
"""Longest text over the mean one, where nobody has looked: movie reviews have 2.9 (single sentences) to 8 (whole ones,
which are cut at a profile's length)."""

ITEM: Mapping[Precision, int] = MappingProxyType({"fp32": 4, "bf16": 2, "fp16": 2, "int8": 4, "int8-bnb": 2, "nf4": 2})
"""Bytes of an unquantized weight and of an element of activations, by precision, outside training."""


@dataclass(frozen=True, kw_only=True)
class MemoryPlan:
    """One forward pass, or one training step's passes, and what stays in memory around them."""

    model: ModelSpec
    work: Work
    method: MethodSpec | None = None
    """Of ``train``; None elsewhere."""
    precision: Precision
    device: DeviceKind
    batch_size: int
    """Rows of one forward pass: of a training step's part where the token budget splits the step."""
    length: int
    """Padded tokens of a row; of ``generate`` those of the prompt."""
    new_tokens: int = 0
    """Of ``generate``: tokens made after the prompt."""
    parts: int = 1
    """Forward and backward passes of one optimizer step; from two on gradients are held while activations grow."""
    gradient_checkpointing: bool = False
    attention: AttentionName = "sdpa"
    num_labels: int = 2
    causal: bool = False
    """A language model with logits for every token instead of a classifier; always so for ``generate``."""
    pretrained: bool = True
    """Weights are read from files, not drawn."""

    master_weights: bool = True
    """Training keeps four bytes a weight and autocast computes in fewer, as the product does; False trains the weights
    in the precision they are stored in."""

    @property
    def item(self) -> int:
        """Bytes of an unquantized weight, and of an element that is no matrix product's."""
        return 4 if self.work == "train" and self.master_weights else ITEM[self.precision]

    @property
    def fast_dropout(self) -> bool:
        """Whether dropout masks come from the product's own generator."""
        return self.device == "cpu" and self.model.config.get("model_type") in OWN_ATTENTION

    @property
    def padded(self) -> bool:
        """Whether rows of a batch differ in length, so that there is an attention mask."""
        return self.work in ("train", "evaluate") and self.batch_size > 1

    @property
    def caches(self) -> bool:
        """Whether keys and values are kept: by a decoder whenever it does not train."""
        return self.work != "train" and self.model.kind == "decoder"

    @property
    def first_token(self) -> bool:
        """Whether an encoder computes its last layer for the first token alone."""
        return self.work in ("train", "evaluate")


def plan_of(case: CaseSpec, *, longest: int | None = None) -> MemoryPlan:
    """What the case does at its peak: its longest rows, in a batch as full as its token budget allows.

    ``longest`` is the length of the longest text in tokens, truncated or not; None assumes it from the data set's mean.
    Cases that train are described by their training, also where a model is trained only to be evaluated or shrunk;
    scoring between the steps takes less.
    """
    model, profile = case.model, case.profile
    training, timed = case.trains, case.kind.timed
    common: dict[str, Any] = {
        "model": model,
        "precision": case.precision,
        "device": case.device,
        "pretrained": case.weights == "pretrained",
        "attention": usual_attention(model, case.device, training=training),
        "num_labels": len(model.labels or (case.dataset.labels if case.dataset else ("", ""))),
    }
    rows = case.batch_size or 1
    if timed is not None and timed.does == "generate":
        length = max(1, min(case.length or profile.prompt_tokens, model.context - profile.new_tokens))
        return MemoryPlan(
            work="generate", batch_size=rows, length=length, new_tokens=profile.new_tokens, causal=True, **common
        )
    if timed is not None:
        length = min(case.length or profile.prompt_tokens, model.context)
        return MemoryPlan(work="latency", batch_size=rows, length=length, **common)
    length = max(1, min(longest or _assumed_longest(case), profile.max_length, model.context))
    if not training:
        rows = max(1, SCORING_TOKENS[case.device] // length)
        return MemoryPlan(work="evaluate", batch_size=rows, length=length, **common)
    return training_plan(case, length, **common)


def training_plan(case: CaseSpec, length: int, **common: Any) -> MemoryPlan:
    """One optimizer step on rows of ``length`` tokens, split in equal parts where it exceeds the token budget."""
    rows = case.train.batch_size
    parts = -(-rows // max(1, case.train.token_budget // length))
    return MemoryPlan(
        work="train",
        method=case.method if case.kind.trains_method and case.method is not None else MethodSpec(id="full"),
        batch_size=-(-rows // parts),
        parts=parts,
        length=length,
        gradient_checkpointing=case.train.gradient_checkpointing,
        **common,
    )


def usual_attention(model: ModelSpec, device: DeviceKind, *, training: bool) -> AttentionName:
    """The attention that a case of this model gets.

    On a CPU the product takes the faster of two for some architectures, by timing them; assumed is the one that takes
    more memory. A model whose scores are capped has eager attention only.
    """
    if model.config.get("attn_logit_softcapping") is not None:
        return "eager"
    own = device == "cpu" and model.config.get("model_type") in OWN_ATTENTION and not model.config.get("sliding_window")
    return "emobench" if own and training else "sdpa"


def _assumed_longest(case: CaseSpec) -> int:
    if case.weights == "random" or case.dataset is None:
        return case.profile.max_length
    return LONGEST_OVER_MEAN * case.dataset.mean_tokens
