"""One process of a case that runs in several: load, train, predict a share of the test rows, write down what it gave.

Started by ``distributed``, one a rank. Reads its job from a folder and answers there, in JSON and safetensors; the
record is the parent's.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emobench.collector import uncollected
from emobench.devices import autocast_dtype
from emobench.errors import DoesNotFitError, EmoBenchError
from emobench.files import write_bytes
from emobench.processes.parent import end_with_parent
from emobench.processes.ranks import TOLD
from emobench.specs import CaseSpec

if TYPE_CHECKING:
    import torch

    from emobench.data.encode import Encoded
    from emobench.models.load import LoadedModel
    from emobench.training.distributed import Ranks
    from emobench.training.fit import Validate
    from emobench.training.plan import FitPlan

JOB, MATERIAL, STORE = "job.json", "material.safetensors", "rendezvous"
SPLITS = ("train", "validation", "test")


def main(folder: Path) -> int:
    """Do this rank's part of the job in ``folder``; gives the exit code. What it prints goes to a file of its own."""
    # A launcher that started one process alone says nothing; training then finds that the others are missing.
    rank = int(os.environ.get("RANK", "0"))
    log = os.open(folder / f"rank-{rank}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    end_with_parent(os.getppid())
    # Looking for garbage takes a seventh of the time of these imports.
    with uncollected():
        import torch

        import emobench.training.fit  # noqa: F401  # and with it transformers' Trainer, which run needs

    try:
        run(folder, rank)
    except EmoBenchError as error:
        tell(folder, rank, error)
        return TOLD
    except (torch.OutOfMemoryError, MemoryError) as error:
        tell(folder, rank, out_of_memory(rank, error))
        return TOLD
    return 0


def out_of_memory(rank: int, error: BaseException) -> DoesNotFitError:
    """The error of a rank whose device or host had too little memory."""
    first = next(iter(str(error).splitlines()), "no words")
    return DoesNotFitError(
        f"rank {rank} ran out of memory ({first})",
        why="its share of weights, optimizer state and activations is larger than what was free",
        fix="take more processes with FSDP, or a smaller batch_size or token_budget with --emo-set",
    )


def tell(folder: Path, rank: int, error: EmoBenchError) -> None:
    """Leave the error where the parent finds it."""
    parts = {"kind": type(error).__name__, "problem": error.problem, "why": error.why, "fix": error.fix}
    write_bytes(folder / f"rank-{rank}-error.json", json.dumps(parts).encode())


def run(folder: Path, rank: int) -> None:
    """Join the others, do the work, and write the answer."""
    import torch.distributed as dist

    from emobench.training.distributed import Ranks

    job = json.loads((folder / JOB).read_bytes())
    spec = CaseSpec.model_validate(job["case"])
    assert spec.launch is not None
    join(folder, job, spec, rank)
    ranks = Ranks(
        wrapper=spec.launch.wrapper, world_size=spec.launch.processes, rank=rank, shard=bool(job["shards_itself"])
    )
    answer = work(folder, job, spec, ranks)
    write_bytes(folder / f"rank-{rank}.json", json.dumps(answer).encode())
    dist.barrier()
    dist.destroy_process_group()


def join(folder: Path, job: Mapping[str, Any], spec: CaseSpec, rank: int) -> None:
    """Form the process group of this machine's ranks, through a file: no port is opened for it.

    The group has as many processes as the launcher started, which is checked against the job where training begins.
    """
    import torch
    import torch.distributed as dist

    if job["threads"]:
        torch.set_num_threads(int(job["threads"]))
        # Where it is not set, accelerate counts cores and sets another number.
        os.environ["OMP_NUM_THREADS"] = str(job["threads"])
    if spec.device == "cuda":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    world = int(os.environ.get("WORLD_SIZE", "1"))
    # torch documents it and does not declare it as exported.
    store = dist.FileStore(str(folder / STORE), world)  # type: ignore[attr-defined]
    store.set_timeout(timedelta(seconds=job["rendezvous_seconds"]))
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if spec.device == "cuda" else "gloo",
        store=store,
        rank=rank,
        world_size=world,
        timeout=timedelta(seconds=job["collective_seconds"]),
    )


