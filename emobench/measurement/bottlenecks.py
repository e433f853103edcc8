"""The verdict on where a call's time goes, from numbers alone. Runs and measures nothing.

Method (roofline by operator class): each class gets the time its FLOPs, its streamed bytes and its number of calls
would take at the machine's own ceilings, and the longest of the three names its kind. Then the wall time is shared out:
each class's measured time to its kind, the wait for input to input, and what no operator accounts for (Python,
dispatch, an idle device) to overhead. The largest share is the verdict.

What this cannot see: FLOPs of elementwise arithmetic (an ``exp`` costs as much as an addition here), traffic beyond the
operands, and how much of an operator's measured time is the profiler's. Bytes a last-level cache would hold are not the
memory's: an operator that works within the cache and is past its dispatch counts as compute-bound.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from emobench.measurement.ceilings import Ceilings

Kind = Literal["compute-bound", "memory-bound", "input-bound", "overhead-bound"]

WAITING = "waiting for input"
BETWEEN = "between operators"
COMPILED = "compiled kernels"
"""What torch.compile made of several operators."""

_NEAR_CEILING = 0.6
"""From this share of a ceiling on, only less work helps, not better use of the machine."""
_DRAWS = {"bernoulli_", "normal_", "uniform_", "random_", "exponential_", "multinomial", "randperm", "native_dropout"}
"""Operators that draw random numbers: on a CPU arithmetic that no counter sees, far more of it than bytes."""
_FAR_FROM_CEILING = 0.25
"""Below this share of the bandwidth something else than memory holds the operators back."""


@dataclass(frozen=True, kw_only=True)
class OperatorTime:
    """One class of operators in one step: what it took and what it did."""

    name: str
    calls: float
    seconds: float
    """With the operators inside it: on the CPU its run time, on a GPU that of its kernels."""
    flops: float
    bytes: float
    """Operands read and results written, each once."""
    streamed_bytes: float
    """The part of ``bytes`` that comes from or goes to memory and not to the last-level cache."""


@dataclass(frozen=True, kw_only=True)
class Bottleneck:
    """One thing the time goes to."""

    name: str
    """An operator, :data:`WAITING` or :data:`BETWEEN`."""
    share: float
    """Of the step's time."""
    kind: Kind


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Where the time of a step goes, and what to do about it."""

    kind: Kind
    achieved_share: float
    """Time the step would take at the deciding ceiling alone over the time it takes; about 1 is as fast as can be.

    Above 1 the ceiling was measured too low or a cache helped. For ``input-bound`` the share of time spent waiting.
    """
    largest: tuple[Bottleneck, ...]
    """The three that take the most time, most first; fewer where there are fewer."""
    sentence: str
    figures: Mapping[str, float]
    """What the verdict was computed from: seconds, FLOPs and bytes of one step, and shares of its time by kind."""


def judge(
    profile: Sequence[OperatorTime], ceilings: Ceilings, *, input_wait_seconds: float, wall_seconds: float
) -> Verdict:
    """The verdict on one step.

    ``wall_seconds`` is the step without the profiler, ``input_wait_seconds`` the part of it in which the work waited
    for its input. The operators' times carry the profiler's own cost; where they add up to more than the wall time,
    shares are of their sum. On a device that works by itself only waiting in which it is idle counts.

    Raises:
        ValueError: ``wall_seconds`` is not above zero (a programmer's mistake).
    """
    if wall_seconds <= 0:
        raise ValueError(f"wall_seconds={wall_seconds}: a step takes time")
    busy = sum(item.seconds for item in profile)
    idle = max(0.0, wall_seconds - busy)
    wait = input_wait_seconds if ceilings.device == "cpu" else min(input_wait_seconds, idle)
    whole = max(wall_seconds, busy + wait)
    parts = [Bottleneck(name=item.name, share=item.seconds / whole, kind=kind_of(item, ceilings)) for item in profile]
    parts.append(Bottleneck(name=WAITING, share=wait / whole, kind="input-bound"))
    parts.append(Bottleneck(name=BETWEEN, share=(whole - busy - wait) / whole, kind="overhead-bound"))
    shares: dict[Kind, float] = dict.fromkeys(("compute-bound", "memory-bound", "input-bound", "overhead-bound"), 0.0)
    for part in parts:
        shares[part.kind] += part.share
    kind = max(shares, key=lambda name: shares[name])
    largest = tuple(sorted((part for part in parts if part.share > 0), key=lambda part: -part.share)[:3])
    figures = _figures(profile, ceilings, wall=wall_seconds, wait=wait, busy=busy)
    figures.update({f"{name.removesuffix('-bound')}_share": share for name, share in shares.items()})
    achieved = figures[f"{kind.removesuffix('-bound')}_seconds_at_ceiling"] / wall_seconds
    return Verdict(
        kind=kind,
        achieved_share=achieved,
        largest=largest,
        sentence=_sentence(
            kind,
            achieved,
            shares[kind],
            largest,
            ceilings,
            compiled=any(item.name == COMPILED for item in profile),
        ),
        figures=figures,
    )


def kind_of(item: OperatorTime, ceilings: Ceilings) -> Kind:
    """What bounds one class of operators: the longest of the times at the three ceilings.

    Bytes within the cache are priced at the memory's rate, which is below theirs, and count as compute.
    """
    overhead = item.calls * ceilings.overhead_seconds_per_operator
    memory = item.streamed_bytes / ceilings.bytes_per_second
    cached = (item.bytes - item.streamed_bytes) / ceilings.bytes_per_second
    compute = max(item.flops / ceilings.flops_per_second, cached)
    if overhead >= max(compute, memory):
        return "overhead-bound"
    if ceilings.device == "cpu" and item.name.rpartition("::")[2] in _DRAWS:
        return "compute-bound"
    return "memory-bound" if memory > compute else "compute-bound"


def _figures(
    profile: Sequence[OperatorTime], ceilings: Ceilings, *, wall: float, wait: float, busy: float
) -> dict[str, float]:
    flops = float(sum(item.flops for item in profile))
    moved = float(sum(item.bytes for item in profile))
    streamed = float(sum(item.streamed_bytes for item in profile))
    calls = float(sum(item.calls for item in profile))
    figures = {
        "wall_seconds": wall,
        "input_wait_seconds": wait,
        "operator_seconds": busy,
        "operators": calls,
        "flops": flops,
        "bytes_lower_bound": moved,
        "streamed_bytes": streamed,
        "compute_seconds_at_ceiling": flops / ceilings.flops_per_second,
        "memory_seconds_at_ceiling": streamed / ceilings.bytes_per_second,
        "overhead_seconds_at_ceiling": calls * ceilings.overhead_seconds_per_operator,
        "input_seconds_at_ceiling": wait,
        "flops_per_second": flops / wall,
        "bytes_per_second": moved / wall,
        "ceiling_flops_per_second": ceilings.flops_per_second,
        "ceiling_bytes_per_second": ceilings.bytes_per_second,
        "ceiling_intensity": ceilings.flops_per_second / ceilings.bytes_per_second,
    }
    if moved:
        figures["intensity"] = flops / moved
    return figures


def _sentence(
    kind: Kind, achieved: float, share: float, largest: Sequence[Bottleneck], ceilings: Ceilings, *, compiled: bool
) -> str:
    """One sentence: the finding with its figures, then what to do first; no torch.compile for what is compiled."""
    named = [part.name for part in largest if part.kind == kind and part.name not in (WAITING, BETWEEN)]
    first = named[0] if named else ""
    if kind == "input-bound":
        return f"{share:.0%} of the time goes to {WAITING}: {_INPUT_ADVICE}."
    if kind == "overhead-bound":
        advice = "take a larger batch" + ("" if compiled else _OVERHEAD_ADVICE[ceilings.device == "cuda"])
        return f"{share:.0%} of the time goes to starting operators, not to their work: {advice}."
    if kind == "compute-bound":
        rate, advice = "matrix rate", _compute_advice(first, achieved, ceilings, compiled=compiled)
    else:
        rate, advice = "memory bandwidth", _memory_advice(first, achieved, compiled=compiled)
    most = f", most in {first}" if first else ""
    return f"{share:.0%} of the time is {kind} work{most}, at {achieved:.0%} of the measured {rate}: {advice}."


_INPUT_ADVICE = "tokenize beforehand or give the loader more workers, so that a batch is ready when it is asked for"
_OVERHEAD_ADVICE = {
    False: ", or torch.compile, which joins small operators into few",
    True: ', or torch.compile(mode="reduce-overhead"), which replays the kernels as one graph',
}
"""By whether the device is a GPU."""


def _compute_advice(first: str, achieved: float, ceilings: Ceilings, *, compiled: bool) -> str:
    if first.rpartition("::")[2] in _DRAWS:
        return f"{first} draws random numbers one by one; take dropout out, or less of it"
    if first and not _is_product(first) and "attention" not in first and not compiled:
        return f"{first} is no matrix product and works within the cache; torch.compile fuses it with its neighbors"
    if achieved < _NEAR_CEILING:
        more = "" if compiled else ", or torch.compile for what is between"
        return f"the products stay below what the device can do; take a larger batch{more}"
    if ceilings.dtype == "float32" and ceilings.fast_bf16:
        return "the products run near what the device can do in float32; take a lower precision (bf16)"
    return "the products run near what the device can do; only less work helps: a smaller model or shorter inputs"


def _memory_advice(first: str, achieved: float, *, compiled: bool) -> str:
    if _is_product(first):
        return "weights are read for too few rows at a time; take a larger batch, or weights of lower precision"
    if "softmax" in first or "masked" in first:
        return 'take fused attention (attn_implementation="sdpa"), which keeps the scores out of memory'
    if "adam" in first or "foreach" in first:
        return "the optimizer reads all of its state; train fewer parameters (lora) or take larger batches"
    if compiled:
        return "operators are fused already; a lower precision halves what they move"
    if achieved < _FAR_FROM_CEILING:
        return "memory is not at its limit (small pieces, or fresh memory for every result); torch.compile fuses these"
    return "torch.compile fuses elementwise operators, and a lower precision halves what they move"


def _is_product(name: str) -> bool:
    base = name.rpartition("::")[2]
    exact = {"mm", "addmm", "bmm", "baddbmm", "mv", "addmv", "linear"}
    return base in exact or any(word in base for word in ("conv", "_mm", "gemv", "gemm", "matmul"))
