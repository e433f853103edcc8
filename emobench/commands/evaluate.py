"""Evaluating classifiers that exist: named checkpoints on one split of a data set. Trains nothing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from emobench.commands.checkpoints import Checkpoint, open_checkpoints
from emobench.commands.project_place import Place
from emobench.commands.run import chosen_device, chosen_precision
from emobench.errors import SpecError, unknown_name
from emobench.evaluation.label_map import ClassMap, map_classes, parse_pairs, rescored
from emobench.kinds import INFERENCE
from emobench.specs import CaseSpec, DatasetSpec, DeviceKind, Profile

if TYPE_CHECKING:
    import torch

    from emobench.data.split import Examples, Splits
    from emobench.models.load import LoadedModel
    from emobench.outcomes import Evaluation
    from emobench.records.record import Record

SPLITS = ("test", "validation", "all")


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """What a user asks for."""

    checkpoints: Sequence[str]
    dataset: str
    base: str | None = None
    split: str = "test"
    profile: str | None = None
    label_map: Sequence[str] = ()
    """``raw=class`` each."""
    device: str | None = None
    precision: str | None = None
    """None: the one of training, or fp32."""
    predictions: Path | None = None
    """Folder for one Parquet file a checkpoint."""
    metrics: Sequence[Path] = ()
    """Modules of the ``evaluate`` library, scored besides the usual metrics."""


@dataclass(frozen=True, kw_only=True)
class _Task:
    """Everything the checkpoints have in common."""

    dataset: DatasetSpec
    profile: Profile
    split: str
    device: DeviceKind
    rows: Examples
    digest: str
    """Of the rows; for the test split that of the splits, as in a case, so that predictions can be paired."""


def evaluate_checkpoints(options: EvaluateOptions, place: Place, *, say: Callable[[str], None]) -> list[Record]:
    """One record a checkpoint, in the order given; every name and class is checked before a model is loaded.

    Raises:
        SpecError: a name that is in no table, or classes that cannot be matched.
        DataError: rows that cannot be evaluated on.
        NotOnMachineError, BrokenFileError, UnsupportedError: see
            :func:`emobench.commands.checkpoints.open_checkpoints` and the loading of models.
    """
    from emobench.catalogue.profiles import find_profile
    from emobench.specs import TrainSettings

    if options.split not in SPLITS:
        raise unknown_name("split", options.split, SPLITS)
    dataset = place.find_dataset(options.dataset)
    if dataset.source == "random":
        raise SpecError(
            f"data set {dataset.id!r} cannot be evaluated on", why="its labels are random", fix="take another one"
        )
    named = find_profile(options.profile or place.project.settings.get("profile") or "quick")
    profile, train = place.project.applied(named, TrainSettings())
    given = parse_pairs(options.label_map, dataset.labels)
    device = chosen_device(options.device)
    precision = None if options.precision is None else chosen_precision(options.precision, device)
    opened = open_checkpoints(options.checkpoints, place, base=options.base, precision=precision, say=say)
    maps = [match(item, dataset, given) for item in opened]
    check_raw_names(given, opened)
    task = prepare(dataset, profile, options.split, device, split_seed=train.split_seed)
    return [evaluate_one(item, class_map, task, options, say=say) for item, class_map in zip(opened, maps, strict=True)]


def match(checkpoint: Checkpoint, dataset: DatasetSpec, given: dict[str, str]) -> ClassMap:
    """The checkpoint's classes matched with the data set's."""
    return map_classes(checkpoint.class_names, dataset.labels, given, checkpoint=checkpoint.given, data=dataset.id)


def check_raw_names(given: dict[str, str], checkpoints: Sequence[Checkpoint]) -> None:
    """Refuse a class in the label map that no checkpoint has: a slip there would change nothing and say nothing."""
    known = {name.casefold(): name for item in checkpoints for name in item.class_names}
    for raw in given:
        if raw.casefold() not in known:
            raise unknown_name("class of a model in --label-map", raw, known.values())


def prepare(dataset: DatasetSpec, profile: Profile, split: str, device: DeviceKind, *, split_seed: int) -> _Task:
    """Read and split the data, and take the rows of the wanted split."""
    from emobench.data.prepare import load_splits

    splits = load_splits(dataset, profile=profile, seed=split_seed)
    digest = splits.fingerprint if split == "test" else f"{splits.fingerprint}-{split}"
    return _Task(
        dataset=dataset, profile=profile, split=split, device=device, rows=rows_of(splits, split), digest=digest
    )


def rows_of(splits: Splits, split: str) -> Examples:
    """The rows of one split, or of all three."""
    from emobench.data.split import Examples

    if split == "test":
        return splits.test
    if split == "validation":
        return splits.validation
    parts = (splits.train, splits.validation, splits.test)
    return Examples(
        texts=tuple(text for part in parts for text in part.texts),
        labels=tuple(label for part in parts for label in part.labels),
    )


def evaluate_one(
    checkpoint: Checkpoint, class_map: ClassMap, task: _Task, options: EvaluateOptions, *, say: Callable[[str], None]
) -> Record:
    """Load one checkpoint, predict the rows and score them."""
    from emobench.data.encode import encode
    from emobench.evaluation.labels import evaluate
    from emobench.files import cache_folder
    from emobench.models.load import load_tokenizer

    say(f"{checkpoint.name}: loading ({checkpoint.kind}, {checkpoint.precision}, {task.device})")
    loaded = checkpoint.load(task.device, say)
    tokenizer = load_tokenizer(checkpoint.spec, folder=checkpoint.tokenizer_folder)
    length = min(task.profile.max_length, checkpoint.spec.context)
    encoded = encode(task.rows, tokenizer, max_length=length, cache=cache_folder("tokens"))
    say(f"{checkpoint.name}: predicting {len(encoded)} rows of {task.dataset.id}, at most {length} tokens each")
    evaluation = evaluate(
        loaded.model,
        encoded,
        class_map.names if class_map.is_identity else checkpoint.class_names,
        device=task.device,
        pad_id=int(tokenizer.pad_token_id or 0),
        padding_side="left" if tokenizer.padding_side == "left" else "right",
        autocast_dtype=autocast_dtype(loaded),
    )
    if not class_map.is_identity:
        evaluation = rescored(evaluation, class_map)
    record = make_record(checkpoint, class_map, task, loaded, evaluation)
    if options.metrics:
        record = with_modules(record, evaluation, options.metrics)
    if options.predictions is None:
        return record
    return with_predictions(record, class_map, task, evaluation, options.predictions)


def with_modules(record: Record, evaluation: Evaluation, places: Sequence[Path]) -> Record:
    """Add what the user's own metric modules say of the predicted classes."""
    from emobench.evaluation.modules import module_scores

    predicted = [max(range(len(row)), key=row.__getitem__) for row in evaluation.probabilities]
    found = {place.stem: dict(module_scores(place, predicted, evaluation.labels)) for place in places}
    return replace(record, details={**record.details, "modules": found})


