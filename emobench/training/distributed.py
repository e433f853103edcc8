"""One training run in several processes: which rows a rank has, what wraps the model, and proof that it does.

Starts no process and reads no configuration. Every rank computes over the same shape at every step, so that ranks make
the same number of passes and their collective calls meet.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from accelerate import Accelerator
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, FullyShardedDataParallel, fully_shard
from torch.nn.parallel import DistributedDataParallel

from emobench.errors import ChangedAnswersError, UnsupportedError
from emobench.specs import DeviceKind, Wrapper

IGNORED = -100
"""Label of a row that fills up a share and counts for nothing, as torch's cross entropy has it."""

SHOWN: dict[Wrapper, str] = {"ddp": "DistributedDataParallel", "fsdp": "fully_shard (FSDP2)", "deepspeed": "DeepSpeed"}
"""What each wrapper is called in messages."""

TEXT_BYTES = 64
"""Longest text that ranks agree on."""


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """This process among those of one training run, and what must wrap the model in each of them."""

    wrapper: Wrapper
    world_size: int
    rank: int
    shard: bool = False
    """Shard the model here with torch's ``fully_shard``. On a CPU accelerate would wrap it in DDP instead."""


def own_share(batch: dict[str, torch.Tensor], ranks: Ranks) -> dict[str, torch.Tensor]:
    """The rows of a step's batch that this rank computes: every ``world_size``-th, so that lengths are alike.

    Shapes are those of every other rank: (rows / ranks rounded up, the whole batch's longest). A rank that has a row
    less repeats the batch's first one with the label :data:`IGNORED`.
    """
    rows = len(batch["labels"])
    mine = torch.arange(rows)[ranks.rank :: ranks.world_size]
    missing = -(-rows // ranks.world_size) - len(mine)
    index = torch.cat([mine, torch.zeros(missing, dtype=torch.int64)])
    share = {name: value[index] for name, value in batch.items()}
    if missing:
        share["labels"][-missing:] = IGNORED
    return share


def shard_fully(model: nn.Module, device: DeviceKind) -> None:
    """Shard the model in place over all processes with torch's ``fully_shard``, layer by layer, then the rest.

    The optimizer is to be made afterwards: parameters become DTensors. Layers are the classes that the model says
    must not be split.
    """
    mesh = init_device_mesh(device, (dist.get_world_size(),))
    base: Any = model
    if hasattr(base, "get_base_model"):
        base = base.get_base_model()
    whole = set(getattr(base, "_no_split_modules", None) or ())
    for module in reversed(list(model.modules())):
        if type(module).__name__ in whole:
            fully_shard(module, mesh=mesh)
    fully_shard(model, mesh=mesh)


def leave_wrapping(accelerator: Accelerator) -> None:
    """Have ``accelerator`` take a model as it is: one sharded by :func:`shard_fully` owns its gradients' reduction."""
    accelerator.prepare_model = partial(accelerator.prepare_model, evaluation_mode=True)


def wrapper_of(model: nn.Module) -> str:
    """What wraps the model that is trained: a :data:`Wrapper`, another wrapper's class name, or ``nothing``."""
    if isinstance(model, DistributedDataParallel):
        return "ddp"
    if isinstance(model, FSDPModule):
        return "fsdp"
    if any(kind.__name__ == "DeepSpeedEngine" for kind in type(model).__mro__):
        return "deepspeed"
    if isinstance(model, FullyShardedDataParallel | nn.DataParallel):
        return type(model).__name__
    return "nothing"


def check_wrapped(model: nn.Module, ranks: Ranks, *, processes: int) -> dict[str, Any]:
    """Make sure that the model in training is wrapped as asked, over as many processes; gives facts for a record.

    ``processes`` is what the launcher's library believes.

    Raises:
        UnsupportedError: another wrapper, or processes that do not know of each other.
    """
    model = getattr(model, "_orig_mod", model)
    found = wrapper_of(model)
    world = dist.get_world_size() if dist.is_initialized() else 1
    asked = f"{SHOWN[ranks.wrapper]} over {ranks.world_size} processes was asked for"
    if not world == processes == ranks.world_size:
        raise UnsupportedError(
            f"{asked}, and rank {ranks.rank} trains among {min(world, processes)}",
            why="the processes did not find each other, so each would train on its own",
            fix="start them with --emo-processes, or correct num_processes in the accelerate configuration",
        )
    if found != ranks.wrapper:
        raise UnsupportedError(
            f"{asked}, and the model is wrapped in {found} ({type(model).__name__})",
            why="the launcher fell back without a word, and its figures would stand under the wrong name",
            fix="take an accelerate configuration whose distributed_type fits the device, or --emo-processes alone",
        )
    held, whole = held_bytes(model)
    if found == "fsdp" and world > 1 and held >= whole:
        raise UnsupportedError(
            f"{asked}, and rank {ranks.rank} holds all {whole} bytes of the parameters",
            why="no parameter was sharded",
            fix="take reshard_after_forward and a wrapping policy that fit the model, or the wrapper ddp",
        )
    return {
        "wrapper": found,
        "class": type(model).__name__,
        "world_size": world,
        "sharded_by": _sharded_by(ranks),
        "parameter_bytes": whole,
        "parameter_bytes_held": held,
    }


def _sharded_by(ranks: Ranks) -> str | None:
    if ranks.wrapper != "fsdp":
        return None
    return "torch.distributed.fsdp.fully_shard, called by emobench" if ranks.shard else "accelerate"


def held_bytes(model: nn.Module) -> tuple[int, int]:
    """Bytes of the parameters that lie in this process between steps, and of all of them."""
    held = whole = 0
    for part in model.parameters():
        # DeepSpeed's third stage leaves a parameter empty and keeps this rank's piece beside it.
        own = getattr(part, "ds_tensor", None)
        local: torch.Tensor = own_part(part) if own is None else own
        held += local.numel() * local.element_size()
        whole += int(getattr(part, "ds_numel", part.numel())) * part.element_size()
    return held, whole


def own_part(part: torch.Tensor) -> torch.Tensor:
    """The piece of a sharded tensor that this process holds; an ordinary tensor is whole.

    Raises:
        UnsupportedError: a parameter that DeepSpeed's third stage has taken apart.
    """
    if hasattr(part, "ds_tensor"):
        raise UnsupportedError(
            "keeping the best epoch's weights with DeepSpeed's stage 3",
            why="no process holds a whole parameter between steps",
            fix="take zero_stage 2 or less, or --emo-set epochs=1",
        )
    local: torch.Tensor = part.to_local() if hasattr(part, "to_local") else part
    return local


def check_same_weights(model: nn.Module) -> None:
    """Make sure that every rank starts from the same weights; a wrapper that does not send them would mix models.

    Raises:
        ChangedAnswersError: a parameter differs between ranks; names it.
    """
    named = list(model.named_parameters())
    sums = torch.stack([part.detach().double().sum() for _, part in named])
    low, high = sums.clone(), sums.clone()
    dist.all_reduce(low, op=dist.ReduceOp.MIN)
    dist.all_reduce(high, op=dist.ReduceOp.MAX)
    for (name, _), least, most in zip(named, low.tolist(), high.tolist(), strict=True):
        if least != most:
            raise ChangedAnswersError(
                f"the ranks start from different weights in {name}",
                why=f"its sum is {least:.9g} in one and {most:.9g} in another",
                fix="give every process the same files and the same seed",
            )


def mean_over_ranks(values: torch.Tensor) -> torch.Tensor:
    """Mean of a tensor over all ranks; every rank calls it and gets the same."""
    total = values.clone()
    dist.all_reduce(total)
    return total / dist.get_world_size()


def sum_over_ranks(counts: list[int], device: DeviceKind) -> list[int]:
    """Sums of whole numbers over all ranks."""
    total = torch.tensor(counts, dtype=torch.int64, device=device)
    dist.all_reduce(total)
    return [int(value) for value in total.tolist()]


def from_first_rank(text: str, device: DeviceKind) -> str:
    """The text that rank 0 called this with, at most :data:`TEXT_BYTES` bytes of it."""
    data = text.encode()[:TEXT_BYTES].ljust(TEXT_BYTES, b"\0")
    sent = torch.tensor(list(data), dtype=torch.uint8, device=device)
    dist.broadcast(sent, src=0)
    return bytes(sent.tolist()).rstrip(b"\0").decode()
