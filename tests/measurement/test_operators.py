"""FLOPs and bytes of operators against hand formulas and torch's own counter."""

from __future__ import annotations

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from packaging.version import Version
from torch import nn
from torch.nn import functional as F  # noqa: N812  # torch's own name for it
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from emobench.measurement.operators import OperatorCount, _missed, _Touch, attention_flops, count_operators

BATCH, TOKENS, HEADS, SIZE, HIDDEN = 2, 16, 4, 8, 96
WIDTH = HEADS * SIZE
LARGE = 2**40


def count(call, cache_bytes: int = LARGE) -> dict[str, OperatorCount]:
    return count_operators(call, cache_bytes=cache_bytes)


def flops(counts: dict[str, OperatorCount]) -> int:
    return sum(item.flops for item in counts.values())


def mlp() -> nn.Sequential:
    return nn.Sequential(nn.Linear(WIDTH, HIDDEN), nn.GELU(), nn.Linear(HIDDEN, WIDTH))


def attend(x_BTE: torch.Tensor) -> torch.Tensor:
    x_BHTD = x_BTE.view(BATCH, TOKENS, HEADS, SIZE).transpose(1, 2)
    return F.scaled_dot_product_attention(x_BHTD, x_BHTD, x_BHTD)


@pytest.mark.parametrize("inference", [False, True])
def test_mlp_and_attention_by_hand(inference: bool) -> None:
    """Two linears are 2 rows in out each, once; attention is 4 B H Tq Tk D; the same with and without autograd."""
    model, x_BTE = mlp(), torch.randn(BATCH, TOKENS, WIDTH)

    def call() -> None:
        with torch.inference_mode(inference):
            attend(model(x_BTE))

    counts = count(call)
    linears = 2 * 2 * BATCH * TOKENS * WIDTH * HIDDEN
    assert counts["aten::addmm"].flops == linears
    assert counts["aten::addmm"].calls == 2
    assert "aten::linear" not in counts
    attention = [item for name, item in counts.items() if "attention" in name]
    assert sum(item.flops for item in attention) == 4 * BATCH * HEADS * TOKENS * TOKENS * SIZE
    assert flops(counts) == linears + 4 * BATCH * HEADS * TOKENS * TOKENS * SIZE


def test_training_step_is_torchs_count_plus_attention() -> None:
    """Where torch's counter counts, ours is equal, backward included; attention adds 3.5 times its forward pass."""
    model, x_BTE = mlp(), torch.randn(BATCH, TOKENS, WIDTH)

    def products() -> None:
        model(x_BTE).sum().backward()

    with FlopCounterMode(display=False) as torchs:
        products()
    assert flops(count(products)) == torchs.get_total_flops() > 0
    ours = flops(count(lambda: attend(model(x_BTE)).sum().backward()))
    assert ours - torchs.get_total_flops() == 3.5 * 4 * BATCH * HEADS * TOKENS * TOKENS * SIZE


@given(
    batch=st.integers(1, 4),
    groups=st.integers(1, 3),
    heads=st.integers(1, 4),
    tokens=st.tuples(st.integers(1, 50), st.integers(1, 50)),
    sizes=st.tuples(st.integers(1, 64), st.integers(1, 64)),
)
@settings(max_examples=50)
def test_attention_formula_is_torchs(
    batch: int, groups: int, heads: int, tokens: tuple[int, int], sizes: tuple[int, int]
) -> None:
    """Forward and backward equal torch's formulas for its GPU kernels, also with shared keys and other value sizes."""
    # The formula of torch 2.11 takes no shared keys.
    assume(groups == 1 or Version(torch.__version__) >= Version("2.12"))
    query = (batch, heads * groups, tokens[0], sizes[0])
    key = (batch, heads, tokens[1], sizes[0])
    value = (batch, heads, tokens[1], sizes[1])
    assert attention_flops(query, key, value) == sdpa_flop_count(query, key, value)
    if groups == 1:
        grad = (*query[:3], sizes[1])
        expected = sdpa_backward_flop_count(grad, query, key, value)
        assert attention_flops(query, key, value, backward=True) == expected


def test_bmm_and_matmul_are_counted_once() -> None:
    """A batched matmul reaches the kernel as one bmm."""
    a, b = torch.randn(3, 4, 5), torch.randn(3, 5, 6)
    counts = count(lambda: a @ b)
    assert {name: item.flops for name, item in counts.items() if item.flops} == {"aten::bmm": 2 * 3 * 4 * 5 * 6}


X = torch.zeros(64, 32)
TABLE = torch.zeros(1000, 32)
ROWS = torch.arange(10)


