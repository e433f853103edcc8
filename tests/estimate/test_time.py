"""Expected seconds: their parts against sums by hand, how they grow, and figures measured on a quiet machine."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emobench.catalogue.datasets import find_dataset
from emobench.catalogue.methods import METHODS, find_method
from emobench.catalogue.model_rows import MODELS, find_model
from emobench.catalogue.profiles import find_profile
from emobench.estimate import time
from emobench.estimate.flops import plan_products
from emobench.estimate.plan import MemoryPlan
from emobench.estimate.time import Rates, TimeEstimate, case_seconds, plan_seconds
from emobench.specs import CaseSpec

MINILM = find_model("all-minilm-l6-v2")
RATES = Rates(flops_per_second=1.72e11, bytes_per_second=2.2e10, seconds_per_operator=1.3e-6)
"""Two cores of an AMD EPYC with AVX2, measured while they did nothing else."""


def plan(**changes: object) -> MemoryPlan:
    given_ = {"model": MINILM, "work": "latency", "precision": "fp32", "device": "cpu", "batch_size": 8, "length": 128}
    return MemoryPlan(**{**given_, **changes})  # type: ignore[arg-type]  # names and values are of one table


def case(kind: str = "finetune", method: str | None = "full", **changes: object) -> CaseSpec:
    timed = kind in ("inference", "generation")
    return CaseSpec(
        kind=kind,  # type: ignore[arg-type]  # one of the kinds
        model=MINILM,
        dataset=None if timed else find_dataset("rotten_tomatoes-train"),
        method=find_method(method) if method and not timed else None,
        precision="fp32",
        device="cpu",
        profile=find_profile("quick"),
        **changes,  # type: ignore[arg-type]  # fields of a case
    )


def test_a_machine_that_only_multiplies_takes_its_operations_over_its_rate() -> None:
    """With bytes and operators for nothing, what is left is the products, at the share of the rate that is stated."""
    only = Rates(flops_per_second=1e10, bytes_per_second=math.inf, seconds_per_operator=0.0)
    found = plan_seconds(plan(), only)
    assert found.seconds == pytest.approx(time.PRODUCTS * plan_products(plan()).total / 1e10)
    assert plan_seconds(plan(), replace(only, flops_per_second=2e10)).seconds == pytest.approx(found.seconds / 2)


def test_products_take_the_rates_of_their_rows_and_layouts() -> None:
    """Of one token at the rate of one row, of a batch's at theirs; gradients at the rates of their layouts."""
    rates = Rates(
        flops_per_second=1e12,
        bytes_per_second=math.inf,
        seconds_per_operator=0.0,
        forward=((1, 1e9), (64, 1e11)),
        backward_inputs=((384, 1e10), (768, 5e10)),
        backward_weights=2e10,
    )
    # Two orders of magnitude of rate over 64 = 2^6 of rows: a third of them at 4.
    assert [rates.at_rows(rows) for rows in (1, 8, 64, 4096)] == pytest.approx([1e9, 1e10, 1e11, 1e11])
    products = plan_products(plan(work="train", method=METHODS["full"], batch_size=1, length=8))
    layers, head = products.layers[8], products.head[1]
    assert (products.backward_inputs, products.backward_weights) == pytest.approx((layers + head,) * 2)
    by_hand = layers / 1e10 + head / 1e9 + products.backward_inputs / 1e10 + products.backward_weights / 2e10
    trained = plan_seconds(plan(work="train", method=METHODS["full"], batch_size=1, length=8), rates)
    assert trained.parts["products"] == pytest.approx(time.PRODUCTS * by_hand)


def test_a_generation_is_a_pass_over_the_prompt_and_one_row_a_token() -> None:
    """The tokens of the prompt are multiplied together, those that are generated one at a time."""
    made = plan(model=find_model("tinyllama-1.1b"), work="generate", batch_size=2, length=16, new_tokens=5, causal=True)
    products, first = plan_products(made), plan_products(replace(made, new_tokens=1))
    assert set(products.layers) == {2, 32}
    assert products.layers[32] == first.layers[32]
    # Logits of each new token: 2,048 wide, 32,000 words.
    assert products.head == {2: 5 * 2 * 2.0 * 2048 * 32000}
    # The first new token comes with the prompt, alone or with its rows.
    assert set(first.layers) == {2, 32}
    assert first.layers[2] == 0


