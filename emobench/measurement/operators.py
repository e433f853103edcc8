"""FLOPs and bytes of every operator of a call, taken from its operands as it runs. Times nothing, judges nothing.

Operators are counted where they reach a kernel (below autograd and below operators made of others), so that a
``linear`` is counted once, as the ``addmm`` it becomes.
"""

from __future__ import annotations

import re
import sys
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode, is_traceable_wrapper_subclass
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

aten = torch.ops.aten

_TORCH = {"aten", "prim", "prims"}
_ONLY_WRITTEN = {"copy_", "fill_", "zero_", "normal_", "uniform_", "random_", "bernoulli_", "exponential_", "set_"}
"""In-place operators that do not read the tensor they write."""
_GATHERS = {"embedding", "index_select", "index", "gather", "take", "take_along_dim", "_embedding_bag"}
"""Operators that read from their first tensor only as much as they return."""
_SCATTERS = {"index_put_", "_index_put_impl_", "index_add_", "index_copy_", "scatter_", "scatter_add_"}
"""Operators that touch of the tensor they write only as much as their last tensor holds."""
_ALLOCATIONS = {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "resize_"}
"""Operators that move nothing: they hand out memory."""


@dataclass(frozen=True, kw_only=True)
class OperatorCount:
    """One class of operators over a counted call."""

    name: str
    """As the profiler spells it, such as ``aten::addmm``."""
    calls: int
    flops: int
    """Of matrix products, convolutions and attention; elementwise arithmetic counts zero."""
    bytes: int
    """Operands read plus results written, each once: a lower bound of real traffic."""
    streamed_bytes: int
    """The part of ``bytes`` that a last-level cache of the size given would not have held."""
    flops_known: bool = True
    """False for operators from outside torch that no formula here covers: their FLOPs count zero."""

    @property
    def intensity(self) -> float | None:
        """FLOPs a byte; None where nothing is moved."""
        return self.flops / self.bytes if self.bytes else None


@dataclass(frozen=True)
class _Touch:
    """One operand of one operator call: which memory and how much of it."""

    call: int
    place: int
    bytes: int


class _Counter(TorchDispatchMode):
    """Notes every operator that reaches a kernel, with its FLOPs and the memory it touches."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch types no constructor here
        self.names: list[str] = []
        self.flops: list[int] = []
        self.touches: list[_Touch] = []

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        keywords = dict(kwargs or {})
        if func.namespace == "profiler":
            return func(*args, **keywords)
        if not _has_formula(func) and func is not torch.ops.prim.device.default:
            # Under inference_mode operators made of others arrive whole.
            with self:
                result = func.decompose(*args, **keywords)
            if result is not NotImplemented:
                return result
        result = func(*args, **keywords)
        self.note(func, args, keywords, result)
        return result

    def note(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], result: Any) -> None:
        call = len(self.names)
        self.names.append(func._schema.name)
        self.flops.append(_flops(func, args, kwargs, result))
        self.touches += [_Touch(call, place, size) for place, size in _touched(func, args, kwargs, result)]


def count_operators(call: Callable[[], object], *, cache_bytes: int) -> dict[str, OperatorCount]:
    """Run ``call`` once and return what each class of its operators computes and moves, by name.

    ``streamed_bytes`` follow a model of a cache of ``cache_bytes`` that keeps whole tensors, least recently used out
    first, and that the same call has warmed. What is compiled runs eagerly here; what runs inside a foreign kernel is
    one operator or none.
    """
    counter = _Counter()
    with _nothing_compiled(), counter:
        call()
    streamed = _missed(counter.touches, capacity=cache_bytes, calls=len(counter.names))
    moved = [0] * len(counter.names)
    for touch in counter.touches:
        moved[touch.call] += touch.bytes
    found: dict[str, OperatorCount] = {}
    for index, name in enumerate(counter.names):
        before = found.get(name)
        found[name] = OperatorCount(
            name=name,
            calls=1 + (before.calls if before else 0),
            flops=counter.flops[index] + (before.flops if before else 0),
            bytes=moved[index] + (before.bytes if before else 0),
            streamed_bytes=streamed[index] + (before.streamed_bytes if before else 0),
            flops_known=name.partition("::")[0] in _TORCH or _is_foreign_product(name),
        )
    return found


def _nothing_compiled() -> AbstractContextManager[object]:
    """Run compiled functions eagerly: one that meets a dispatch mode would never run compiled again."""
    # Where the compiler was never imported nothing is compiled, and importing it takes seconds.
    return torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext()


def attention_flops(query: Sequence[int], key: Sequence[int], value: Sequence[int], *, backward: bool = False) -> int:
    """FLOPs of scaled dot-product attention over shapes (batch, heads, tokens, size); a mask saves nothing here.

    Forward is two products, 2 B H Tq Tk (D + Dv). Backward is five: the scores anew, and the gradients of scores,
    values, queries and keys, 2 B H Tq Tk (3 D + 2 Dv); 2.5 times the forward pass where D equals Dv. Softmax is left
    out. ``H`` are the query's heads: keys and values with fewer heads are shared between them.
    """
    *batch, tokens_query, size = query
    pairs = tokens_query * key[-2]
    for extent in batch:
        pairs *= extent
    return 2 * pairs * ((3 * size + 2 * value[-1]) if backward else (size + value[-1]))


def _forward(query: Any, key: Any, value: Any, *_rest: Any, **_kwargs: Any) -> int:
    return attention_flops(query.shape, key.shape, value.shape)


def _backward(_grad: Any, query: Any, key: Any, value: Any, *_rest: Any, **_kwargs: Any) -> int:
    return attention_flops(query.shape, key.shape, value.shape, backward=True)


def _rows_by_weight(left: Any, weight: Any, *_rest: Any, **_kwargs: Any) -> int:
    """Products with the weight stored as (output, input)."""
    return 2 * int(left.numel()) * int(weight.shape[0])


def _matrix_vector(matrix: Any, *_rest: Any, **_kwargs: Any) -> int:
    return 2 * int(matrix.numel())


_FORMULAS: dict[Any, Callable[..., int]] = {
    aten._scaled_dot_product_flash_attention_for_cpu: _forward,
    aten._scaled_dot_product_flash_attention_for_cpu_backward: _backward,
    aten._scaled_dot_product_fused_attention_overrideable: _forward,
    aten._scaled_dot_product_fused_attention_overrideable_backward: _backward,
    aten.mv: _matrix_vector,
    aten.dot: _matrix_vector,
    aten.addmv: lambda _bias, matrix, *_rest, **_kwargs: _matrix_vector(matrix),
    aten._int_mm: lambda left, right, *_rest, **_kwargs: 2 * int(left.numel()) * int(right.shape[1]),
    aten._weight_int8pack_mm: _rows_by_weight,
}
"""What torch's own registry of formulas (``torch.utils.flop_counter``) misses."""

