"""A/A: the same call against itself, which shows the smallest difference this machine can tell from nothing.

The two series of a pair differ by nothing but chance, so every difference between them is the machine's. What a fresh
process adds (another layout of memory, other threads) is not in it.
"""

from __future__ import annotations

import math
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from emobench.commands.lists import why_absent
from emobench.commands.project_place import Place
from emobench.devices import Device, absent_reason, find_device
from emobench.specs import DeviceKind

ROUNDS = 30
"""Rounds of one block, and of the run whose smallest difference is told."""
SECONDS = 20.0
"""Time for measuring; loading comes on top."""
AIM_SECONDS = 0.003
"""Time one matrix product is sized to take."""
MODEL = "all-minilm-l6-v2"
LENGTH = 32
"""Tokens of the model's one input."""
WIDTH = 100
_DRAWS = 2000

Series = NDArray[np.float64]
"""Seconds, one entry a round."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A ratio of medians less 1, with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Noise:
    """What A/A found for one call. Shares are of the median."""

    name: str
    median_seconds: float
    spread: float
    """Distance of the quartiles over the median."""
    interleaved: Difference
    """B against A, measured in turn."""
    sequential: Difference
    """The last block of :data:`ROUNDS` rounds against the first."""
    within: float
    """Smallest difference of two interleaved series in one run of :data:`ROUNDS` rounds."""
    between: float
    """The same of two blocks measured one after the other."""
    pairs: int
    blocks: int


@dataclass(frozen=True, kw_only=True)
class Timed:
    """Raw rounds of one call."""

    name: str
    first: Series
    """A of each pair, in the order measured."""
    second: Series
    """B of the same pairs."""
    blocks: Series
    """Shape (blocks, :data:`ROUNDS`), in the order measured."""


def noise_text(place: Place, *, say: Callable[[str], None], seconds: float = SECONDS) -> str:
    """Measure for about ``seconds`` and tell the result; ``say`` gets a line as the work goes on."""
    from emobench.measurement.machine import disturbances, read_counters

    device = best_device()
    kind = device.kind
    say(f"A/A on {kind} ({device.name}): the same call against itself, about {seconds:.0f} s")
    calls, left_out = make_calls(place, kind, say)
    before = read_counters(kind)
    timed = measure(calls, seconds=seconds, say=say)
    disturbed = disturbances(before, read_counters(kind), device=kind)
    found = [analyze(one) for one in timed]
    return result_text(found, device=f"{kind} ({device.name})", disturbed=disturbed, left_out=left_out)


def best_device() -> Device:
    """A GPU where torch can use one, else the CPU."""
    kinds: tuple[DeviceKind, ...] = ("cuda", "mps", "cpu")
    return next(found for kind in kinds if absent_reason(kind) is None and (found := find_device(kind)) is not None)


def make_calls(
    place: Place, kind: DeviceKind, say: Callable[[str], None]
) -> tuple[dict[str, Callable[[], object]], str]:
    """The synchronised calls by name, and why the model's is not among them (empty where it is)."""
    calls = dict([_matrix_product(kind)])
    spec = place.models.get(MODEL)
    absent = f"no model {MODEL}" if spec is None else why_absent(spec)
    if spec is None or absent:
        return calls, absent or ""
    from emobench.measurement.clock import synchronized
    from emobench.measurement.forward import forward_pass, logits_of, random_prompts
    from emobench.models.load import load_classifier

    loaded = load_classifier(spec, num_labels=2, class_names=("negative", "positive"), device=kind, progress=say)
    prompts = random_prompts(int(spec.config["vocab_size"]), rows=1, tokens=LENGTH, device=kind)
    calls[f"{MODEL} 1 x {LENGTH} fp32"] = synchronized(forward_pass(logits_of(loaded.model), prompts), kind)
    return calls, ""


def measure(calls: dict[str, Callable[[], object]], *, seconds: float, say: Callable[[str], None]) -> list[Timed]:
    """Rounds in turn until the time is used: of every call a block alone, then a block of pairs, and again.

    At least three turns, so that blocks that lie apart can be compared.
    """
    pairs: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    blocks: dict[str, list[list[float]]] = {name: [] for name in calls}
    for call in calls.values():
        _block(call, 5)
    started, turn = time.perf_counter(), 0
    while turn < 3 or time.perf_counter() - started < seconds:
        for name, call in calls.items():
            blocks[name].append(_block(call, ROUNDS))
            pairs[name] += _pairs(call, ROUNDS)
        turn += 1
        say(f"{time.perf_counter() - started:.0f} of {seconds:.0f} s: {turn * ROUNDS} pairs, {turn} blocks of {ROUNDS}")
    return [
        Timed(
            name=name,
            first=np.array([a for a, _ in pairs[name]]),
            second=np.array([b for _, b in pairs[name]]),
            blocks=np.array(blocks[name]),
        )
        for name in calls
    ]


def analyze(timed: Timed, *, seed: int = 0) -> Noise:
    """Differences of a call against itself, and the largest that chance makes in 95 of 100 cases."""
    draw = np.random.default_rng(seed)
    everything = np.concatenate([timed.first, timed.second])
    quartiles = np.percentile(everything, [25, 50, 75])
    return Noise(
        name=timed.name,
        median_seconds=float(quartiles[1]),
        spread=float((quartiles[2] - quartiles[0]) / quartiles[1]),
        interleaved=paired_difference(timed.first, timed.second, draw),
        sequential=block_difference(timed.blocks[0], timed.blocks[-1], draw),
        within=smallest_within(timed.first, timed.second, draw),
        between=smallest_between(timed.blocks),
        pairs=len(timed.first),
        blocks=len(timed.blocks),
    )