def test_gpt2_multiplies_the_other_way_round() -> None:
    """Its Conv1D keeps a weight transposed: forward at the rate of a Linear's input gradient, and the reverse."""
    layouts = Rates(
        flops_per_second=1e12,
        bytes_per_second=math.inf,
        seconds_per_operator=0.0,
        forward=((1, 1e11), (64, 1e11)),
        backward_inputs=((768, 1e10),),
        backward_weights=1e12,
    )
    config = {"model_type": "gpt2", "n_embd": 768, "n_layer": 2, "n_head": 12, "n_positions": 64, "vocab_size": 500}
    row = find_model("tinyllama-1.1b").model_copy(update={"id": "gpt2", "config": {**config, "pad_token_id": 0}})
    gpt2 = plan(model=row, work="train", method=METHODS["full"], batch_size=1, length=64)
    products = plan_products(gpt2)
    by_hand = (
        products.layers[64] / 1e10
        + products.head[1] / 1e11
        + products.backward_inputs / 1e11
        + products.backward_weights / 1e12
    )
    assert plan_seconds(gpt2, layouts).parts["products"] == pytest.approx(time.PRODUCTS * by_hand)


def test_dropout_takes_a_random_number_a_value() -> None:
    """BERT draws one for each embedded value, twice a layer for the hidden states, and for each attention weight."""
    only = Rates(
        flops_per_second=math.inf, bytes_per_second=math.inf, seconds_per_operator=0.0, seconds_per_random_number=1.0
    )
    rows, length, width, layers, heads = 2, 16, 384, 6, 12
    # Of the last layer only the first token is needed.
    hidden = rows * width * (length * (1 + 2 * (layers - 1)) + 2)
    attention = rows * heads * length * (length * (layers - 1) + 1)
    training = plan(work="train", method=METHODS["full"], batch_size=rows, length=length)
    drawn = plan_seconds(training, only).parts["dropout"]
    # The masks of hidden states come from the product's own generator.
    assert drawn == pytest.approx(attention + time.OWN_DROPOUT * hidden)
    assert plan_seconds(replace(training, parts=3), only).parts["dropout"] == pytest.approx(3 * drawn)
    again = replace(training, gradient_checkpointing=True)
    assert plan_seconds(again, only).parts["dropout"] == pytest.approx(2 * drawn)
    assert plan_seconds(plan(), only).parts["dropout"] == 0


def test_a_token_of_a_large_decoder_takes_its_weights_over_the_bandwidth() -> None:
    """Decoding at batch 1 is bound by reading the weights once a token: the published floor of decoders."""
    row = find_model("tinyllama-1.1b")
    decoding = plan(model=row, work="generate", batch_size=1, length=1, new_tokens=101, causal=True, precision="bf16")
    fast = Rates(flops_per_second=7.9e14, bytes_per_second=4.3e12, seconds_per_operator=0.0)
    each = plan_seconds(decoding, fast).seconds / 101
    # 1.10e9 parameters, of which 65.5e6 are looked up, two bytes each.
    assert each == pytest.approx(2 * 1.0345e9 / 4.3e12, rel=0.15)


def test_the_optimizer_moves_only_what_is_trained() -> None:
    """AdamW's bytes are those of all parameters, or of the head alone."""
    steps = {name: plan_seconds(plan(work="train", method=METHODS[name]), RATES).parts for name in ("full", "head")}
    trained = {"full": 22_713_986, "head": 384 * 385 + 384 * 2 + 2}
    for name, parts in steps.items():
        moved = time.OPTIMIZER_BYTES * trained[name] / RATES.bytes_per_second
        assert parts["optimizer"] == pytest.approx(moved + time.STEP_SECONDS, rel=0.01)


