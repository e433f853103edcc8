"""The verdict on made numbers: which ceiling decides, shares, and what is advised."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emobench.measurement.bottlenecks import BETWEEN, COMPILED, WAITING, OperatorTime, Verdict, judge, kind_of
from emobench.measurement.ceilings import Ceilings

CPU = Ceilings(
    device="cpu",
    device_name="made",
    dtype="float32",
    threads=1,
    torch_version="2",
    matmul_precision="highest",
    flops_per_second=1e11,
    forward_flops_per_second=((1, 1e10), (64, 1e11)),
    backward_inputs_flops_per_second=((768, 1e11),),
    backward_weights_flops_per_second=1e11,
    bytes_per_second=1e10,
    overhead_seconds_per_operator=1e-6,
    seconds_per_random_number=1e-9,
    cache_bytes=2**25,
    cache_source="system",
    fast_bf16=False,
)
GPU = replace(CPU, device="cuda", fast_bf16=True)


def operator(
    name: str = "aten::x", *, seconds: float, calls: float = 1, flops: float = 0, moved: float = 0, streamed=None
) -> OperatorTime:
    return OperatorTime(
        name=name,
        calls=calls,
        seconds=seconds,
        flops=flops,
        bytes=moved,
        streamed_bytes=moved if streamed is None else streamed,
    )


PRODUCT = operator("aten::mm", seconds=1.0, flops=0.8e11, moved=1e8)
CHAIN = operator("aten::mul", seconds=1.0, moved=0.7e10)
TINY = operator("aten::add", seconds=1.0, calls=5e5, moved=1e6)
CACHED = operator("aten::gelu", seconds=1.0, moved=1e9, streamed=0)


def verdict(*profile: OperatorTime, wall: float, wait: float = 0.0, ceilings: Ceilings = CPU) -> Verdict:
    return judge(profile, ceilings, input_wait_seconds=wait, wall_seconds=wall)


def test_each_kind_by_hand() -> None:
    """The longest of the three ceiling times names an operator's kind; work within the cache is compute."""
    kinds = [kind_of(item, CPU) for item in (PRODUCT, CHAIN, TINY, CACHED)]
    assert kinds == ["compute-bound", "memory-bound", "overhead-bound", "compute-bound"]


def test_achieved_share_is_of_the_deciding_ceiling() -> None:
    """0.8e11 FLOPs in 1 s at 1e11 FLOP/s are 0.8; 0.7e10 bytes at 1e10 B/s 0.7; 5e5 calls of 1 us in 1 s 0.5."""
    assert verdict(PRODUCT, wall=1.0).achieved_share == pytest.approx(0.8)
    assert verdict(CHAIN, wall=1.0).achieved_share == pytest.approx(0.7)
    assert verdict(TINY, wall=1.0).achieved_share == pytest.approx(0.5)
    assert verdict(PRODUCT, wall=4.0, wait=3.0).achieved_share == pytest.approx(0.75)


def test_waiting_and_gaps_count() -> None:
    """Waiting for input is its own kind; time that no operator accounts for is overhead."""
    slow_input = verdict(PRODUCT, wall=4.0, wait=3.0)
    assert slow_input.kind == "input-bound"
    assert [(part.name, part.share) for part in slow_input.largest] == [(WAITING, 0.75), ("aten::mm", 0.25)]
    gaps = verdict(PRODUCT, wall=4.0)
    assert gaps.kind == "overhead-bound"
    assert gaps.largest[0].name == BETWEEN


def test_the_three_largest_in_order() -> None:
    """Four things take time, three are named, the largest first, each with its own kind."""
    profile = [replace(item, seconds=seconds) for item, seconds in ((PRODUCT, 4), (CHAIN, 3), (CACHED, 2), (TINY, 1))]
    largest = verdict(*profile, wall=10.0).largest
    assert [(part.name, part.share, part.kind) for part in largest] == [
        ("aten::mm", 0.4, "compute-bound"),
        ("aten::mul", 0.3, "memory-bound"),
        ("aten::gelu", 0.2, "compute-bound"),
    ]


