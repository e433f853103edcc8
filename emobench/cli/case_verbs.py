"""Verbs that run cases: the matrix or its parts, one case, and saved classifiers on data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from emobench.cli.options import (
    FAILED,
    Cases,
    DeviceName,
    Download,
    Extra,
    Places,
    Processes,
    ProfileName,
    Seeds,
    Settings,
    WeightsKind,
    say,
)


def run(cases: Cases, places: Places, extra: Extra = None) -> None:
    """Run benchmark cases, each in a process of its own.

    pytest runs them, and its exit code is passed on; 11: a case was lost; 130 after Ctrl-C, 143 after a termination.
    """
    _run_part(None, cases, places, extra)


def benchmark(cases: Cases, processes: Processes, extra: Extra = None) -> None:
    """Run the inference and generation cases only."""
    from emobench.commands.run import LATENCY

    _run_part(LATENCY, cases, processes, extra)


def train_all(cases: Cases, processes: Processes, extra: Extra = None) -> None:
    """Run the fine-tuning cases only."""
    from emobench.commands.run import TRAINING

    _run_part(TRAINING, cases, processes, extra)


def train(
    model: Annotated[str, typer.Argument(help="A model of emobench models.")],
    data: Annotated[str, typer.Option(metavar="DATASET", help="A data set of emobench datasets.")],
    method: Annotated[str, typer.Option(metavar="METHOD", help="head, full or lora.")],
    precision: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="fp32, bf16, fp16, int8, int8-bnb or nf4; by device if not given."),
    ] = None,
    device: DeviceName = None,
    profile: ProfileName = None,
    seeds: Seeds = None,
    weights: WeightsKind = None,
    download: Download = False,
    settings: Settings = None,
    save: Annotated[bool, typer.Option("--save", help="Keep the trained model in the run's folder.")] = False,
    extra: Extra = None,
) -> None:
    """Fine-tune and evaluate one model on one data set.

    This is one case of emobench run, taken however slow it is.
    """
    from emobench.commands.run import RunOptions, train_one

    options = RunOptions(
        profile=profile, seeds=seeds, weights=weights, download=download, settings=tuple(settings or ())
    )
    code = train_one(
        options,
        model=model,
        dataset=data,
        method=method,
        precision=precision,
        device=device,
        extra=[*(["--emo-save-models"] if save else []), *(extra or ())],
    )
    raise typer.Exit(code)


def evaluate(
    checkpoints: Annotated[
        list[str],
        typer.Argument(metavar="CHECKPOINT", help="Folders with a saved model or adapter, or a classifier."),
    ],
    data: Annotated[str, typer.Option(metavar="DATASET", help="A data set of emobench datasets.")],
    base: Annotated[str | None, typer.Option(metavar="MODEL", help="The model that adapters belong on.")] = None,
    split: Annotated[str, typer.Option(metavar="SPLIT", help="test, validation or all.")] = "test",
    profile: ProfileName = None,
    label_map: Annotated[
        list[str] | None,
        typer.Option(metavar="RAW=CLASS", help="A class of the model and the data's class it is; may be repeated."),
    ] = None,
    device: DeviceName = None,
    precision: Annotated[str | None, typer.Option(metavar="NAME", help="As trained, or fp32, if not given.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the records here.")] = None,
    predictions: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write labels and probabilities here, as Parquet.")
    ] = None,
    metric: Annotated[
        list[Path] | None,
        typer.Option(metavar="PATH", help="Also score with this module of the evaluate library; it is run as code."),
    ] = None,
) -> None:
    """Score saved classifiers on a data set.

    Nothing is trained. A checkpoint is a folder that EmoBench saved, a peft adapter on a model of the table, or any
    transformers sequence classifier, whose classes are matched by name or by --label-map.
    """
    from emobench.commands.evaluate import EvaluateOptions, evaluate_checkpoints, evaluation_text, write_json
    from emobench.commands.project_place import find_place

    options = EvaluateOptions(
        checkpoints=checkpoints,
        dataset=data,
        base=base,
        split=split,
        profile=profile,
        label_map=label_map or (),
        device=device,
        precision=precision,
        predictions=predictions,
        metrics=metric or (),
    )
    records = evaluate_checkpoints(options, find_place(), say=say)
    typer.echo(evaluation_text(records, split=split))
    if json_file is not None:
        write_json(json_file, records)
    if any(record.status.value != "ok" for record in records):
        raise typer.Exit(FAILED)


def _run_part(only: str | None, cases: Cases, processes: Processes, extra: list[str] | None) -> None:
    from emobench.commands.run import run_matrix

    code = run_matrix(
        cases.run_options(),
        select=cases.select,
        mark=cases.mark,
        only=only,
        placement=processes.placement(),
        extra=extra or (),
    )
    raise typer.Exit(code)