@given(
    rows=st.integers(1, 64),
    length=st.integers(8, 512),
    method=st.sampled_from(["head", "full", "lora"]),
    checkpointing=st.booleans(),
)
def test_more_work_takes_longer(rows: int, length: int, method: str, checkpointing: bool) -> None:
    """A row more, a token more, another part and checkpointing each add time; parts sum to the whole."""
    usual = plan(
        work="train",
        method=METHODS[method],
        batch_size=rows,
        length=length,
        gradient_checkpointing=checkpointing,
    )
    base = plan_seconds(usual, RATES)
    assert base.seconds == pytest.approx(sum(base.parts.values()))
    more = [{"batch_size": rows + 1}, {"length": length + 1}, {"parts": 2}]
    if method != "head" and not checkpointing:
        more.append({"gradient_checkpointing": True})
    for changes in more:
        assert plan_seconds(replace(usual, **changes), RATES).seconds > base.seconds  # type: ignore[arg-type]
    assert base.low < base.seconds < base.high


MEASURED = {1: 0.0303, 4: 0.0900, 8: 0.154, 16: 0.323, 32: 0.605, 64: 1.308}
"""Median seconds of a forward pass of 128 tokens by batch size, of a run whose rates are ``RATES``."""


@pytest.mark.parametrize("rows", MEASURED)
def test_a_measured_forward_pass_is_within_the_range(rows: int) -> None:
    """All-MiniLM-L6-v2 in fp32 on the machine whose rates these are."""
    found = plan_seconds(plan(batch_size=rows), RATES)
    assert found.low < MEASURED[rows] < found.high


@pytest.mark.parametrize(("method", "seconds"), [("full", 29.3), ("lora", 26.0)])
def test_a_measured_training_is_within_the_range(method: str, seconds: float) -> None:
    """2,000 Rotten Tomatoes reviews of 27.3 tokens, one epoch with validation; and 1,000 rows evaluated in 4.3 s."""
    found = case_seconds(case(method=method), RATES, mean_length=27.3)
    assert found.parts["train"] / time.FACTOR < seconds < found.parts["train"] * time.FACTOR
    assert found.parts["evaluate"] / time.FACTOR < 4.3 < found.parts["evaluate"] * time.FACTOR
    assert found.seconds == pytest.approx(sum(found.parts.values()))


def test_seeds_and_assumed_lengths() -> None:
    """Three seeds take three times as long; without the texts' mean length the range is wider."""
    known = case_seconds(case(), RATES, mean_length=30.0)
    assert case_seconds(case(seeds=(0, 1, 2)), RATES, mean_length=30.0).seconds == pytest.approx(3 * known.seconds)
    assert known.factor == time.FACTOR
    assert case_seconds(case(), RATES).factor == time.ASSUMED_FACTOR


def test_a_timed_case_takes_its_rounds() -> None:
    """A fast call fills its profile's time twice; a slow one its fewest rounds."""
    fast = case_seconds(case("inference", None, batch_size=1), RATES)
    profile = find_profile("quick")
    assert fast.seconds == pytest.approx(2 * profile.latency_seconds + 5 * fast.parts["latency"])
    slow = case_seconds(case("inference", None, batch_size=64), RATES)
    assert slow.seconds == pytest.approx((2 * profile.latency_rounds + 5) * slow.parts["latency"])


@pytest.mark.parametrize("model", sorted(MODELS))
@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8", "nf4"])
def test_every_row_has_a_time(model: str, precision: str) -> None:
    """A forward pass of every catalogue row takes a positive, finite time."""
    found = plan_seconds(plan(model=find_model(model), precision=precision), RATES)
    assert 0 < found.seconds < math.inf
    assert all(seconds >= 0 for seconds in found.parts.values())


@pytest.mark.parametrize(
    ("planned", "labels", "work"),
    [
        (case("finetune"), None, "train"),
        (case("evaluation", None), None, "train"),
        (case("evaluation", None), ("negative", "positive"), "evaluate"),
        (case("inference", None, batch_size=8), None, "latency"),
    ],
)
def test_a_case_is_corrected_by_what_it_mostly_does(
    planned: CaseSpec, labels: tuple[str, ...] | None, work: str
) -> None:
    """A ready classifier is only evaluated; the part by which a case is corrected is one that it has."""
    planned = planned.model_copy(update={"model": planned.model.model_copy(update={"labels": labels})})
    assert time.work_of(planned) == work
    assert work in case_seconds(planned, RATES).parts


def test_a_correction_scales_all_of_it() -> None:
    """What calibration found multiplies seconds and parts."""
    found = TimeEstimate(seconds=2.0, parts={"train": 2.0}).scaled(1.5)
    assert (found.seconds, found.parts["train"]) == (3.0, 3.0)
