"""A classifier's forward pass through torch.compile, for one shape. Never gives way to eager, and measures nothing."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FunctionType
from typing import Any, cast

import torch

from emobench.devices import synchronize
from emobench.errors import UnsupportedError
from emobench.models.load import LoadedModel
from emobench.models.onnx_export import LogitsOnly

COMPILER = "inductor"
"""What torch.compile hands its graphs to."""

Inputs = tuple[torch.Tensor, torch.Tensor]
"""Token ids and attention mask, (batch, tokens) each."""

Call = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True, kw_only=True)
class Compiled:
    """A compiled forward pass."""

    call: Call
    """Token ids and mask to logits; raises ``ValueError`` for another shape, which would be compiled anew."""
    seconds: float
    """Time to compile, the two calls that make it happen included."""
    facts: dict[str, Any]
    """Compiler, graphs, graph breaks with the first reasons, and recompilations between the two calls."""


def compile_forward(loaded: LoadedModel, rows: int, length: int, inputs: tuple[Inputs, Inputs]) -> Compiled:
    """Compile a classifier's forward pass for batches of exactly ``rows`` x ``length`` tokens.

    It is called on both ``inputs``: the second must not compile again, and the facts say whether it did.

    Raises:
        UnsupportedError: the compiler failed, or compiled nothing.
    """
    import torch._dynamo

    started = time.perf_counter()
    graphs, breaks = graph_count(), graph_breaks()
    run = _own_code(LogitsOnly(loaded.model))
    # Either of these two would let a model that does not compile run eagerly under the name of one that does.
    patch = torch._dynamo.config.patch(suppress_errors=False, fail_on_recompile_limit_hit=True)
    full, padded = inputs
    with patch, quiet_compile():
        # Inside the block: this imports the compiler, which warns of itself.
        compiled: Call = torch.compile(run, dynamic=False, backend=COMPILER)
        call = _fixed_shape_call(compiled, (rows, length))
        try:
            call(*full)
            compiled_once = graph_count() - graphs
            call(*padded)
        except torch._dynamo.exc.TorchDynamoException as error:
            raise _not_compiled(loaded, error) from error
    synchronize(loaded.device)
    if not compiled_once:
        raise UnsupportedError(
            f"torch.compile compiled nothing of {loaded.spec.id!r}",
            why="it is switched off (TORCH_COMPILE_DISABLE or TORCHDYNAMO_DISABLE), and the model would run eagerly",
            fix="unset these variables, or take backend eager",
        )
    found = {reason: count - breaks.get(reason, 0) for reason, count in graph_breaks().items()}
    reasons = sorted(reason.splitlines()[0] for reason, count in found.items() if count > 0)
    facts = {
        "compiler": COMPILER,
        "graphs": compiled_once,
        "graph_breaks": sum(found.values()),
        "graph_break_reasons": reasons[:3],
        "recompiles": graph_count() - graphs - compiled_once,
    }
    return Compiled(call=call, seconds=time.perf_counter() - started, facts=facts)


def _own_code(model: LogitsOnly) -> Call:
    """A function around a model that shares its code object with no other.

    torch counts recompilations by code object: a sweep of more shapes than its limit would end up running eagerly.
    """

    def run(input_ids_BT: torch.Tensor, attention_mask_BT: torch.Tensor) -> torch.Tensor:
        return cast(torch.Tensor, model(input_ids_BT, attention_mask_BT))

    return cast(Call, FunctionType(run.__code__.replace(), run.__globals__, run.__name__, None, run.__closure__))


def _fixed_shape_call(compiled: Call, shape: tuple[int, int]) -> Call:
    def call(input_ids_BT: torch.Tensor, attention_mask_BT: torch.Tensor) -> torch.Tensor:
        if input_ids_BT.shape != shape:
            raise ValueError(f"compiled for a batch of {shape} tokens, called with {tuple(input_ids_BT.shape)}")
        if input_ids_BT.is_inference() or attention_mask_BT.is_inference():
            # Made inside inference mode they are another kind of tensor, for which torch would compile once more.
            with torch.inference_mode(False):
                input_ids_BT, attention_mask_BT = input_ids_BT.clone(), attention_mask_BT.clone()
        with torch.inference_mode():
            return compiled(input_ids_BT, attention_mask_BT)

    return call


def graph_count() -> int:
    """Graphs torch.compile has captured in this process."""
    from torch._dynamo.utils import counters

    return int(counters["stats"]["unique_graphs"])


def graph_breaks() -> dict[str, int]:
    """How often torch.compile broke a graph in this process, by reason."""
    from torch._dynamo.utils import counters

    return {str(reason): int(count) for reason, count in counters["graph_break"].items()}


@contextmanager
def quiet_compile() -> Iterator[None]:
    """Hold back warnings that torch's compiler gives about its own parts."""
    with warnings.catch_warnings():
        # Given when the compiler is imported, by a part of torch that uses a deprecated one.
        warnings.filterwarnings("ignore", message=".*torch.jit.script", category=DeprecationWarning, module=r"torch\.")
        # torchao's weights have no checksum for the compiler's cache, which then misses and compiles again.
        warnings.filterwarnings("ignore", message=".*_stable_hash_for_caching", category=UserWarning, module=r"torch\.")
        yield


def _not_compiled(loaded: LoadedModel, error: BaseException) -> UnsupportedError:
    cause = getattr(error, "inner_exception", error)
    if isinstance(cause, MemoryError | torch.OutOfMemoryError):
        # Compiling runs no model, but it may run out of memory: a case that does not fit, not one that cannot be.
        raise cause
    lines = str(cause).strip().splitlines() or [type(cause).__name__]
    return UnsupportedError(
        f"torch.compile cannot compile {loaded.spec.id!r} at {loaded.precision}",
        why=f"{type(cause).__name__}: {lines[0][:300]}",
        fix="take backend eager",
    )
