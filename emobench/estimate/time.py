"""Seconds that a plan or a case takes, from its operations and bytes and what a machine reaches. Measures nothing.

A unit of work is taken apart into matrix products at the machine's rate for their rows and layout, bytes at its copy
rate (tensors written and read, quantized weights unpacked, the optimizer's state), the random numbers of dropout, and
operators at its cost of a tiny one; the parts are added, not overlapped. How much of each rate a whole model reaches
are the constants here, fitted on a grid of configurations; ``benchmarks/test_time_estimate.py`` measures how far the
estimate is off on another grid.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from emobench.estimate.flops import plan_products, scored_rows
from emobench.estimate.parameters import trainable_parameters
from emobench.estimate.passes import ForwardCounts, forward_counts
from emobench.estimate.plan import SCORING_TOKENS, MemoryPlan, training_plan, usual_attention
from emobench.estimate.shapes import shape_of
from emobench.estimate.weights import quantized_weights, weight_bytes
from emobench.kinds import Work
from emobench.specs import CaseSpec

PRODUCTS = 1.05
"""Time of a model's matrix products over that at the rate of one layer's alone: theirs are ragged."""
PRODUCTS_OF_GENERATION = 1.3
"""The same where a token is made at a time: matrices of every shape meet a few rows."""
TENSORS = 1.8
"""Time of a pass's other operations over that of copying what they write: several read more than they write."""
BACKWARD_TENSORS = 2.0
"""Tensors of a backward pass over those of its forward pass."""
OWN_DROPOUT = 0.22
"""Cost of a random number of the product's own dropout over that of torch's."""
OPERATORS = 10.0
"""Cost of a model's operator, with what Python does around it, over that of a tiny addition."""
OPERATORS_A_LAYER = 25
"""Besides its matrices: norms, reshapes, rotary positions, attention, activation, sums."""
STEP_SECONDS = 0.004
"""What the training loop does between steps: batches, callbacks, the schedule."""
OPTIMIZER_BYTES = 44
"""Bytes moved a trained parameter and step: AdamW reads weight, gradient and two moments and writes three of them;
clipping reads the gradient twice and writes it once."""
DEQUANTIZED_BYTES = 9
"""Bytes moved a weight and pass where int8 weights become fp32 before they multiply: read 1, write 4, read 4."""

FACTOR = 1.5
"""The stated uncertainty of a unit of work whose sizes are known: as much slower or faster."""
ASSUMED_FACTOR = 2.0
"""The same where the lengths of texts are assumed from the data set's row."""


@dataclass(frozen=True, kw_only=True)
class Rates:
    """What a device reaches at best at the precision a plan computes in; a machine's measured ceilings."""

    flops_per_second: float
    """Of a large matrix product."""
    bytes_per_second: float
    """Of a copy: bytes read plus bytes written."""
    seconds_per_operator: float
    forward: tuple[tuple[int, float], ...] = ()
    """Rows, ascending, and the FLOP/s of a layer's product on that many; empty: all as the large one."""
    backward_inputs: tuple[tuple[int, float], ...] = ()
    """Width of a model, ascending, and the FLOP/s of the gradients of its layers' inputs; empty: as the large one."""
    backward_weights: float | None = None
    """FLOP/s of the gradient of its weights; None as the large product."""
    seconds_per_random_number: float = 0.0
    """Of a number of a dropout mask, from torch's generator."""

    def at_rows(self, rows: int) -> float:
        """FLOP/s of a layer's product on ``rows`` tokens: between two that were measured, on a line of logarithms."""
        return self._at(self.forward, rows)

    def at_width(self, width: int) -> float:
        """FLOP/s of the gradients of layers' inputs in a model of a width, likewise."""
        return self._at(self.backward_inputs, width)

    def _at(self, measured: Sequence[tuple[int, float]], size: int) -> float:
        if not measured:
            return self.flops_per_second
        sizes, rates = zip(*measured, strict=True)
        return math.exp(_between(math.log(max(1, size)), list(map(math.log, sizes)), list(map(math.log, rates))))


@dataclass(frozen=True, kw_only=True)
class TimeEstimate:
    """Expected seconds, and the range they are stated to lie in."""

    seconds: float
    factor: float = FACTOR
    """How many times slower or faster it may be."""
    parts: Mapping[str, float] = field(default_factory=dict)
    """Seconds by what they are for."""

    @property
    def low(self) -> float:
        """The fast end of the range, in seconds."""
        return self.seconds / self.factor

    @property
    def high(self) -> float:
        """The slow end of the range, in seconds."""
        return self.seconds * self.factor

    def scaled(self, correction: float) -> TimeEstimate:
        """The estimate times a factor that calibration found."""
        parts = {name: seconds * correction for name, seconds in self.parts.items()}
        return TimeEstimate(seconds=self.seconds * correction, factor=self.factor, parts=parts)


