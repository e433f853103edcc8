"""Kinds of case: the questions the suite asks, one row each, and what a case of it does. Nothing here does it.

Everybody else reads the row; a comparison with a kind's name anywhere else is a field that the row lacks
(``tests/test_house.py``). A project adds rows of its own, see ``catalogue.extensions``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from emobench.errors import unknown_name

SIZES = ("train", "validation", "test", "epochs", "max_length", "early_stopping_patience", "max_steps")
"""Fields of a profile that decide what is trained and scored."""
LATENCY = ("latency_seconds", "latency_cap_seconds", "latency_rounds", "prompt_tokens")
"""Fields of a profile that decide how a call is timed."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """A part of what a case does, in the units that estimates of time, operations and memory are made of."""

    does: Literal["train", "score", "forward", "generate"]
    """``forward`` and ``generate`` are calls that are timed; the other two go over rows."""
    rows: Literal["test", "all"] = "test"
    """Rows that are scored: the profile's test rows, or every row of the data set (at profile smoke the former)."""
    times: float = 1.0
    """Passes over those rows, or calls in the same round that do the same work."""
    pilot: float = 0.0
    """Operations of passes that are tried first, as a share of one pass over those rows."""
    method: Literal["own", "full"] = "own"
    """What is trained: the case's method, or all weights of the model that its method is applied to afterwards."""
    unless_ready: bool = False
    """Training that a ready classifier does not need."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A question the suite asks. The recipe of its name answers it, a benchmark asks it."""

    name: str
    """As in case ids; its marker has ``_`` for ``-``."""
    meaning: str
    """What its marker selects."""
    title: str
    """Head of its table on a page."""
    work: tuple[Work, ...]
    models: Literal["any", "trainable", "generators"] = "any"
    """Which models it takes: all, those that are no ready classifiers, or decoders that are none."""
    methods: Literal["training", "shrinking"] | None = None
    """Which methods are an axis of it."""
    profile_fields: tuple[str, ...]
    """Fields of the profile that decide its result."""
    rounds_are_seeds: bool = False
    """Each training seed is a round of the case; other kinds have one seed and rounds of the same."""
    shares_model: bool = False
    """A case leaves the model as it was loaded, so the next one may take it."""
    loads: Literal["classifier", "language model"] = "classifier"
    reads_data_first: bool = False
    """Data is read and checked before anything is loaded."""
    headline: str
    """The metric that answers the question."""
    watched: Literal["whole", "after loading", "elsewhere"] = "whole"
    """What the watched peak of memory covers; ``elsewhere``: models are measured in processes of their own."""
    default_batches: tuple[int, ...] = ()
    """Batch sizes that are an axis of it without the wide sweep; empty where every usual one is."""
    offered: str = ""
    """What the wizard says of it; empty where it does not offer it."""
    offered_batch: int = 1
    """The batch size the wizard begins with."""
    other_precisions: bool = False
    """Where a case does not fit, one of another precision answers the same question."""

    @property
    def marker(self) -> str:
        """Name of its pytest marker."""
        return self.name.replace("-", "_")

    @property
    def timed(self) -> Work | None:
        """The call that is timed, for kinds that time one."""
        return next((part for part in self.work if part.does in ("forward", "generate")), None)

    @property
    def scores(self) -> bool:
        """Whether a case scores rows, and so has a quality."""
        return any(part.does == "score" for part in self.work)

    @property
    def trains_method(self) -> bool:
        """Whether the case's method is what is trained."""
        return any(part.does == "train" and part.method == "own" for part in self.work)

    def takes(self, *, decoder: bool, ready: bool) -> bool:
        """Whether there are cases of it with a model that is a decoder or not, a ready classifier or not."""
        return self.models == "any" or (not ready and (decoder or self.models == "trainable"))

    def training(self, *, ready: bool) -> Work | None:
        """The training of a case, of a model that is a ready classifier or is not; None where there is none."""
        return next((part for part in self.work if part.does == "train" and not (ready and part.unless_ready)), None)


FINETUNE = Kind(
    name="finetune",
    meaning="the case trains a classifier and evaluates it",
    title="Training",
    work=(Work(does="train"), Work(does="score")),
    models="trainable",
    methods="training",
    profile_fields=SIZES,
    rounds_are_seeds=True,
    reads_data_first=True,
    headline="accuracy",
    offered="train a classifier on the data and score it on held-out rows",
    offered_batch=32,
    other_precisions=True,
)
EVALUATION = Kind(
    name="evaluation",
    meaning="the case predicts a whole data set",
    title="Evaluation",
    work=(Work(does="train", method="full", unless_ready=True), Work(does="score", rows="all", pilot=0.5)),
    # It reads fewer rows at profile smoke.
    profile_fields=(*SIZES, "latency_seconds", "id"),
    shares_model=True,
    reads_data_first=True,
    headline="accuracy",
    watched="after loading",
)
INFERENCE = Kind(
    name="inference",
    meaning="the case times forward passes",
    title="Inference",
    work=(Work(does="forward"),),
    profile_fields=LATENCY,
    shares_model=True,
    headline="latency_p50_seconds",
    offered="time forward passes; the data is not used",
    offered_batch=8,
    other_precisions=True,
)
GENERATION = Kind(
    name="generation",
    meaning="the case times prefill and decoding",
    title="Generation",
    # Whole generations, and as many in parts.
    work=(Work(does="generate", times=2),),
    models="generators",
    profile_fields=(*LATENCY, "new_tokens"),
    shares_model=True,
    loads="language model",
    headline="tokens_per_second",
    default_batches=(1,),
    offered="time prompts and generated tokens of a decoder; the data is not used",
    other_precisions=True,
)
SHRINK = Kind(
    name="shrink",
    meaning="the case makes a trained model smaller and compares it with the original",
    title="Shrinking",
    # Original and variant predict every row six times each, in turn.
    work=(Work(does="train", method="full"), Work(does="score", rows="all", times=12)),
    models="trainable",
    methods="shrinking",
    # It reads fewer rows at profile smoke.
    profile_fields=(*SIZES, "id"),
    reads_data_first=True,
    headline="accuracy_difference",
    watched="elsewhere",
)

KINDS: Mapping[str, Kind] = {row.name: row for row in (FINETUNE, EVALUATION, INFERENCE, GENERATION, SHRINK)}
"""All kinds by name, in the order of tables and pages."""


def find_kind(name: str, own: Mapping[str, Kind] | None = None) -> Kind:
    """The row of a name, also among a project's ``own``.

    Raises:
        SpecError: there is none.
    """
    known = {**KINDS, **(own or {})}
    if name not in known:
        raise unknown_name("kind", name, known)
    return known[name]


def in_order(names: set[str]) -> list[str]:
    """Names of kinds as tables have them: those known here first, others by name."""
    return [*(name for name in KINDS if name in names), *sorted(names - set(KINDS))]


SCORING = frozenset(row.name for row in KINDS.values() if row.scores)
"""Kinds whose saved cases have a quality."""
FORWARD = frozenset(row.name for row in KINDS.values() if row.timed is not None and row.timed.does == "forward")
"""Kinds whose saved cases time forward passes."""
GENERATING = frozenset(row.name for row in KINDS.values() if row.timed is not None and row.timed.does == "generate")
"""Kinds whose saved cases time generated tokens."""
TRAINING = frozenset(row.name for row in KINDS.values() if row.trains_method)
"""Kinds whose saved cases time the training of their method."""
SHRINKING = frozenset(row.name for row in KINDS.values() if row.methods == "shrinking")
"""Kinds whose saved cases are of a model that is another one than the catalogue's."""
