"""Bytes of memory a plan takes at its peak, by part. Arithmetic only: allocates and measures nothing.

What a pass holds is counted operation by operation (``passes``), weights and their constants from the shape
(``weights``). What a process takes besides is in the constants here, which were fitted on a grid of configurations;
``benchmarks/test_estimate.py`` measures how far the estimate is off on another grid.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

from emobench.estimate.passes import pass_bytes
from emobench.estimate.plan import MemoryPlan as MemoryPlan
from emobench.estimate.plan import plan_of as plan_of
from emobench.estimate.shapes import shape_of
from emobench.estimate.weights import weight_bytes
from emobench.specs import DeviceKind

PROCESS_BYTES: Mapping[DeviceKind, int] = {"cpu": 2_000_000, "cuda": 20_000_000, "mps": 20_000_000}
"""Taken whatever the plan: library pages that are touched for the first time (CPU), cuBLAS's workspace (GPU)."""

HEAP_SHARE_OF_GRADIENTS = 0.40
HEAP_SHARE = 0.75
"""Of what a pass holds at its peak on a CPU, what glibc's heap keeps resident besides, in holes between blocks under
32 MiB: with gradients through the layers, and without. Fitted; the same pass differs by a fifth of these from one run
to the next. With every block mapped by itself (``MALLOC_MMAP_THRESHOLD_=131072``) there are no holes, and the growth
measured is what the tensors add up to."""

HEAP_OF_CHECKPOINTING = 0.90
"""Of what a pass without checkpointing holds, what the heap keeps of one with it: layers that are computed again leave
holes that the next one's tensors do not fit. Mapped by themselves they take what checkpointing promises."""

LARGEST_PACKING = 12_000_000
"""Most that matrix products of a CPU keep for copies of their operands in an order of their own: the largest matrix of
a layer, up to this. Measured as 10 to 15 MB with every tensor mapped by itself, and 2 MB on matrices of a megabyte."""

LARGEST_BATCH = 1 << 20
"""Batches beyond this are not looked for."""


@dataclass(frozen=True, kw_only=True)
class MemoryParts:
    """Bytes at the peak, by what they are for."""

    weights: int = 0
    """In the precision they are stored in, head included."""
    quantization: int = 0
    """Scales and zero points of quantized weights."""
    adapters: int = 0
    """LoRA matrices and the copy of the head that is trained with them."""
    gradients: int = 0
    """Of trained parameters, as many as exist at the peak."""
    optimizer: int = 0
    """AdamW's two moments."""
    activations: int = 0
    """Kept for the backward pass, and the tensors being computed."""
    logits: int = 0
    """Of a language model, and what its loss makes of them."""
    kv_cache: int = 0
    """Keys and values a decoder keeps while it does not train."""
    workspace: int = 0
    """Scratch of operations, the allocator's slack, first-touched library pages, and what loading takes beyond all
    the rest."""

    @property
    def total(self) -> int:
        """Bytes of all parts."""
        return sum(self.as_dict().values())

    def as_dict(self) -> dict[str, int]:
        """Part to bytes, in the order of the fields."""
        return asdict(self)

    def largest(self) -> tuple[str, int]:
        """The part with most bytes, and its bytes."""
        return max(self.as_dict().items(), key=lambda item: item[1])


def estimate_memory(plan: MemoryPlan, *, loading: bool = True, heap: bool = True) -> MemoryParts:
    """Bytes by part at the plan's peak; ``loading`` False leaves out a peak that comes before the work.

    ``heap`` False leaves out what the C library's heap keeps on a CPU besides the tensors.

    On a GPU they are what ``torch.cuda.max_memory_allocated`` counts (its context and cache are not), on a CPU the
    growth of the process's resident memory.

    Raises:
        UnsupportedError: an architecture whose shape is not known, or adapters that find no module.
    """
    resting = weight_bytes(plan)
    found = pass_bytes(plan)
    besides = process_bytes(plan)
    slack = _heap_bytes(plan, sum(found.values())) if heap and plan.device == "cpu" else 0
    working = found.get("workspace", 0) + slack + besides
    parts = MemoryParts(
        weights=resting.weights,
        quantization=resting.quantization,
        adapters=resting.adapters,
        gradients=found.get("gradients", 0),
        optimizer=found.get("optimizer", 0),
        activations=found.get("activations", 0),
        logits=found.get("logits", 0),
        kv_cache=found.get("kv_cache", 0),
        workspace=working,
    )
    missing = resting.while_loading + PROCESS_BYTES[plan.device] - parts.total
    return replace(parts, workspace=working + max(0, missing)) if loading else parts


def _heap_bytes(plan: MemoryPlan, held: int) -> int:
    """Bytes the heap keeps besides the ``held`` ones of a pass."""
    through_layers = plan.method is not None and plan.method.id != "head"
    usual = int((HEAP_SHARE_OF_GRADIENTS if through_layers else HEAP_SHARE) * held)
    if not (plan.gradient_checkpointing and through_layers):
        return usual
    kept = sum(pass_bytes(replace(plan, gradient_checkpointing=False)).values())
    return max(usual, int(HEAP_OF_CHECKPOINTING * kept) - held)


def process_bytes(plan: MemoryPlan) -> int:
    """Bytes that are taken besides all tensors: a constant, and on a CPU the packed operands of matrix products."""
    if plan.device != "cpu":
        return PROCESS_BYTES[plan.device]
    largest = max(linear.inputs * linear.outputs for linear in shape_of(plan.model).linears)
    return PROCESS_BYTES["cpu"] + min(LARGEST_PACKING, 4 * largest)


def largest_batch(plan: MemoryPlan, free_bytes: int) -> int | None:
    """The largest batch whose estimate is within ``free_bytes``; None where not even one row fits."""

    def fits(rows: int) -> bool:
        return estimate_memory(replace(plan, batch_size=rows)).total <= free_bytes

    if not fits(1):
        return None
    good, bad = 1, 2
    while bad <= LARGEST_BATCH and fits(bad):
        good, bad = bad, 2 * bad
    while bad - good > 1:
        middle = (good + bad) // 2
        good, bad = (middle, bad) if fits(middle) else (good, middle)
    return good