def autocast_dtype(loaded: LoadedModel) -> torch.dtype | None:
    """The dtype of autocast where weights are kept in fp32 for a lower precision, as while they were trained."""
    import torch

    from emobench.devices import torch_dtype

    dtype = torch_dtype(loaded.precision)
    in_fp32 = any(parameter.dtype is torch.float32 for parameter in loaded.model.parameters())
    return dtype if in_fp32 and dtype is not torch.float32 else None


def make_record(
    checkpoint: Checkpoint, class_map: ClassMap, task: _Task, loaded: LoadedModel, evaluation: Evaluation
) -> Record:
    """The record of one evaluation; its key covers the weights, the rows, the matching of classes and the sizes."""
    from emobench.cases.environment import environment
    from emobench.records.record import Record, checked

    spec = CaseSpec(
        kind=INFERENCE,
        model=checkpoint.spec,
        dataset=task.dataset,
        precision=loaded.precision,
        device=task.device,
        profile=task.profile,
        seeds=(checkpoint.seed,),
        weights=loaded.weights,
    )
    case = spec.summary() | {
        "id": f"evaluate[{checkpoint.name}-{task.dataset.id}-{task.split}-{loaded.precision}-{task.device}]",
        "kind": "evaluate",
        "method": checkpoint.method,
        "checkpoint": checkpoint.name,
        "split": task.split,
        "data_fingerprint": task.digest,
        "model_revision": weights_revision(checkpoint),
    }
    content = [spec.key(data_fingerprint=task.digest, model_revision=case["model_revision"]), class_map.targets]
    case["key"] = hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]
    return checked(
        Record(
            case=case,
            metrics=(*loaded.metrics(), *evaluation.metrics),
            environment=environment(spec),
            details={
                "per_class": [dict(entry) for entry in evaluation.per_class],
                "confusion": [list(row) for row in evaluation.confusion],
                "class_names": list(class_map.names),
                "classes_of_model": {
                    raw: class_map.names[target]
                    for raw, target in zip(checkpoint.class_names, class_map.targets, strict=True)
                },
                "checkpoint": checkpoint.given,
                "rows": len(evaluation.labels),
                "notes": list(loaded.notes),
                "spec": spec.model_dump(mode="json", include={"profile"}),
            },
        )
    )