@pytest.mark.parametrize(
    ("call", "moved"),
    [
        (lambda: X + X, 3 * 8192),
        (lambda: X.bfloat16(), 8192 + 4096),
        (lambda: X.view(32, 64).t(), 0),
        (lambda: torch.empty(64, 32), 0),
        (lambda: X.add_(1.0), 2 * 8192),
        (lambda: X.zero_(), 8192),
        (lambda: X.copy_(TABLE[:64]), 2 * 8192),
        (lambda: TABLE[:1].expand(64, 32) + X, 128 + 2 * 8192),
        (lambda: F.embedding(ROWS, TABLE), 80 + 2 * 10 * 128),
        (lambda: torch.mm(X, X.t()), 2 * 8192 + 64 * 64 * 4),
        (lambda: torch.mm(X, X.t(), out=torch.empty(64, 64)), 2 * 8192 + 64 * 64 * 4),
        (lambda: X.sum(), 8192 + 4),
    ],
)
def test_bytes_are_operands_and_results(call, moved: int) -> None:
    """Operands are read once and results written once; views and allocation move nothing, gathers what they take."""
    assert sum(item.bytes for item in count(call).values()) == moved


def test_intensity_is_flops_a_byte() -> None:
    """A square product of n in fp32 does 2 n^3 over 12 n^2 bytes; a view has none."""
    a = torch.randn(48, 48)
    counts = count(lambda: torch.mm(a, a.t()))
    assert counts["aten::mm"].intensity == pytest.approx(2 * 48**3 / (12 * 48**2))
    assert counts["aten::t"].intensity is None


def test_weights_larger_than_the_cache_are_streamed_and_activations_are_not() -> None:
    """Ten matrices of 1 MB through a cache of 4 MB come from memory each step, through one of 40 MB they do not."""
    weights, x = [torch.zeros(512, 512) for _ in range(10)], torch.zeros(1, 512)

    def call() -> None:
        y = x
        for weight in weights:
            y = y @ weight

    small, large = count(call, 4 * 2**20)["aten::mm"], count(call, 40 * 2**20)["aten::mm"]
    assert small.streamed_bytes == pytest.approx(10 * 2**20, rel=0.02)
    assert large.streamed_bytes == 0
    assert small.bytes == large.bytes


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 100)), min_size=1, max_size=40), st.integers(0, 800))
def test_cache_model_bounds(operands: list[tuple[int, int]], capacity: int) -> None:
    """Never more is missed than touched; a cache of nothing misses all, one that holds everything misses none."""
    touches = [_Touch(index, place, size) for index, (place, size) in enumerate(operands)]
    sizes = [touch.bytes for touch in touches]
    missed = _missed(touches, capacity=capacity, calls=len(touches))
    assert all(0 <= part <= size for part, size in zip(missed, sizes, strict=True))
    assert _missed(touches, capacity=0, calls=len(touches)) == sizes
    assert sum(_missed(touches, capacity=10**6, calls=len(touches))) == 0


def test_a_compiled_function_stays_compiled() -> None:
    """Counting runs compiled code eagerly and leaves it compiled."""
    runs: list[str] = []

    def backend(graph: torch.fx.GraphModule, _inputs: object):
        def run(*args: torch.Tensor) -> object:
            runs.append("compiled")
            return graph.forward(*args)

        return run

    compiled = torch.compile(lambda x: x @ x + 1, backend=backend)
    x = torch.ones(4, 4)
    compiled(x)
    assert count(lambda: compiled(x))["aten::mm"].flops == 2 * 4**3
    assert len(runs) == 1
    compiled(x)
    assert len(runs) == 2


def test_operators_from_elsewhere_are_said_to_be_unknown() -> None:
    """A custom operator has no FLOPs and says so; one named as a product gets those of one."""

    @torch.library.custom_op("emobench_tests::twist", mutates_args=())
    def twist(x: torch.Tensor) -> torch.Tensor:
        return x.clone()

    @torch.library.custom_op("emobench_tests::gemm_tiny", mutates_args=())
    def gemm_tiny(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return x @ weight

    counts = count(lambda: (twist(X), gemm_tiny(X, TABLE[:32])))
    assert (counts["emobench_tests::twist"].flops, counts["emobench_tests::twist"].flops_known) == (0, False)
    product = counts["emobench_tests::gemm_tiny"]
    assert (product.flops, product.flops_known) == (2 * 64 * 32 * 32, True)


def test_cache_model_keeps_what_was_used_last() -> None:
    """What is touched every other time stays in a cache for two; what comes once a step does not."""
    touches = [_Touch(index, place, 10) for index, place in enumerate([1, 2, 1, 3, 1, 4, 1, 5])]
    assert _missed(touches, capacity=20, calls=8) == [0, 10, 0, 10, 0, 10, 0, 10]