def work(folder: Path, job: Mapping[str, Any], spec: CaseSpec, ranks: Ranks) -> dict[str, Any]:
    """Load, train and predict; gives this rank's answer, its share of the predictions beside it in safetensors."""
    from safetensors.numpy import save

    from emobench.evaluation.sharded import predict_share
    from emobench.measurement.usage import watch_memory
    from emobench.models.load import load_classifier
    from emobench.training.fit import fit

    splits = read_material(folder / MATERIAL)
    names = tuple(job["class_names"])
    loaded = load_classifier(
        spec.model,
        num_labels=len(names),
        class_names=names,
        method=spec.method,
        precision=spec.precision,
        device=spec.device,
        seed=job["seed"],
        weights=spec.weights,
    )
    scoring = scoring_arguments(job, spec, ranks)
    plan = plan_of(folder, job, spec, ranks)
    with watch_memory(spec.device) as usage:
        validate = validation(splits["validation"], scoring)
        fitted = fit(loaded.model, splits["train"], plan, validate=validate)
        share = predict_share(loaded.model, splits["test"], **scoring)
    tensors: dict[str, Any] = {"rows": share.rows, "log_probabilities": share.log_probabilities}
    write_bytes(folder / f"rank-{ranks.rank}.safetensors", save(tensors))
    if job["save_model"] and ranks.rank == 0:
        save_trained(loaded, Path(job["save_model"]))
    return {
        "rank": ranks.rank,
        "fitted": fitted_facts(fitted),
        "loaded": loaded_facts(loaded),
        "share": {"seconds": share.seconds, "kernel": share.kernel},
        "memory": {item.name: item.value for item in usage.metrics()},
    }


def validation(split: Encoded, scoring: Mapping[str, Any]) -> Validate | None:
    """Validation for ``fit``: accuracy over all ranks; None where the case has none."""
    if len(split) == 0:
        return None
    from emobench.evaluation.sharded import accuracy_over_ranks, predict_share

    def validate(model: torch.nn.Module) -> Mapping[str, float]:
        share = predict_share(model, split, **scoring)
        return {"accuracy": accuracy_over_ranks(share, split.labels, scoring["device"])}

    return validate


def scoring_arguments(job: Mapping[str, Any], spec: CaseSpec, ranks: Ranks) -> dict[str, Any]:
    """Arguments of ``predict_share``."""
    return {
        "device": spec.device,
        "autocast_dtype": autocast_dtype(spec.precision),
        "pad_id": job["pad_id"],
        "padding_side": job["padding_side"],
        "rank": ranks.rank,
        "world_size": ranks.world_size,
    }


def plan_of(folder: Path, job: Mapping[str, Any], spec: CaseSpec, ranks: Ranks) -> FitPlan:
    """The training plan of this rank."""
    from emobench.training.plan import plan_for

    plan = plan_for(spec, seed=job["seed"], pad_id=job["pad_id"], padding_side=job["padding_side"])
    return replace(plan, ranks=ranks, folder=folder / "training")


def fitted_facts(fitted: Any) -> dict[str, Any]:
    """A :class:`emobench.outcomes.FitOutcome` as plain values."""
    from dataclasses import asdict

    found = asdict(fitted)
    return {**found, "losses": list(found["losses"]), "validation": list(found["validation"])}


def loaded_facts(loaded: LoadedModel) -> dict[str, Any]:
    """What a record says of the model, as plain values."""
    return {
        "revision": loaded.revision,
        "notes": list(loaded.notes),
        "quantization": None if loaded.quantization is None else dict(loaded.quantization),
        "metrics": {item.name: item.value for item in loaded.metrics()},
    }


def save_trained(loaded: LoadedModel, place: Path) -> None:
    """Save the trained model, which every rank has whole."""
    from emobench.models.load import load_tokenizer
    from emobench.models.save import save_model

    save_model(loaded, None if loaded.weights == "random" else load_tokenizer(loaded.spec), place)


def read_material(path: Path) -> dict[str, Encoded]:
    """The encoded splits that the parent left."""
    from safetensors.numpy import load_file

    from emobench.data.encode import Encoded

    tensors = load_file(path)
    return {
        name: Encoded(ids=tensors[f"{name}.ids"], offsets=tensors[f"{name}.offsets"], labels=tensors[f"{name}.labels"])
        for name in SPLITS
    }


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