_PRODUCT = re.compile(r"gemm|gemv|matmul|_mm$|linear")
"""Names that products of quantized weights have in other packages, such as ``bitsandbytes::gemm_4bit``."""


def _has_formula(func: Any) -> bool:
    return func._overloadpacket in flop_registry or func._overloadpacket in _FORMULAS


def _flops(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], result: Any) -> int:
    packet = func._overloadpacket
    if packet in _FORMULAS:
        return int(_FORMULAS[packet](*args, **kwargs))
    if packet in flop_registry:
        return int(flop_registry[packet](*args, **kwargs, out_val=result))
    if _is_foreign_product(func._schema.name):
        rows, results = _tensors(args), _tensors(result)
        return 2 * results[0].numel() * int(rows[0].shape[-1]) if rows and results else 0
    return 0


def _is_foreign_product(name: str) -> bool:
    """Whether an operator from outside torch is a product of its first operand (..., K) with a weight, by its name."""
    space, _, base = name.partition("::")
    return space not in _TORCH and _PRODUCT.search(base) is not None


def _tensors(value: Any) -> list[torch.Tensor]:
    """The plain tensors in arguments or results; of a quantized one its parts, which hold the bytes that are there."""
    found: list[torch.Tensor] = []
    for leaf in tree_leaves(value):
        if not isinstance(leaf, torch.Tensor):
            continue
        if is_traceable_wrapper_subclass(leaf):
            names, _context = leaf.__tensor_flatten__()
            found += _tensors([getattr(leaf, name) for name in names])
        elif leaf.layout == torch.strided and leaf.device.type != "meta":
            found.append(leaf)
    return found


def _place(tensor: torch.Tensor) -> int:
    return int(tensor.untyped_storage().data_ptr())


def _size(tensor: torch.Tensor) -> int:
    """Bytes of the distinct elements: an expanded dimension is stored once."""
    size = tensor.element_size()
    for extent, stride in zip(tensor.shape, tensor.stride(), strict=True):
        size *= int(extent) if stride != 0 else min(1, int(extent))
    return size


def _touched(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], result: Any) -> list[tuple[int, int]]:
    """(memory, bytes) of every operand read and every result written by one call; nothing for views and allocation."""
    name = func._schema.name.partition("::")[2]
    if name in _ALLOCATIONS:
        return []
    read, written, places = [], [], set()
    for number, argument in enumerate(func._schema.arguments):
        value = args[number] if number < len(args) else kwargs.get(argument.name)
        is_output = argument.alias_info is not None and argument.alias_info.is_write
        for tensor in _tensors(value):
            entry = (_place(tensor), _size(tensor))
            places.add(entry[0])
            if not (is_output and (name in _ONLY_WRITTEN or argument.is_out)):
                read.append(entry)
            if is_output:
                written.append(entry)
    fresh = [(_place(tensor), _size(tensor)) for tensor in _tensors(result)]
    fresh = [entry for entry in fresh if entry[0] not in places]
    if not fresh and not written and _tensors(result):
        return []
    if name in _GATHERS and read and fresh:
        read[0] = (read[0][0], min(read[0][1], fresh[0][1]))
    if name in _SCATTERS and len(read) > 1:
        read = [(place, min(size, read[-1][1])) if (place, size) in written else (place, size) for place, size in read]
        written = [(place, min(size, read[-1][1])) for place, size in written]
    return read + written + fresh


def _missed(touches: Sequence[_Touch], *, capacity: int, calls: int) -> list[int]:
    """Bytes of each call that the modelled cache did not hold.

    The touches run twice and the second time counts: a step that fits the cache finds what the step before it left.
    """
    held: OrderedDict[int, int] = OrderedDict()
    total = 0
    missed = [0] * calls
    for counts in (False, True):
        for touch in touches:
            known = held.pop(touch.place, 0)
            if counts:
                missed[touch.call] += max(0, touch.bytes - known)
            held[touch.place] = max(known, touch.bytes)
            total += held[touch.place] - known
            while total > capacity and held:
                _place_out, size = held.popitem(last=False)
                total -= size
    return missed
