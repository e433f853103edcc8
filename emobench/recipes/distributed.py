"""One case in several processes: write the job, start the ranks, wait for all of them, put their answers together.

What a rank does stands in ``rank``. The ranks' own log files are read only where one of them fails.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from emobench.catalogue.launches import shards_itself, starter, why_not_launch
from emobench.errors import UnsupportedError
from emobench.files import write_bytes
from emobench.outcomes import Evaluation, FitOutcome, Metric, metric
from emobench.processes.ranks import check_ended, started_by, wait_for_all
from emobench.recipes import finetune
from emobench.recipes.rank import JOB, MATERIAL, SPLITS
from emobench.records.secrets import redact
from emobench.specs import CaseSpec, LaunchSpec

if TYPE_CHECKING:
    from emobench.cases.case import Case
    from emobench.data.material import Material
    from emobench.models.load import LoadedModel

RENDEZVOUS_SECONDS = 300
"""Longest wait of a rank for the others to appear, imports of a busy machine included."""
COLLECTIVE_SECONDS = 1800
"""Longest wait inside a collective call, torch's own default: a rank that hangs ends the case after it."""


@dataclass(frozen=True, kw_only=True)
class Described:
    """What the ranks' model was, as :meth:`emobench.cases.state.CaseState.describe_model` reads it."""

    revision: str
    notes: tuple[str, ...]
    quantization: Mapping[str, Any] | None
    sizes: Mapping[str, float]

    def metrics(self) -> list[Metric]:
        """Sizes and load time, of rank 0."""
        return [metric(name, value) for name, value in self.sizes.items()]


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What all ranks gave together."""

    described: Described
    fitted: FitOutcome
    scored: Evaluation
    ranks: Sequence[Mapping[str, Any]]
    """One entry a rank: its memory peaks in bytes, and what wrapped its model."""

    def memory(self) -> list[Metric]:
        """The largest peak of any rank, by metric."""
        names = self.ranks[0]["memory"]
        return [metric(name, max(entry["memory"][name] for entry in self.ranks)) for name in names]


def train_and_evaluate(case: Case) -> None:
    """The case's seeds, each trained and scored by the processes of its launch; everything is kept in ``case``.

    A round's time is that of the processes from start to end, their imports and loading included;
    ``train_seconds`` and ``evaluate_seconds`` are the ranks' own.

    Raises:
        UnsupportedError: this machine or case cannot do it; or what trained is not what was asked for.
        LostProcessError: a rank died or hung; names it.
        EmoBenchError: a rank's own error, of its class.
    """
    launch = case.spec.launch
    assert launch is not None
    check_machine(launch, case.spec)
    material = finetune.material(case)
    if case.save_models and launch.wrapper != "ddp":
        case.note(f"the model was not saved: no process of {launch.id} has all of its weights")

    if case.tracing:
        case.note("not traced: the profiler sees this process alone, and others train")

    def run(_: None, seed: int) -> None:
        case.progress.note(f"training in {launch.processes} processes")
        place = f"models/{case.file_name}-seed{seed}"
        saving = case.save_models and launch.wrapper == "ddp"
        found = in_processes(case.spec, material, seed=seed, save_model=case.folder / place if saving else None)
        if saving:
            case.artifacts[f"model_seed{seed}"] = place
        keep(case, found, seed=seed)

    case.measure(run, prepare=lambda seed: None, elsewhere=True)
    finetune.check_training(case)


def keep(case: Case, found: Answers, *, seed: int) -> None:
    """Put what the ranks gave into the case, each rank's memory beside the largest."""
    saves, case.save_models = case.save_models, False
    finetune.keep(case, cast("LoadedModel", found.described), found.fitted, found.scored, seed=seed)
    case.save_models = saves
    case.add(found.memory(), seed=seed)
    case.details.setdefault("launch", []).append({"seed": seed, "ranks": [dict(entry) for entry in found.ranks]})
    distribution = found.fitted.distribution
    case.note(f"trained in {distribution['world_size']} processes, wrapped in {distribution['class']}")
    case.note("the round's time includes starting the processes and loading the model in each")