def paired_difference(first: Series, second: Series, draw: np.random.Generator) -> Difference:
    """Median of ``second`` over median of ``first``, less 1; the bootstrap resamples pairs, so that drift cancels."""
    taken = draw.integers(0, len(first), (_DRAWS, len(first)))
    return _difference(first, second, np.median(second[taken], axis=1) / np.median(first[taken], axis=1))


def block_difference(first: Series, second: Series, draw: np.random.Generator) -> Difference:
    """The same of two blocks measured one after the other, each resampled alone."""
    above = np.median(draw.choice(second, (_DRAWS, len(second))), axis=1)
    return _difference(first, second, above / np.median(draw.choice(first, (_DRAWS, len(first))), axis=1))


def smallest_within(first: Series, second: Series, draw: np.random.Generator) -> float:
    """The 95 % quantile of the difference's size in runs of :data:`ROUNDS` pairs drawn from all pairs.

    There is no true difference between the series: in one run of 20, chance alone makes a larger one.
    """
    taken = draw.integers(0, len(first), (_DRAWS, ROUNDS))
    ratios = np.median(second[taken], axis=1) / np.median(first[taken], axis=1)
    return float(np.quantile(np.abs(ratios - 1), 0.95))


def smallest_between(blocks: Series) -> float:
    """The 95 % quantile of the difference's size over every two blocks (the larger median over the smaller one)."""
    medians = np.median(blocks, axis=1)
    sizes = [max(pair) / min(pair) - 1 for pair in combinations(medians.tolist(), 2)]
    return float(np.quantile(sizes, 0.95))


def result_text(found: Sequence[Noise], *, device: str, disturbed: Sequence[str], left_out: str = "") -> str:
    """The table, what disturbed the measurement, and the sentence."""
    from emobench.commands.lists import table

    rows = [
        (
            one.name,
            f"{1e3 * one.median_seconds:.3g}",
            f"{100 * one.spread:.1f} %",
            _difference_text(one.interleaved),
            _difference_text(one.sequential),
            f"{_up(one.within)} %",
            f"{_up(one.between)} %",
        )
        for one in found
    ]
    heads = (
        "\ncall",
        "median\nms",
        "quartiles\napart",
        "B against A\nin turn",
        "last block\nagainst first",
        "smallest\nin a run",
        "smallest\nbetween runs",
    )
    within, between = (max(getattr(one, name) for one in found) for name in ("within", "between"))
    remarks = [
        f"{found[0].pairs} pairs and {found[0].blocks} blocks of {ROUNDS} rounds a call; 95 % intervals in brackets.",
        *(f"Disturbed: {text}. The figures hold for the machine as it was." for text in disturbed),
        *([] if disturbed else ["No disturbance was seen."]),
        *([f"The model was left out: {left_out}."] if left_out else []),
        f"On {device} the smallest difference this machine can show is about {_up(within)} % in one run of {ROUNDS} "
        f"rounds and {_up(between)} % between runs.",
    ]
    return "\n".join([table(rows, heads), "", *(textwrap.fill(remark, WIDTH) for remark in remarks)])


def _matrix_product(kind: DeviceKind) -> tuple[str, Callable[[], object]]:
    """A square fp32 product of about :data:`AIM_SECONDS`, synchronised, with its name."""
    import torch

    from emobench.measurement.clock import synchronized

    def product(size: int) -> Callable[[], object]:
        generator = torch.Generator().manual_seed(0)
        left, right = (torch.randn(size, size, generator=generator).to(kind) for _ in range(2))
        return synchronized(lambda: left @ right, kind)

    size = 256
    for _ in range(3):
        # Time grows with the third power of the size, more slowly where the device is not yet full.
        call = product(size)
        _block(call, 3)
        size = max(64, round(size * (AIM_SECONDS / min(_block(call, 5))) ** (1 / 3) / 32) * 32)
    return f"matrix product of {size} x {size}, fp32", product(size)


def _block(call: Callable[[], object], rounds: int) -> list[float]:
    return [_seconds(call) for _ in range(rounds)]


def _pairs(call: Callable[[], object], count: int) -> Iterator[tuple[float, float]]:
    """A and B in turn; which is first alternates, as the second of two calls may find a warmer cache."""
    for index in range(count):
        one, other = _seconds(call), _seconds(call)
        yield (one, other) if index % 2 == 0 else (other, one)


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter_ns()
    call()
    return (time.perf_counter_ns() - start) / 1e9


def _difference(first: Series, second: Series, ratios: Series) -> Difference:
    low, high = np.quantile(ratios - 1, [0.025, 0.975])
    return Difference(value=float(np.median(second) / np.median(first) - 1), low=float(low), high=float(high))


def _difference_text(found: Difference) -> str:
    return f"{100 * found.value:+.1f} % ({100 * found.low:+.1f}..{100 * found.high:+.1f})"


def _up(share: float) -> str:
    """Percent, rounded up (from 10 % on to whole ones): a limit must not be promised finer than it is."""
    if share >= 0.1:
        return f"{math.ceil(100 * share - 1e-9)}"
    return f"{math.ceil(1000 * share - 1e-9) / 10:.1f}"