def test_a_gpu_that_works_while_the_host_waits_is_not_input_bound() -> None:
    """On a device that works by itself waiting counts only where the device is idle; on the CPU all of it."""
    busy = replace(PRODUCT, seconds=0.9)
    assert verdict(busy, wall=1.0, wait=0.95, ceilings=GPU).kind == "compute-bound"
    assert verdict(busy, wall=2.0, wait=1.0, ceilings=GPU).kind == "input-bound"
    assert verdict(busy, wall=1.0, wait=0.95, ceilings=CPU).kind == "input-bound"


@given(
    st.lists(
        st.builds(
            operator,
            st.sampled_from(["aten::mm", "aten::mul", "aten::_softmax", "aten::bernoulli_", COMPILED]),
            seconds=st.floats(0, 10),
            calls=st.floats(0, 1e6),
            flops=st.floats(0, 1e13),
            moved=st.floats(0, 1e12),
        ),
        max_size=6,
    ),
    st.floats(1e-3, 20),
    st.floats(0, 20),
    st.sampled_from([CPU, GPU]),
)
def test_shares_add_up(profile: list[OperatorTime], wall: float, wait: float, ceilings: Ceilings) -> None:
    """For any numbers shares lie in 0 to 1 and add up to 1, the verdict has the largest, the advice is one sentence."""
    found = judge(profile, ceilings, input_wait_seconds=wait, wall_seconds=wall)
    shares = {f"{kind}-bound": found.figures[f"{kind}_share"] for kind in ("compute", "memory", "input", "overhead")}
    assert all(-1e-9 <= share <= 1 + 1e-9 for share in shares.values())
    assert sum(shares.values()) == pytest.approx(1)
    assert shares[found.kind] == max(shares.values())
    assert len(found.largest) <= 3
    assert found.sentence.endswith(".")
    assert found.sentence.count(". ") == 0


@pytest.mark.parametrize(
    ("found", "advice"),
    [
        (verdict(PRODUCT, wall=1.0), "only less work helps: a smaller model or shorter inputs"),
        (verdict(PRODUCT, wall=1.0, ceilings=GPU), r"take a lower precision \(bf16\)"),
        (verdict(replace(PRODUCT, flops=2e10), wall=1.0), "take a larger batch, or torch.compile"),
        (verdict(CACHED, wall=1.0), "aten::gelu is no matrix product"),
        (verdict(CHAIN, wall=1.0), "torch.compile fuses elementwise operators"),
        (verdict(replace(CHAIN, name="aten::_softmax"), wall=1.0), 'attn_implementation="sdpa"'),
        (verdict(replace(CHAIN, name="aten::mm"), wall=1.0), "weights of lower precision"),
        (verdict(replace(CHAIN, name="aten::_fused_adamw_"), wall=1.0), r"train fewer parameters \(lora\)"),
        (verdict(replace(CHAIN, name="aten::bernoulli_"), wall=1.0), "take dropout out"),
        (verdict(replace(CHAIN, name=COMPILED), wall=1.0), "operators are fused already"),
        (verdict(TINY, wall=1.0), "take a larger batch, or torch.compile, which joins"),
        (verdict(TINY, wall=1.0, ceilings=GPU), "replays the kernels as one graph"),
        (verdict(wall=1.0, wait=0.9), "give the loader more workers"),
    ],
)
def test_advice_is_specific(found: Verdict, advice: str) -> None:
    """The sentence names the cause's own remedy."""
    import re

    assert re.search(advice, found.sentence), found.sentence


def test_sentence_in_full() -> None:
    """Share, operator, achieved share, advice: one sentence."""
    assert verdict(PRODUCT, wall=1.0).sentence == (
        "100% of the time is compute-bound work, most in aten::mm, at 80% of the measured matrix rate: "
        "the products run near what the device can do; only less work helps: a smaller model or shorter inputs."
    )


def test_a_step_takes_time() -> None:
    """A wall time of zero is a caller's mistake."""
    with pytest.raises(ValueError, match="wall_seconds=0"):
        verdict(PRODUCT, wall=0)
