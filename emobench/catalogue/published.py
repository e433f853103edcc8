"""Published accuracies of catalogue models on catalogue data sets, each with where it was read. Measures nothing.

They say what a model has reached in other hands, with whole data sets and their own settings: a plausibility check, not
a forecast for a profile that trains on 2,000 rows. Where nothing trustworthy was published there is no row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from emobench.specs import MethodName

_DISTILBERT = "Sanh et al. 2019, DistilBERT, arXiv:1910.01108, table 1"
_LORA = "Hu et al. 2021, LoRA, arXiv:2106.09685, table 2"
_CARDS = "model cards on the hub that agree; none is a publication"
_CARD = "one model card on the hub; no publication"


@dataclass(frozen=True, kw_only=True)
class Published:
    """One accuracy as its source gives it, on the data set's published test or development part."""

    model: str
    dataset: str
    """Id of the whole data set; a ``-train`` data set has a split of its own and is not it."""
    low: float
    high: float
    """Both ends are the figure where the source gives one."""
    method: MethodName
    note: str = ""
    """What the figure depends on."""
    kind: Literal["paper", "card"]
    source: str

    @property
    def text(self) -> str:
        """The figure with its condition and source, as a person reads it."""
        figure = f"{self.low:.3f}" if self.low == self.high else f"{self.low:.3f}-{self.high:.3f}"
        return f"{figure} {self.method}{f', {self.note}' if self.note else ''} ({self.source})"


PUBLISHED: tuple[Published, ...] = (
    Published(
        model="distilbert-base",
        dataset="sst2",
        low=0.913,
        high=0.913,
        method="full",
        note="development part",
        kind="paper",
        source=_DISTILBERT,
    ),
    Published(
        model="distilbert-base",
        dataset="imdb",
        low=0.926,
        high=0.934,
        method="full",
        note="512 tokens",
        kind="card",
        source=_CARDS,
    ),
    Published(
        model="distilbert-base",
        dataset="imdb",
        low=0.877,
        high=0.877,
        method="full",
        note="128 tokens",
        kind="card",
        source=_CARD,
    ),
    Published(
        model="roberta-base",
        dataset="sst2",
        low=0.948,
        high=0.948,
        method="full",
        note="development part",
        kind="paper",
        source=_LORA,
    ),
    Published(
        model="roberta-base",
        dataset="sst2",
        low=0.951,
        high=0.951,
        method="lora",
        note="development part, standard deviation 0.002",
        kind="paper",
        source=_LORA,
    ),
    Published(
        model="roberta-base",
        dataset="imdb",
        low=0.953,
        high=0.956,
        method="full",
        note="512 tokens",
        kind="card",
        source=_CARDS,
    ),
    Published(
        model="all-minilm-l6-v2",
        dataset="imdb",
        low=0.911,
        high=0.926,
        method="full",
        note="from one epoch to the best",
        kind="card",
        source=_CARD,
    ),
    Published(
        model="tinyllama-1.1b",
        dataset="imdb",
        low=0.897,
        high=0.897,
        method="lora",
        note="1,000 rows of 400 characters",
        kind="card",
        source=_CARD,
    ),
)
"""Papers before cards, where both have a figure of the same kind."""


def published_for(model: str, dataset: str) -> Sequence[Published]:
    """Published accuracies of a model on a data set, both by id; none where none is known."""
    return tuple(row for row in PUBLISHED if (row.model, row.dataset) == (model, dataset))