def weights_revision(checkpoint: Checkpoint) -> str:
    """``sha256:`` and the checksum of the checkpoint's own weights; of an adapter, not of its base."""
    from emobench.models.locate import checksum, folder_revision
    from emobench.models.save import ADAPTER_FILE

    if "adapter" in checkpoint.kind:
        return f"sha256:{checksum(checkpoint.folder / ADAPTER_FILE)}"
    return folder_revision(checkpoint.folder)


def with_predictions(record: Record, class_map: ClassMap, task: _Task, evaluation: Evaluation, folder: Path) -> Record:
    """Write labels and probabilities as Parquet, and name the file in the record."""
    from emobench.cases.names import file_name
    from emobench.records.predictions import write_predictions

    path = folder / f"{file_name(record.id)}.parquet"
    with writing(path, option="--predictions"):
        write_predictions(
            path,
            texts_digest=task.digest,
            labels=evaluation.labels,
            probabilities=evaluation.probabilities,
            seed=record.case["seeds"][0],
            class_names=class_map.names,
        )
    return replace(record, artifacts={**record.artifacts, "predictions": str(path)})


def evaluation_text(records: Sequence[Record], *, split: str) -> str:
    """The tables of an evaluation as a user reads them."""
    from emobench.commands.scores import class_table, summary_table

    first = records[0]
    title = f"{first.case['dataset']}, {split} split, {first.details['rows']} rows, profile {first.case['profile']}"
    lines = [title, summary_table(records)]
    if split == "all":
        lines.append("all: rows of the training split are among them, which a model trained on this data has seen")
    for record in records:
        lines += ["", str(record.case["checkpoint"]), class_table(record)]
        for module, scores in record.details.get("modules", {}).items():
            lines += [f"{module}: {name} {value:.4g}" for name, value in scores.items()]
        lines += [f"note: {note}" for note in record.details["notes"]]
        lines += [f"{record.status.value}: {reason}" for reason in record.reasons]
        if "predictions" in record.artifacts:
            lines.append(f"predictions: {record.artifacts['predictions']}")
    return "\n".join(lines)


def write_json(path: Path, records: Sequence[Record]) -> None:
    """Write the records as a JSON list.

    Raises:
        SpecError: the path cannot be written.
    """
    from emobench.files import write_bytes

    content = json.dumps([record.to_json() for record in records], indent=1, allow_nan=False)
    with writing(path, option="--json"):
        write_bytes(path, content.encode())


@contextmanager
def writing(path: Path, *, option: str) -> Iterator[None]:
    """Turn a failure to write what an option names into the error of that option."""
    try:
        yield
    except OSError as error:
        raise SpecError(f"{option}: {path} cannot be written", why=str(error), fix="name another place") from error
