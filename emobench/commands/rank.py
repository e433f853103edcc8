"""Rank: which run is meant, the weights, and the form of the answer. The order is made in ``analysis``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from emobench.commands.project_place import Place
from emobench.errors import SpecError, unknown_name

if TYPE_CHECKING:
    from emobench.analysis.stability import Correct
    from emobench.records.index import RunIndex

BY = ("case", "model")
PRESET = "balanced"
"""Taken where neither a preset nor weights are given."""
RESAMPLED_NUMBERS = 200_000_000
"""Test examples times cases, over all draws, that the stability resamples at most; beyond it intervals are drawn."""


def rank_text(
    wanted: str,
    place: Place,
    *,
    preset: str | None = None,
    weights: Sequence[str] = (),
    by: str = "case",
    form: str = "text",
    seed: int = 0,
) -> str:
    """The cases of a run in order. A run is named as everywhere: by path, number, start of its name, or ``latest``.

    Raises:
        SpecError: no such run, preset, metric or form, or a run that holds nothing to rank.
        BrokenFileError: the run cannot be read.
    """
    from emobench.analysis.ranking import PRESETS, parse_weights, rankings
    from emobench.records.index import read_index
    from emobench.records.store import find_run
    from emobench.reports.ranking import FORMATS, ranking_text

    for kind, given, known in (("--by", by, BY), ("--format", form, FORMATS), ("--preset", preset, PRESETS)):
        if given is not None and given not in known:
            raise unknown_name(f"value of {kind}", given, known)
    if preset is not None and weights:
        raise SpecError(
            f"--preset {preset} and --weight", why="a preset is a set of weights", fix="give one of the two"
        )
    chosen = None if weights else preset or PRESET
    using = parse_weights(weights) if chosen is None else PRESETS[chosen]
    index = read_index(find_run(place.root / "results", wanted))
    found = rankings(index, using, correct=_correct(index), seed=seed)
    if not found:
        raise SpecError(
            f"nothing to rank in {index.facts.name}",
            why=f"it holds no case that measures {', '.join(using)}",
            fix="give --weight with metrics of the run, or run such cases: pytest benchmarks",
        )
    return ranking_text(found, preset=chosen, by=by, form=form)


def _correct(index: RunIndex) -> Correct:
    """The answers of all scored cases, or none where resampling them would take long."""
    from emobench.analysis.stability import DRAWN_NUMBERS, DRAWS, FEWEST_DRAWS
    from emobench.kinds import SCORING

    packed = {row: found for row in range(len(index)) if index.kind[row] in SCORING and (found := index.packed(row))}
    draws = min(DRAWS, max(FEWEST_DRAWS, DRAWN_NUMBERS // max(1, len(packed))))
    if sum(len(found.labels) for found in packed.values()) * draws > RESAMPLED_NUMBERS:
        return {}
    return {row: (found.examples, found.correct) for row, found in packed.items()}