def plan_seconds(plan: MemoryPlan, rates: Rates) -> TimeEstimate:
    """Seconds of the plan's unit of work: a forward pass, an optimizer step with all its parts, or a generation.

    Raises:
        UnsupportedError: an architecture whose shape is not known.
    """
    counts = forward_counts(plan)
    # The rates by rows were measured with weights that come from memory, as in a model.
    read = 0.0 if rates.forward else _weight_traffic(plan)
    parts = {
        "products": _product_seconds(plan, rates),
        "weights": (read + _dequantized_bytes(plan)) / rates.bytes_per_second,
        "tensors": TENSORS * _tensor_traffic(plan, counts) / rates.bytes_per_second,
        "dropout": _forward_passes(plan) * _drawn(counts) * rates.seconds_per_random_number,
        "operators": OPERATORS * _operators(plan) * rates.seconds_per_operator,
    }
    if plan.work == "train":
        assert plan.method is not None
        trained = trainable_parameters(plan.model, plan.method, plan.num_labels)
        parts["optimizer"] = OPTIMIZER_BYTES * trained / rates.bytes_per_second + STEP_SECONDS
    return TimeEstimate(seconds=sum(parts.values()), parts=parts)


def _product_seconds(plan: MemoryPlan, rates: Rates) -> float:
    products = plan_products(plan)
    share = PRODUCTS_OF_GENERATION if plan.work == "generate" else PRODUCTS
    given = rates.at_width(shape_of(plan.model).width)
    weights = products.backward_weights / (rates.backward_weights or rates.flops_per_second)
    head = sum(flops / rates.at_rows(rows) for rows, flops in products.head.items())
    layers = {rows: flops / rates.at_rows(rows) for rows, flops in products.layers.items()}
    if not shape_of(plan.model).family.conv1d:
        return share * (head + sum(layers.values()) + products.backward_inputs / given + weights)
    # Conv1D keeps its weight the other way round: its forward pass multiplies as a Linear's gradient does, and its
    # gradient as a Linear's forward pass.
    turned = sum(max(seconds, products.layers[rows] / given) for rows, seconds in layers.items())
    inputs = products.backward_inputs / rates.at_rows(plan.batch_size * plan.length)
    return share * (head + turned + inputs + weights)


def _between(at: float, places: Sequence[float], values: Sequence[float]) -> float:
    """The value at a place, on the lines between the given ones; outside of them that of the nearest."""
    for (left, low), (right, high) in itertools.pairwise(zip(places, values, strict=True)):
        if at <= right:
            return low + (high - low) * max(0.0, at - left) / (right - left)
    return values[-1]


def _passes(plan: MemoryPlan) -> float:
    """How often all weights are read (or their gradients written) in the unit of work."""
    if plan.work == "generate":
        return max(1, plan.new_tokens)
    if plan.work != "train" or plan.method is None:
        return 1
    back = {"full": 2.0, "lora": 1.0}.get(plan.method.id, 0.0)
    again = 1.0 if plan.gradient_checkpointing and back else 0.0
    return plan.parts * (1 + back + again)


def _weight_traffic(plan: MemoryPlan) -> float:
    resting = weight_bytes(plan)
    shape = shape_of(plan.model)
    # Of the token vectors only those of the batch are read, unless they are the output layer too.
    looked_up = 0 if plan.causal and shape.tied else shape.vocabulary * shape.width * plan.item
    read = resting.weights + resting.quantization + resting.adapters - looked_up
    return max(0, read) * _passes(plan)


def _dequantized_bytes(plan: MemoryPlan) -> float:
    if plan.precision != "int8":
        return 0.0
    return DEQUANTIZED_BYTES * quantized_weights(shape_of(plan.model)) * _passes(plan)


def _drawn(counts: ForwardCounts) -> float:
    """Random numbers of a forward pass, in those of torch's generator."""
    return counts.drawn + OWN_DROPOUT * counts.drawn_fast


def _forward_passes(plan: MemoryPlan) -> int:
    """Forward passes of an optimizer step, those of checkpointing included; of other work none counts."""
    if plan.work != "train" or plan.method is None:
        return 0
    return plan.parts * (2 if plan.gradient_checkpointing and plan.method.id != "head" else 1)


def _tensor_traffic(plan: MemoryPlan, counts: ForwardCounts) -> float:
    moved = 2.0 * counts.written_bytes
    if plan.work == "generate":
        shape = shape_of(plan.model)
        steps = max(0, plan.new_tokens - 1)
        a_token = 2.0 * shape.layers * plan.batch_size * shape.key_width * plan.item
        # Each step reads the cache and copies it into one that is a token longer.
        return moved * (1 + steps / max(1, plan.length)) + 3.0 * a_token * steps * (plan.length + steps / 2)
    if plan.work != "train" or plan.method is None:
        return moved
    back = BACKWARD_TENSORS if plan.method.id != "head" else 0.0
    again = 1.0 if plan.gradient_checkpointing and back else 0.0
    return plan.parts * moved * (1 + back + again)