def check_machine(launch: LaunchSpec, spec: CaseSpec) -> None:
    """Find what cannot work before any process is started.

    Raises:
        UnsupportedError: the device, the precision or the number of GPUs.
        MissingExtraError: DeepSpeed is not installed.
    """
    reason = why_not_launch(launch, spec.device, spec.precision)
    if reason:
        raise UnsupportedError(
            f"{spec.id} in {launch.processes} processes", why=reason, fix="take another device, precision or file"
        )
    if spec.device == "cuda":
        import torch

        if torch.cuda.device_count() < launch.processes:
            raise UnsupportedError(
                f"{launch.processes} processes on {torch.cuda.device_count()} GPUs",
                why="each process needs a GPU of its own",
                fix="lower --emo-processes, or num_processes in the accelerate configuration",
            )
    if launch.wrapper == "deepspeed":
        from emobench.extras import require

        require("deepspeed", feature="a DeepSpeed configuration", extra="deepspeed")


def in_processes(
    spec: CaseSpec,
    material: Material,
    *,
    seed: int,
    save_model: Path | None = None,
    rendezvous_seconds: float = RENDEZVOUS_SECONDS,
    collective_seconds: float = COLLECTIVE_SECONDS,
    limit_seconds: float | None = None,
    started: Callable[[Sequence[int]], None] | None = None,
) -> Answers:
    """Train and score one seed of ``spec`` in the processes of its launch, and gather their answers.

    ``limit_seconds`` None waits as long as the ranks make progress; ``started`` is called with their process ids (of
    accelerate's launcher, where that starts them). Errors as in :func:`train_and_evaluate`.
    """
    from emobench.evaluation.sharded import joined

    launch = spec.launch
    assert launch is not None
    with tempfile.TemporaryDirectory(prefix="emobench-ranks-") as temporary:
        folder = Path(temporary)
        by = starter(launch, spec.device)
        job = {
            "case": spec.model_dump(mode="json"),
            "seed": seed,
            "class_names": list(material.class_names),
            "pad_id": material.pad_id,
            "padding_side": material.padding_side,
            "shards_itself": shards_itself(launch, spec.device),
            "threads": threads_of_a_rank(launch.processes) if spec.device == "cpu" else None,
            "rendezvous_seconds": rendezvous_seconds,
            "collective_seconds": collective_seconds,
            "save_model": None if save_model is None else str(save_model),
        }
        write_bytes(folder / JOB, json.dumps(job).encode())
        write_material(folder / MATERIAL, material)
        with started_by(by, launch, folder) as processes:
            if started is not None:
                started([process.pid for process in processes])
            ended = wait_for_all(processes, limit_seconds=limit_seconds)
        check_ended(ended, by, folder, launch, limit_seconds=limit_seconds, redact=redact)
        answers = [read_answer(folder, rank) for rank in range(launch.processes)]
        shares = [read_share(folder, answer) for answer in answers]
        return together(answers, joined(shares, material.test, material.class_names))


def together(answers: Sequence[Mapping[str, Any]], scored: Evaluation) -> Answers:
    """The ranks' answers as one: losses, steps and sizes are rank 0's, and equal in all of them or averaged there."""
    first = answers[0]
    loaded = first["loaded"]
    return Answers(
        described=Described(
            revision=loaded["revision"],
            notes=tuple(loaded["notes"]),
            quantization=loaded["quantization"],
            sizes=loaded["metrics"],
        ),
        fitted=FitOutcome(**first["fitted"]),
        scored=scored,
        ranks=[
            {"rank": answer["rank"], "memory": answer["memory"], **answer["fitted"]["distribution"]}
            for answer in answers
        ],
    )


def threads_of_a_rank(processes: int) -> int:
    """Threads of each rank on a CPU: an equal part of those that one process would take."""
    import torch

    return max(1, torch.get_num_threads() // processes)


def write_material(path: Path, material: Material) -> None:
    """Leave the encoded splits for the ranks, in safetensors."""
    from safetensors.numpy import save

    tensors: dict[str, Any] = {}
    for name in SPLITS:
        split = getattr(material, name)
        tensors |= {f"{name}.{part}": getattr(split, part) for part in ("ids", "offsets", "labels")}
    write_bytes(path, save(tensors))


def read_answer(folder: Path, rank: int) -> dict[str, Any]:
    """What a rank wrote at its end."""
    found: dict[str, Any] = json.loads((folder / f"rank-{rank}.json").read_bytes())
    return found


def read_share(folder: Path, answer: Mapping[str, Any]) -> Any:
    """A rank's predictions."""
    from safetensors.numpy import load_file

    from emobench.evaluation.sharded import Share

    tensors = load_file(folder / f"rank-{answer['rank']}.safetensors")
    return Share(rows=tensors["rows"], log_probabilities=tensors["log_probabilities"], **answer["share"])
