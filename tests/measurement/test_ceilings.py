"""Ceilings: what they count, and the cache they are kept in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from emobench.errors import UnsupportedError
from emobench.measurement import ceilings, products


@pytest.fixture(autouse=True)
def _short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMOBENCH_CACHE", str(tmp_path))
    monkeypatch.setattr(ceilings, "_SECONDS_EACH", 0.01)
    for name in ("_SECONDS_EACH", "_SECONDS_LARGE"):
        monkeypatch.setattr(products, name, 0.002)


def rates(large: float) -> products.ProductRates:
    return products.ProductRates(
        large=large,
        forward=((1, large / 4), (64, large)),
        backward_inputs=((768, large / 2),),
        backward_weights=large / 3,
    )


def cache_file(folder: Path) -> Path:
    (path,) = (folder / "ceilings").iterdir()
    return path


@pytest.mark.slow
def test_measured_once_then_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second call reads the cache and times nothing; ``refresh`` measures anew."""
    first = ceilings.measured_ceilings("cpu", torch.float32)
    assert min(first.flops_per_second, first.bytes_per_second, first.overhead_seconds_per_operator) > 0
    assert 0 < first.seconds_per_random_number < 1e-6
    assert (first.dtype, first.threads) == ("float32", torch.get_num_threads())

    def no_measuring(*_: object, **__: object) -> float:
        raise AssertionError("measured again")

    monkeypatch.setattr(ceilings, "product_rates", no_measuring)
    assert ceilings.measured_ceilings("cpu", torch.float32) == first
    with pytest.raises(AssertionError, match="measured again"):
        ceilings.measured_ceilings("cpu", torch.float32, refresh=True)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: "",
        lambda content: content[: len(content) // 2],
        lambda content: "[]",
        lambda content: json.dumps({**json.loads(content), "bytes_per_second": 0.0}),
        lambda content: json.dumps({**json.loads(content), "flops_per_second": float("nan")}),
        lambda content: json.dumps({**json.loads(content), "torch_version": "1.0"}),
        lambda content: json.dumps({**json.loads(content), "layout": 0}),
        lambda content: json.dumps({**json.loads(content), "forward_flops_per_second": []}),
        lambda content: json.dumps({**json.loads(content), "forward_flops_per_second": [[1, -2.0]]}),
        lambda content: json.dumps({**json.loads(content), "forward_flops_per_second": [1, 2]}),
        lambda content: json.dumps({**json.loads(content), "backward_inputs_flops_per_second": 1e9}),
        lambda content: json.dumps({key: value for key, value in json.loads(content).items() if key != "dtype"}),
    ],
)
def test_a_cache_file_that_cannot_be_used_is_measured_anew(
    spoil, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut off, of another shape, with impossible figures or of another release: replaced, never used."""
    made = {"product_rates": rates(3e9), "_copy_rate": 2e9, "_operator_overhead": 1e-6, "_random_cost": 1e-9}
    for name, value in made.items():
        monkeypatch.setattr(ceilings, name, lambda *_, value=value, **__: value)
    kept = ceilings.measured_ceilings("cpu", torch.float32)
    path = cache_file(tmp_path)
    good = path.read_text()
    path.write_text(spoil(good))
    assert ceilings.measured_ceilings("cpu", torch.float32) == kept
    assert path.read_text() == good


def test_dtype_and_threads_have_figures_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another dtype or thread count is another file, and torch's thread count is left as it was."""
    monkeypatch.setattr(ceilings, "product_rates", lambda _device, dtype, **_: rates(float(dtype.itemsize)))
    before = torch.get_num_threads()
    two = ceilings.measured_ceilings("cpu", torch.float32, threads=before + 1)
    half = ceilings.measured_ceilings("cpu", torch.bfloat16)
    assert torch.get_num_threads() == before
    assert (two.threads, two.flops_per_second, half.threads, half.flops_per_second) == (before + 1, 4, before, 2)
    assert len(list((tmp_path / "ceilings").iterdir())) == 2


def test_what_the_rates_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy counts bytes read and bytes written; a product two FLOPs a multiplication; overhead is per call."""
    monkeypatch.setattr(ceilings, "fastest", lambda *_args, **_kwargs: 0.5)
    monkeypatch.setattr(products, "fastest", lambda *_args, **_kwargs: 0.5)
    monkeypatch.setattr(products, "_seconds", lambda *_args, **_kwargs: 0.06)
    for module in (ceilings, products):
        monkeypatch.setattr(module, "free_memory_bytes", lambda _device: 2**40)
    assert ceilings._copy_rate("cpu", 2**10) == 2 * 2**26 / 0.5
    assert products._large_rate("cpu", torch.float32) == 2 * 256**3 / 0.5
    assert ceilings._operator_overhead("cpu") == 0.5
    assert ceilings._random_cost("cpu") == 0.5 / 2**20
    found = products.product_rates("cpu", torch.float32, cache_bytes=2**10)
    assert dict(found.forward) == {rows: 2 * rows * 768 * 3072 / 0.5 for rows in (1, 4, 16, 64, 512)}
    # A layer of a transformer has 12 width^2 weights: four square matrices and two of its MLP.
    assert dict(found.backward_inputs) == {width: 2 * 128 * 12 * width**2 / 0.5 for width in (384, 512, 768)}
    assert found.backward_weights == 2 * 128 * 768 * 768 / 0.5


def test_a_mask_leaves_the_sessions_generator_alone() -> None:
    """Numbers drawn to time a mask do not change what a seeded training draws afterwards."""
    torch.manual_seed(1)
    ceilings._random_cost("cpu")
    after = torch.rand(3)
    torch.manual_seed(1)
    assert torch.equal(after, torch.rand(3))


def test_products_are_those_of_a_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is timed has the shapes and layouts of a linear layer's forward and backward pass."""
    seen: list[tuple[tuple[int, ...], bool, bool]] = []
    usual = torch.Tensor.__matmul__

    def told(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        seen.append(((*left.shape, right.shape[1]), left.is_contiguous(), right.is_contiguous()))
        return usual(left, right)

    monkeypatch.setattr(torch.Tensor, "__matmul__", told)
    monkeypatch.setattr(products, "fastest", lambda call, *_args, **_kwargs: call() is None or 1.0)
    monkeypatch.setattr(products, "_large_rate", lambda *_: 1.0)
    monkeypatch.setattr(products, "WIDTHS", (384,))
    products.product_rates("cpu", torch.float32, cache_bytes=2**10)
    # One row is contiguous whichever way it lies.
    assert seen[1:5] == [((rows, 768, 3072), True, False) for rows in products.ROWS[1:]]
    square, widening, narrowing = (128, 384, 384), (128, 1536, 384), (128, 384, 1536)
    assert seen[5:-1] == [(shape, True, True) for shape in (*[square] * 4, widening, narrowing)]
    assert seen[-1] == ((768, 128, 768), False, True)


@pytest.mark.parametrize(("cache_bytes", "free", "layers"), [(2**25, 2**40, 8), (2**30, 2**40, 64), (2**25, 2**20, 1)])
def test_weights_come_from_memory(cache_bytes: int, free: int, layers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few rows go through weights that are twice the last-level cache together, within bounds: none is in it."""
    monkeypatch.setattr(products, "free_memory_bytes", lambda _device: free)
    weights = products._layers("meta", torch.float32, cache_bytes)  # type: ignore[arg-type]  # without the bytes
    assert len(weights) == layers
    assert len({id(weight) for weight in weights}) == layers
    seen: list[int] = []
    monkeypatch.setattr(products, "fastest", lambda call, *_, times, **__: seen.append(times) or 1.0)
    assert [products._forward_rate(weights, rows, "meta") for rows in (1, 64)]  # type: ignore[arg-type]
    assert seen == [layers] * 2


def test_the_ceiling_is_the_fastest_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dtype that is emulated may multiply fastest in another layout than the large product's: no share is above 1."""
    taken = iter([4.0, 4.0, 4.0, 4.0, 4.0, 1.0, 1.0, 1.0, 0.001])
    monkeypatch.setattr(products, "fastest", lambda *_args, **_kwargs: next(taken))
    monkeypatch.setattr(products, "_large_rate", lambda *_: 1.0)
    found = products.product_rates("cpu", torch.float32, cache_bytes=2**10)
    assert found.large == found.backward_weights > max(rate for _, rate in (*found.forward, *found.backward_inputs))


@pytest.mark.parametrize(("seconds", "calls"), [(0.4, 2), (0.06, 2 + 3), (0.01, 2 + 6), (0.0001, 2 + 50 * 200)])
def test_long_calls_are_timed_less_often(monkeypatch: pytest.MonkeyPatch, seconds: float, calls: int) -> None:
    """Two calls of a slow one, three rounds of a long one; of a short one those that the time holds, 200 at most."""
    now, made = 0, 0

    def call() -> None:
        nonlocal now, made
        now, made = now + round(seconds * 1e9), made + 1

    monkeypatch.setattr(products.time, "perf_counter_ns", lambda: now)
    assert products.fastest(call, "cpu", seconds=0.02 if calls < 9 else 10) == pytest.approx(seconds)
    assert made == calls


def test_a_slow_first_call_decides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A first call that loads a library is passed over: rounds of as many calls as were asked for follow."""
    now, made = 0, 0

    def call() -> None:
        nonlocal now, made
        now, made = now + (500_000_000 if made == 0 else 1_000_000), made + 1

    monkeypatch.setattr(products.time, "perf_counter_ns", lambda: now)
    assert products.fastest(call, "cpu", seconds=0.02, times=4) == pytest.approx(0.001)
    assert made == 2 + 4 * 6


def test_a_copy_leaves_most_of_the_memory_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """With little free memory the copy is a sixteenth of it."""
    monkeypatch.setattr(ceilings, "fastest", lambda *_args, **_kwargs: 1.0)
    monkeypatch.setattr(ceilings, "free_memory_bytes", lambda _device: 2**28)
    assert ceilings._copy_rate("cpu", 2**30) == 2 * 2**24


def test_errors_name_the_device_and_the_dtype(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that is not there and a dtype without a matrix product are told apart."""
    with pytest.raises(UnsupportedError, match=r"dtype torch\.int8 cannot be measured"):
        ceilings.measured_ceilings("cpu", torch.int8)
    monkeypatch.setattr(ceilings, "find_device", lambda _kind: None)
    with pytest.raises(UnsupportedError, match="ceilings of 'mps' cannot be measured; this machine has no such device"):
        ceilings.measured_ceilings("mps", torch.float32)


def test_the_last_level_cache_is_known_or_said_to_be_assumed() -> None:
    """A positive size with its source."""
    size, source = ceilings.last_level_cache("cpu")
    assert size >= 2**16
    assert source in {"system", "assumed"}