def _operators(plan: MemoryPlan) -> float:
    shape = shape_of(plan.model)
    forward = shape.layers * (OPERATORS_A_LAYER + len(shape.linears)) + 10
    if plan.work == "generate":
        return forward * max(1, plan.new_tokens)
    if plan.work != "train" or plan.method is None:
        return forward
    # An adapter is two small products, a scaling, a sum and a dropout beside its matrix.
    extra = 5 * len(shape.linears) * shape.layers if plan.method.id == "lora" else 0
    back = 2.0 if plan.method.id != "head" else 0.1
    again = 1.0 if plan.gradient_checkpointing and back > 1 else 0.0
    return plan.parts * (forward + extra) * (1 + back + again)


def case_seconds(case: CaseSpec, rates: Rates, *, mean_length: float | None = None) -> TimeEstimate:
    """Seconds of a whole case, loading and warm-up of the process left out; ``parts`` by what a record calls them.

    ``train`` and ``evaluate`` are of one seed, ``latency`` of one call; ``mean_length`` is the mean length of the texts
    in tokens where it is known, else the data set's row says it and the range is wider.
    """
    profile = case.profile
    if case.kind.timed is not None:
        return _timed_case(case, case.kind.timed, rates)
    assert case.dataset is not None
    assumed = case.dataset.mean_tokens if mean_length is None else mean_length
    length = max(1, round(min(assumed, profile.max_length, case.model.context)))
    if case.weights == "random":
        length = min(profile.max_length, case.model.context)
    factor = FACTOR if mean_length is not None or case.weights == "random" else ASSUMED_FACTOR
    pass_rows = max(1, SCORING_TOKENS[case.device] // length)
    a_pass = plan_seconds(_plan(case, work="evaluate", rows=pass_rows, length=length), rates).seconds
    scoring = [part for part in case.kind.work if part.does == "score"]
    parts = {"evaluate": sum(scored_rows(case, part) for part in scoring) / pass_rows * a_pass}
    seconds = sum(part.times * scored_rows(case, part) for part in scoring) / pass_rows * a_pass
    if case.training is not None:
        validated = (profile.validation or 0) * profile.epochs / pass_rows * a_pass
        parts["train"] = _steps(case) * _step_seconds(case, rates, length) + validated
        seconds += parts["train"]
    return TimeEstimate(seconds=len(case.seeds) * seconds, factor=factor, parts=parts)


def work_of(case: CaseSpec) -> str:
    """The part of :func:`case_seconds` that most of the case is, by which its correction is looked up."""
    if case.kind.timed is not None:
        return "latency"
    return "train" if case.trains else "evaluate"


def _timed_case(case: CaseSpec, timed_call: Work, rates: Rates) -> TimeEstimate:
    profile = case.profile
    length = min(case.length or profile.prompt_tokens, case.model.context)
    generates = timed_call.does == "generate"
    work, new_tokens = ("generate", profile.new_tokens) if generates else ("latency", 0)
    plan = _plan(case, work=work, rows=case.batch_size or 1, length=length, new_tokens=new_tokens)
    call = plan_seconds(plan, rates).seconds
    # The timed rounds, as long again for utilisation and energy, and a few calls of warm-up and for the memory.
    timed = max(profile.latency_seconds, profile.latency_rounds * call) * (1 + timed_call.times)
    return TimeEstimate(seconds=timed + 5 * call, parts={"latency": call})


def _plan(case: CaseSpec, *, work: str, rows: int, length: int, new_tokens: int = 0) -> MemoryPlan:
    return MemoryPlan(
        model=case.model,
        work=work,  # type: ignore[arg-type]  # one of the four names, by the callers here
        precision=case.precision,
        device=case.device,
        batch_size=rows,
        length=length,
        new_tokens=new_tokens,
        causal=work == "generate",
        attention=usual_attention(case.model, case.device, training=False),
        pretrained=case.weights == "pretrained",
    )


def _steps(case: CaseSpec) -> int:
    assert case.dataset is not None
    profile = case.profile
    rows = profile.train or case.dataset.rows
    steps = math.ceil(rows / case.train.batch_size) * profile.epochs
    return min(steps, profile.max_steps) if profile.max_steps else steps


def _step_seconds(case: CaseSpec, rates: Rates, length: int) -> float:
    plan = training_plan(
        case,
        length,
        model=case.model,
        precision=case.precision if case.kind.trains_method else "fp32",
        device=case.device,
        pretrained=case.weights == "pretrained",
        attention=usual_attention(case.model, case.device, training=True),
    )
    return plan_seconds(plan, rates).seconds
